//! The oracle must be able to fail: every kind of difference that it is there for is seen.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

mod common;

use common::inproc::InProcess;
use common::layers::Item;
use common::oracle::Oracle;
use common::posix;
use common::real::Real;
use common::stack::Stack;
use common::tree::View;
use std::fs;
use std::path::Path;

fn stack() -> Stack {
    let file = |path| Item::File {
        path,
        len: 9,
        byte: b'f',
        mode: 0o644,
        uid: 0,
    };
    let link = Item::Link {
        from: "f",
        to: "d/l",
    };
    Stack::build(&[vec![file("f"), link, file("d/g")]])
}

/// What is done to the plain directory behind the oracle's back.
type Change = fn(&Path);

#[test]
fn every_kind_of_difference_is_seen() {
    let changes: [(&str, Change); 9] = [
        ("name", |p| fs::write(p.join("new"), "").unwrap()),
        ("absence", |p| fs::remove_file(p.join("d/g")).unwrap()),
        ("mode", |p| posix::chmod(&p.join("d"), 0o700).unwrap()),
        ("owner", |p| posix::lchown(&p.join("f"), 3, 4).unwrap()),
        ("time", |p| {
            posix::utimens(&p.join("f"), posix::OMIT, (7, 7)).unwrap();
        }),
        ("data", |p| {
            let stamp = posix::lstat(&p.join("f")).unwrap();
            fs::write(p.join("f"), "otherdata").unwrap();
            let mtime = (stamp.st_mtime, stamp.st_mtime_nsec as i64);
            posix::utimens(&p.join("f"), posix::OMIT, mtime).unwrap();
        }),
        ("attribute", |p| {
            posix::set_xattr(&p.join("f"), b"user.x", b"", 0).unwrap();
        }),
        ("type", |p| {
            fs::remove_file(p.join("d/g")).unwrap();
            fs::create_dir(p.join("d/g")).unwrap();
        }),
        ("link", |p| {
            let mtime = posix::lstat(&p.join("d")).unwrap();
            fs::rename(p.join("d/l"), p.join("d/m")).unwrap();
            fs::copy(p.join("d/m"), p.join("d/l")).unwrap();
            fs::remove_file(p.join("d/m")).unwrap();
            let mtime = (mtime.st_mtime, mtime.st_mtime_nsec as i64);
            posix::utimens(&p.join("d"), posix::OMIT, mtime).unwrap();
        }),
    ];
    for (what, change) in changes {
        let stack = stack();
        let mut plain = Real::new(&stack.plain());
        let mut oracle = Oracle::new(&mut plain, View::full());
        let mut engine = InProcess::new(stack.engine(), true);
        oracle.compare(&mut engine, "before").unwrap();
        change(&stack.plain());
        let seen = oracle.compare(&mut engine, "after");
        assert!(seen.is_err(), "{what} differs, and nobody saw it");
    }
}

#[test]
fn a_change_of_a_lower_is_seen() {
    let changes: [Change; 3] = [
        |l| fs::write(l.join("f"), "fffffffff").unwrap(),
        |l| posix::chmod(&l.join("d"), 0o777).unwrap(),
        |l| posix::set_xattr(l, b"user.x", b"y", 0).unwrap(),
    ];
    for change in changes {
        let stack = stack();
        assert_eq!(stack.lowers_changed(), None);
        change(&stack.lowers[0]);
        assert!(stack.lowers_changed().is_some());
    }
}
