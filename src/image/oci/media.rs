//! Media types: what is understood, under which names.

use super::{CONFIG, Descriptor, INDEX, MANIFEST};
use crate::vfs::{Error, Result};
use nix::errno::Errno;

/// What a descriptor refers to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// An index: a list of manifests, one for a platform.
    Index,
    /// A manifest.
    Manifest,
    /// A configuration.
    Config,
    /// A layer.
    Layer,
}

/// How a layer is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// It is a plain tar.
    None,
    /// One or more gzip members.
    Gzip,
    /// One or more zstd frames.
    Zstd,
}

impl Compression {
    /// As the first bytes tell it. What is neither gzip nor zstd is taken for plain.
    pub fn sniff(head: &[u8]) -> Compression {
        match head {
            [0x1f, 0x8b, ..] => Compression::Gzip,
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Compression::Zstd,
            // a skippable frame, as seekable zstd begins with
            [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Compression::Zstd,
            _ => Compression::None,
        }
    }

    /// Media type of an OCI layer compressed so.
    pub fn layer_type(self) -> &'static str {
        match self {
            Compression::None => super::LAYER,
            Compression::Gzip => "application/vnd.oci.image.layer.v1.tar+gzip",
            Compression::Zstd => "application/vnd.oci.image.layer.v1.tar+zstd",
        }
    }
}

/// What the descriptor's media type says that it is.
pub fn role_of(descriptor: &Descriptor) -> Result<Role> {
    match descriptor.media_type().as_ref() {
        INDEX | "application/vnd.docker.distribution.manifest.list.v2+json" => Ok(Role::Index),
        MANIFEST | "application/vnd.docker.distribution.manifest.v2+json" => Ok(Role::Manifest),
        CONFIG | "application/vnd.docker.container.image.v1+json" => Ok(Role::Config),
        other => layer_type(other).map(|_| Role::Layer).map_err(|why| {
            Error::because(Errno::EOPNOTSUPP, format!("{}: {why}", descriptor.digest()))
        }),
    }
}

/// How the layer that the descriptor refers to is compressed.
pub fn compression_of(descriptor: &Descriptor) -> Result<Compression> {
    layer_type(descriptor.media_type().as_ref()).map_err(|why| {
        Error::because(
            Errno::EOPNOTSUPP,
            format!("layer {}: {why}", descriptor.digest()),
        )
    })
}

fn layer_type(media_type: &str) -> std::result::Result<Compression, String> {
    match media_type {
        "application/vnd.oci.image.layer.v1.tar"
        | "application/vnd.docker.image.rootfs.diff.tar" => Ok(Compression::None),
        "application/vnd.oci.image.layer.v1.tar+gzip"
        | "application/vnd.docker.image.rootfs.diff.tar.gzip" => Ok(Compression::Gzip),
        "application/vnd.oci.image.layer.v1.tar+zstd"
        | "application/vnd.docker.image.rootfs.diff.tar.zstd" => Ok(Compression::Zstd),
        other if is_foreign(other) => Err(format!(
            "media type {other}: the layer may not be distributed, and has to be had from its owner; images with such \
             layers are not supported"
        )),
        other if other.ends_with("+encrypted") => Err(format!(
            "media type {other}: encrypted layers are not supported"
        )),
        other => Err(format!("media type {other:?} is not understood")),
    }
}

fn is_foreign(media_type: &str) -> bool {
    media_type.starts_with("application/vnd.oci.image.layer.nondistributable.")
        || media_type.starts_with("application/vnd.docker.image.rootfs.foreign.")
}

#[cfg(test)]
mod tests {
    use super::super::descriptor;
    use super::*;
    use crate::image::digest::Digest;

    fn of(media_type: &str) -> Descriptor {
        descriptor(media_type, Digest::of(b"x"), 1)
    }

    #[test]
    fn both_families_are_understood() {
        for (family, roles) in [
            ("application/vnd.oci.image.index.v1+json", Role::Index),
            (
                "application/vnd.docker.distribution.manifest.list.v2+json",
                Role::Index,
            ),
            (
                "application/vnd.docker.distribution.manifest.v2+json",
                Role::Manifest,
            ),
            (
                "application/vnd.docker.container.image.v1+json",
                Role::Config,
            ),
            ("application/vnd.oci.image.layer.v1.tar+zstd", Role::Layer),
            (
                "application/vnd.docker.image.rootfs.diff.tar.gzip",
                Role::Layer,
            ),
        ] {
            assert_eq!(role_of(&of(family)).unwrap(), roles, "{family}");
        }
        for c in [Compression::None, Compression::Gzip, Compression::Zstd] {
            assert_eq!(compression_of(&of(c.layer_type())).unwrap(), c);
        }
    }

    #[test]
    fn what_is_not_understood_is_refused_by_name() {
        for (media_type, reason) in [
            (
                "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
                "may not be distributed",
            ),
            (
                "application/vnd.oci.image.layer.nondistributable.v1.tar",
                "may not be distributed",
            ),
            (
                "application/vnd.oci.image.layer.v1.tar+gzip+encrypted",
                "encrypted",
            ),
            ("application/x-unknown", "\"application/x-unknown\""),
            (
                "application/vnd.docker.distribution.manifest.v1+prettyjws",
                "not understood",
            ),
        ] {
            let e = role_of(&of(media_type)).unwrap_err();
            assert!(e.reason().contains(reason), "{e}");
            assert!(e.reason().contains(media_type), "{e}");
            assert!(e.is(Errno::EOPNOTSUPP));
        }
    }

    #[test]
    fn compression_is_known_by_its_first_bytes() {
        let zstd = zstd::encode_all(&b"x"[..], 1).unwrap();
        assert_eq!(Compression::sniff(&zstd), Compression::Zstd);
        assert_eq!(Compression::sniff(&[0x1f, 0x8b, 8]), Compression::Gzip);
        assert_eq!(Compression::sniff(b"etc/"), Compression::None);
        assert_eq!(Compression::sniff(b""), Compression::None);
    }
}
