//! Which names in a layer share an inode. Hard links are rare and their names cannot be found
//! from the inode, so a layer is walked once, when the first file with several names is copied
//! up, and only inodes met more than once are kept. And which directories of a layer have a redirect.

use super::layer::{self, Layer};
use crate::sys::{dir, loc};
use crate::vfs::{Kind, Result};
use std::collections::HashMap;
use std::os::fd::{AsFd, OwnedFd};

/// Inode to names: the directory as path components from the layer's root, and the name.
pub type LinkMap = HashMap<u64, Vec<(Vec<Vec<u8>>, Vec<u8>)>>;

/// Walks a layer.
pub fn scan(layer: &Layer) -> Result<LinkMap> {
    let mut dirs: Vec<Vec<Vec<u8>>> = Vec::new();
    let mut seen: HashMap<u64, (u32, Vec<u8>)> = HashMap::new();
    let mut map = LinkMap::new();
    let mut todo: Vec<(OwnedFd, Vec<Vec<u8>>)> = vec![(layer.dir(b"")?, Vec::new())];
    while let Some((fd, path)) = todo.pop() {
        let here = dirs.len() as u32;
        dirs.push(path.clone());
        let mut below: Vec<Vec<u8>> = Vec::new();
        dir::for_each(fd.as_fd(), |entry| {
            match entry.kind_in(fd.as_fd())? {
                Some(Kind::Dir) => below.push(entry.name.to_vec()),
                Some(_) => match seen.get_mut(&entry.ino) {
                    None => {
                        seen.insert(entry.ino, (here, entry.name.to_vec()));
                    }
                    Some((first_dir, first)) => {
                        let names = map.entry(entry.ino).or_default();
                        if names.is_empty() {
                            names.push((dirs[*first_dir as usize].clone(), first.clone()));
                        }
                        names.push((path.clone(), entry.name.to_vec()));
                    }
                },
                None => {}
            }
            Ok(())
        })?;
        for name in below {
            let child = loc::open_dir(&fd, &name)?;
            let mut child_path = path.clone();
            child_path.push(name);
            todo.push((child, child_path));
        }
    }
    Ok(map)
}

/// The directories of a layer that have a redirect, as path components from the layer's root.
pub fn redirects(layer: &Layer) -> Result<Vec<Vec<Vec<u8>>>> {
    let mut found = Vec::new();
    let mut todo: Vec<(OwnedFd, Vec<Vec<u8>>)> = vec![(layer.dir(b"")?, Vec::new())];
    while let Some((fd, path)) = todo.pop() {
        let mut below: Vec<Vec<u8>> = Vec::new();
        dir::for_each(fd.as_fd(), |entry| {
            if entry.kind_in(fd.as_fd())? == Some(Kind::Dir) {
                below.push(entry.name.to_vec());
            }
            Ok(())
        })?;
        for name in below {
            let child = loc::open_dir(&fd, &name)?;
            let mut child_path = path.clone();
            child_path.push(name);
            if layer::dir_marks(child.as_fd())?.redirect.is_some() {
                found.push(child_path.clone());
            }
            todo.push((child, child_path));
        }
    }
    Ok(found)
}
