//! An engine over directories of a test, used by path, and a dump of the tree it shows.
#![allow(dead_code, reason = "each test file uses some of it")]

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use vellum::overlay::{Config, Engine, Marks, UpperConfig};
use vellum::vfs::{Attr, Caller, Kind, NodeId};

pub const ROOT: Caller = Caller {
    uid: 0,
    gid: 0,
    pid: 0,
};

/// Opens the lowers `l0` (topmost), `l1`, ... of `dir` under its `upper`.
pub fn open(dir: &Path) -> Engine {
    open_with(dir, Marks::Auto)
}

/// The same, with the marks in a form of the caller's choice.
pub fn open_with(dir: &Path, marks: Marks) -> Engine {
    for d in ["upper", "work"] {
        fs::create_dir_all(dir.join(d)).unwrap();
    }
    let lowers: Vec<PathBuf> = (0..)
        .map(|i| dir.join(format!("l{i}")))
        .take_while(|l| l.exists())
        .collect();
    Engine::open(&Config {
        lowers,
        upper: Some(UpperConfig {
            marks,
            ..UpperConfig::new(dir.join("upper"), dir.join("work"))
        }),
        ..Config::default()
    })
    .unwrap()
}

/// The node at a path. Its lookup is never given back: the test is over before that matters.
pub fn at(e: &Engine, path: &str) -> Attr {
    let mut attr = e.getattr(NodeId::ROOT).unwrap();
    for name in path.split('/').filter(|p| !p.is_empty()) {
        attr = e
            .lookup(attr.ino, name.as_bytes())
            .unwrap()
            .unwrap_or_else(|| panic!("no {name} in {path}"));
    }
    attr
}

/// The directory of a path, and the last name.
pub fn split<'a>(e: &Engine, path: &'a str) -> (NodeId, &'a [u8]) {
    match path.rsplit_once('/') {
        Some((dir, name)) => (at(e, dir).ino, name.as_bytes()),
        None => (NodeId::ROOT, path.as_bytes()),
    }
}

/// The names in a directory, sorted.
pub fn names(e: &Engine, dir: NodeId) -> Vec<Vec<u8>> {
    let mut out: Vec<Vec<u8>> = Vec::new();
    let mut cookie = 0;
    loop {
        let mut got = 0;
        e.readdir(dir, cookie, false, &mut |entry| {
            if got == 7 {
                return false; // pages as small as a kernel would never ask, to go on often
            }
            got += 1;
            cookie = entry.cookie;
            if entry.name != b"." && entry.name != b".." {
                out.push(entry.name.to_vec());
            }
            true
        })
        .unwrap();
        if got == 0 {
            break;
        }
    }
    out.sort();
    out
}

/// The whole tree as text, a line a file.
pub fn dump(e: &Engine) -> String {
    let mut out = String::new();
    dump_dir(e, NodeId::ROOT, "", &mut out);
    out
}

fn dump_dir(e: &Engine, dir: NodeId, path: &str, out: &mut String) {
    for name in names(e, dir) {
        let attr = e.lookup(dir, &name).unwrap().unwrap();
        let path = format!("{path}/{}", name.escape_ascii());
        let what = match attr.kind {
            Kind::File => format!("{:?}", String::from_utf8_lossy(&read(e, attr.ino))),
            Kind::Symlink => format!("-> {}", e.readlink(attr.ino).unwrap().escape_ascii()),
            _ => String::new(),
        };
        let xattrs = e.listxattr(attr.ino).unwrap();
        out.push_str(&format!(
            "{path} {:?} {:o} {}:{} n{} {what} {}\n",
            attr.kind,
            attr.perm,
            attr.uid,
            attr.gid,
            attr.nlink,
            xattrs.escape_ascii()
        ));
        if attr.kind == Kind::Dir {
            dump_dir(e, attr.ino, &path, out);
        }
    }
}

/// All data of a file.
pub fn read(e: &Engine, id: NodeId) -> Vec<u8> {
    let mut data = vec![0; e.getattr(id).unwrap().size as usize + 1];
    let n = e.read(id, 0, &mut data).unwrap();
    data.truncate(n);
    data
}

/// Everything in a real directory, to see that nothing in it changed.
pub fn fingerprint(dir: &Path) -> Vec<String> {
    use std::os::unix::fs::MetadataExt;
    let mut out = Vec::new();
    let mut todo = vec![dir.to_owned()];
    while let Some(at) = todo.pop() {
        let m = fs::symlink_metadata(&at).unwrap();
        let data = if m.is_file() {
            fs::read(&at).unwrap()
        } else {
            Vec::new()
        };
        let name = at.as_os_str().as_bytes().escape_ascii().to_string();
        out.push(format!(
            "{name} {:o} {} {} {} {}.{} {}.{} {}",
            m.mode(),
            m.uid(),
            m.gid(),
            m.nlink(),
            m.mtime(),
            m.mtime_nsec(),
            m.ctime(),
            m.ctime_nsec(),
            data.escape_ascii()
        ));
        if m.is_dir() {
            todo.extend(fs::read_dir(&at).unwrap().map(|e| e.unwrap().path()));
        }
    }
    out.sort();
    out
}
