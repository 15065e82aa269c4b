//! Documents of images: no panic, and what is accepted keeps its rules and is read back the same after
//! it is written.
#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use serde_json::{Value, json};
use std::sync::LazyLock;
use vellum::image::digest::Digest;
use vellum::image::instruction::{Edit, Keeps, parse_all};
use vellum::image::oci::{
    Descriptor, PlatformSpec, Role, chain_id, choose, compression_of, diff_ids, digest_of,
    parse_config, parse_index, parse_manifest, read_document, render, role_of, verify,
};

#[derive(Arbitrary, Debug)]
enum Input {
    /// Any bytes, read as each kind.
    Raw(Vec<u8>),
    /// A right document of one kind, with values replaced.
    Changed(u8, Vec<Change>),
    /// Instructions on a right configuration.
    Edited(String, bool),
    /// A platform as somebody writes it, looked for in a right index.
    Platform(String),
}

/// Something at a place: the place is found by going down, a step a byte.
#[derive(Arbitrary, Debug)]
struct Change {
    steps: Vec<u8>,
    value: New,
}

#[derive(Arbitrary, Debug)]
enum New {
    Null,
    Number(i64),
    Word(u8),
    Text(String),
    List(u8),
    Gone,
}

const WORDS: [&str; 16] = [
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.oci.image.config.v1+json",
    "application/vnd.oci.image.layer.v1.tar+gzip",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.docker.container.image.v1+json",
    "application/vnd.docker.image.rootfs.diff.tar.gzip",
    "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
    "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "sha512:00",
    "linux",
    "arm",
    "v7",
    "layers",
    "unknown",
];

/// An index, a manifest and a configuration, with all that they can have.
static RIGHT: LazyLock<[Value; 3]> = LazyLock::new(|| {
    let digest = Digest::of(b"x").to_string();
    let one = |n: usize| json!({"mediaType": WORDS[n], "digest": digest, "size": 1});
    let mut here = one(1);
    here["platform"] = json!({"os": "linux", "architecture": "amd64", "variant": "v1"});
    let mut there = one(5);
    there["platform"] = json!({"os": "linux", "architecture": "arm", "variant": "v7"});
    there["annotations"] = json!({"org.opencontainers.image.ref.name": "12"});
    [
        json!({"schemaVersion": 2, "mediaType": WORDS[0], "manifests": [here, there],
            "annotations": {"a": "b"}}),
        json!({"schemaVersion": 2, "mediaType": WORDS[1], "config": one(2),
            "layers": [one(3), one(7)], "annotations": {"a": "b"}}),
        json!({"architecture": "arm", "variant": "v7", "os": "linux", "author": "a",
            "created": "2024-01-02T03:04:05Z",
            "config": {"User": "u", "Env": ["A=1"], "Cmd": ["sh"], "Entrypoint": null,
                "ExposedPorts": {"80/tcp": {}}, "Volumes": {"/v": {}}, "WorkingDir": "/",
                "Labels": {"l": "1"}, "StopSignal": "TERM", "OnBuild": ["X"]},
            "history": [{"created": "2024-01-02T03:04:05Z", "created_by": "c",
                "comment": "m", "empty_layer": false}],
            "rootfs": {"type": "layers", "diff_ids": [digest, digest]}}),
    ]
});

fuzz_target!(|input: Input| {
    match input {
        Input::Raw(bytes) => read(&bytes),
        Input::Changed(kind, changes) => {
            let mut document = RIGHT[usize::from(kind) % 3].clone();
            for change in changes {
                apply(&mut document, &change);
            }
            read(document.to_string().as_bytes());
        }
        Input::Edited(text, docker) => edit(&text, docker),
        Input::Platform(text) => {
            if let Ok(platform) = text.parse::<PlatformSpec>() {
                assert_eq!(platform.to_string().parse().as_ref(), Ok(&platform));
                index(RIGHT[0].to_string().as_bytes(), &platform);
            }
        }
    }
});

fn apply(document: &mut Value, change: &Change) {
    go(document, &change.steps, &change.value);
}

fn go(at: &mut Value, steps: &[u8], value: &New) {
    let Some((step, rest)) = steps.split_first() else {
        return replace(at, value);
    };
    let step = usize::from(*step);
    let gone = rest.is_empty() && matches!(value, New::Gone);
    match at {
        Value::Object(map) if !map.is_empty() => {
            let nth = map.keys().nth(step % map.len()).cloned();
            let key = nth.expect("it has one");
            if gone {
                map.remove(&key);
            } else if let Some(inner) = map.get_mut(&key) {
                go(inner, rest, value);
            }
        }
        Value::Array(list) if !list.is_empty() => {
            let n = step % list.len();
            if gone {
                list.remove(n);
            } else {
                go(&mut list[n], rest, value);
            }
        }
        other => replace(other, value),
    }
}

fn replace(at: &mut Value, value: &New) {
    *at = match value {
        New::Null | New::Gone => Value::Null,
        New::Number(n) => json!(n),
        New::Word(n) => json!(WORDS[usize::from(*n) % WORDS.len()]),
        New::Text(text) => json!(text),
        New::List(n) => Value::Array(vec![at.clone(); usize::from(*n % 8)]),
    };
}

/// Reads bytes as each kind of document.
fn read(bytes: &[u8]) {
    if let Ok(all) = read_document("d", bytes) {
        assert_eq!(all, bytes);
    }
    index(bytes, &PlatformSpec::default());
    if let Ok(manifest) = parse_manifest("m", bytes) {
        assert_eq!(manifest.schema_version(), 2);
        assert_eq!(role_of(manifest.config()), Ok(Role::Config));
        descriptor(manifest.config(), bytes);
        for layer in manifest.layers() {
            assert_eq!(role_of(layer), Ok(Role::Layer));
            compression_of(layer).expect("a layer's type says how it is compressed");
            descriptor(layer, bytes);
        }
        let written = render(&manifest).expect("what was read is written");
        assert_eq!(parse_manifest("m", &written).as_ref(), Ok(&manifest));
    }
    if let Ok(config) = parse_config("c", bytes) {
        let ids = diff_ids(&config).expect("its diff IDs were looked at");
        assert_eq!(chain_id(&ids).is_none(), ids.is_empty());
        assert!(PlatformSpec::of_config(&config).to_string().contains('/'));
        let written = render(&config).expect("what was read is written");
        assert_eq!(parse_config("c", &written).as_ref(), Ok(&config));
    }
}

fn index(bytes: &[u8], want: &PlatformSpec) {
    let Ok(index) = parse_index("i", bytes) else {
        return;
    };
    assert_eq!(index.schema_version(), 2);
    for one in index.manifests() {
        descriptor(one, bytes);
    }
    if let Ok(chosen) = choose(index.manifests(), want) {
        assert!(index.manifests().contains(chosen));
    }
    let written = render(&index).expect("what was read is written");
    assert_eq!(parse_index("i", &written).as_ref(), Ok(&index));
}

/// Nothing that is not what a descriptor says is taken for it.
fn descriptor(one: &Descriptor, bytes: &[u8]) {
    if verify(one, bytes).is_ok() {
        assert_eq!(digest_of(one), Ok(Digest::of(bytes)));
        assert_eq!(one.size(), bytes.len() as u64);
    }
}

/// A configuration stays one, whatever instructions do to it.
fn edit(text: &str, docker: bool) {
    let Ok(all) = parse_all(text) else {
        return;
    };
    let mut document = RIGHT[2].clone();
    let keeps = if docker { Keeps::Docker } else { Keeps::Oci };
    let mut edit = Edit::new(&mut document, keeps).expect("it is an object");
    for one in &all {
        if let Err(e) = edit.apply(one) {
            assert!(!e.reason().is_empty());
        }
    }
    let bytes = render(&document).expect("it can be written");
    // ports alone can be many
    if bytes.len() < 1 << 20 {
        parse_config("c", &bytes).expect("it is a configuration still");
    }
}
