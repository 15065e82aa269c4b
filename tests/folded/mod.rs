//! The layers of an image, put one over the other by nothing but what their tars say.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use crate::rich::Shown;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};
use vellum::image::digest::Digest;

/// The files of the layers of the only image of an OCI layout, lowest first; all are gzip.
pub fn layers_of(layout: &Path) -> Vec<PathBuf> {
    let blob = |digest: &Value| {
        let digest = digest.as_str().unwrap().strip_prefix("sha256:").unwrap();
        layout.join("blobs/sha256").join(digest)
    };
    let read =
        |path: PathBuf| -> Value { serde_json::from_slice(&fs::read(path).unwrap()).unwrap() };
    let index = read(layout.join("index.json"));
    let manifest = read(blob(&index["manifests"][0]["digest"]));
    let layers = manifest["layers"].as_array().unwrap().iter();
    layers.map(|layer| blob(&layer["digest"])).collect()
}

/// A tree; files with several names are one.
pub struct Folded {
    began: u64,
    /// What is at each path: the number of a file.
    names: BTreeMap<String, usize>,
    files: Vec<String>,
}

impl Folded {
    /// An empty tree. Times from `began` on are only shown to be so; those of directories, not at all.
    pub fn new(began: u64) -> Folded {
        Folded {
            began,
            names: BTreeMap::new(),
            files: Vec::new(),
        }
    }

    /// Puts a layer on top: first what it hides, then what it has.
    pub fn add(&mut self, layer: &Path) {
        for adding in [false, true] {
            let file = BufReader::new(File::open(layer).unwrap());
            let mut tar = tar::Archive::new(flate2::bufread::MultiGzDecoder::new(file));
            for entry in tar.entries().unwrap() {
                let mut entry = entry.unwrap();
                let path = entry.path().unwrap();
                let path = path.to_str().unwrap().trim_matches('/').to_owned();
                let path = path.trim_start_matches("./").to_owned();
                let (dir, name) = path.rsplit_once('/').unwrap_or(("", &path));
                match (name.strip_prefix(".wh."), adding) {
                    (Some(".wh..opq"), false) => self.clear(dir),
                    (Some(gone), false) => self.remove(&below(dir, gone)),
                    (None, true) => self.put(&path, &mut entry),
                    _ => {}
                }
            }
        }
    }

    fn clear(&mut self, dir: &str) {
        let inside = below(dir, "");
        self.names.retain(|path, _| !path.starts_with(&inside));
    }

    fn remove(&mut self, path: &str) {
        self.names.remove(path);
        self.clear(path);
    }

    fn put(&mut self, path: &str, entry: &mut tar::Entry<'_, impl Read>) {
        let target = entry.link_name().unwrap();
        let target = target.map(|t| t.to_str().unwrap().trim_start_matches('/').to_owned());
        let header = entry.header().clone();
        if header.entry_type().is_hard_link() {
            let file = self.names[&target.unwrap()];
            self.remove(path);
            self.names.insert(path.to_owned(), file);
            return;
        }
        let mtime = match header.mtime().unwrap() {
            // podman does not compare those: a layer may or may not have a directory for its time
            _ if header.entry_type().is_dir() => "any".to_owned(),
            time if time >= self.began => "new".to_owned(),
            time => time.to_string(),
        };
        let mut line = format!(
            "{:?} {:o} {}:{} {target:?} {:?} at {mtime}",
            header.entry_type(),
            header.mode().unwrap() & 0o7777,
            header.uid().unwrap(),
            header.gid().unwrap(),
            (
                header.device_major().unwrap(),
                header.device_minor().unwrap()
            ),
        );
        let mut xattrs = BTreeMap::new();
        for extension in entry.pax_extensions().unwrap().into_iter().flatten() {
            let extension = extension.unwrap();
            let key = extension.key().unwrap();
            if let Some(name) = key.strip_prefix("SCHILY.xattr.") {
                xattrs.insert(name.to_owned(), extension.value_bytes().to_vec());
            }
        }
        line += &format!(" {xattrs:?}");
        if header.entry_type().is_file() {
            let mut data = Vec::new();
            entry.read_to_end(&mut data).unwrap();
            line += &format!(" {} {}", data.len(), Digest::of(&data));
        }
        if !header.entry_type().is_dir() {
            self.clear(path);
        }
        self.names.insert(path.to_owned(), self.files.len());
        self.files.push(line);
    }

    /// A line for each path; the names of one file say which was the first.
    pub fn shown(&self) -> Shown {
        let mut first: BTreeMap<usize, &str> = BTreeMap::new();
        let mut lines = Shown::new();
        for (path, file) in &self.names {
            let first = *first.entry(*file).or_insert(path);
            let line = format!("{} is {first}", self.files[*file]);
            lines.insert(path.clone(), line);
        }
        lines
    }
}

fn below(dir: &str, name: &str) -> String {
    match dir {
        "" => name.to_owned(),
        dir => format!("{dir}/{name}"),
    }
}

/// Hides which time it is exactly, where it is `began` or later, or that of a directory.
pub fn hide_new_times(shown: &mut Shown, began: u64) {
    for line in shown.values_mut() {
        let (head, rest) = line.split_once(" at (").unwrap();
        let (time, tail) = rest.split_once(')').unwrap();
        let (seconds, _) = time.split_once(',').unwrap();
        if head.starts_with('4') {
            *line = format!("{head}{tail}");
        } else if seconds.parse::<i64>().unwrap() >= began as i64 {
            *line = format!("{head} at new{tail}");
        }
    }
}
