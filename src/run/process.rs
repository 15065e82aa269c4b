//! The process of a container: command, environment, user, of what the image says and what is
//! asked for.

use super::config::Config;
use super::user::Ids;
use super::{caps, user};
use crate::vfs::error::Context;
use crate::vfs::{Error, Result};
use nix::errno::Errno;
use oci_spec::image::ImageConfiguration;
use oci_spec::runtime::{BoxBuilder, Capabilities, Process, ProcessBuilder, UserBuilder};
use std::os::fd::BorrowedFd;

/// Where programs are looked for if nobody says.
const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The init process, in the container.
pub const INIT: &str = "/dev/init";

fn invalid(why: impl std::fmt::Display) -> Error {
    Error::because(Errno::EINVAL, why)
}

/// The command: the entry point, and behind it what was asked for, or what the image says.
pub fn command(config: &Config, image: &ImageConfiguration) -> Result<Vec<String>> {
    let said = image.config().as_ref();
    let of_image = |list: Option<&Option<Vec<String>>>| list.cloned().flatten().unwrap_or_default();
    let (mut args, default) = match &config.entrypoint {
        Some(program) if program.is_empty() => (Vec::new(), Vec::new()),
        Some(program) => (vec![program.clone()], Vec::new()),
        None => (
            of_image(said.map(|c| c.entrypoint())),
            of_image(said.map(|c| c.cmd())),
        ),
    };
    args.extend(match config.command.is_empty() {
        true => default,
        false => config.command.clone(),
    });
    if args.is_empty() {
        return Err(invalid(
            "no command: the image has none, and none was given",
        ));
    }
    if config.init {
        args.splice(0..0, [INIT.to_owned(), "--".to_owned()]);
    }
    Ok(args)
}

/// The user that was asked for, or that the image says.
pub fn ids(root: BorrowedFd<'_>, config: &Config, image: &ImageConfiguration) -> Result<Ids> {
    let said = image.config().as_ref().and_then(|c| c.user().as_deref());
    user::lookup(root, config.user.as_deref().or(said).unwrap_or(""))
}

/// Sets a variable in a list of `NAME=VALUE`.
pub fn set(env: &mut Vec<String>, variable: &str) {
    let name = |text: &str| text.split('=').next().unwrap_or_default().to_owned();
    let wanted = name(variable);
    match env.iter_mut().find(|have| name(have) == wanted) {
        Some(have) => variable.clone_into(have),
        None => env.push(variable.to_owned()),
    }
}

fn environment(
    config: &Config,
    image: &ImageConfiguration,
    hostname: &str,
    ids: &Ids,
) -> Vec<String> {
    let mut env = vec![PATH.to_owned(), format!("HOSTNAME={hostname}")];
    if config.tty {
        env.push("TERM=xterm".to_owned());
    }
    let home = ids.home.as_deref().unwrap_or("/");
    env.push(format!("HOME={home}"));
    let of_image = image.config().as_ref().and_then(|c| c.env().as_ref());
    for variable in of_image.into_iter().flatten().chain(&config.env) {
        set(&mut env, variable);
    }
    env
}

fn workdir(config: &Config, image: &ImageConfiguration) -> Result<String> {
    let said = image
        .config()
        .as_ref()
        .and_then(|c| c.working_dir().as_deref());
    let dir = config.workdir.as_deref().or(said).unwrap_or("");
    match dir {
        "" => Ok("/".to_owned()),
        dir if dir.starts_with('/') => Ok(dir.to_owned()),
        dir => Err(invalid(format!(
            "working directory {dir:?} is no absolute path"
        ))),
    }
}

/// The process that the container begins with. `root` is its root file system.
pub fn first(
    root: BorrowedFd<'_>,
    config: &Config,
    image: &ImageConfiguration,
    hostname: &str,
    caps: &Capabilities,
) -> Result<Process> {
    let ids = ids(root, config, image)?;
    let rlimits: Vec<_> = config
        .ulimits
        .iter()
        .map(|u| u.rlimit())
        .collect::<Result<_>>()?;
    process(
        &ids,
        command(config, image)?,
        environment(config, image, hostname, &ids),
        workdir(config, image)?,
        config.tty.then_some(config.size),
        caps,
    )
    .map(|mut process| {
        process.set_rlimits((!rlimits.is_empty()).then_some(rlimits));
        process
    })
}

/// A process, for the runtime; `tty`: with a terminal, perhaps of this size.
pub fn process(
    ids: &Ids,
    args: Vec<String>,
    env: Vec<String>,
    cwd: String,
    tty: Option<Option<(u16, u16)>>,
    caps: &Capabilities,
) -> Result<Process> {
    let user = UserBuilder::default()
        .uid(ids.uid)
        .gid(ids.gid)
        .additional_gids(ids.groups.clone())
        .build()
        .map_err(invalid)?;
    let mut process = ProcessBuilder::default()
        .terminal(tty.is_some())
        .user(user)
        .args(args)
        .env(env)
        .cwd(cwd)
        .capabilities(caps::for_process(caps, ids.uid)?)
        .build()
        .map_err(invalid)
        .context(|| "process")?;
    process.set_rlimits(None);
    // not 'false': youki takes that for 'true', and drops capabilities before it sets the filter, which needs them
    process.set_no_new_privileges(None);
    if let Some(Some((lines, columns))) = tty {
        let console = BoxBuilder::default()
            .height(lines)
            .width(columns)
            .build()
            .map_err(invalid)?;
        process.set_console_size(Some(console));
    }
    Ok(process)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn image(config: serde_json::Value) -> ImageConfiguration {
        serde_json::from_value(json!({
            "architecture": "amd64", "os": "linux", "config": config,
            "rootfs": {"type": "layers", "diff_ids": []},
        }))
        .unwrap()
    }

    #[test]
    fn entry_points_and_commands() {
        let both = image(json!({"Entrypoint": ["/e", "-x"], "Cmd": ["c"]}));
        let only = image(json!({"Cmd": ["c", "d"]}));
        let none = image(json!({}));
        let run = |image: &ImageConfiguration, entrypoint: Option<&str>, args: &[&str]| {
            let config = Config {
                entrypoint: entrypoint.map(str::to_owned),
                command: args.iter().map(|a| (*a).to_owned()).collect(),
                ..Config::default()
            };
            command(&config, image).map(|args| args.join(" "))
        };
        assert_eq!(run(&both, None, &[]).unwrap(), "/e -x c");
        assert_eq!(run(&both, None, &["a", "b"]).unwrap(), "/e -x a b");
        assert_eq!(run(&both, Some("/f"), &[]).unwrap(), "/f");
        assert_eq!(run(&both, Some("/f"), &["a"]).unwrap(), "/f a");
        assert_eq!(run(&both, Some(""), &["a"]).unwrap(), "a");
        assert_eq!(run(&only, None, &[]).unwrap(), "c d");
        assert_eq!(run(&only, None, &["x"]).unwrap(), "x");
        assert!(run(&none, None, &[]).is_err());
        assert!(run(&both, Some(""), &[]).is_err());
    }

    #[test]
    fn variables_of_the_image_and_of_the_command_line() {
        let image = image(json!({"Env": ["A=image", "B=image", "PATH=/x"]}));
        let config = Config {
            env: vec!["B=asked".into(), "C=a=b".into(), "D=".into()],
            tty: true,
            ..Config::default()
        };
        let ids = Ids {
            home: Some("/home/u".into()),
            ..Ids::default()
        };
        let env = environment(&config, &image, "host", &ids);
        let want = [
            "PATH=/x",
            "HOSTNAME=host",
            "TERM=xterm",
            "HOME=/home/u",
            "A=image",
            "B=asked",
            "C=a=b",
            "D=",
        ];
        assert_eq!(env, want);
    }
}
