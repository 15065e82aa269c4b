//! What some operations need beside the tree; made when it is first asked for.

use super::failure::{Failure, Result, Step, go_on};
use super::rng::Rng;
use super::scratch::Scratch;
use std::cell::OnceCell;
use std::ffi::{CString, OsStr};
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Name of the large file in its layer.
pub const LARGE: &std::ffi::CStr = c"large.bin";

/// Layers over which the many files of [`Fixtures::nodes`] are spread.
pub const NODE_LAYERS: usize = 8;

/// Files in one directory there.
const NODES_PER_DIR: usize = 100;

/// The makers, and what they made.
pub struct Fixtures<'a> {
    scratch: &'a Scratch,
    source: &'a Path,
    unpack: &'a [Vec<u8>],
    seed: u64,
    large_size: u64,
    nodes_wanted: usize,
    large: OnceCell<PathBuf>,
    evictable: OnceCell<bool>,
    archive: OnceCell<PathBuf>,
    nodes: OnceCell<(Vec<PathBuf>, Vec<CString>)>,
}

impl<'a> Fixtures<'a> {
    /// Nothing made yet. `large` in bytes, `nodes` in files.
    pub fn new(
        scratch: &'a Scratch,
        source: &'a Path,
        unpack: &'a [Vec<u8>],
        seed: u64,
        large: u64,
        nodes: usize,
    ) -> Fixtures<'a> {
        Fixtures {
            scratch,
            source,
            unpack,
            seed,
            large_size: large,
            nodes_wanted: nodes,
            large: OnceCell::new(),
            evictable: OnceCell::new(),
            archive: OnceCell::new(),
            nodes: OnceCell::new(),
        }
    }

    /// A layer with one large file, [`LARGE`].
    pub fn large(&self) -> Result<&Path> {
        made(&self.large, || {
            let dir = self.scratch.dir("large")?;
            let mut file = File::create(dir.join(OsStr::from_bytes(LARGE.to_bytes())))?;
            let mut rng = Rng::new(self.seed, "large");
            let mut block = vec![0u8; 1 << 20];
            for _ in 0..self.large_size.div_ceil(1 << 20) {
                go_on()?;
                rng.fill(&mut block);
                file.write_all(&block).step("write the large file")?;
            }
            file.set_len(self.large_size)?;
            file.sync_all()?;
            Ok(dir)
        })
        .map(PathBuf::as_path)
    }

    /// True if the large file's pages can be taken out of memory, and the kernel can tell that they are.
    pub fn evictable(&self) -> bool {
        let name = OsStr::from_bytes(LARGE.to_bytes());
        let try_it = || super::cold::evict(&self.large()?.join(name));
        made(&self.evictable, try_it).copied().unwrap_or_else(|e| {
            log::debug!("pages are not evicted: {e}");
            false
        })
    }

    /// The seed of all that is random.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// Size of the large file in bytes.
    pub fn large_size(&self) -> u64 {
        self.large_size
    }

    /// A tar archive of a part of the tree.
    pub fn archive(&self) -> Result<&Path> {
        made(&self.archive, || {
            let dir = self.scratch.dir("archive")?;
            let (list, tar) = (dir.join("names"), dir.join("part.tar"));
            fs::write(&list, self.unpack.join(&0u8))?;
            let mut command = Command::new("tar");
            command.arg("-C").arg(self.source).arg("-cf").arg(&tar);
            command.args(["--null", "--no-recursion", "-T"]).arg(&list);
            run(&mut command)?;
            Ok(tar)
        })
        .map(PathBuf::as_path)
    }

    /// Entries in the archive.
    pub fn archived(&self) -> usize {
        self.unpack.len()
    }

    /// A stack of many empty files, and their names directory by directory.
    pub fn nodes(&self) -> Result<&(Vec<PathBuf>, Vec<CString>)> {
        made(&self.nodes, || {
            let dir = self.scratch.dir("nodes")?;
            let layers: Vec<PathBuf> = (0..NODE_LAYERS).map(|i| dir.join(i.to_string())).collect();
            let mut names = Vec::with_capacity(self.nodes_wanted);
            let mut rng = Rng::new(self.seed, "nodes");
            for i in 0..self.nodes_wanted {
                let dir = format!("packages/package-{:05}/files", i / NODES_PER_DIR);
                if i % NODES_PER_DIR == 0 {
                    go_on()?;
                    for layer in &layers {
                        fs::create_dir_all(layer.join(&dir)).at("mkdir in", layer)?;
                    }
                }
                let name = format!("{dir}/some-file-name-{i:06}.txt");
                File::create(layers[rng.below(NODE_LAYERS)].join(&name)).step("create a file")?;
                names.push(CString::new(name).map_err(Failure::new)?);
            }
            Ok((layers, names))
        })
    }
}

/// `OnceCell::get_or_try_init`, which is not stable.
pub fn made<T>(cell: &OnceCell<T>, make: impl FnOnce() -> Result<T>) -> Result<&T> {
    if let Some(value) = cell.get() {
        return Ok(value);
    }
    let value = make()?;
    Ok(cell.get_or_init(|| value))
}

/// Runs a program to its end; what it says on stderr is the error when it fails.
pub fn run(command: &mut Command) -> Result<()> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .output()
        .step(&name)?;
    if output.status.success() {
        return Ok(());
    }
    go_on()?; // a ctrl-C reached it too
    let text = String::from_utf8_lossy(&output.stderr);
    let line = text.lines().next().unwrap_or("no message");
    Err(Failure::new(format!("{name}: {}: {line}", output.status)))
}
