//! `vellum save`.

use super::store::{StoreArgs, finish};
use crate::image::reference::{IdPrefix, Reference};
use crate::image::save::{self, Format, Saved};
use crate::image::store::Store;
use crate::vfs::error::Context;
use crate::vfs::{Error, Result};
use clap::{Args, ValueEnum, ValueHint};
use nix::errno::Errno;
use std::fs::File;
use std::io::{BufWriter, IsTerminal};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Save images to an archive
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  vellum save -o debian.tar debian:12
  vellum save --format docker debian:12 | docker load

The same images give the same archive, byte by byte. Layers are saved as they came.")]
pub struct Save {
    #[command(flatten)]
    store: StoreArgs,

    /// File to write [default: standard output]
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    output: Option<PathBuf>,

    /// Form of the archive
    #[arg(long, value_name = "FORMAT", default_value = "oci")]
    format: Form,

    /// Names or IDs; several names of one image are all saved
    #[arg(value_name = "IMAGE", required = true)]
    images: Vec<String>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Form {
    /// An OCI image layout in a tar; every digest stays what it is
    Oci,
    /// For programs that only know what 'docker save' of old wrote
    Docker,
}

impl Save {
    /// Saves.
    pub fn run(self) -> ExitCode {
        finish("save", self.save())
    }

    fn save(&self) -> Result<ExitCode> {
        let store = self.store.open()?;
        let images = wanted(&store, &self.images)?;
        let format = match self.format {
            Form::Oci => Format::Oci,
            Form::Docker => Format::Docker,
        };
        match &self.output {
            Some(path) => to_file(&store, &images, format, path)?,
            None if std::io::stdout().is_terminal() => {
                return Err(Error::because(
                    Errno::EINVAL,
                    "standard output is a terminal; use -o FILE",
                ));
            }
            None => save::save(&store, &images, format, BufWriter::new(std::io::stdout()))?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// The images, each once, with the names by which they were asked for.
fn wanted(store: &Store, texts: &[String]) -> Result<Vec<Saved>> {
    let mut all: Vec<Saved> = Vec::new();
    for text in texts {
        let image = store.resolve(text)?;
        let name = text.parse::<Reference>().ok().map(Reference::tagged);
        // an ID says nothing of names
        let name = name.filter(|n| image.names.contains(n) || IdPrefix::parse(text).is_none());
        match all.iter_mut().find(|s| s.image.digest == image.digest) {
            Some(saved) => saved.names.extend(name),
            None => all.push(Saved {
                image,
                names: name.into_iter().collect(),
            }),
        }
    }
    for saved in &mut all {
        saved.names.sort();
        saved.names.dedup();
    }
    Ok(all)
}

/// Writes a file that is there only if it is whole.
fn to_file(store: &Store, images: &[Saved], format: Format, path: &Path) -> Result<()> {
    let what = || path.display().to_string();
    // a device or a pipe is written to as it is
    if path.exists() && !path.is_file() {
        let file = File::options().write(true).open(path).context(what)?;
        return save::save(store, images, format, BufWriter::new(file));
    }
    let mut partial = path.as_os_str().to_owned();
    partial.push(format!(".{}.part", std::process::id()));
    let partial = PathBuf::from(partial);
    let done = File::create(&partial)
        .context(what)
        .and_then(|file| save::save(store, images, format, BufWriter::new(file)))
        .and_then(|()| std::fs::rename(&partial, path).context(what));
    if done.is_err() {
        std::fs::remove_file(&partial).ok();
    }
    done
}
