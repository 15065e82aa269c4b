//! The tree that an engine shows, as text; and that listings and look-ups agree.

use std::collections::BTreeMap;
use vellum::overlay::Engine;
use vellum::vfs::{Attr, Kind, NodeId};

/// The whole tree, a line a file. Panics where a listing and a look-up differ.
pub fn dump(e: &Engine) -> String {
    let mut out = String::new();
    let mut links = BTreeMap::new();
    let root = e.getattr(NodeId::ROOT).expect("the root");
    line(e, "/", &root, &mut out);
    dump_dir(e, NodeId::ROOT, "", &mut out, &mut links);
    for (ino, (seen, said)) in links {
        assert_eq!(
            seen, said,
            "inode {ino} has {seen} names and says {said}:\n{out}"
        );
    }
    out
}

type Links = BTreeMap<u64, (u32, u32)>;

fn dump_dir(e: &Engine, dir: NodeId, path: &str, out: &mut String, links: &mut Links) {
    for (name, (ino, kind)) in list(e, dir) {
        let path = format!("{path}/{}", name.escape_ascii());
        let attr = match e.lookup(dir, &name) {
            Ok(Some(attr)) => attr,
            other => panic!("{path} is listed, but: {other:?}"),
        };
        assert_eq!(
            (attr.ino, attr.kind),
            (ino, kind),
            "{path}: d_ino and st_ino"
        );
        line(e, &path, &attr, out);
        if attr.kind == Kind::Dir {
            dump_dir(e, attr.ino, &path, out, links);
        } else {
            let entry = links.entry(attr.ino.0).or_insert((0, attr.nlink));
            entry.0 += 1;
            assert_eq!(entry.1, attr.nlink, "{path}: names of one file differ");
        }
        e.forget(attr.ino, 1);
    }
}

fn line(e: &Engine, path: &str, a: &Attr, out: &mut String) {
    let what = match a.kind {
        Kind::File => {
            let mut data = vec![0; a.size as usize + 1];
            let n = e.read(a.ino, 0, &mut data).expect("read");
            assert_eq!(n as u64, a.size, "{path}: size and data differ");
            // runs of zeros are long
            let data = data[..n].escape_ascii().to_string();
            data.replace(&"\\x00".repeat(64), "<64 zeros>")
        }
        Kind::Symlink => e
            .readlink(a.ino)
            .expect("readlink")
            .escape_ascii()
            .to_string(),
        _ => format!("{:x}", a.rdev),
    };
    let (ino, kind, mtime) = (a.ino.0, a.kind, a.mtime);
    let list = e.listxattr(a.ino).expect("listxattr");
    let mut xattrs: Vec<String> = list
        .split(|b| *b == 0)
        .filter(|n| !n.is_empty())
        .map(|n| {
            let value = e.getxattr(a.ino, n).expect("a listed attribute");
            format!("{}={}", n.escape_ascii(), value.escape_ascii())
        })
        .collect();
    xattrs.sort();
    out.push_str(&format!(
        "{path} {ino} {kind:?} {:o} {}:{} {} {mtime:?} {xattrs:?} {what}\n",
        a.perm, a.uid, a.gid, a.nlink
    ));
}

fn list(e: &Engine, dir: NodeId) -> BTreeMap<Vec<u8>, (NodeId, Kind)> {
    let mut entries = BTreeMap::new();
    let mut twice = None;
    e.readdir(dir, 0, false, &mut |entry| {
        if entry.name != b"." && entry.name != b".." {
            let before = entries.insert(entry.name.to_vec(), (entry.ino, entry.kind));
            if before.is_some() {
                twice = Some(entry.name.to_vec());
            }
        }
        true
    })
    .expect("readdir");
    assert_eq!(twice, None, "a name is listed twice");
    entries
}
