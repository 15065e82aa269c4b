//! `vellum export`.

use super::container::{with_image, with_mount};
use super::output;
use super::store::{StoreArgs, finish};
use crate::image::changes::pack_whole;
use crate::image::layer::LayerWriter;
use crate::image::prepare::room;
use crate::image::spill::Pages;
use crate::image::store::Store;
use crate::vfs::Result;
use crate::vfs::error::absent_ok;
use clap::{Args, ValueHint};
use std::io::Write;
use std::os::fd::BorrowedFd;
use std::path::PathBuf;
use std::process::ExitCode;

/// Write the files of a container or an image to a tar
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  vellum export -o web.tar web
  vellum export debian:12 | tar -x -C /srv/debian
  vellum export web | vellum import - mine/web:flat

All layers become one: nothing of the image's history or configuration is in the tar; 'vellum save'
keeps those. The same files give the same tar, byte by byte. A socket is left out.")]
pub struct Export {
    #[command(flatten)]
    store: StoreArgs,

    /// File to write [default: standard output]
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    output: Option<PathBuf>,

    /// Name of a container, or else name or ID of an image
    #[arg(value_name = "CONTAINER|IMAGE")]
    name: String,
}

impl Export {
    /// Exports.
    pub fn run(self) -> ExitCode {
        finish("export", self.export())
    }

    fn export(&self) -> Result<ExitCode> {
        let store = self.store.open()?;
        output::write(self.output.as_deref(), |to| export(&store, &self.name, to))?;
        Ok(ExitCode::SUCCESS)
    }
}

fn export(store: &Store, name: &str, to: &mut dyn Write) -> Result<()> {
    let pack = |mount: BorrowedFd<'_>| {
        let pages = Pages::new(room(store));
        let mut writer = LayerWriter::within(to, &pages)?;
        pack_whole(mount, &mut writer, &pages)?;
        writer.finish().map(drop)
    };
    // what cannot be the name of a container can be an image's
    let container = match Store::is_container_name(name) {
        true => absent_ok(store.container(name))?,
        false => None,
    };
    match container {
        Some(container) => {
            let image = store.image(&container.record.manifest)?;
            with_mount(store, &container, &image, |_, mount| pack(mount))
        }
        None => with_image(store, &store.resolve(name)?, pack),
    }
}
