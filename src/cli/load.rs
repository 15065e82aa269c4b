//! `vellum load`.

use super::progress;
use super::store::{StoreArgs, finish};
use crate::image::load::{self, Input, Limits, Options};
use crate::image::oci::PlatformSpec;
use crate::image::reference::Reference;
use crate::vfs::{Error, Result};
use clap::{Args, ValueHint};
use nix::errno::Errno;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;

/// Load images from an archive, a folder or standard input
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  # what another program saved
  docker save debian:12 | vellum load
  vellum load -i debian.tar.gz

  # an OCI image layout, as skopeo and buildah write it
  skopeo copy docker://debian:12 oci:debian:12
  vellum load debian

  # one of several platforms, under a name of its own
  vellum load --platform linux/arm64 --name mine:arm layout

OCI image layouts (a folder, or a tar of one) and the archives of 'docker save' are understood,
also when they are compressed by gzip or zstd. All layers are verified before anything is stored.")]
pub struct Load {
    #[command(flatten)]
    store: StoreArgs,

    /// File or folder to load; - or nothing is standard input
    #[arg(value_name = "FILE|DIR", value_hint = ValueHint::AnyPath, conflicts_with = "input")]
    source: Option<PathBuf>,

    /// The same, as docker has it
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::AnyPath)]
    input: Option<PathBuf>,

    /// Platform to take, as in linux/arm64 or linux/arm/v7 [default: this machine's]
    #[arg(long, value_name = "PLATFORM")]
    platform: Option<String>,

    /// Name for the image, instead of what the source says
    #[arg(long, value_name = "NAME[:TAG]")]
    name: Option<String>,

    /// Layers to load at once
    #[arg(long, value_name = "N", default_value_t = 2)]
    #[arg(value_parser = clap::value_parser!(u16).range(1..=64))]
    threads: u16,

    /// Refuse a layer that unpacks to more MiB than this
    #[arg(long, value_name = "MIB", default_value_t = Limits::default().layer_max >> 20)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=1 << 40))]
    max_layer: u64,

    /// Refuse a layer, or a compressed archive, that unpacks to more than 1 GiB and more than this many
    /// times its size
    #[arg(long, value_name = "TIMES", default_value_t = Limits::default().ratio_max)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..))]
    max_ratio: u64,

    /// Print only the image IDs, and no progress
    #[arg(short, long)]
    quiet: bool,
}

impl Load {
    /// Loads.
    pub fn run(self) -> ExitCode {
        let options = match self.options() {
            Ok(options) => options,
            Err(e) => return super::usage_error("load", e.reason()),
        };
        finish("load", self.load(&options))
    }

    fn options(&self) -> Result<Options> {
        Ok(Options {
            platform: self
                .platform
                .as_deref()
                .map(str::parse::<PlatformSpec>)
                .transpose()?,
            name: self
                .name
                .as_deref()
                .map(str::parse::<Reference>)
                .transpose()?,
            limits: Limits {
                layer_max: self.max_layer << 20,
                ratio_max: self.max_ratio,
                ..Limits::default()
            },
            threads: usize::from(self.threads),
        })
    }

    fn input(&self) -> Result<Input> {
        match self.source.as_ref().or(self.input.as_ref()) {
            Some(path) if path.as_os_str() != "-" => Ok(Input::Path(path.clone())),
            _ if std::io::stdin().is_terminal() => Err(Error::because(
                Errno::EINVAL,
                "standard input is a terminal; name a file or a folder",
            )),
            _ => Ok(Input::Stdin),
        }
    }

    fn load(&self, options: &Options) -> Result<ExitCode> {
        let input = self.input()?;
        let store = self.store.create()?;
        let progress = progress::for_stderr(self.quiet);
        let unpack = load::unpacker();
        let loaded = load::load(&store, &input, options, unpack.as_ref(), progress.as_ref())?;
        let mut out = String::new();
        for image in loaded {
            let lines: Vec<String> = match (self.quiet, image.names.is_empty()) {
                (true, _) => vec![image.id.to_string()],
                (false, true) => vec![format!("Loaded image ID: {}", image.id)],
                (false, false) => {
                    let line = |n: &Reference| format!("Loaded image: {}", n.familiar());
                    image.names.iter().map(line).collect()
                }
            };
            out.extend(lines.into_iter().map(|l| l + "\n"));
        }
        Ok(super::print(&out))
    }
}
