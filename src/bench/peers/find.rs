//! Which peers there are on this machine, and which of them the user wants.

use super::{How, KernelOptions, Launch, Peer};
use crate::bench::failure::{Failure, Result, Step};
use std::collections::HashSet;
use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The peers of a run, and what was left out, with the reason.
#[derive(Debug, Default)]
pub struct Selection {
    /// In the order of the table.
    pub peers: Vec<Peer>,
    /// Sentences.
    pub left_out: Vec<String>,
}

/// In the place of a name: every peer that is found, with its default options only.
const DEFAULTS: &str = "defaults";

/// Finds the peers. `wanted` is empty for all that are found; a name in it takes every peer that
/// has it, or begins with it and a version (so `fuse-overlayfs` takes all versions); a path is
/// that of a fuse-overlayfs. `extra` are the user's own as `NAME=COMMAND`. `vellum` is the program to
/// measure.
pub fn select(wanted: &[String], extra: &[String], vellum: &Path) -> Result<Selection> {
    let mut all = found(vellum);
    let (paths, names): (Vec<&String>, Vec<&String>) = wanted.iter().partition(|w| w.contains('/'));
    let mut given = Vec::new();
    for path in &paths {
        given.extend(all.by_path(Path::new(path))?);
    }
    for definition in extra {
        let peer = custom(definition)?;
        given.push(peer.how.clone());
        all.peers.push(peer);
    }
    unique_names(&mut all.peers);
    let known = |want: &str| want == DEFAULTS || all.peers.iter().any(|p| matches(&p.name, want));
    if wanted.is_empty() || names.iter().any(|w| *w == "auto") {
        return Ok(all);
    }
    if let Some(unknown) = names.iter().find(|w| !known(w)) {
        let reasons = all.left_out.join("; ");
        return Err(Failure::new(format!("no peer {unknown:?} here. {reasons}")));
    }
    let defaults = names.iter().any(|w| *w == DEFAULTS);
    all.peers.retain(|p| {
        given.contains(&p.how)
            || names.iter().any(|w| matches(&p.name, w))
            || (defaults && !p.name.ends_with("-best"))
    });
    match all.peers.is_empty() {
        true => Err(Failure::new("no peer to measure")),
        false => Ok(all),
    }
}

fn matches(name: &str, want: &str) -> bool {
    // "vellum" is one peer and "vellum-io-uring" another: a prefix takes versions only
    let rest = name.strip_prefix(want);
    rest.is_some_and(|r| {
        r.is_empty() || (r.starts_with('-') && r[1..].starts_with(|c: char| c.is_ascii_digit()))
    })
}

/// Overlayfs with what makes it fastest: nothing synced at copy-up, attributes copied up without data.
const OVERLAYFS_BEST: KernelOptions = &[
    ("volatile", None),
    ("metacopy", Some("on")),
    ("redirect_dir", Some("on")),
];
/// fuse-overlayfs's, as its manual page has them.
const FUSE_OVERLAYFS_BEST: &str =
    "lowerdir={lower},upperdir={upper},workdir={work},volatile,static_nlink,fast_ino=1";
/// What unionfs-fuse needs to show the same tree: itself copying up, its own files hidden.
const UNIONFS: &str = "allow_other,suid,dev,cow,hide_meta_files,use_ino";
const UNIONFS_BEST: &str = "allow_other,suid,dev,cow,hide_meta_files,use_ino,kernel_cache,noforget,\
                            entry_timeout=3600,negative_timeout=3600,attr_timeout=3600";
/// What of that only root may say.
const FOR_ROOT: &str = "allow_other,suid,dev,";
/// mergerfs with the first branch that has a file, as layers have it.
const MERGERFS: &str = "allow_other,category.search=ff,category.create=ff";
const MERGERFS_BEST: &str = "allow_other,category.search=ff,category.create=ff,cache.files=full,\
                             cache.entry=3600,cache.negative_entry=3600,cache.attr=3600,\
                             cache.readdir=true,cache.symlinks=true";

fn found(vellum: &Path) -> Selection {
    let root = rustix::process::geteuid().is_root();
    let mut s = Selection::default();
    s.add("plain", How::Plain, String::new());
    if root {
        let kernel = kernel_release();
        s.add("overlayfs", How::Kernel(&[]), kernel.clone());
        s.add("overlayfs-best", How::Kernel(OVERLAYFS_BEST), kernel);
    } else {
        s.leave_out("overlayfs, vellum-passthrough, vellum-image-passthrough: they need root");
    }
    let all = in_path("fuse-overlayfs");
    if all.is_empty() {
        s.leave_out("fuse-overlayfs: not in PATH (--peers DIR/fuse-overlayfs takes one elsewhere)");
    }
    for exe in all {
        s.fuse_overlayfs(&exe);
    }
    s.unions(root);
    s.vellum(vellum, root);
    s
}

impl Selection {
    fn add(&mut self, name: &str, how: How, version: String) {
        self.peers.push(Peer {
            name: name.into(),
            how,
            version,
        });
    }

    fn leave_out(&mut self, what: impl Into<String>) {
        self.left_out.push(what.into());
    }

    /// A fuse-overlayfs that is not in PATH, whatever its name; one that is, is not added twice.
    fn by_path(&mut self, exe: &Path) -> Result<Vec<How>> {
        std::fs::metadata(exe).at("find", exe)?;
        // not what it is a link to: some programs are what they are called
        let exe = std::path::absolute(exe)?;
        let mut found = Selection::default();
        found.fuse_overlayfs(&exe);
        let hows = found.peers.iter().map(|p| p.how.clone()).collect();
        let new = |p: &Peer| !self.peers.iter().any(|q| q.how == p.how);
        let new: Vec<Peer> = found.peers.into_iter().filter(new).collect();
        self.peers.extend(new);
        Ok(hows)
    }

    /// A fuse-overlayfs, with its defaults and with its best options; its name is the program's and its
    /// version's.
    fn fuse_overlayfs(&mut self, exe: &Path) {
        let text = version(exe);
        let mut name = exe
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        if let Some(n) = number(&text).filter(|n| !name.ends_with(&format!("-{n}"))) {
            name = format!("{name}-{n}");
        }
        let exe = exe.display().to_string();
        let words = |w: &[&str]| w.iter().map(|w| (*w).to_owned()).collect();
        let usual = Launch::Words(words(&[&exe]));
        let best = Launch::Words(words(&[&exe, "-o", FUSE_OVERLAYFS_BEST, "{mnt}"]));
        self.add(&name, How::Fuse(usual), text.clone());
        self.add(&format!("{name}-best"), How::Fuse(best), text);
    }

    fn unions(&mut self, root: bool) {
        let may = |options: &'static str| match root {
            true => options,
            false => options.strip_prefix(FOR_ROOT).unwrap_or(options),
        };
        match in_path("unionfs")
            .into_iter()
            .chain(in_path("unionfs-fuse"))
            .next()
        {
            Some(exe) => {
                let text = version(&exe);
                for (name, options) in [
                    ("unionfs", may(UNIONFS)),
                    ("unionfs-best", may(UNIONFS_BEST)),
                ] {
                    let exe = exe.clone();
                    self.add(
                        name,
                        How::Fuse(Launch::Unionfs { exe, options }),
                        text.clone(),
                    );
                }
            }
            None => self.leave_out("unionfs (unionfs-fuse): not in PATH"),
        }
        match in_path("mergerfs").into_iter().find(|_| root) {
            Some(exe) => {
                let text = version(&exe);
                for (name, options) in [("mergerfs", MERGERFS), ("mergerfs-best", MERGERFS_BEST)] {
                    let exe = exe.clone();
                    self.add(
                        name,
                        How::Fuse(Launch::Mergerfs { exe, options }),
                        text.clone(),
                    );
                }
            }
            None if !root => self.leave_out("mergerfs: it needs root"),
            None => self.leave_out("mergerfs: not in PATH"),
        }
    }

    fn vellum(&mut self, vellum: &Path, root: bool) {
        let text = version(vellum);
        let offered = std::fs::read_to_string(URING_SWITCH).is_ok_and(|s| s.trim() == "Y");
        let passthrough = "io_uring=off,io=passthrough";
        let best = match offered {
            true => "io_uring=on,volatile",
            false => "io_uring=off,volatile",
        };
        for (name, options, image, found) in [
            ("vellum", "io_uring=off", false, true),
            ("vellum-io-uring", "io_uring=on", false, offered),
            ("vellum-passthrough", passthrough, false, root),
            ("vellum-best", best, false, true),
            ("vellum-image", "io_uring=off", true, true),
            ("vellum-image-io-uring", "io_uring=on", true, offered),
            ("vellum-image-passthrough", passthrough, true, root),
            ("vellum-image-best", best, true, true),
        ] {
            if found {
                let exe = vellum.to_owned();
                let launch = match image {
                    false => Launch::Vellum { exe, options },
                    true => Launch::Image { exe, options },
                };
                self.add(name, How::Fuse(launch), text.clone());
            }
        }
        if !offered {
            self.leave_out(format!(
                "vellum-io-uring, vellum-image-io-uring: FUSE over io_uring is not there (Linux 6.14) or off \
                 (echo Y >{URING_SWITCH})"
            ));
        }
    }
}

/// Where FUSE over io_uring is switched on.
const URING_SWITCH: &str = "/sys/module/fuse/parameters/enable_uring";

fn custom(definition: &str) -> Result<Peer> {
    let (name, command) = definition
        .split_once('=')
        .filter(|(n, c)| !n.is_empty() && !c.trim().is_empty())
        .ok_or_else(|| Failure::new(format!("--peer {definition:?}: NAME=COMMAND is expected")))?;
    let words: Vec<String> = command.split_whitespace().map(str::to_owned).collect();
    let version = version(Path::new(&words[0]));
    Ok(Peer {
        name: name.into(),
        how: How::Fuse(Launch::Words(words)),
        version,
    })
}

/// Two of one name get a number each.
fn unique_names(peers: &mut [Peer]) {
    let mut seen = HashSet::new();
    for peer in peers {
        let base = peer.name.clone();
        let mut n = 1;
        while !seen.insert(peer.name.clone()) {
            n += 1;
            peer.name = format!("{base}#{n}");
        }
    }
}

/// Every program of this name in PATH, each once.
fn in_path(name: &str) -> Vec<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let mut seen = HashSet::new();
    env::split_paths(&path)
        .filter_map(|dir| dir.join(name).canonicalize().ok())
        .filter(|p| p.is_file() && seen.insert(p.clone()))
        .collect()
}

/// What a program says of its version: the line with its own name in it, else the first.
fn version(exe: &Path) -> String {
    let output = Command::new(exe).arg("--version").output();
    let text = match output {
        Ok(o) if !o.stdout.is_empty() => o.stdout,
        Ok(o) => o.stderr,
        Err(e) => return format!("unknown ({e})"),
    };
    let text = String::from_utf8_lossy(&text);
    let name = exe.file_name().unwrap_or_default().to_string_lossy();
    let own = text.lines().find(|l| l.starts_with(&*name));
    own.or(text.lines().next())
        .unwrap_or_default()
        .trim()
        .to_owned()
}

/// The version number in a line: its last word that begins with a digit.
fn number(line: &str) -> Option<&str> {
    line.split_whitespace()
        .rev()
        .find(|w| w.starts_with(|c: char| c.is_ascii_digit()))
}

/// Release of the running kernel.
pub fn kernel_release() -> String {
    rustix::system::uname()
        .release()
        .to_string_lossy()
        .into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_take_versions_but_not_other_peers() {
        assert!(matches("fuse-overlayfs-1.10", "fuse-overlayfs"));
        assert!(matches("vellum", "vellum"));
        assert!(!matches("vellum-passthrough", "vellum"));
        assert!(!matches("vellum-image-io-uring", "vellum-image"));
        assert!(!matches("overlayfs", "over"));
    }

    #[test]
    fn a_peer_of_ones_own() {
        let p = custom("fast=/bin/true -o a=b").unwrap();
        assert_eq!(p.name, "fast");
        let How::Fuse(Launch::Words(w)) = p.how else {
            panic!("{p:?}")
        };
        assert_eq!(w, ["/bin/true", "-o", "a=b"]);
        assert!(custom("noname").is_err());
        assert!(custom("x= ").is_err());
    }

    #[test]
    fn same_names_are_told_apart() {
        let p = custom("a=/bin/true").unwrap();
        let mut peers = vec![p.clone(), p.clone(), p];
        unique_names(&mut peers);
        let names: Vec<_> = peers.iter().map(|p| p.name.as_str()).collect();
        assert_eq!(names, ["a", "a#2", "a#3"]);
    }

    #[test]
    fn best_options_can_be_left_out() {
        let name = |p: &Peer| p.name.clone();
        let all = select(&[], &[], Path::new("/bin/true")).unwrap();
        let some = select(&[DEFAULTS.into()], &[], Path::new("/bin/true")).unwrap();
        let usual = |n: &String| !n.ends_with("-best");
        let want: Vec<String> = all.peers.iter().map(name).filter(usual).collect();
        assert_eq!(some.peers.iter().map(name).collect::<Vec<_>>(), want);
        assert!(want.len() < all.peers.len());
    }

    #[test]
    fn a_path_is_another_fuse_overlayfs() {
        let scratch = crate::bench::scratch::Scratch::new(&std::env::temp_dir()).unwrap();
        let exe = scratch.path().join("my-overlay");
        std::os::unix::fs::symlink("/bin/true", &exe).unwrap();
        let s = select(&[exe.display().to_string()], &[], Path::new("/bin/true")).unwrap();
        let [usual, ..] = s.peers.as_slice() else {
            panic!("{s:?}")
        };
        assert!(
            usual.command().contains("/my-overlay -o lowerdir=A:B"),
            "{usual:?}"
        );
        let none = scratch.path().join("nothing");
        let e = select(&[none.display().to_string()], &[], Path::new("/bin/true")).unwrap_err();
        assert!(e.to_string().contains("nothing"), "{e}");
    }

    #[test]
    fn unknown_peers_are_refused() {
        let e = select(&["nobody".into()], &[], Path::new("/bin/true")).unwrap_err();
        assert!(e.to_string().contains("nobody"), "{e}");
    }

    #[test]
    fn version_numbers() {
        assert_eq!(number("fuse-overlayfs: version 1.10"), Some("1.10"));
        assert_eq!(number("nothing"), None);
    }
}
