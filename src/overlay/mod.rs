//! The engine: one [`Upper`] over one [`Lower`], with one method for every VFS operation.
//!
//! It knows no FUSE: it is tested, fuzzed and measured without a mount. What it sees is two
//! trees, whatever the number of layers. A file that only the lower has is known by the lower's
//! number alone; a [`node::Node`] stands for what the upper has, and for what is unlinked but in
//! use.
//!
//! Invariants:
//!
//! * A lower is only ever read. There is no call here that could write to one.
//! * Every change is one atomic step on the upper ([`crate::upper`]), done before the reply.
//! * A directory with an upper part has a node, and so have all its parents.
//! * A file keeps its number for as long as it exists, whichever side it is on.
//!
//! Lock order: [`node::Node::copy`] (one file's copy-up), then the namespace lock (`ns`: read to
//! look, write to change names or places), then a node's state, then the tables. Data is copied
//! with only the file's own `copy` held, so no lookup waits for it.

mod attr;
mod config;
mod copyup;
mod create;
mod data;
mod files;
mod handles;
mod ids;
mod keep;
mod links;
mod lookup;
mod mapped;
mod moved;
mod node;
mod origin;
mod readdir;
mod remove;
mod rename;
mod tmpfile;
mod xattrs;

pub use crate::lower::Lower;
pub use config::{Config, IdMaps, IdRange, Marks, Ownership, UpperConfig, UserXattr};
pub use data::Backing;

use crate::lower::{DirsLower, EmptyLower};
use crate::sys::ancestry::Ancestry;
use crate::sys::process::fd_budget;
use crate::sys::recent::recent;
use crate::sys::{Loc, loc};
use crate::upper::Upper;
use crate::vfs::cookie::CookieKey;
use crate::vfs::error::Context;
use crate::vfs::{Error, InoSpace, Kind, NodeId, Result, StatFs};
use lru::LruCache;
use nix::errno::Errno;
use node::{Held, Node, Nodes, Place};
use parking_lot::{Mutex, RwLock};
use rustix::fs::Stat;
use std::collections::HashMap;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Directories of the upper kept open at most.
const OPEN_DIRS: usize = 1024;

/// Makes the tree of an image, in the process that serves the mount. Its listings are in the order
/// of the cookies that this key gives; its numbers are below 2^48.
pub type MakeLower = Box<dyn FnOnce(CookieKey) -> Result<Arc<dyn Lower>> + Send>;

/// The engine.
pub struct Engine {
    lower: Arc<dyn Lower>,
    /// There is a lower, with a root.
    layered: bool,
    upper: Option<Upper>,
    ownership: Ownership,
    space: Arc<InoSpace>,
    key: CookieKey,
    config: Config,
    nodes: Nodes,
    /// The namespace lock: which names there are, and where nodes are.
    ns: RwLock<()>,
    dirs: Mutex<LruCache<NodeId, Arc<OwnedFd>>>,
    files: files::Files,
    /// How many names of a lower file with several are hidden; see [`links`].
    hidden: Mutex<HashMap<NodeId, u32>>,
    /// Some such name was hidden, in this mount or an earlier one.
    links_hidden: AtomicBool,
    /// Every directory that an earlier mount moved has its node; see [`moved`]. Taken after the
    /// namespace lock.
    moved_met: Mutex<bool>,
    /// Held during a walk of the tree; see [`handles`].
    searching: Mutex<()>,
    /// The credentials that new files get by themselves.
    own: (u32, u32),
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine")
            .field("config", &self.config)
            .field("nodes", &self.nodes.len())
            .finish_non_exhaustive()
    }
}

impl Engine {
    /// Stacks the layers. Sets the umask of the process to 0: the engine applies the callers' own.
    pub fn open(config: &Config) -> Result<Engine> {
        if config.lowers.is_empty() && config.upper.is_none() {
            return Err(Error::because(
                Errno::EINVAL,
                "neither a lower nor an upper layer",
            ));
        }
        let space = Arc::new(InoSpace::new());
        let key = CookieKey::new();
        let ownership = config.ownership()?;
        let lower: Arc<dyn Lower> = if config.lowers.is_empty() {
            Arc::new(EmptyLower)
        } else {
            Arc::new(DirsLower::open(
                &config.lowers,
                space.clone(),
                key.clone(),
                ownership,
            )?)
        };
        if let Some(upper) = &config.upper {
            refuse_overlap(config, upper)?;
        }
        let lower = mapped::Mapped::unless_plain(lower, &config.lowers, &config.ids)?;
        let layered = !config.lowers.is_empty();
        Engine::stack((lower, layered), config, ownership, space, key)
    }

    /// Puts the upper, if there is one, over a tree that `make` makes, in the place of directories:
    /// the configuration names none. Otherwise as [`Engine::open`].
    pub fn over(make: MakeLower, config: &Config) -> Result<Engine> {
        if !config.lowers.is_empty() {
            return Err(Error::because(
                Errno::EINVAL,
                "both an image and lower directories",
            ));
        }
        let key = CookieKey::new();
        let lower = make(key.clone())?;
        let layered = match lower.attr(NodeId::ROOT) {
            Ok(_) => true,
            // the tree of no layers at all
            Err(e) if e.is(Errno::ESTALE) && config.upper.is_some() => false,
            Err(e) => return Err(e.context("root of the image")),
        };
        let space = Arc::new(InoSpace::above_image());
        Engine::stack((lower, layered), config, config.ownership()?, space, key)
    }

    fn stack(
        (lower, layered): (Arc<dyn Lower>, bool),
        config: &Config,
        ownership: Ownership,
        space: Arc<InoSpace>,
        key: CookieKey,
    ) -> Result<Engine> {
        rustix::process::umask(rustix::fs::Mode::empty());
        let upper = match &config.upper {
            None => None,
            Some(upper) => {
                let mut upper = upper.clone();
                upper.ownership = ownership;
                // an ACL is in the inode's mode, too
                upper.acl &= !ownership.is_overridden();
                Some(Upper::open(&upper)?)
            }
        };
        let engine = Engine {
            lower,
            layered,
            upper,
            ownership,
            space,
            key,
            config: config.clone(),
            nodes: Nodes::default(),
            ns: RwLock::new(()),
            dirs: Mutex::new(recent(fd_budget(10, OPEN_DIRS))),
            files: files::Files::new(),
            hidden: Mutex::default(),
            links_hidden: AtomicBool::new(false),
            moved_met: Mutex::new(true),
            searching: Mutex::new(()),
            own: (
                rustix::process::geteuid().as_raw(),
                rustix::process::getegid().as_raw(),
            ),
        };
        engine.open_root()?;
        engine.finish_intents()?;
        Ok(engine)
    }

    fn open_root(&self) -> Result<()> {
        let Some(upper) = &self.upper else {
            return Ok(());
        };
        let marks = upper
            .dir_marks(upper.root().as_fd())
            .context(|| "root of the upper")?;
        let lower = (self.layered && !marks.opaque).then_some(NodeId::ROOT);
        let root = Node::new(NodeId::ROOT, Kind::Dir, Place::Root, lower);
        root.state.lock().marks = marks;
        self.nodes.insert(root, 1);
        let hidden = upper.mark(Loc::Fd(upper.root().as_fd()), links::MARK)?;
        // where that cannot be written down, it is always looked for
        let looked_for = hidden.is_some() || !upper.keeps_marks();
        self.links_hidden.store(looked_for, Ordering::Relaxed);
        *self.moved_met.lock() = Engine::nothing_moved(upper)?;
        Ok(())
    }

    /// True if nothing can be written.
    pub fn read_only(&self) -> bool {
        self.upper.is_none()
    }

    /// True if POSIX ACLs can be kept as far as the layers are concerned.
    pub fn keeps_acls(&self) -> bool {
        !self.ownership.is_overridden()
    }

    /// Number of files that the engine and the lower keep something for.
    pub fn nodes(&self) -> usize {
        self.nodes.len()
    }

    /// The steps taken on the upper; for tests that stop between two.
    pub fn stop(&self) -> Option<&crate::upper::Stop> {
        self.upper.as_ref().map(Upper::stop)
    }

    /// Statistics: of the upper's file system, or of the topmost lower's.
    pub fn statfs(&self) -> Result<StatFs> {
        match &self.upper {
            Some(upper) => upper.statfs(),
            None => self.lower.statfs(),
        }
    }

    /// The upper, or EROFS.
    fn writable(&self) -> Result<&Upper> {
        self.upper.as_ref().ok_or(Error::new(Errno::EROFS))
    }

    /// The open directory of a node's upper part.
    fn dir_fd(&self, node: &Arc<Node>) -> Result<Arc<OwnedFd>> {
        // a deep path whose directories were all closed meanwhile is opened from the top
        let mut chain: Vec<(NodeId, Box<[u8]>)> = Vec::new();
        let mut at = node.clone();
        let mut fd = loop {
            if let Some(fd) = self.dirs.lock().get(&at.id) {
                break fd.clone();
            }
            let place = at.state.lock().place.clone();
            match place {
                Place::Root => break self.writable()?.root().clone(),
                Place::Held(Held::Path(fd)) => break fd,
                Place::Held(Held::Open(_)) => return Err(Error::new(Errno::ENOTDIR)),
                Place::Upper(parent, name) => {
                    chain.push((at.id, name));
                    at = parent;
                }
                Place::Lower | Place::LowerUnlinked => return Err(Error::new(Errno::ENOENT)),
            }
        };
        while let Some((id, name)) = chain.pop() {
            fd = Arc::new(loc::open_dir(&*fd, &name)?);
            let evicted = self.dirs.lock().push(id, fd.clone());
            drop(evicted);
        }
        Ok(fd)
    }

    /// Calls `then` with where the node is in the upper.
    fn with_loc<T>(&self, node: &Arc<Node>, then: impl FnOnce(Loc<'_>) -> Result<T>) -> Result<T> {
        let place = node.state.lock().place.clone();
        match place {
            Place::Root => then(Loc::Fd(self.writable()?.root().as_fd())),
            Place::Held(held) => then(held.loc()),
            Place::Upper(parent, name) => {
                let fd = self.dir_fd(&parent)?;
                then(Loc::At(fd.as_fd(), &name))
            }
            Place::Lower | Place::LowerUnlinked => {
                Err(Error::because(Errno::EIO, "not in the upper"))
            }
        }
    }
}

impl Engine {
    /// As [`Engine::with_loc`], for what the name is not needed for: by the open file, where there
    /// is one.
    fn with_inode<T>(
        &self,
        node: &Arc<Node>,
        then: impl FnOnce(Loc<'_>) -> Result<T>,
    ) -> Result<T> {
        let open = match node.kind {
            Kind::File => self.files.open_upper(node.id),
            _ => None,
        };
        match open {
            Some(file) => then(Loc::Open(file.as_fd())),
            None => self.with_loc(node, then),
        }
    }

    /// The upper's attributes of a node, as they are kept there.
    fn stat(&self, node: &Arc<Node>) -> Result<Stat> {
        let dir = match node.kind {
            Kind::Dir => self.dirs.lock().peek(&node.id).cloned(),
            _ => None,
        };
        match dir {
            Some(fd) => self.ownership.stat(Loc::Fd(fd.as_fd())),
            None => self.with_inode(node, |l| self.ownership.stat(l)),
        }
    }
}

/// The upper must not lie in a layer nor a layer in the upper: each would change under the other.
fn refuse_overlap(config: &Config, upper: &UpperConfig) -> Result<()> {
    let mut known = Ancestry::new();
    for lower in &config.lowers {
        for (what, path) in [
            ("upper directory", &upper.upper),
            ("work directory", &upper.work),
        ] {
            if known.overlap(("lower layer", lower), (what, path))? {
                return Err(Error::because(
                    Errno::EINVAL,
                    format!(
                        "{what} {} and lower layer {} lie one inside the other",
                        path.display(),
                        lower.display()
                    ),
                ));
            }
        }
    }
    Ok(())
}
