//! An image made of a plain directory: its index, and a directory with the packs and objects.

use super::posix::{lstat, xattrs};
use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{Cursor, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use vellum::image::digest::Digest;
use vellum::image::entry::Meta;
use vellum::image::index;
use vellum::image::lower::{Contents, ImageLower};
use vellum::image::spill::Room;
use vellum::image::tree::{Content, Kind, Tree};
use vellum::overlay::MakeLower;
use vellum::vfs::Result;

/// Files of this size and larger are objects.
pub const LARGE: usize = 5000;

/// What the packs have between files: nobody is ever to see it.
const BETWEEN: &[u8] = b"[BETWEEN]";

/// Packs and objects in a directory.
pub struct Dir(pub PathBuf);

impl Contents for Dir {
    fn pack(&self, layer: &Digest) -> Result<File> {
        Ok(File::open(self.0.join(format!("{}.pack", layer.short())))?)
    }
    fn object(&self, digest: &Digest) -> Result<File> {
        Ok(File::open(self.0.join(digest.hex()))?)
    }
}

/// An image on disk.
pub struct Image(pub PathBuf);

impl Image {
    /// Makes the image of what is in `plain`, in the directory `out`, which it makes. Sockets,
    /// which no image has, are left out. Its index is the same, whether its tree was in memory or not.
    pub fn of(plain: &Path, out: &Path) -> Image {
        fs::create_dir(out).unwrap();
        let layers = vec![Digest::of(b"even"), Digest::of(b"odd")];
        let room = Room::limited(0, out);
        let mut maker = Maker {
            spilled: Tree::within(room, layers.clone(), &meta_of(plain)).unwrap(),
            tree: Tree::new(layers, &meta_of(plain)).unwrap(),
            packs: [BETWEEN.to_vec(), BETWEEN.to_vec()],
            files: 0,
            links: HashMap::new(),
            out,
        };
        maker.entries(plain, Tree::ROOT);
        for (layer, pack) in maker.tree.layers.iter().zip(&maker.packs) {
            let path = out.join(format!("{}.pack", layer.short()));
            fs::write(path, pack).unwrap();
        }
        let image = Image(out.to_owned());
        let mut file = File::create(image.index()).unwrap();
        index::write(&maker.tree, &mut file).unwrap();
        file.flush().unwrap();
        let mut again = Cursor::new(Vec::new());
        index::write(&maker.spilled, &mut again).unwrap();
        assert!(maker.spilled.spilled() && !maker.tree.spilled());
        assert!(fs::read(image.index()).unwrap() == again.into_inner());
        image
    }

    /// Where the index is.
    pub fn index(&self) -> PathBuf {
        self.0.join("index")
    }

    /// Where a pack is: that of layer 0, or 1.
    pub fn pack(&self, layer: usize) -> PathBuf {
        let digest = [Digest::of(b"even"), Digest::of(b"odd")][layer];
        self.0.join(format!("{}.pack", digest.short()))
    }

    /// For an engine.
    pub fn make(&self) -> MakeLower {
        let dir = self.0.clone();
        Box::new(move |key| {
            let contents = Box::new(Dir(dir.clone()));
            let lower = ImageLower::open(&dir.join("index"), contents, key)?;
            Ok(Arc::new(lower))
        })
    }
}

struct Maker<'a> {
    tree: Tree,
    /// The same, with next to nothing of it in memory.
    spilled: Tree,
    packs: [Vec<u8>; 2],
    files: usize,
    links: HashMap<u64, u32>,
    out: &'a Path,
}

impl Maker<'_> {
    fn add(&mut self, path: &Path, dir: u32, name: &[u8]) {
        let st = lstat(path).unwrap();
        if let Some(number) = self.links.get(&st.st_ino) {
            self.tree.link(dir, name, *number).unwrap();
            self.spilled.link(dir, name, *number).unwrap();
            return;
        }
        let kind = match st.st_mode & libc::S_IFMT {
            libc::S_IFDIR => Kind::Dir,
            libc::S_IFREG => self.file(fs::read(path).unwrap()),
            libc::S_IFLNK => {
                let target = fs::read_link(path).unwrap();
                Kind::Symlink(target.into_os_string().into_vec().into())
            }
            libc::S_IFCHR => Kind::CharDev(st.st_rdev),
            libc::S_IFBLK => Kind::BlockDev(st.st_rdev),
            libc::S_IFIFO => Kind::Fifo,
            _ => return,
        };
        let is_dir = kind == Kind::Dir;
        let meta = meta_of(path);
        let number = self.tree.add(dir, name, kind.clone(), &meta).unwrap();
        assert_eq!(self.spilled.add(dir, name, kind, &meta).unwrap(), number);
        if is_dir {
            self.entries(path, number);
        } else if st.st_nlink > 1 {
            self.links.insert(st.st_ino, number);
        }
    }

    fn entries(&mut self, path: &Path, number: u32) {
        let mut names: Vec<_> = fs::read_dir(path)
            .unwrap()
            .map(|e| e.unwrap().file_name())
            .collect();
        names.sort();
        for name in names {
            self.add(&path.join(&name), number, name.as_bytes());
        }
    }

    /// Puts a file's data where it belongs.
    fn file(&mut self, data: Vec<u8>) -> Kind {
        let size = data.len() as u64;
        let content = if data.is_empty() {
            Content::Empty
        } else if data.len() >= LARGE {
            let digest = Digest::of(&data);
            fs::write(self.out.join(digest.hex()), data).unwrap();
            Content::Object(digest)
        } else {
            self.files += 1;
            let layer = self.files % 2;
            let pack = &mut self.packs[layer];
            let offset = pack.len() as u64;
            pack.extend_from_slice(&data);
            pack.extend_from_slice(BETWEEN);
            Content::Packed {
                layer: layer as u32,
                offset,
            }
        };
        Kind::File { size, content }
    }
}

fn meta_of(path: &Path) -> Meta {
    let st = lstat(path).unwrap();
    let attributes = xattrs(path).unwrap().into_iter();
    Meta {
        perm: st.st_mode & 0o7777,
        uid: st.st_uid,
        gid: st.st_gid,
        mtime: st.st_mtime as i64,
        mtime_nsec: st.st_mtime_nsec as u32,
        xattrs: attributes.map(|(n, v)| (n.into(), v.into())).collect(),
    }
}
