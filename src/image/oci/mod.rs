//! OCI documents: what an image says of itself, in JSON.
//!
//! An *index* lists manifests, one for a platform; a *manifest* lists a configuration and layers; a
//! *configuration* holds how to run the image, its history, and the *diff IDs*: the digests of the
//! layers as plain tars. A *descriptor* is how one document or blob refers to another: media type,
//! digest, size. The types are those of the crate `oci-spec`; what is here decides what is
//! accepted.
//!
//! * Nothing is believed that was not read whole and compared with its descriptor.
//! * A document has at most [`DOCUMENT_MAX`] bytes. Real ones have a few thousand; a registry accepts
//!   4 MiB, so that is what can exist, and what a hostile one can make us hold in memory.
//! * Media types are those of OCI and of Docker's schema 2. Any other is refused by its name: to
//!   guess what is in a blob is how an image gets to mean two things.

mod document;
mod media;
mod platform;

pub use document::{
    DOCUMENT_MAX, chain_id, descriptor, diff_ids, digest_of, parse_config, parse_index,
    parse_manifest, read_document, render, verify,
};
pub use media::{Compression, Role, compression_of, role_of};
pub use platform::{PlatformSpec, choose};

pub use oci_spec::image::{
    Descriptor, History, ImageConfiguration, ImageIndex, ImageManifest, MediaType,
};

/// Media type of an OCI manifest.
pub const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// Media type of an OCI index.
pub const INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// Media type of an OCI configuration.
pub const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
/// Media type of an OCI layer that is a plain tar; with `+gzip` or `+zstd` it is compressed.
pub const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
