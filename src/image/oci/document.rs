//! Reading documents, and comparing what was read with what refers to it.

use super::media::{Role, role_of};
use super::{Descriptor, ImageConfiguration, ImageIndex, ImageManifest, MediaType};
use crate::image::digest::Digest;
use crate::vfs::error::Context;
use crate::vfs::{Error, Result};
use nix::errno::Errno;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::io::Read;

/// Longest document, in bytes.
pub const DOCUMENT_MAX: u64 = 4 << 20;

/// A descriptor with nothing optional in it.
pub fn descriptor(media_type: &str, digest: Digest, size: u64) -> Descriptor {
    // our digests are SHA-256, which the other type has a form for
    let text = digest.hex();
    let sha: oci_spec::image::Digest = match text.parse::<oci_spec::image::Sha256Digest>() {
        Ok(sha) => sha.into(),
        Err(_) => unreachable!("64 lower-case digits"),
    };
    Descriptor::new(MediaType::from(media_type), size, sha)
}

/// The digest of a descriptor, which has to be a SHA-256.
pub fn digest_of(descriptor: &Descriptor) -> Result<Digest> {
    descriptor.digest().as_ref().parse()
}

/// Reads a document to its end, if that is not too far.
pub fn read_document(what: &str, mut from: impl Read) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.by_ref()
        .take(DOCUMENT_MAX + 1)
        .read_to_end(&mut bytes)
        .context(|| what.to_owned())?;
    if bytes.len() as u64 > DOCUMENT_MAX {
        return Err(too_long(what));
    }
    Ok(bytes)
}

fn too_long(what: &str) -> Error {
    Error::because(
        Errno::EFBIG,
        format!("{what}: a document may have {DOCUMENT_MAX} bytes, this one has more"),
    )
}

/// Compares a document with the descriptor that refers to it.
pub fn verify(descriptor: &Descriptor, bytes: &[u8]) -> Result<()> {
    let want = digest_of(descriptor)?;
    let len = bytes.len() as u64;
    if len != descriptor.size() {
        return Err(Error::because(
            Errno::EBADMSG,
            format!("{want}: has {len} bytes, not {}", descriptor.size()),
        ));
    }
    let is = Digest::of(bytes);
    if is != want {
        return Err(Error::because(
            Errno::EBADMSG,
            format!("{want}: its content has the digest {is}"),
        ));
    }
    Ok(())
}

/// Reads an index.
pub fn parse_index(what: &str, bytes: &[u8]) -> Result<ImageIndex> {
    let index: ImageIndex = parse(what, bytes, &["manifests"])?;
    schema(what, index.schema_version())?;
    let media_type = index.media_type().as_ref();
    declared(what, media_type, Role::Index)?;
    Ok(index)
}

/// Reads a manifest. Its configuration and layers have media types that are understood.
pub fn parse_manifest(what: &str, bytes: &[u8]) -> Result<ImageManifest> {
    let manifest: ImageManifest = match as_it_stands(bytes) {
        Some(manifest) => manifest,
        None => {
            let value: Value = json(what, bytes)?;
            if value.get("schemaVersion") == Some(&Value::from(1)) {
                return Err(Error::because(
                    Errno::EOPNOTSUPP,
                    format!("{what}: a manifest of Docker's schema 1, which is not supported"),
                ));
            }
            typed(what, value, &["layers"])?
        }
    };
    schema(what, manifest.schema_version())?;
    declared(what, manifest.media_type().as_ref(), Role::Manifest)?;
    expect_role(what, manifest.config(), Role::Config)?;
    for layer in manifest.layers() {
        expect_role(what, layer, Role::Layer)?;
    }
    Ok(manifest)
}

/// Reads a configuration.
pub fn parse_config(what: &str, bytes: &[u8]) -> Result<ImageConfiguration> {
    let config: ImageConfiguration = parse(what, bytes, &["diff_ids"])?;
    let kind = config.rootfs().typ();
    if kind != "layers" {
        return Err(invalid(
            what,
            format!("rootfs of type {kind:?}, not layers"),
        ));
    }
    diff_ids(&config).context(|| what.to_owned())?;
    Ok(config)
}

/// The diff IDs of a configuration, lowest first.
pub fn diff_ids(config: &ImageConfiguration) -> Result<Vec<Digest>> {
    let parse = |id: &String| id.parse::<Digest>().context(|| "diff ID");
    config.rootfs().diff_ids().iter().map(parse).collect()
}

/// The chain ID of a stack of layers: it names the tree that they make together. A stack of one
/// has its diff ID; of none there is no chain.
pub fn chain_id(diff_ids: &[Digest]) -> Option<Digest> {
    let (first, rest) = diff_ids.split_first()?;
    Some(rest.iter().fold(*first, |chain, id| {
        Digest::of(format!("{chain} {id}").as_bytes())
    }))
}

/// A document as bytes: the same value gives the same bytes, with keys in order.
pub fn render(document: &impl Serialize) -> Result<Vec<u8>> {
    // by way of a value, whose maps are sorted: the types have hash maps in them
    let value = serde_json::to_value(document).map_err(|e| invalid("a document", e))?;
    serde_json::to_vec(&value).map_err(|e| invalid("a document", e))
}

fn json(what: &str, bytes: &[u8]) -> Result<Value> {
    if bytes.len() as u64 > DOCUMENT_MAX {
        return Err(too_long(what));
    }
    serde_json::from_slice(bytes).map_err(|e| invalid(what, e))
}

fn parse<T: DeserializeOwned>(what: &str, bytes: &[u8], lists: &[&str]) -> Result<T> {
    if let Some(document) = as_it_stands(bytes) {
        return Ok(document);
    }
    typed(what, json(what, bytes)?, lists)
}

/// A document that is no different from what it means. Most are so; to read one by way of a value takes twice as
/// long, which shows where there are hundreds of layers.
fn as_it_stands<T: DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    match bytes.len() as u64 <= DOCUMENT_MAX {
        true => serde_json::from_slice(bytes).ok(),
        false => None,
    }
}

/// From JSON as Go programs write it, which have `null` for a list or map that is empty.
fn typed<T: DeserializeOwned>(what: &str, mut value: Value, lists: &[&str]) -> Result<T> {
    without_nulls(&mut value, lists);
    serde_json::from_value(value).map_err(|e| invalid(what, e))
}

fn without_nulls(value: &mut Value, lists: &[&str]) {
    match value {
        Value::Object(map) => {
            for (key, value) in map.iter_mut() {
                if value.is_null() && lists.contains(&key.as_str()) {
                    *value = Value::Array(Vec::new());
                }
            }
            map.retain(|_, v| !v.is_null());
            map.values_mut().for_each(|v| without_nulls(v, lists));
        }
        Value::Array(all) => all.iter_mut().for_each(|v| without_nulls(v, lists)),
        _ => {}
    }
}

fn invalid(what: &str, why: impl std::fmt::Display) -> Error {
    Error::because(Errno::EBADMSG, format!("{what}: {why}"))
}

fn schema(what: &str, version: u32) -> Result<()> {
    match version {
        2 => Ok(()),
        n => Err(invalid(what, format!("schema version {n}, not 2"))),
    }
}

/// The media type that a document claims for itself, if it does.
fn declared(what: &str, media_type: Option<&MediaType>, role: Role) -> Result<()> {
    match media_type.map(MediaType::as_ref).filter(|t| !t.is_empty()) {
        Some(own) => expect_role(what, &descriptor(own, Digest::of(b""), 0), role),
        None => Ok(()),
    }
}

fn expect_role(what: &str, descriptor: &Descriptor, want: Role) -> Result<()> {
    let media_type = descriptor.media_type();
    match role_of(descriptor).context(|| what.to_owned())? {
        role if role == want => Ok(()),
        role => Err(invalid(
            what,
            format!("media type {media_type} is for {role:?}, where {want:?} is expected"),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{CONFIG, LAYER, MANIFEST};
    use super::*;
    use serde_json::json;

    fn bytes(value: &Value) -> Vec<u8> {
        serde_json::to_vec(value).unwrap()
    }

    fn reference(media_type: &str) -> Value {
        json!({"mediaType": media_type, "digest": Digest::of(b"x"), "size": 1})
    }

    fn manifest(layer: &str) -> Vec<u8> {
        bytes(&json!({"schemaVersion": 2, "mediaType": MANIFEST,
            "config": reference(CONFIG), "layers": [reference(layer)]}))
    }

    #[test]
    fn a_manifest_is_read_and_what_it_names_is_checked() {
        let read = parse_manifest("m", &manifest(LAYER)).unwrap();
        assert_eq!(digest_of(&read.layers()[0]).unwrap(), Digest::of(b"x"));
        for (bad, reason) in [
            (manifest("application/x-y"), "\"application/x-y\""),
            (manifest(CONFIG), "where Layer is expected"),
            (bytes(&json!({"schemaVersion": 1})), "schema 1"),
            (
                bytes(&json!({"schemaVersion": 3, "config": reference(CONFIG), "layers": []})),
                "version 3",
            ),
            (b"{".to_vec(), "m: EOF"),
            (b"[]".to_vec(), "m: "),
        ] {
            let e = parse_manifest("m", &bad).unwrap_err();
            assert!(e.reason().contains(reason), "{e}");
        }
    }

    #[test]
    fn an_index_is_no_manifest() {
        let doc = bytes(
            &json!({"schemaVersion": 2, "mediaType": super::super::INDEX, "manifests": null}),
        );
        assert!(parse_index("i", &doc).unwrap().manifests().is_empty());
        assert!(parse_index("i", &manifest(LAYER)).is_err());
    }

    #[test]
    fn nulls_are_what_is_not_there() {
        let config = parse_config(
            "c",
            &bytes(
                &json!({"architecture": "amd64", "os": "linux", "history": null,
                "config": {"Cmd": null, "Volumes": null, "Labels": {"a": "b"}},
                "rootfs": {"type": "layers", "diff_ids": null}}),
            ),
        )
        .unwrap();
        assert_eq!(diff_ids(&config).unwrap(), []);
    }

    #[test]
    fn a_configuration_of_another_kind_is_refused() {
        for (rootfs, reason) in [
            (
                json!({"type": "windows", "diff_ids": []}),
                "type \"windows\"",
            ),
            (
                json!({"type": "layers", "diff_ids": ["sha512:00"]}),
                "only sha256",
            ),
        ] {
            let doc = json!({"architecture": "amd64", "os": "linux", "rootfs": rootfs});
            let e = parse_config("c", &bytes(&doc)).unwrap_err();
            assert!(e.reason().contains(reason), "{e}");
        }
    }

    #[test]
    fn a_document_has_a_limit() {
        let e = read_document("d", std::io::repeat(b' ')).unwrap_err();
        assert!(e.is(Errno::EFBIG) && e.reason().contains("4194304"), "{e}");
        assert_eq!(read_document("d", &b"{}"[..]).unwrap(), b"{}");
    }

    #[test]
    fn a_document_is_compared_with_its_descriptor() {
        let good = descriptor(MANIFEST, Digest::of(b"abc"), 3);
        verify(&good, b"abc").unwrap();
        assert!(
            verify(&good, b"abcd")
                .unwrap_err()
                .reason()
                .contains("4 bytes, not 3")
        );
        assert!(
            verify(&good, b"abd")
                .unwrap_err()
                .reason()
                .contains("has the digest")
        );
    }

    /// The example of the OCI specification's own formula, worked out by hand.
    #[test]
    fn chains_are_named_as_the_specification_says() {
        let [a, b, c] = [b"a", b"b", b"c"].map(|x| Digest::of(x));
        assert_eq!(chain_id(&[]), None);
        assert_eq!(chain_id(&[a]), Some(a));
        let ab = Digest::of(format!("{a} {b}").as_bytes());
        assert_eq!(chain_id(&[a, b]), Some(ab));
        let abc = Digest::of(format!("{ab} {c}").as_bytes());
        assert_eq!(chain_id(&[a, b, c]), Some(abc));
    }
}
