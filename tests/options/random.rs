//! Whatever the bytes, parsing ends in an answer; and what is escaped comes back.

use proptest::prelude::*;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use vellum::cli::options::{Draft, SECTIONS, apply, escape_path, split};
use vellum::cli::overlayfs::{Invocation, parse};

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    // mostly bytes that mean something, or their neighbours
    prop::collection::vec(
        prop_oneof![
            4 => prop::sample::select(b":,=\\\"/0a+-".to_vec()),
            1 => any::<u8>(),
        ],
        0..40,
    )
}

fn option() -> impl Strategy<Value = Vec<u8>> {
    let names: Vec<&str> = SECTIONS
        .iter()
        .flat_map(|s| s.options)
        .map(|o| o.name)
        .collect();
    (prop::sample::select(names), any::<bool>(), bytes()).prop_map(|(name, equals, value)| {
        let equals = if equals { &b"="[..] } else { b"" };
        [name.as_bytes(), equals, &value].concat()
    })
}

/// Absolute, and of any bytes that a path may have.
fn path() -> impl Strategy<Value = PathBuf> {
    bytes().prop_map(|mut p| {
        p.retain(|b| *b != 0);
        p.insert(0, b'/');
        PathBuf::from(OsString::from_vec(p))
    })
}

fn is_plugin(path: &std::path::Path) -> bool {
    let path = path.as_os_str().as_encoded_bytes();
    path.starts_with(b"//") && path[2..].windows(2).any(|w| w == b"//")
}

proptest! {
    #[test]
    fn options_never_panic(options in prop::collection::vec(option(), 0..6), tail in bytes()) {
        let mut text = options.join(&b","[..]);
        text.extend_from_slice(&tail);
        let mut draft = Draft::default();
        let parsed = apply(&mut draft, &OsString::from_vec(text));
        prop_assert!(parsed.err().is_none_or(|why| !why.is_empty()));
    }

    #[test]
    fn command_lines_never_panic(
        args in prop::collection::vec(
            prop_oneof![
                bytes(),
                option(),
                prop::sample::select(vec![
                    b"-o".to_vec(), b"--".to_vec(), b"-f".to_vec(), b"-t".to_vec(), b"/m".to_vec(),
                ]),
            ],
            0..8,
        ),
        helper in any::<bool>(),
    ) {
        let program = OsStr::new(if helper { "mount.fuse" } else { "fuse-overlayfs" });
        let parsed = parse(program, args.into_iter().map(OsString::from_vec));
        if let Ok(Invocation::Mount(request)) = parsed {
            prop_assert!(!request.config.lowers.is_empty());
            prop_assert!(!request.mountpoint.as_os_str().is_empty());
        }
    }

    #[test]
    fn cutting_loses_nothing(text in bytes()) {
        let quotes = text.contains(&b'"');
        match split(&text) {
            Err(_) => prop_assert!(quotes),
            Ok(items) if !quotes => {
                let joined: Vec<Vec<u8>> = items
                    .into_iter()
                    .map(|i| match i.value {
                        Some(v) => [i.key, v].join(&b'='),
                        None => i.key,
                    })
                    .collect();
                // empty options, and no others, may be gone
                let mut want = text;
                let mut got = joined.join(&b","[..]);
                want.retain(|b| *b != b',');
                got.retain(|b| *b != b',');
                prop_assert_eq!(got, want);
            }
            Ok(_) => {}
        }
    }

    #[test]
    fn escaped_layers_come_back(
        layers in prop::collection::vec(path(), 1..6),
        upper in path(),
        work in path(),
    ) {
        prop_assume!(!layers.iter().any(|l| is_plugin(l)));
        let mut text = OsString::from("ro,lowerdir=");
        for (n, layer) in layers.iter().enumerate() {
            text.push(if n == 0 { "" } else { ":" });
            text.push(escape_path(layer));
        }
        text.push(",upperdir=");
        text.push(escape_path(&upper));
        text.push(",workdir=");
        text.push(escape_path(&work));
        text.push(",volatile");
        let mut draft = Draft::default();
        apply(&mut draft, &text).unwrap();
        let request = draft.finish(PathBuf::from("/m")).unwrap();
        prop_assert_eq!(request.config.lowers, layers);
        let taken = request.config.upper.unwrap();
        prop_assert_eq!(taken.upper, upper);
        prop_assert_eq!(taken.work, work);
        prop_assert!(taken.volatile);
        prop_assert_eq!(request.warnings, Vec::<String>::new());
    }
}
