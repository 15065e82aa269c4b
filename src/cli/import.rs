//! `vellum import`.

use super::store::{StoreArgs, finish};
use crate::image::import::import;
use crate::image::instruction::Instruction;
use crate::image::load::Input;
use crate::image::reference::Reference;
use crate::vfs::{Error, Result};
use clap::{Args, ValueHint};
use nix::errno::Errno;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;

/// Make an image of the files in a tar or a folder
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  vellum import rootfs.tar.zst mine/base:1
  vellum import -m 'made by debootstrap' /srv/debian mine/debian:12
  docker export web | vellum import -c 'CMD [\"nginx\"]' -c 'EXPOSE 80' - mine/web:flat

The image has one layer, and is for this machine's platform. A tar may be compressed by gzip or zstd.
--change takes the instructions that 'vellum commit' takes.
What 'docker save' wrote is no root file system but images: 'vellum load' takes it.")]
pub struct Import {
    #[command(flatten)]
    store: StoreArgs,

    /// What the image is for its history
    #[arg(short, long, value_name = "TEXT")]
    message: Option<String>,

    /// Instruction of a Dockerfile to apply, as CMD or ENV; may be given several times
    #[arg(short, long = "change", value_name = "INSTRUCTION")]
    changes: Vec<String>,

    /// Tar or folder with a root file system; - is standard input
    #[arg(value_name = "FILE|DIR|-", value_hint = ValueHint::AnyPath)]
    source: PathBuf,

    /// Name for the image; without one it has its ID only
    #[arg(value_name = "NAME[:TAG]")]
    name: Option<String>,
}

impl Import {
    /// Imports, and prints the ID of the image.
    pub fn run(self) -> ExitCode {
        let name = self.name.as_deref().map(super::tag::name).transpose();
        match name.and_then(|name| Ok((name, super::commit::instructions(&self.changes)?))) {
            Ok((name, changes)) => finish("import", self.import(name.as_ref(), &changes)),
            Err(e) => super::usage_error("import", e.reason()),
        }
    }

    fn import(&self, name: Option<&Reference>, changes: &[Instruction]) -> Result<ExitCode> {
        let input = match self.source.as_os_str() == "-" {
            false => Input::Path(self.source.clone()),
            true if std::io::stdin().is_terminal() => {
                let why = "standard input is a terminal; name a file or a folder";
                return Err(Error::because(Errno::EINVAL, why));
            }
            true => Input::Stdin,
        };
        let store = self.store.create()?;
        let image = import(&store, &input, self.message.as_deref(), changes, name)?;
        Ok(super::print(&format!("{}\n", image.id)))
    }
}
