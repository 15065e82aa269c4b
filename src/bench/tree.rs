//! The generated tree: what a package manager leaves on a disk, in small.
//!
//! Each "package" brings a program, a library with its symlinks, documentation, translations
//! and a few data files; all packages share one wide directory, as `var/lib/dpkg/info` is.
//! Depth is 2 to 7, sizes are those of a Debian root: most files a few KiB, a few large.

use super::failure::{Result, Step, go_on};
use super::rng::Rng;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

/// Regular files that a package has, on average.
const PER_PACKAGE: usize = 40;

/// What the generated tree looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// As a package manager leaves it.
    Usual,
    /// The data of each package so many directories deeper.
    Deep(usize),
    /// The data of all packages in one directory.
    Wide,
}

/// Fills the empty directory `root` with `files` regular files, and symlinks beside them.
pub fn generate(root: &Path, files: usize, shape: Shape, seed: u64) -> Result<()> {
    let mut g = Generator {
        root,
        shape,
        rng: Rng::new(seed, "tree"),
        left: files,
        buf: vec![0; LARGEST],
    };
    g.rng.fill(&mut g.buf);
    for dir in [
        "etc",
        "usr/bin",
        "usr/lib",
        "usr/share/doc",
        "var/lib/info",
        "var/empty",
    ] {
        fs::create_dir_all(root.join(dir)).at("mkdir", &root.join(dir))?;
    }
    let mut package = 0;
    while g.left > 0 {
        go_on()?;
        g.package(package).step("generate the tree")?;
        package += 1;
    }
    Ok(())
}

/// The largest generated file.
const LARGEST: usize = 1 << 20;

struct Generator<'a> {
    root: &'a Path,
    shape: Shape,
    rng: Rng,
    left: usize,
    buf: Vec<u8>,
}

impl Generator<'_> {
    fn package(&mut self, n: usize) -> Result<()> {
        const KINDS: [&str; 5] = ["lib", "python3-", "fonts-", "node-", ""];
        let kind = KINDS[self.rng.below(KINDS.len())];
        let name = format!("{kind}pkg{n:04}");
        self.file(&format!("usr/bin/{name}"), 0o755)?;
        self.file(&format!("usr/lib/{name}.so.1.{n}"), 0o644)?;
        self.link(&format!("usr/lib/{name}.so.1"), &format!("{name}.so.1.{n}"))?;
        self.file(&format!("usr/share/doc/{name}/copyright"), 0o644)?;
        self.file(&format!("usr/share/doc/{name}/changelog.gz"), 0o644)?;
        for part in ["list", "md5sums"] {
            self.file(&format!("var/lib/info/{name}.{part}"), 0o644)?;
        }
        if self.rng.chance(30) {
            self.file(&format!("etc/{name}.d/{name}.conf"), 0o600)?;
        }
        let more = self.rng.below(2 * (PER_PACKAGE - 7));
        for i in 0..more {
            let path = self.data(&name, i);
            self.file(&path, 0o644)?;
            if self.rng.chance(4) {
                self.link(&format!("{path}.link"), "../missing-or-not")?;
            }
        }
        Ok(())
    }

    /// Where a package's next data file goes.
    fn data(&mut self, name: &str, i: usize) -> String {
        match (self.shape, self.rng.below(4)) {
            (Shape::Deep(levels), _) => {
                format!("usr/share/{name}/{}{i}.dat", "sub/".repeat(levels))
            }
            (Shape::Wide, _) => format!("var/lib/wide/{name}-{i}.dat"),
            (Shape::Usual, 0) => format!(
                "usr/share/locale/{}/LC_MESSAGES/{name}-{i}.mo",
                lang(self.rng.below(40))
            ),
            (Shape::Usual, 1) => format!("usr/lib/{name}/mod_{}_{i}.py", self.rng.below(3)),
            (Shape::Usual, 2) => format!("usr/share/{name}/data/{}-{i}.dat", self.rng.below(6)),
            (Shape::Usual, _) => format!("usr/share/{name}/{i}.txt"),
        }
    }

    fn file(&mut self, path: &str, mode: u32) -> Result<()> {
        if self.left == 0 {
            return Ok(());
        }
        self.left -= 1;
        let at = self.root.join(path);
        if let Some(dir) = at.parent() {
            fs::create_dir_all(dir)?;
        }
        let size = self.size();
        let from = self.rng.below(LARGEST - size);
        fs::write(&at, &self.buf[from..from + size]).at("write", &at)?;
        fs::set_permissions(&at, fs::Permissions::from_mode(mode))?;
        Ok(())
    }

    fn link(&mut self, path: &str, target: &str) -> Result<()> {
        let at = self.root.join(path);
        if self.left > 0 {
            symlink(target, &at).at("symlink", &at)?;
        }
        Ok(())
    }

    fn size(&mut self) -> usize {
        match self.rng.below(1000) {
            0..30 => 0,
            30..400 => 1 + self.rng.below(1 << 10),
            400..800 => (1 << 10) + self.rng.below(7 << 10),
            800..950 => (8 << 10) + self.rng.below(24 << 10),
            950..997 => (32 << 10) + self.rng.below(96 << 10),
            _ => (128 << 10) + self.rng.below(512 << 10),
        }
    }
}

fn lang(n: usize) -> String {
    let letter = |i: usize| char::from(b'a' + u8::try_from(i % 26).unwrap_or(0));
    format!("{}{}", letter(n), letter(n * 7 + 3))
}
