//! The command line: one file per command, and the drop-in form under another name.
//!
//! Exit codes: 0, 1 for a failure, 2 for a command line that cannot be honoured.

mod attach;
mod bench;
mod commit;
mod container;
mod cp;
mod df;
mod diff;
mod environment;
mod exec;
mod export;
mod fsck;
mod history;
mod human;
mod images;
mod import;
mod inspect;
mod kill;
mod load;
mod log;
mod logs;
mod moment;
mod mount;
mod mounts;
pub mod options;
mod output;
pub mod overlayfs;
mod progress;
mod prune;
mod ps;
mod report;
mod rm;
mod rmi;
mod run;
mod running;
mod save;
mod serve;
mod shell;
mod start;
mod stop;
mod store;
mod tag;
mod tree;
mod umount;
mod volume;
mod wait;

use clap::{Parser, Subcommand};
use std::ffi::{OsStr, OsString};
use std::io::Write;
use std::process::ExitCode;

/// Exit code for a command line that cannot be honoured.
const USAGE_ERROR: u8 = 2;

/// Stack image layers and use them as one file system
#[derive(Parser, Debug)]
#[command(
    name = "vellum",
    version,
    after_help = "\
Examples:
  docker save debian:12 | vellum load
  vellum run --rm debian:12 cat /etc/os-release

  vellum mount --name web debian:12 /mnt
  vellum diff web
  vellum commit web mine/web:1
  vellum umount web

  vellum mount --lower app --lower base --upper changes --work work /mnt

As a mount program for podman and buildah, set in storage.conf:
  [storage.options.overlay]
  mount_program = \"/usr/local/bin/vellum-overlayfs\"

Run 'vellum COMMAND --help' for more on a command."
)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    Mount(mount::Mount),
    Umount(umount::Umount),
    Mounts(mounts::Mounts),
    Diff(diff::Diff),
    Commit(commit::Commit),
    Cp(cp::Cp),
    Export(export::Export),
    Rm(rm::Rm),
    Run(Box<run::Run>),
    Ps(ps::Ps),
    Exec(exec::Exec),
    Attach(attach::AttachCommand),
    Logs(logs::Logs),
    Start(start::Start),
    Stop(stop::Stop),
    Kill(kill::Kill),
    Wait(wait::Wait),
    Volume(volume::VolumeCommand),
    Load(load::Load),
    Import(import::Import),
    Save(save::Save),
    Images(images::Images),
    Tag(tag::Tag),
    Rmi(rmi::Rmi),
    History(history::History),
    Inspect(inspect::Inspect),
    Tree(tree::Tree),
    Prune(prune::Prune),
    Fsck(fsck::Fsck),
    Df(df::Df),
    Bench(bench::Bench),
    /// Mount with the command line of fuse-overlayfs
    #[command(disable_help_flag = true)]
    Overlayfs {
        /// As for fuse-overlayfs: -o lowerdir=A:B,upperdir=U,workdir=W MOUNTPOINT
        #[arg(
            trailing_var_arg = true,
            allow_hyphen_values = true,
            value_name = "ARGUMENTS"
        )]
        args: Vec<OsString>,
    },
    Completions(shell::Completions),
    Man(shell::Man),
}

/// Runs the command line of a process.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let args: Vec<OsString> = args.into_iter().collect();
    let program = args
        .first()
        .map_or(OsStr::new("vellum"), OsString::as_os_str);
    if overlayfs::is_name(program) {
        return overlayfs::run(program, args.iter().skip(1).cloned());
    }
    // no command, and it is to begin with little memory
    if args.get(1).is_some_and(|a| a == crate::run::AFRESH) {
        log::init("vellum: run", false);
        let ended = crate::run::go_on(args.get(2..).unwrap_or_default());
        return ended.map_or_else(|e| running::failed("run", &e), ExitCode::from);
    }
    // before clap, which would read some of the arguments itself
    if args.get(1).is_some_and(|a| a == "overlayfs") {
        return overlayfs::run(program, args.iter().skip(2).cloned());
    }
    // the second question takes longer
    if overlayfs::is_from_mount(args.get(1..).unwrap_or_default()) && is_source(args.get(1)) {
        return overlayfs::run(program, args.iter().skip(1).cloned());
    }
    let in_container = args.get(1).is_some_and(|a| a == "run" || a == "exec");
    match Cli::try_parse_from(args) {
        Ok(cli) => run(cli.command),
        Err(e) => {
            // help and version come this way too; where stdout is gone nobody can be told
            e.print().ok();
            match u8::try_from(e.exit_code()) {
                // docker's exit code; any other may be the container's
                Ok(USAGE_ERROR) if in_container => ExitCode::from(crate::run::FAILED),
                code => ExitCode::from(code.unwrap_or(USAGE_ERROR)),
            }
        }
    }
}

fn run(command: Command) -> ExitCode {
    // the other form has a name of its own, and begins its log itself
    if !matches!(command, Command::Overlayfs { .. }) {
        log::init("vellum", false);
    }
    match command {
        Command::Mount(mount) => mount.run(),
        Command::Umount(umount) => umount.run(),
        Command::Mounts(mounts) => mounts.run(),
        Command::Diff(diff) => diff.run(),
        Command::Commit(commit) => commit.run(),
        Command::Cp(cp) => cp.run(),
        Command::Export(export) => export.run(),
        Command::Rm(rm) => rm.run(),
        Command::Run(run) => run.run(),
        Command::Ps(ps) => ps.run(),
        Command::Exec(exec) => exec.run(),
        Command::Attach(attach) => attach.run(),
        Command::Logs(logs) => logs.run(),
        Command::Start(start) => start.run(),
        Command::Stop(stop) => stop.run(),
        Command::Kill(kill) => kill.run(),
        Command::Wait(wait) => wait.run(),
        Command::Volume(volume) => volume.run(),
        Command::Load(load) => load.run(),
        Command::Import(import) => import.run(),
        Command::Save(save) => save.run(),
        Command::Images(images) => images.run(),
        Command::Tag(tag) => tag.run(),
        Command::Rmi(rmi) => rmi.run(),
        Command::History(history) => history.run(),
        Command::Inspect(inspect) => inspect.run(),
        Command::Tree(tree) => tree.run(),
        Command::Prune(prune) => prune.run(),
        Command::Fsck(fsck) => fsck.run(),
        Command::Df(df) => df.run(),
        Command::Bench(bench) => bench.run(),
        Command::Overlayfs { args } => overlayfs::run(OsStr::new(overlayfs::NAME), args),
        Command::Completions(completions) => completions.run(),
        Command::Man(man) => man.run(),
    }
}

/// True for a first argument that is no command of ours.
fn is_source(first: Option<&OsString>) -> bool {
    use clap::CommandFactory;
    let cli = Cli::command();
    let command =
        |name: &OsString| name == "help" || cli.get_subcommands().any(|c| name == c.get_name());
    first.is_some_and(|first| !command(first))
}

fn usage_error(command: &str, why: &str) -> ExitCode {
    eprintln!("vellum: {command}: {why}\nTry 'vellum {command} --help'.");
    ExitCode::from(USAGE_ERROR)
}

/// Prints to stdout. A reader that has enough, as in `| head`, is no failure.
fn print(text: &str) -> ExitCode {
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(e) if e.kind() != std::io::ErrorKind::BrokenPipe => {
            eprintln!("vellum: standard output: {e}");
            ExitCode::FAILURE
        }
        _ => ExitCode::SUCCESS,
    }
}
