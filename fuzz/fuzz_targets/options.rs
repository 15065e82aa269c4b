//! Command lines of the drop-in form: no panic, and what is accepted is complete.
#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use vellum::cli::options::{Request, SECTIONS, escape_path};
use vellum::cli::overlayfs::{Invocation, parse};

/// A piece of an argument.
#[derive(Arbitrary, Debug)]
enum Piece {
    /// The name of an option that is known.
    Name(u8),
    /// What makes a mount.
    Layers,
    /// Anything.
    Bytes(Vec<u8>),
    /// The next argument begins.
    Next,
    /// `-o` as an argument of its own.
    DashO,
}

#[derive(Arbitrary, Debug)]
struct Line {
    helper: bool,
    pieces: Vec<Piece>,
}

impl Line {
    fn args(&self) -> Vec<OsString> {
        let names: Vec<&str> = SECTIONS
            .iter()
            .flat_map(|s| s.options)
            .map(|o| o.name)
            .collect();
        let mut args = vec![Vec::new()];
        for piece in &self.pieces {
            match piece {
                Piece::Next => args.push(Vec::new()),
                Piece::DashO => args.extend([b"-o".to_vec(), Vec::new()]),
                other => {
                    let text: &[u8] = match other {
                        Piece::Name(n) => names[usize::from(*n) % names.len()].as_bytes(),
                        Piece::Layers => b"lowerdir=/a:/b,upperdir=/u,workdir=/w,",
                        Piece::Bytes(bytes) => bytes,
                        Piece::Next | Piece::DashO => b"",
                    };
                    if let Some(last) = args.last_mut() {
                        last.extend_from_slice(text);
                    }
                }
            }
        }
        args.into_iter().map(OsString::from_vec).collect()
    }
}

fuzz_target!(|line: Line| {
    let program = OsStr::new(if line.helper {
        "mount.fuse"
    } else {
        "fuse-overlayfs"
    });
    match parse(program, line.args()) {
        Ok(Invocation::Mount(request) | Invocation::Fake(request)) => check(&request),
        Ok(Invocation::Version | Invocation::Help) => {}
        Err(why) => assert!(!why.is_empty()),
    }
});

fn check(request: &Request) {
    let config = &request.config;
    assert!(!config.lowers.is_empty());
    assert!(!request.mountpoint.as_os_str().is_empty());
    assert!(config.lowers.iter().all(|l| !l.as_os_str().is_empty()));
    assert!((1..=256).contains(&request.mount.threads));
    assert!((4096..=1 << 20).contains(&request.mount.max_write));
    assert!(request.foreground || !request.mount.debug);
    if let Some(upper) = &config.upper {
        assert!(!upper.upper.as_os_str().is_empty() && !upper.work.as_os_str().is_empty());
    }
    for range in config.ids.uid.iter().chain(&config.ids.gid) {
        assert!(range.len > 0);
        assert!(range.disk.checked_add(range.len - 1).is_some());
        assert!(range.shown.checked_add(range.len - 1).is_some());
    }
    assert_eq!(written_again(&config.lowers), config.lowers);
}

fn written_again(lowers: &[PathBuf]) -> Vec<PathBuf> {
    let mut text = OsString::from("lowerdir=");
    for (n, lower) in lowers.iter().enumerate() {
        text.push(if n == 0 { "" } else { ":" });
        text.push(escape_path(lower));
    }
    match parse(
        OsStr::new("fuse-overlayfs"),
        ["-o".into(), text, "/m".into()],
    ) {
        Ok(Invocation::Mount(request)) => request.config.lowers,
        other => panic!("{lowers:?}: {other:?}"),
    }
}
