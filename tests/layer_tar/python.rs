//! Python's tarfile, both ways.

use crate::gnu::{ATTRIBUTES, gnu_tar};
use crate::layer::{read, same, tree, write};
use crate::made::{Tree, Wealth, make, run, scan};
use std::fs;
use std::process::Command;
use vellum::image::entry::{Entry, Item};

const PYTHON_LISTS: &str = r#"
import os, sys, tarfile
x = lambda s: os.fsencode(s).hex()
for m in tarfile.open(sys.argv[1], encoding='utf-8', errors='surrogateescape'):
    kind = {b'0':'f', b'1':'h', b'2':'l', b'3':'c', b'4':'b', b'5':'d', b'6':'p'}[m.type]
    print(kind, x(m.name), x(m.linkname), m.mode, m.uid, m.gid, int(m.mtime // 1),
          m.size, m.devmajor if kind in 'cb' else 0, m.devminor if kind in 'cb' else 0)
"#;

const PYTHON_WRITES: &str = r#"
import os, sys, tarfile
form = getattr(tarfile, sys.argv[3])
with tarfile.open(sys.argv[1], 'w', format=form) as t:
    t.add(sys.argv[2], arcname='.', filter=lambda m: setattr(m, 'mtime', int(m.mtime)) or m)
"#;

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// An entry as [`PYTHON_LISTS`] prints it; `firsts` has the metadata of hard links.
fn line(entry: &Entry, firsts: &Tree) -> String {
    let (mut size, mut device, mut target) = (0, 0, Vec::new());
    let name = entry.path.join(&b'/');
    let meta = &firsts[&name].meta;
    let kind = match &entry.item {
        Item::Dir(_) => 'd',
        Item::File(_, n) => {
            size = *n;
            'f'
        }
        Item::Symlink(_, to) => {
            target = to.to_vec();
            'l'
        }
        Item::Hardlink(to) => {
            target = to.join(&b'/');
            'h'
        }
        Item::CharDev(_, d) => {
            device = *d;
            'c'
        }
        Item::BlockDev(_, d) => {
            device = *d;
            'b'
        }
        Item::Fifo(_) => 'p',
        Item::Whiteout | Item::Opaque => panic!("a mark"),
    };
    let name = if name.is_empty() { b".".to_vec() } else { name };
    format!(
        "{kind} {} {} {} {} {} {} {size} {} {}",
        hex(&name),
        hex(&target),
        meta.perm,
        meta.uid,
        meta.gid,
        meta.mtime,
        libc::major(device),
        libc::minor(device)
    )
}

#[test]
fn python_lists_ours_the_same() {
    if !crate::has("python3") {
        return;
    }
    let (dir, out) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    make(dir.path(), Wealth::Pax);
    let entries = read(&gnu_tar(dir.path(), &ATTRIBUTES));
    let archive = out.path().join("ours.tar");
    fs::write(&archive, write(&entries)).unwrap();
    let lines = run(Command::new("python3")
        .args(["-c", PYTHON_LISTS])
        .arg(&archive));
    let lines = String::from_utf8(lines).unwrap();
    let firsts = tree(entries.clone());
    let expected: Vec<String> = entries.iter().map(|(e, _)| line(e, &firsts)).collect();
    assert_eq!(lines.lines().collect::<Vec<_>>(), expected);
}

#[test]
fn what_python_writes() {
    if !crate::has("python3") {
        return;
    }
    for (form, wealth) in [
        ("PAX_FORMAT", Wealth::Gnu),
        ("GNU_FORMAT", Wealth::Gnu),
        ("USTAR_FORMAT", Wealth::Ustar),
    ] {
        let (dir, out) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        make(dir.path(), wealth);
        let archive = out.path().join("python.tar");
        let mut python = Command::new("python3");
        python.args(["-c", PYTHON_WRITES]).arg(&archive);
        run(python.arg(dir.path()).arg(form));
        let found = tree(read(&fs::read(&archive).unwrap()));
        same(found, &scan(dir.path()));
    }
}
