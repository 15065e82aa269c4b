//! A whole tree as a value and as text, a line a file; and what differs between two.

use super::flatten::is_mark;
use super::posix::Stamp;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::{SystemTime, UNIX_EPOCH};

/// What is known of one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub nlink: u64,
    pub ino: u64,
    pub rdev: u64,
    pub mtime: Stamp,
    /// Content of a file, target of a symlink.
    pub data: Vec<u8>,
    pub xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    /// What does not fit together: `d_ino` and `st_ino`, `d_type` and `st_mode`, ...
    pub faults: Vec<String>,
}

/// All files by path; the root's is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tree(pub BTreeMap<String, Entry>);

/// What two trees are compared by. A field that is false is one that the reference, or the way of
/// looking, cannot give; where it is set says why.
#[derive(Clone, Copy, Debug)]
pub struct View {
    /// Link counts of directories count subdirectories.
    pub dir_nlink: bool,
    /// All names of a file show one inode and its link count.
    pub links: bool,
    /// The listing gives the inode numbers that `stat` gives.
    pub d_ino: bool,
    /// When the test began: times after that are "now", and equal each other.
    pub began: i64,
}

impl View {
    /// Everything.
    pub fn full() -> View {
        View {
            dir_nlink: true,
            links: true,
            d_ino: true,
            // file times come from the kernel's coarse clock, which may be a tick behind
            began: now() - 1,
        }
    }
}

/// Seconds since the epoch.
pub fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    i64::try_from(since.as_secs()).unwrap()
}

/// A time as text, "now" if it is one that this test's own changes made.
pub fn time(t: Stamp, view: &View) -> String {
    if (view.began..=now() + 1).contains(&t.0) {
        "now".into()
    } else {
        format!("{}.{:09}", t.0, t.1)
    }
}

fn letter(mode: u32) -> char {
    match mode & libc::S_IFMT {
        libc::S_IFREG => 'f',
        libc::S_IFDIR => 'd',
        libc::S_IFLNK => 'l',
        libc::S_IFIFO => 'p',
        libc::S_IFSOCK => 's',
        libc::S_IFCHR => 'c',
        libc::S_IFBLK => 'b',
        _ => '?',
    }
}

fn show_bytes(data: &[u8]) -> String {
    use sha2::{Digest, Sha256};
    if data.len() <= 24 {
        return format!("{:?}", data.escape_ascii().to_string());
    }
    let hash: String = Sha256::digest(data)[..6]
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect();
    format!("{} bytes {hash}", data.len())
}

impl Entry {
    /// A file that is listed, and cannot be looked at.
    pub fn broken(ino: u64, why: String) -> Entry {
        Entry {
            mode: 0,
            uid: 0,
            gid: 0,
            nlink: 0,
            ino,
            rdev: 0,
            mtime: (0, 0),
            data: Vec::new(),
            xattrs: BTreeMap::new(),
            faults: vec![why],
        }
    }

    fn is_dir(&self) -> bool {
        self.mode & libc::S_IFMT == libc::S_IFDIR
    }

    fn line(&self, group: &str, view: &View) -> String {
        let mut out = format!(
            "{} {:04o} {}:{}",
            letter(self.mode),
            self.mode & 0o7777,
            self.uid,
            self.gid
        );
        let nlink = if self.is_dir() {
            view.dir_nlink
        } else {
            view.links
        };
        if nlink {
            write!(out, " n{}", self.nlink).unwrap();
        }
        if view.links && !group.is_empty() {
            write!(out, " ={group}").unwrap();
        }
        if self.rdev != 0 {
            write!(out, " dev={:x}", self.rdev).unwrap();
        }
        write!(out, " mtime={}", time(self.mtime, view)).unwrap();
        if !self.is_dir() {
            write!(out, " {}", show_bytes(&self.data)).unwrap();
        }
        for (name, value) in self.xattrs.iter().filter(|(n, _)| !is_mark(n)) {
            write!(out, " {}={}", name.escape_ascii(), show_bytes(value)).unwrap();
        }
        let counts = |f: &&String| view.d_ino || !f.starts_with("d_ino");
        for fault in self.faults.iter().filter(counts) {
            write!(out, " !!{fault}").unwrap();
        }
        out
    }
}

impl Tree {
    /// A line for each file, by path.
    pub fn lines(&self, view: &View) -> BTreeMap<String, String> {
        let mut first: BTreeMap<u64, &str> = BTreeMap::new();
        let mut out = BTreeMap::new();
        for (path, entry) in &self.0 {
            let group = *first.entry(entry.ino).or_insert(path);
            let mut line = if group == path {
                entry.line("", view)
            } else {
                entry.line(group, view)
            };
            if entry.is_dir() && group != path {
                // no file system has two names for a directory
                write!(line, " !!ino {} is that of {group:?} too", entry.ino).unwrap();
            }
            out.insert(path.clone(), line);
        }
        out
    }

    /// The text form.
    pub fn text(&self, view: &View) -> String {
        self.lines(view)
            .iter()
            .fold(String::new(), |out, (path, line)| {
                out + path + " " + line + "\n"
            })
    }
}

/// What differs, as text; `None` if nothing does.
pub fn diff(subject: &Tree, plain: &Tree, view: &View) -> Option<String> {
    let (a, b) = (subject.lines(view), plain.lines(view));
    let mut out = String::new();
    for path in a.keys().chain(b.keys().filter(|p| !a.contains_key(*p))) {
        match (a.get(path), b.get(path)) {
            (x, y) if x == y => {}
            (x, y) => {
                let none = "(absent)".to_owned();
                let (x, y) = (x.unwrap_or(&none), y.unwrap_or(&none));
                writeln!(out, "/{path}\n  subject  {x}\n  expected {y}").unwrap();
            }
        }
    }
    (!out.is_empty()).then_some(out)
}

/// Which inode number of the subject stands for which of the plain directory. A number must not
/// change for as long as the file lives: through copy-up, rename and remount.
#[derive(Debug, Default)]
pub struct Inos(BTreeMap<u64, u64>);

impl Inos {
    /// Takes the next state in; says what changed its number since the last.
    pub fn check(&mut self, subject: &Tree, plain: &Tree) -> Option<String> {
        let mut now = BTreeMap::new();
        let mut out = String::new();
        for (path, p) in &plain.0 {
            let Some(s) = subject.0.get(path) else {
                continue;
            };
            now.insert(p.ino, s.ino);
            if let Some(was) = self.0.get(&p.ino).filter(|was| **was != s.ino) {
                writeln!(out, "/{path}: inode number was {was}, is {}", s.ino).unwrap();
            }
        }
        self.0 = now;
        (!out.is_empty()).then_some(out)
    }
}
