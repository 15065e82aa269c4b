//! Containers: writable layers over images, kept under names.
//!
//! A *container* is a folder in the store's `uppers/`: the upper and the work directory of its
//! mount, and a record that says over which image. It is made by the first mount, stays when that
//! ends, and is mounted again by its name. Its image stays in the store for as long as it is there.

use super::digest::Digest;
use super::entry::{Meta, Xattr};
use super::index::Index;
use super::oci::Descriptor;
use super::store::{Image, Store};
use crate::sys::{Loc, xattr};
use crate::vfs::error::{Context, absent_ok};
use crate::vfs::{Error, Result, SetTime};
use nix::errno::Errno;
use serde::{Deserialize, Serialize};
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The record of a container, in its folder.
pub const RECORD: &str = "container.json";

/// How long a mount that has ended may take to let go of its upper.
const LET_GO: Duration = Duration::from_secs(3);

/// What is known of a container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The image's name, or whatever it was asked for by.
    pub image: String,
    /// The image's manifest.
    pub manifest: Descriptor,
    /// The image's ID.
    pub id: Digest,
    /// When it was made, RFC 3339.
    pub created: String,
    /// Where it was mounted last.
    pub mountpoint: Option<PathBuf>,
    /// Where its changes are, if somebody gave a place for them: upper and work directory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kept_in: Option<(PathBuf, PathBuf)>,
}

/// How a container is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Keep {
    /// It is to be gone when it ends: a crash may leave what cannot be read of it.
    pub passing: bool,
    /// Upper and work directory elsewhere, which are not removed with it.
    pub kept_in: Option<(PathBuf, PathBuf)>,
}

/// A container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Container {
    /// Its name.
    pub name: String,
    /// What is known of it.
    pub record: Record,
    dir: PathBuf,
}

impl Container {
    /// The one in a folder, for who looks after it, and must not wait for others at its store.
    pub fn at(dir: &Path) -> Result<Container> {
        let name = dir.file_name().unwrap_or_default().to_string_lossy();
        Container::read(name.into_owned(), dir.to_owned())
    }

    fn read(name: String, dir: PathBuf) -> Result<Container> {
        let text = match fs::read(dir.join(RECORD)) {
            Ok(text) if !text.is_empty() => text,
            Err(e) if e.kind() != ErrorKind::NotFound => {
                return Err(Error::from(e).context(format!("container {name:?}")));
            }
            _ => {
                let why = format!("no container {name:?}");
                return Err(Error::because(Errno::ENOENT, why));
            }
        };
        let record = serde_json::from_slice(&text)
            .map_err(|e| Error::because(Errno::EBADMSG, format!("container {name:?}: {e}")))?;
        Ok(Container { name, record, dir })
    }

    /// The directory that takes the changes.
    pub fn upper(&self) -> PathBuf {
        match &self.record.kept_in {
            Some((upper, _)) => upper.clone(),
            None => self.dir.join("upper"),
        }
    }

    /// The work directory beside it.
    pub fn work(&self) -> PathBuf {
        match &self.record.kept_in {
            Some((_, work)) => work.clone(),
            None => self.dir.join("work"),
        }
    }

    /// Its folder. What else is in there belongs to whoever runs it.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// A directory to mount it on for a moment.
    pub fn mountpoint(&self) -> PathBuf {
        self.dir.join("mnt")
    }

    /// First field of its mounts in the mount table. Another store may have a container of the same
    /// name; the numbers of the folder tell them apart.
    pub fn fsname(&self) -> Result<String> {
        let dir = fs::metadata(&self.dir).context(|| self.dir.display().to_string())?;
        Ok(format!(
            "vellum:{}@{:x}-{:x}",
            self.name,
            dir.dev(),
            dir.ino()
        ))
    }

    /// Where it is mounted, as far as this mount namespace shows.
    pub fn mounted_on(&self) -> Result<Option<PathBuf>> {
        let table = fs::read("/proc/self/mountinfo").context(|| "/proc/self/mountinfo")?;
        Ok(mounted_on(&table, self.fsname()?.as_bytes()))
    }

    /// Notes where it is mounted.
    pub fn note_mountpoint(&mut self, at: &Path) -> Result<()> {
        self.record.mountpoint = Some(at.to_owned());
        super::store::replace(&self.dir, &self.dir.join(RECORD), &self.text()?)
    }

    fn text(&self) -> Result<Vec<u8>> {
        serde_json::to_vec_pretty(&self.record)
            .map_err(|e| Error::because(Errno::EINVAL, format!("{RECORD}: {e}")))
    }
}

/// Docker's rule for what names are made of.
pub(super) fn is_name(name: &str) -> bool {
    let good = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    let first = name.chars().next();
    first.is_some_and(|c| c.is_ascii_alphanumeric()) && name.chars().all(good)
}

fn check_name(name: &str) -> Result<()> {
    if is_name(name) && name.len() <= 128 {
        return Ok(());
    }
    let why = format!("{name:?} is no name for a container: letters, digits, '_', '.' and '-'");
    Err(Error::because(Errno::EINVAL, why))
}

/// The mountpoint of the topmost mount whose source is `fsname`.
fn mounted_on(table: &[u8], fsname: &[u8]) -> Option<PathBuf> {
    use std::os::unix::ffi::OsStringExt;
    let mut found = None;
    for line in table.split(|b| *b == b'\n') {
        let mut fields = line.split(|b| *b == b' ');
        let point = fields.nth(4);
        let source = fields.skip_while(|f| *f != b"-").nth(2);
        if source == Some(fsname) {
            found = point.map(unescape);
        }
    }
    found.map(|bytes| PathBuf::from(std::ffi::OsString::from_vec(bytes)))
}

/// The mount table writes blanks and backslashes as three octal digits.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, after)) = rest.split_first() {
        let digits = after.get(..3).filter(|_| *first == b'\\');
        let octal = digits.and_then(|d| u8::from_str_radix(std::str::from_utf8(d).ok()?, 8).ok());
        match octal {
            Some(byte) => {
                out.push(byte);
                rest = after.get(3..).unwrap_or_default();
            }
            None => {
                out.push(*first);
                rest = after;
            }
        }
    }
    out
}

impl Store {
    /// A new container over an image, which was asked for as `text`. Without a name it gets one.
    pub fn make_container(
        &self,
        name: Option<&str>,
        image: &Image,
        text: &str,
        keep: &Keep,
    ) -> Result<Container> {
        let name = match name {
            Some(name) => name.to_owned(),
            None => random_name()?,
        };
        check_name(&name)?;
        let dir = self.uppers().join(&name);
        let stage = self.staging()?;
        for (part, mode) in [("upper", 0o755), ("work", 0o700), ("mnt", 0o700)] {
            let path = stage.path().join(part);
            let made = fs::DirBuilder::new().mode(mode).create(&path);
            made.context(|| path.display().to_string())?;
        }
        let upper = match &keep.kept_in {
            Some((upper, _)) => upper.clone(),
            None => stage.path().join("upper"),
        };
        // one that somebody gave may have been used before
        let new = fs::read_dir(&upper).is_ok_and(|mut entries| entries.next().is_none());
        if let Some(root) = root_meta(self, image)?.filter(|_| new) {
            dress(&upper, &root).context(|| "upper")?;
        }
        let container = Container {
            record: Record {
                image: text.to_owned(),
                manifest: image.manifest.clone(),
                id: image.id,
                created: super::now(),
                mountpoint: None,
                kept_in: keep.kept_in.clone(),
            },
            dir: stage.path().to_owned(),
            name,
        };
        let record = container.dir.join(RECORD);
        match keep.passing {
            true => {
                fs::write(&record, container.text()?).context(|| record.display().to_string())?
            }
            false => super::store::replace(&container.dir, &record, &container.text()?)?,
        }
        match fs::rename(stage.path(), &dir) {
            Err(e)
                if [ErrorKind::AlreadyExists, ErrorKind::DirectoryNotEmpty].contains(&e.kind()) =>
            {
                let why = format!("there is a container {:?} already", container.name);
                Err(Error::because(Errno::EEXIST, why))
            }
            Err(e) => Err(Error::from(e).context(dir.display())),
            Ok(()) => Ok(Container { dir, ..container }),
        }
    }

    /// True for what can be the name of a container.
    pub fn is_container_name(text: &str) -> bool {
        check_name(text).is_ok()
    }

    /// A container that is there.
    pub fn container(&self, name: &str) -> Result<Container> {
        check_name(name)?;
        Container::read(name.to_owned(), self.uppers().join(name))
    }

    /// The names of all containers, in order. What has no record is none.
    pub fn container_names(&self) -> Result<Vec<String>> {
        let dir = self.uppers();
        let mut names = Vec::new();
        for entry in fs::read_dir(&dir).context(|| dir.display().to_string())? {
            let name = entry?.file_name().into_string().ok();
            let has_record = |name: &String| {
                // an empty one is what a crash leaves of a passing container
                fs::metadata(dir.join(name).join(RECORD)).is_ok_and(|meta| meta.len() > 0)
            };
            names.extend(name.filter(|n| check_name(n).is_ok() && has_record(n)));
        }
        names.sort();
        Ok(names)
    }

    /// All containers, by name.
    pub fn containers(&self) -> Result<Vec<Container>> {
        let there = |name: &String| absent_ok(self.container(name)).transpose();
        self.container_names()?.iter().filter_map(there).collect()
    }

    /// Removes a container with all that was changed in it. One that is mounted stays.
    pub fn remove_container(&self, container: &Container) -> Result<()> {
        if let Some(at) = container.mounted_on()? {
            let why = format!(
                "container {:?} is mounted on {}",
                container.name,
                at.display()
            );
            return Err(Error::because(Errno::EBUSY, why));
        }
        self.remove_unmounted_container(container)
    }

    /// Removes a container of which the caller knows that it is mounted nowhere that shows.
    pub fn remove_unmounted_container(&self, container: &Container) -> Result<()> {
        self.discard(&container.name, &container.dir, &container.upper())
    }

    /// Removes a container whose record cannot be read.
    pub fn remove_damaged_container(&self, name: &str) -> Result<()> {
        check_name(name)?;
        let dir = self.uppers().join(name);
        self.discard(name, &dir, &dir.join("upper"))
    }

    fn discard(&self, name: &str, dir: &Path, upper: &Path) -> Result<()> {
        // mounted where this process does not see it: the lock of its upper tells; a mount that was
        // ended just now lets go of it when its process has written what is left
        let upper = fs::File::open(upper).context(|| format!("upper of container {name:?}"))?;
        let began = Instant::now();
        while upper.try_lock().is_err() {
            if began.elapsed() > LET_GO {
                let why = format!("container {name:?} is in use");
                return Err(Error::because(Errno::EBUSY, why));
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        let gone = self.staging()?;
        let place = gone.path().join("container");
        fs::rename(dir, &place).context(|| dir.display().to_string())
        // what is staged and not published goes away
    }

    /// Removes what a crash left of passing containers: folders with an empty record. Nobody else may
    /// use the store.
    pub(super) fn sweep_containers(&self) -> Result<()> {
        let dir = self.uppers();
        for entry in fs::read_dir(&dir).context(|| dir.display().to_string())? {
            let path = entry?.path();
            if fs::metadata(path.join(RECORD)).is_ok_and(|meta| meta.len() == 0) {
                super::store::remove(&path)?;
            }
        }
        Ok(())
    }
}

/// What an image says of its root; nothing if it has no layer.
pub(super) fn root_meta(store: &Store, image: &Image) -> Result<Option<Meta>> {
    const ROOT: u32 = super::tree::Tree::ROOT;
    let Some(chain) = image.chain_id() else {
        return Ok(None);
    };
    let index = Index::open(&store.index_path(chain))?;
    let root = index.inode(ROOT)?;
    let owned = |pair: Result<(&[u8], &[u8])>| -> Result<Xattr> {
        pair.map(|(name, value)| (name.into(), value.into()))
    };
    Ok(Some(Meta {
        perm: root.perm,
        uid: root.uid,
        gid: root.gid,
        mtime: root.mtime.sec,
        mtime_nsec: root.mtime.nsec,
        xattrs: index.xattrs(ROOT)?.map(owned).collect::<Result<_>>()?,
    }))
}

/// Makes the upper's root what the image's is: a mount shows the upper's. What this user may not
/// set, or the file system does not keep, is left out, as it is of any file that is changed.
fn dress(upper: &Path, root: &Meta) -> Result<()> {
    let dir = fs::File::open(upper)?;
    let at = Loc::Fd(std::os::fd::AsFd::as_fd(&dir));
    let left_out = |what: &str, done: Result<()>| match done {
        Err(e) if matches!(e.errno(), Errno::EPERM | Errno::EOPNOTSUPP | Errno::EINVAL) => {
            log::debug!("{what} of the root is left out: {e}");
            Ok(())
        }
        done => done,
    };
    left_out("owner", at.chown(Some(root.uid), Some(root.gid)))?;
    at.chmod(root.perm)?;
    for (name, value) in &root.xattrs {
        left_out(
            &name.escape_ascii().to_string(),
            xattr::set(at, name, value, 0),
        )?;
    }
    at.utimens(None, Some(SetTime::At(root.time())))
}

fn random_name() -> Result<String> {
    use std::fmt::Write as _;
    let mut bytes = [0u8; 6];
    let n = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())?;
    if n != bytes.len() {
        return Err(Error::because(Errno::EIO, "no random bytes"));
    }
    Ok(bytes.iter().fold(String::new(), |mut name, byte| {
        // writing to a String does not fail
        write!(name, "{byte:02x}").ok();
        name
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_dockers() {
        for good in ["a", "web-1", "A.b_c", &"x".repeat(128)] {
            check_name(good).unwrap();
        }
        for bad in ["", ".", "..", "-a", "a/b", "a b", "ä", &"x".repeat(129)] {
            assert!(check_name(bad).is_err(), "{bad}");
        }
        assert_ne!(random_name().unwrap(), random_name().unwrap());
        check_name(&random_name().unwrap()).unwrap();
    }

    #[test]
    fn the_mount_table_says_where_it_is() {
        let table = b"25 1 0:24 / /proc rw - proc proc rw\n\
            36 25 0:30 / /mnt/a\\040b rw,nosuid shared:1 - fuse.vellum vellum:web rw,user_id=0\n\
            37 25 0:31 / /other rw - fuse.vellum vellum:web2 rw\n";
        let at = |name: &[u8]| mounted_on(table, name);
        assert_eq!(at(b"vellum:web"), Some(PathBuf::from("/mnt/a b")));
        assert_eq!(at(b"vellum:web2"), Some(PathBuf::from("/other")));
        assert_eq!(at(b"vellum:we"), None);
    }
}
