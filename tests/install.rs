//! `make install`: the program, its names, manual pages and completions, where a package has them.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

const VELLUM: &str = env!("CARGO_BIN_EXE_vellum");

/// Installs the program under test, and lists what is there, without the manual pages of commands.
fn install(dest: &Path, more: &[&str]) -> BTreeSet<String> {
    let build = tempfile::tempdir().unwrap();
    fs::create_dir(build.path().join("release")).unwrap();
    symlink(VELLUM, build.path().join("release/vellum")).unwrap();
    let made = Command::new("make")
        .args(["-s", "-C", env!("CARGO_MANIFEST_DIR"), "install"])
        .arg(format!("TARGET={}", build.path().display()))
        .arg(format!("DESTDIR={}", dest.display()))
        .arg("PREFIX=/usr")
        .args(more)
        .env_remove("MAKEFLAGS")
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    let list = Command::new("find")
        .args([".", "!", "-type", "d", "-printf", "%P %m %l\n"])
        .current_dir(dest)
        .output()
        .unwrap();
    let list = String::from_utf8(list.stdout).unwrap();
    let is_command = |line: &&str| line.starts_with("usr/share/man/man1/vellum-");
    let rest = list.lines().filter(|line| !is_command(line));
    rest.map(|line| line.trim_end().to_owned()).collect()
}

#[test]
fn all_is_where_a_package_has_it() {
    let dest = tempfile::tempdir().unwrap();
    let got = install(dest.path(), &[]);
    let want = [
        "usr/bin/vellum 755",
        "usr/bin/vellum-overlayfs 777 vellum",
        "usr/share/bash-completion/completions/vellum 644",
        "usr/share/fish/vendor_completions.d/vellum.fish 644",
        "usr/share/man/man1/vellum.1 644",
        "usr/share/zsh/site-functions/_vellum 644",
    ];
    assert_eq!(got, want.map(str::to_owned).into());
    let share = dest.path().join("usr/share");
    for page in ["vellum", "vellum-mount", "vellum-load", "vellum-overlayfs"] {
        let page = fs::read_to_string(share.join(format!("man/man1/{page}.1"))).unwrap();
        assert!(
            page.contains(".TH ") && page.contains(".SH DESCRIPTION"),
            "{page}"
        );
    }
    let bash = share.join("bash-completion/completions/vellum");
    let checked = Command::new("bash").arg("-n").arg(&bash).status().unwrap();
    assert!(checked.success());
    assert!(fs::read_to_string(bash).unwrap().contains("umount"));
}

#[test]
fn other_names_are_there_when_they_are_asked_for() {
    let dest = tempfile::tempdir().unwrap();
    let got = install(dest.path(), &["ALIAS=1", "HELPER=1"]);
    for line in [
        "usr/bin/fuse-overlayfs 777 vellum",
        "sbin/mount.fuse.vellum 777 /usr/bin/vellum",
    ] {
        assert!(got.contains(line), "{got:?}");
    }
    let said = Command::new(dest.path().join("usr/bin/fuse-overlayfs"))
        .arg("--version")
        .output()
        .unwrap();
    assert!(said.stdout.starts_with(b"vellum-overlayfs"), "{said:?}");
}

/// The program that a file of this form names to load its libraries, if it does.
fn interpreter(program: &[u8]) -> bool {
    const PT_INTERP: u32 = 3;
    let number = |at: usize, len: usize| {
        let bytes = &program[at..at + len];
        bytes.iter().rev().fold(0, |n, b| n << 8 | usize::from(*b))
    };
    let (table, size, count) = (number(32, 8), number(54, 2), number(56, 2));
    (0..count).any(|i| number(table + i * size, 4) == PT_INTERP as usize)
}

#[test]
fn the_program_needs_no_libraries_where_that_can_be() {
    let said = Command::new("cc").arg("-print-file-name=libc.a").output();
    let place = said.map(|said| String::from_utf8(said.stdout).unwrap());
    if !place.is_ok_and(|place| Path::new(place.trim()).is_file()) {
        eprintln!("skipped: no static form of the C library");
        return;
    }
    assert!(!interpreter(&fs::read(VELLUM).unwrap()));
    assert!(interpreter(&fs::read("/proc/self/exe").unwrap()));
}
