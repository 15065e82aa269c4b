//! `vellum cp`.

use super::container::{with_image, with_mount, with_writable_mount};
use super::store::{StoreArgs, finish};
use super::{human, output};
use crate::image::container::Container;
use crate::image::copy::{Dest, Owner, Plant, Side, Source, place, walk};
use crate::image::entry::{Item, Path as Names};
use crate::image::layer::LayerWriter;
use crate::image::store::{Image, Store};
use crate::run::Whole;
use crate::vfs::error::{Context, absent_ok};
use crate::vfs::{Error, Result};
use clap::{Args, ValueHint};
use nix::errno::Errno;
use std::ffi::{OsStr, OsString};
use std::io::IsTerminal;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::process::ExitCode;

/// Copy files out of a container or an image, or into a container
#[derive(Args, Debug)]
#[command(
    override_usage = "\
vellum cp [OPTIONS] CONTAINER:PATH|IMAGE:/PATH DST|-
       vellum cp [OPTIONS] SRC|- CONTAINER:PATH",
    after_help = "\
Examples:
  vellum cp web:/etc/nginx/nginx.conf .
  vellum cp site/. web:/usr/share/nginx/html
  vellum cp debian:12:/etc/os-release os-release
  vellum cp web:/var/log - | tar -tv
  tar -c -C site . | vellum cp - web:/srv

As docker does it: a file goes into a directory that is there, takes the place of a file, or gets the
name DST. A directory goes into a directory that is there, or is made as DST; of DIR/. what is in
the directory is copied. DST/ has to be a directory, and nothing is made that leads to DST. - is a tar:
one is read and unpacked into a directory of the container, or written.

A container may run or not, be mounted or not; its volumes are looked into. Its paths begin at its root,
and no symlink leads out of it. A symlink as SRC is copied as one, unless it ends with / or -L is given.
What is copied belongs to root in a container, and here to you; a tar that is written has the owners of
the files. A path here that has a : in it is written ./NAME."
)]
pub struct Cp {
    #[command(flatten)]
    store: StoreArgs,

    /// Keep owner and group, by their numbers
    #[arg(short, long)]
    archive: bool,

    /// Copy what a symlink SRC leads to
    #[arg(short = 'L', long)]
    follow_link: bool,

    /// Say nothing of what was copied; it is said on a terminal only
    #[arg(short, long)]
    quiet: bool,

    /// What to copy
    #[arg(value_name = "SRC", value_hint = ValueHint::AnyPath)]
    source: OsString,

    /// Where to
    #[arg(value_name = "DST", value_hint = ValueHint::AnyPath)]
    dest: OsString,
}

/// One of the two ends, as it is written.
enum Written<'w> {
    /// Standard input or output.
    Tar,
    /// A path here.
    Here(&'w [u8]),
    /// Something before a colon, and what is behind it.
    There(&'w OsStr),
}

/// What is kept in the store.
enum Kept {
    Container(Box<Container>),
    Image(Box<Image>),
}

fn written(text: &OsStr) -> Written<'_> {
    let bytes = text.as_bytes();
    match bytes.first() {
        _ if bytes == b"-" => Written::Tar,
        Some(b'/' | b'.') => Written::Here(bytes),
        _ if bytes.contains(&b':') => Written::There(text),
        _ => Written::Here(bytes),
    }
}

impl Cp {
    /// Copies.
    pub fn run(self) -> ExitCode {
        let why = match (written(&self.source), written(&self.dest)) {
            (Written::There(_), Written::There(_)) => {
                "from one container to another there is no copy"
            }
            (Written::There(from), Written::Here(to)) => {
                return self.done(&|store| self.get(store, from, to));
            }
            (Written::There(from), Written::Tar) => {
                return self.done(&|store| self.get_tar(store, from));
            }
            (Written::Here(from), Written::There(to)) => {
                return self.done(&|store| self.put(store, from, to));
            }
            (Written::Tar, Written::There(to)) => {
                return self.done(&|store| self.put_tar(store, to));
            }
            _ => "one of SRC and DST has to be CONTAINER:PATH",
        };
        super::usage_error("cp", why)
    }

    fn done(&self, copy: &dyn Fn(&Store) -> Result<u64>) -> ExitCode {
        let copied = self.store.open().and_then(|store| copy(&store));
        finish("cp", copied.map(|bytes| self.say(bytes)))
    }

    fn say(&self, bytes: u64) -> ExitCode {
        if !self.quiet && std::io::stderr().is_terminal() {
            let (size, to) = (human::size(bytes), shown(&self.dest));
            eprintln!("Successfully copied {size} to {to}");
        }
        ExitCode::SUCCESS
    }

    fn owner(&self, otherwise: Owner) -> Owner {
        match self.archive {
            true => Owner::Kept,
            false => otherwise,
        }
    }

    fn get(&self, store: &Store, from: &OsStr, to: &[u8]) -> Result<u64> {
        let (kept, path) = find(store, from)?;
        let dest = Side::Here.dest(to).context(|| shown(&self.dest))?;
        with_root(store, (&kept, path), |root| {
            let source = self.source(Side::Root(root), path)?;
            let owner = self.owner(Owner::Caller);
            copy(&source, &dest, owner).context(|| shown(&self.dest))
        })
    }

    fn source(&self, side: Side<'_>, path: &[u8]) -> Result<Source> {
        let source = side.source(path, self.follow_link);
        source.context(|| shown(&self.source))
    }

    fn get_tar(&self, store: &Store, from: &OsStr) -> Result<u64> {
        let (kept, path) = find(store, from)?;
        let mut bytes = 0;
        output::write(None, |to| {
            with_root(store, (&kept, path), |root| {
                let source = self.source(Side::Root(root), path)?;
                let names = match source.contents {
                    true => Names::new(),
                    false => vec![source.name.as_slice().into()],
                };
                let mut writer = LayerWriter::new(to)?;
                walk(source.file.as_fd(), names, None, &mut |entry, data| {
                    if let Item::File(_, size) = &entry.item {
                        bytes += size;
                    }
                    writer.add(entry, data)
                })?;
                writer.finish().map(drop)
            })
        })?;
        Ok(bytes)
    }

    fn put(&self, store: &Store, from: &[u8], to: &OsStr) -> Result<u64> {
        let (kept, path) = find(store, to)?;
        let source = self.source(Side::Here, from)?;
        with_writable_root(store, (&kept, path), |root| {
            let dest = Side::Root(root).dest(path);
            let owner = self.owner(in_container());
            dest.and_then(|dest| copy(&source, &dest, owner))
                .context(|| shown(&self.dest))
        })
    }

    fn put_tar(&self, store: &Store, to: &OsStr) -> Result<u64> {
        if std::io::stdin().is_terminal() {
            let why = "standard input is a terminal, where a tar is expected";
            return Err(Error::because(Errno::EINVAL, why));
        }
        let (kept, path) = find(store, to)?;
        let what = || shown(&self.dest);
        with_writable_root(store, (&kept, path), |root| {
            let side = Side::Root(root);
            let Dest::Dir(base) = side.dest(path).context(what)? else {
                let why = "a tar is unpacked into a directory, which this is not";
                return Err(Error::because(Errno::ENOTDIR, why)).context(what);
            };
            let owner = self.owner(in_container());
            let plant = Plant::new(base.as_fd(), owner).following(side, path);
            plant
                .unpack(std::io::stdin().lock())
                .context(|| "standard input")
        })
    }
}

/// Root, if this process can give files to root.
fn in_container() -> Owner {
    match rustix::process::geteuid().is_root() {
        true => Owner::Root,
        false => Owner::Caller,
    }
}

fn copy(source: &Source, dest: &Dest, owner: Owner) -> Result<u64> {
    let (base, names) = place(source, dest)?;
    let base = base.as_fd();
    let mut plant = Plant::new(base, owner);
    walk(
        source.file.as_fd(),
        names,
        Some(base),
        &mut |entry, data| plant.add(entry, data),
    )?;
    plant.finish()
}

fn shown(text: &OsStr) -> String {
    text.to_string_lossy().into_owned()
}

/// The container or the image that is meant, and the path in it. In an image's name there may be a
/// colon, but none before a slash; in a container's there is none.
fn find<'w>(store: &Store, text: &'w OsStr) -> Result<(Kept, &'w [u8])> {
    let bytes = text.as_bytes();
    let cut = |at: usize| {
        let (name, path) = bytes.split_at(at);
        let name = std::str::from_utf8(name).unwrap_or_default();
        (name, path.get(1..).unwrap_or_default())
    };
    let colon = bytes.iter().position(|b| *b == b':').unwrap_or_default();
    let (name, path) = cut(colon);
    if Store::is_container_name(name)
        && let Some(container) = absent_ok(store.container(name))?
    {
        return Ok((Kept::Container(Box::new(container)), path));
    }
    if let Some(at) = bytes.windows(2).position(|pair| pair == b":/") {
        let (image, path) = cut(at);
        if let Some(image) = absent_ok(store.resolve(image))? {
            return Ok((Kept::Image(Box::new(image)), path));
        }
    }
    let why = format!(
        "no container {name:?}, and no image that {} begins with; a path here is written ./{0}",
        shown(text)
    );
    Err(Error::because(Errno::ENOENT, why))
}

/// Calls `then` with the root that a path is in, for a container with what is mounted there.
fn with_root<T>(
    store: &Store,
    (kept, path): (&Kept, &[u8]),
    then: impl FnOnce(BorrowedFd<'_>) -> Result<T>,
) -> Result<T> {
    match kept {
        Kept::Container(container) => {
            let image = store.image(&container.record.manifest)?;
            with_mount(store, container, &image, |_, mount| {
                with_guests(store, (container, path), mount, then)
            })
        }
        Kept::Image(image) => with_image(store, image, then),
    }
}

fn with_writable_root<T>(
    store: &Store,
    (kept, path): (&Kept, &[u8]),
    then: impl FnOnce(BorrowedFd<'_>) -> Result<T>,
) -> Result<T> {
    match kept {
        Kept::Container(container) => {
            let image = store.image(&container.record.manifest)?;
            with_writable_mount(store, container, &image, |mount| {
                with_guests(store, (container, path), mount, then)
            })
        }
        Kept::Image(_) => {
            let why = "an image is never changed; 'vellum mount' makes a container over it";
            Err(Error::because(Errno::EROFS, why))
        }
    }
}

fn with_guests<T>(
    store: &Store,
    (container, path): (&Container, &[u8]),
    mount: BorrowedFd<'_>,
    then: impl FnOnce(BorrowedFd<'_>) -> Result<T>,
) -> Result<T> {
    let whole = Whole::of(store.root(), container, mount, path)?;
    then(whole.as_ref().map_or(mount, AsFd::as_fd))
}
