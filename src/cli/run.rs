//! `vellum run`.

use super::attach::DETACH_KEYS;
use super::environment::environment;
use super::mount::IoMode;
use super::running::{self, failed, warn_platform};
use super::store::StoreArgs;
use crate::image::container::Keep;
use crate::image::oci::PlatformSpec;
use crate::image::prepare::complete;
use crate::image::store::{Image, Store};
use crate::run::{
    self, Config, DetachKeys, Failure, Job, LogOptions, Network, StorageOptions, Volume,
};
use crate::vfs::error::Context;
use crate::vfs::{Error, Result};
use clap::{ArgAction, Args, ValueHint};
use nix::errno::Errno;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Run a command in a new container
#[derive(Args, Debug)]
#[command(
    disable_help_flag = true,
    after_help = "\
Examples:
  vellum run --rm debian:12 cat /etc/os-release
  vellum run -it --rm debian:12 bash
  vellum run -d --name web --network host -v /srv/www:/www:ro web:1
  vellum run -d --name db -v data:/var/lib/postgresql/data postgres:17
  vellum run -d --name job --log-opt max-size=10m --log-opt max-file=3 job:1
  vellum logs -f web
  vellum exec -it web sh
  vellum stop web && vellum rm web

Options are docker's. Ctrl-p Ctrl-q leave a container with -it, which goes on; 'vellum attach' comes back.
The command is run by an OCI runtime: crun, runc or youki. Exit codes: the
command's own, or 128 and the number of the signal that ended it; 125 if there was no container,
126 if the command could not be run, 127 if there is none."
)]
pub struct Run {
    /// Keep standard input open
    #[arg(short, long)]
    interactive: bool,

    /// Give the container a terminal
    #[arg(short, long)]
    tty: bool,

    /// Return when the container runs, and print its name
    #[arg(short, long)]
    detach: bool,

    /// Keys that leave a container with -it, which goes on
    #[arg(long, value_name = "KEYS", default_value = DETACH_KEYS)]
    detach_keys: String,

    /// Remove the container when it ends
    #[arg(long)]
    rm: bool,

    /// Name of the container
    #[arg(long, value_name = "NAME")]
    name: Option<String>,

    /// Variable of the environment; without a value it is this command's own
    #[arg(short, long, value_name = "NAME[=VALUE]")]
    env: Vec<String>,

    /// File with a variable a line
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    env_file: Vec<PathBuf>,

    /// Mount a directory or file of the host, or a volume by its name; with a target alone, a new volume
    #[arg(short, long, value_name = "SOURCE:TARGET[:ro]")]
    volume: Vec<String>,

    /// The same in words: type=bind,source=/srv,target=/srv,readonly; type=volume,source=data,target=/data; type=tmpfs
    #[arg(long, value_name = "WORDS")]
    mount: Vec<String>,

    /// Mount what is mounted in another container, but for memory
    #[arg(long, value_name = "CONTAINER[:ro]")]
    volumes_from: Vec<String>,

    /// Mount memory
    #[arg(long, value_name = "TARGET[:OPTIONS]")]
    tmpfs: Vec<String>,

    /// Working directory
    #[arg(short, long, value_name = "DIR")]
    workdir: Option<String>,

    /// User, and group, by names of the image or by numbers
    #[arg(short, long, value_name = "USER[:GROUP]")]
    user: Option<String>,

    /// Program in the place of the image's entry point; '' for none
    #[arg(long, value_name = "PROGRAM")]
    entrypoint: Option<String>,

    /// Host name
    #[arg(short = 'h', long, value_name = "NAME")]
    hostname: Option<String>,

    /// Network: 'none', which is a loopback device alone, or 'host'
    #[arg(long, alias = "net", value_name = "NETWORK", default_value = "none")]
    network: String,

    /// Let nothing write to the root file system
    #[arg(long)]
    read_only: bool,

    /// Add a capability, or ALL
    #[arg(long, value_name = "CAPABILITY")]
    cap_add: Vec<String>,

    /// Take a capability away, or ALL
    #[arg(long, value_name = "CAPABILITY")]
    cap_drop: Vec<String>,

    /// Give it all capabilities and devices, and hide nothing from it
    #[arg(long)]
    privileged: bool,

    /// Most memory, as in 512m
    #[arg(short, long, value_name = "SIZE")]
    memory: Option<String>,

    /// Most processor time, in processors, as in 1.5
    #[arg(long, value_name = "NUMBER")]
    cpus: Option<String>,

    /// Most processes
    #[arg(long, value_name = "NUMBER", allow_negative_numbers = true)]
    pids_limit: Option<i64>,

    /// Limit of each process, as in nofile=1024:2048
    #[arg(long, value_name = "NAME=SOFT[:HARD]")]
    ulimit: Vec<String>,

    /// Begin with an init process, which looks after orphans (catatonit, docker-init or tini-static)
    #[arg(long)]
    init: bool,

    /// Platform that the image has to be for
    #[arg(long, value_name = "OS/ARCH")]
    platform: Option<PlatformSpec>,

    /// Label
    #[arg(short, long, value_name = "NAME=VALUE")]
    label: Vec<String>,

    /// How what it writes is kept: 'json-file', or 'none'
    #[arg(long, value_name = "DRIVER")]
    log_driver: Option<String>,

    /// Limit of that: max-size=10m, and max-file=3 for more than one file [default: none]
    #[arg(long, value_name = "NAME=VALUE")]
    log_opt: Vec<String>,

    /// Signal by which 'vellum stop' asks the container to end
    #[arg(long, value_name = "SIGNAL")]
    stop_signal: Option<String>,

    /// OCI runtime [default: the first there is of crun, runc, youki]
    #[arg(
        long,
        env = "VELLUM_RUNTIME",
        hide_env_values = true,
        value_name = "PROGRAM"
    )]
    runtime: Option<String>,

    /// Directory that takes the changes, in the place of one in the store; stays when the container goes
    #[arg(long, value_name = "DIR", requires = "work", value_hint = ValueHint::DirPath)]
    upper: Option<PathBuf>,

    /// Empty directory on the file system of the upper
    #[arg(long, value_name = "DIR", requires = "upper", value_hint = ValueHint::DirPath)]
    work: Option<PathBuf>,

    /// How file data travels
    #[arg(long, value_name = "MODE")]
    io: Option<IoMode>,

    /// writeback=1: the kernel gathers small writes, which is faster, and loses them if the mount's server dies
    #[arg(long, value_name = "NAME=VALUE")]
    storage_opt: Vec<String>,

    #[command(flatten)]
    store: StoreArgs,

    /// Print help
    #[arg(long, action = ArgAction::HelpShort)]
    help: Option<bool>,

    /// Image, and the command to run in the place of the image's
    #[arg(value_names = ["IMAGE", "COMMAND"], required = true, num_args = 1.., trailing_var_arg = true)]
    rest: Vec<OsString>,
}

impl Run {
    /// Runs. Exit codes are docker's.
    pub fn run(self) -> ExitCode {
        super::log::init("vellum: run", false);
        match self.start() {
            Ok(code) => ExitCode::from(code),
            Err(e) => failed("run", &e),
        }
    }

    fn start(self) -> std::result::Result<u8, Failure> {
        let keys = DetachKeys::parse(&self.detach_keys)?;
        let (detach, terminal) = (self.detach, self.tty && self.interactive);
        let _meanwhile = run::prepare();
        let job = self.prepare()?;
        if detach {
            run::background(&job)?;
            super::print(&format!("{}\n", job.container.name));
            return Ok(0);
        }
        if terminal {
            return running::attached(&job, keys);
        }
        run::foreground(&job, true)
    }

    /// Makes the container. On the heap, and in a call of its own, for what looks after it and serves its
    /// files has the stack of its callers for as long as it lives.
    #[inline(never)]
    fn prepare(mut self) -> Result<Box<Job>> {
        let rest = std::mem::take(&mut self.rest);
        let mut words = rest
            .into_iter()
            .map(run::text)
            .collect::<Result<Vec<_>>>()?;
        let text = words.remove(0);
        let mut config = self.config()?;
        config.command = words;
        if self.tty && self.interactive && !self.detach && !std::io::stdin().is_terminal() {
            let why = "-t with -i: standard input is no terminal";
            return Err(Error::because(Errno::ENOTTY, why));
        }
        let keep = self.keep()?;
        let root = running::enter(&self.store)?;
        let store = Store::open(&root).map_err(super::store::no_store)?;
        let image = store
            .resolve(&text)
            .map_err(|e| match e.is(Errno::ENOENT) {
                true => Error::because(
                    Errno::ENOENT,
                    format!("{}; 'vellum load' brings images", e.reason()),
                ),
                false => e,
            })?;
        self.check_platform(&image)?;
        complete(&store, &image)?;
        run::command(&config, &image.config)?;
        // the last one says it
        for text in self.volumes_from.iter().rev() {
            let of_other = run::volumes_of_container(&store, &config, text)?;
            config.volumes.extend(of_other);
        }
        let of_image = run::volumes_of_image(&config, &image.config)?;
        config.volumes.extend(of_image);
        let container = store.make_container(self.name.as_deref(), &image, &text, &keep)?;
        if let Err(e) = run::establish(&store, &container, &config) {
            store.remove_container(&container)?;
            run::remove_anonymous(&store, &config)?;
            return Err(e);
        }
        // as long as it is open nobody can remove anything from the store
        drop(store);
        Ok(Box::new(Job {
            store: root,
            container,
            image,
            config,
            new: true,
        }))
    }

    fn check_platform(&self, image: &Image) -> Result<()> {
        let own = PlatformSpec::of_config(&image.config);
        match &self.platform {
            Some(wanted) if !wanted.runs(&own) => {
                let why = format!("the image is for {own}, not for {wanted}");
                Err(Error::because(Errno::ENOEXEC, why))
            }
            Some(_) => Ok(()),
            None => {
                warn_platform(&own);
                Ok(())
            }
        }
    }

    fn keep(&self) -> Result<Keep> {
        let kept_in = match (&self.upper, &self.work) {
            (Some(upper), Some(work)) => Some((real(upper)?, real(work)?)),
            _ => None,
        };
        Ok(Keep {
            passing: self.rm,
            kept_in,
        })
    }

    fn config(&self) -> Result<Config> {
        let mut volumes = Vec::new();
        for text in &self.volume {
            volumes.push(Volume::parse_short(text)?);
        }
        for text in &self.mount {
            volumes.push(Volume::parse_long(text)?);
        }
        for text in &self.tmpfs {
            volumes.push(Volume::parse_tmpfs(text)?);
        }
        no_target_twice(&volumes)?;
        run::check_capabilities(&self.cap_add)?;
        run::check_capabilities(&self.cap_drop)?;
        if let Some(signal) = &self.stop_signal {
            run::parse_signal(signal)?;
        }
        let passthrough = matches!(self.io, Some(IoMode::Passthrough));
        Ok(Config {
            id: run::new_id()?,
            command: Vec::new(),
            entrypoint: self.entrypoint.clone(),
            env: environment(&self.env_file, &self.env)?,
            user: self.user.clone(),
            workdir: self.workdir.clone(),
            hostname: self.hostname.clone(),
            tty: self.tty,
            interactive: self.interactive,
            size: run::terminal_size(),
            remove: self.rm,
            read_only: self.read_only,
            privileged: self.privileged,
            init: self.init,
            network: network(&self.network)?,
            volumes,
            cap_add: self.cap_add.clone(),
            cap_drop: self.cap_drop.clone(),
            limits: self.limits()?,
            ulimits: self
                .ulimit
                .iter()
                .map(|u| run::ulimit(u))
                .collect::<Result<_>>()?,
            labels: labels(&self.label)?,
            stop_signal: self.stop_signal.clone(),
            passthrough,
            storage: StorageOptions::parse(&self.storage_opt, passthrough)?,
            log: LogOptions::parse(self.log_driver.as_deref(), &self.log_opt)?,
            runtime: self.runtime.clone(),
        })
    }

    fn limits(&self) -> Result<run::Limits> {
        Ok(run::Limits {
            memory: self.memory.as_deref().map(run::size).transpose()?,
            cpus: self.cpus.as_deref().map(run::cpus).transpose()?,
            // docker's words for "no limit"
            pids: self.pids_limit.filter(|n| *n > 0),
        })
    }
}

fn real(path: &Path) -> Result<PathBuf> {
    std::fs::canonicalize(path).context(|| path.display().to_string())
}

fn network(text: &str) -> Result<Network> {
    match text {
        "none" => Ok(Network::None),
        "host" => Ok(Network::Host),
        other => {
            let why = format!("--network {other:?} is not supported: 'none' or 'host'");
            Err(Error::because(Errno::EINVAL, why))
        }
    }
}

pub fn labels(given: &[String]) -> Result<BTreeMap<String, String>> {
    let one = |text: &String| {
        let (name, value) = text.split_once('=').unwrap_or((text, ""));
        match name {
            "" => Err(Error::because(
                Errno::EINVAL,
                format!("--label {text:?} has no name"),
            )),
            name => Ok((name.to_owned(), value.to_owned())),
        }
    };
    given.iter().map(one).collect()
}

fn no_target_twice(volumes: &[Volume]) -> Result<()> {
    for (n, volume) in volumes.iter().enumerate() {
        if volumes
            .iter()
            .skip(n + 1)
            .any(|v| v.target() == volume.target())
        {
            let why = format!("{} is mounted on twice", volume.target());
            return Err(Error::because(Errno::EINVAL, why));
        }
    }
    Ok(())
}
