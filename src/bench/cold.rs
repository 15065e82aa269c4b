//! Caches in the state that a row says: emptied, and looked at, not assumed.
//!
//! Whether a name is in the kernel's dentry cache can be asked without changing it: openat2(2)
//! with `RESOLVE_CACHED` gives EAGAIN where a lookup would have to reach the file system.

use super::failure::{Failure, Result, Step, go_on};
use super::manifest::{self, Manifest};
use crate::sys::cachestat;
use crate::vfs::Kind;
use rustix::fs::{AtFlags, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use std::ffi::{CString, OsStr};
use std::fs::{self, File};
use std::io::Seek;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

/// Tries to empty the caches at most; a dentry just used survives the first.
const TRIES: usize = 8;

/// Names that are asked about, of all that an operation uses.
pub const PROBES: usize = 64;

/// A tree, and names in it that are to be cold.
pub struct Probe<'a> {
    /// The root of the tree.
    pub root: OwnedFd,
    /// Paths from there.
    pub names: &'a [CString],
}

/// True if the lookup of `name` would be answered by the dentry cache, be it with "no such file".
pub fn is_cached(root: BorrowedFd<'_>, name: &CString) -> Result<bool> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match rustix::fs::openat2(root, name, flags, Mode::empty(), ResolveFlags::CACHED) {
        Ok(_) | Err(Errno::NOENT) => Ok(true),
        Err(Errno::AGAIN) => Ok(false),
        Err(e) => Err(e).step(format_args!("ask for {name:?} in the dentry cache")),
    }
}

/// How many of the probe's names are cached.
pub fn count_cached(probe: &Probe<'_>) -> Result<usize> {
    let mut n = 0;
    for name in probe.names {
        n += usize::from(is_cached(probe.root.as_fd(), name)?);
    }
    Ok(n)
}

/// Empties the dentry and inode caches of the machine (not its page cache) and makes sure of it.
pub fn drop_names(probes: &[Probe<'_>]) -> Result<()> {
    let mut warm = 0;
    for _ in 0..TRIES {
        fs::write("/proc/sys/vm/drop_caches", b"2").step("write /proc/sys/vm/drop_caches")?;
        warm = 0;
        for probe in probes {
            warm += count_cached(probe)?;
        }
        if warm == 0 {
            return Ok(());
        }
    }
    let of: usize = probes.iter().map(|p| p.names.len()).sum();
    Err(Failure::new(format!(
        "not cold: {warm} of {of} names stay in the dentry cache after {TRIES} drops"
    )))
}

/// True if this process may empty the caches.
pub fn may_drop() -> bool {
    fs::OpenOptions::new()
        .write(true)
        .open("/proc/sys/vm/drop_caches")
        .is_ok()
}

/// A probe of names in the directory `root`.
pub fn probe<'a>(root: &Path, names: &'a [CString]) -> Result<Probe<'a>> {
    let root = manifest::open(root)?;
    Ok(Probe { root, names })
}

/// Which of the names exist in `root`, without following.
pub fn existing(root: &Path, names: &[CString]) -> Result<Vec<CString>> {
    let fd = manifest::open(root)?;
    let there =
        |n: &&CString| rustix::fs::statat(&fd, n.as_c_str(), AtFlags::SYMLINK_NOFOLLOW).is_ok();
    Ok(names.iter().filter(there).cloned().collect())
}

/// Reads a file so that all of it is in the page cache, and makes sure of it.
pub fn load_pages(path: &Path) -> Result<()> {
    let mut file = File::open(path).at("open", path)?;
    let pages = file.metadata()?.len().div_ceil(page_size());
    let mut cached = None;
    for _ in 0..TRIES {
        file.rewind()?;
        std::io::copy(&mut file, &mut std::io::sink()).at("read", path)?;
        cached = cached_pages(&file, path)?;
        if cached.is_none_or(|n| n >= pages) {
            return Ok(());
        }
    }
    // others need the memory more, and the row would be a wrong one
    Err(Failure::new(format!(
        "{}: {} of {pages} pages are in the page cache after reading it {TRIES} times",
        path.display(),
        cached.unwrap_or_default()
    )))
}

/// Takes a file's pages out of the page cache, and looks whether they are gone. False where they stay, as
/// on tmpfs, and where the kernel does not tell (before Linux 6.5).
pub fn evict(path: &Path) -> Result<bool> {
    let file = File::open(path).at("open", path)?;
    for _ in 0..TRIES {
        file.sync_all().at("fsync", path)?;
        rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).at("fadvise", path)?;
        match cached_pages(&file, path)? {
            Some(0) => return Ok(true),
            None => return Ok(false),
            // one that somebody has just read is on its way to the list that it is taken from
            Some(_) => std::thread::sleep(Duration::from_millis(5)),
        }
    }
    Ok(false)
}

/// Has every regular file of a tree in the page cache as reading brings it there, where it was as writing left it:
/// ext4 keeps what was just written in pages of up to a file's size, which the next boot's reads do not bring.
/// False where files cannot be taken out of memory, as on tmpfs: then all stay as they are.
pub fn read_in(tree: &Path) -> Result<bool> {
    for entry in Manifest::read(tree)?.of(Kind::File) {
        go_on()?;
        // where one stays, the others would too, each after as many tries
        if !read_in_file(&tree.join(OsStr::from_bytes(&entry.path)))? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The same of one file.
pub fn read_in_file(path: &Path) -> Result<bool> {
    let gone = evict(path)?;
    if gone {
        load_pages(path)?;
    }
    Ok(gone)
}

/// Pages of a file in the page cache; `None` before Linux 6.5.
fn cached_pages(file: &File, path: &Path) -> Result<Option<u64>> {
    match cachestat::pages(file) {
        Ok(pages) => Ok(Some(pages)),
        Err(e) if e.is(nix::errno::Errno::ENOSYS) => Ok(None),
        Err(e) => Err(e).at("cachestat", path),
    }
}

fn page_size() -> u64 {
    rustix::param::page_size() as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::scratch::Scratch;

    /// Dropping caches under another test's feet would change what that one sees.
    static CACHES: parking_lot::Mutex<()> = parking_lot::Mutex::new(());

    fn names(n: usize) -> Vec<CString> {
        (0..n)
            .map(|i| CString::new(format!("d/f{i}")).unwrap())
            .collect()
    }

    fn tree(scratch: &Scratch, n: usize) -> std::path::PathBuf {
        let root = scratch.dir("tree").unwrap();
        fs::create_dir(root.join("d")).unwrap();
        for i in 0..n {
            fs::write(root.join(format!("d/f{i}")), b"x").unwrap();
        }
        root
    }

    #[test]
    fn the_check_sees_warm_names() {
        let _one = CACHES.lock();
        let scratch = Scratch::new(&std::env::temp_dir()).unwrap();
        let root = tree(&scratch, 10);
        let mut all = names(10);
        all.push(c"d/absent".to_owned());
        assert_eq!(existing(&root, &all).unwrap().len(), 10);
        // just looked up, so all are cached, the absent one as absent
        assert_eq!(count_cached(&probe(&root, &all).unwrap()).unwrap(), 11);
    }

    #[test]
    fn dropped_names_are_cold_and_lookups_make_them_warm() {
        let _one = CACHES.lock();
        assert!(may_drop(), "this test needs root");
        let scratch = Scratch::new(&std::env::temp_dir()).unwrap();
        let root = tree(&scratch, 50);
        let all = names(50);
        drop_names(&[probe(&root, &all).unwrap()]).unwrap();
        assert_eq!(count_cached(&probe(&root, &all).unwrap()).unwrap(), 0);
        existing(&root, &all[..20]).unwrap();
        assert_eq!(count_cached(&probe(&root, &all).unwrap()).unwrap(), 20);
    }

    #[test]
    fn evicted_pages_are_gone_and_loaded_ones_are_there() {
        let scratch = Scratch::new(&std::env::temp_dir()).unwrap();
        let path = scratch.path().join("file");
        fs::write(&path, vec![7; 100_000]).unwrap();
        let pages = || cachestat::pages(File::open(&path).unwrap()).unwrap();
        assert!(pages() > 0);
        let gone = evict(&path).unwrap();
        assert_eq!(gone, pages() == 0);
        load_pages(&path).unwrap();
        assert_eq!(pages(), 100_000_u64.div_ceil(page_size()));
    }

    #[test]
    fn a_tree_is_read_in_where_it_can_be_evicted() {
        let scratch = Scratch::new(&std::env::temp_dir()).unwrap();
        let root = tree(&scratch, 3);
        let path = root.join("d/f1");
        fs::write(&path, vec![7; 100_000]).unwrap();
        let evictable = evict(&path).unwrap();
        assert_eq!(read_in(&root).unwrap(), evictable);
        let pages = cachestat::pages(File::open(&path).unwrap()).unwrap();
        assert_eq!(pages, 100_000_u64.div_ceil(page_size()));
        let memory = Scratch::new(Path::new("/dev/shm")).unwrap();
        assert!(!read_in(&tree(&memory, 3)).unwrap());
    }

    #[test]
    fn a_name_in_use_fails_the_check() {
        let _one = CACHES.lock();
        assert!(may_drop(), "this test needs root");
        let scratch = Scratch::new(&std::env::temp_dir()).unwrap();
        let root = tree(&scratch, 3);
        let held = File::open(root.join("d/f1")).unwrap();
        let all = names(3);
        let e = drop_names(&[probe(&root, &all).unwrap()]).unwrap_err();
        assert!(e.to_string().contains("1 of 3 names"), "{e}");
        drop(held);
    }
}
