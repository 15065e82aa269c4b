//! `vellum save`.

use super::output;
use super::store::{StoreArgs, finish};
use crate::image::reference::{IdPrefix, Reference};
use crate::image::save::{self, Format, Saved};
use crate::image::store::Store;
use crate::vfs::Result;
use clap::{Args, ValueEnum, ValueHint};
use std::path::PathBuf;
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
        output::write(self.output.as_deref(), |to| {
            save::save(&store, &images, format, to)
        })?;
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
