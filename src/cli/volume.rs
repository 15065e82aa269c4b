//! `vellum volume`: what containers keep beside their root.

use super::human::{self, Form};
use super::store::{StoreArgs, complain, finish};
use crate::image::store::Store;
use crate::image::volume::{Record, Volume, check_volume_name};
use crate::run;
use crate::vfs::{Error, Result};
use clap::{Args, Subcommand};
use nix::errno::Errno;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, Write};
use std::process::ExitCode;

/// Work with the volumes of containers
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  vellum volume create data
  vellum run -d --name db -v data:/var/lib/postgresql/data postgres:17
  vellum volume ls
  vellum volume inspect data
  vellum volume rm data

A volume is made by the first container that names it, too, and stays when containers go.")]
pub struct VolumeCommand {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand, Debug)]
enum What {
    Create(Create),
    #[command(visible_alias = "list")]
    Ls(Ls),
    Inspect(Inspect),
    #[command(visible_alias = "remove")]
    Rm(Rm),
    Prune(Prune),
}

impl VolumeCommand {
    /// Does it.
    pub fn run(self) -> ExitCode {
        let (name, done) = match self.what {
            What::Create(create) => ("volume create", create.create()),
            What::Ls(ls) => ("volume ls", ls.list()),
            What::Inspect(inspect) => ("volume inspect", inspect.show()),
            What::Rm(rm) => ("volume rm", rm.remove()),
            What::Prune(prune) => ("volume prune", prune.prune()),
        };
        finish(name, done)
    }
}

/// Make a volume, and print its name
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  vellum volume create data
  vellum volume create --label of=web data
  v=$(vellum volume create)

One that is there already stays as it is.")]
struct Create {
    #[command(flatten)]
    store: StoreArgs,

    /// Driver; there is one, 'local'
    #[arg(short, long, value_name = "DRIVER", default_value = "local", value_parser = ["local"])]
    driver: String,

    /// Label
    #[arg(long, value_name = "NAME=VALUE")]
    label: Vec<String>,

    /// Name; without one it gets a random one, and is anonymous
    name: Option<String>,
}

impl Create {
    fn create(&self) -> Result<ExitCode> {
        let name = match &self.name {
            Some(name) => name.clone(),
            None => run::new_id()?,
        };
        check_volume_name(&name)?;
        let record = Record::now(self.name.is_none(), super::run::labels(&self.label)?);
        let store = self.store.create()?;
        let all = store.lock_volumes()?;
        store.make_volume(&all, &name, &record, true)?;
        Ok(super::print(&format!("{name}\n")))
    }
}

/// List volumes
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  vellum volume ls
  vellum volume ls --filter dangling=true
  vellum volume ls --format json")]
struct Ls {
    #[command(flatten)]
    store: StoreArgs,

    /// Only those: dangling=true (no container uses it), name=PART, label=NAME[=VALUE]
    #[arg(short, long, value_name = "WHAT=VALUE")]
    filter: Vec<String>,

    /// Print only the names
    #[arg(short, long)]
    quiet: bool,

    /// Form of the list; json is one object a line
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    format: Form,
}

/// Which volumes are meant.
enum Filter {
    Dangling(bool),
    Name(String),
    Label(String, Option<String>),
}

impl Filter {
    fn parse(text: &str) -> Result<Filter> {
        let bad = |why: &str| Error::because(Errno::EINVAL, format!("--filter {text:?}: {why}"));
        let (what, value) = text
            .split_once('=')
            .ok_or_else(|| bad("WHAT=VALUE is expected"))?;
        match (what, value) {
            ("dangling", "true" | "1") => Ok(Filter::Dangling(true)),
            ("dangling", "false" | "0") => Ok(Filter::Dangling(false)),
            ("dangling", _) => Err(bad("true or false is expected")),
            ("name", part) => Ok(Filter::Name(part.to_owned())),
            ("label", label) => Ok(match label.split_once('=') {
                Some((name, value)) => Filter::Label(name.to_owned(), Some(value.to_owned())),
                None => Filter::Label(label.to_owned(), None),
            }),
            _ => Err(bad("dangling, name or label is expected")),
        }
    }

    fn holds(&self, volume: &Volume, is_used: bool) -> bool {
        match self {
            Filter::Dangling(wanted) => *wanted != is_used,
            Filter::Name(part) => volume.name.contains(part),
            Filter::Label(name, wanted) => {
                let label = volume.record.labels.get(name);
                label.is_some_and(|l| wanted.as_ref().is_none_or(|w| w == l))
            }
        }
    }
}

fn filters(given: &[String]) -> Result<Vec<Filter>> {
    given.iter().map(|text| Filter::parse(text)).collect()
}

impl Ls {
    fn list(&self) -> Result<ExitCode> {
        let filters = filters(&self.filter)?;
        let store = self.store.open()?;
        let users = run::volume_users(&store)?;
        let mut volumes = store.volumes()?;
        volumes.retain(|v| {
            filters
                .iter()
                .all(|f| f.holds(v, users.contains_key(&v.name)))
        });
        let mut text = String::new();
        if self.quiet {
            volumes
                .iter()
                .for_each(|v| text.push_str(&format!("{}\n", v.name)));
        } else if self.format == Form::Json {
            for volume in &volumes {
                let mut all = json(volume);
                all["Containers"] = json!(users.get(&volume.name).unwrap_or(&BTreeSet::new()));
                text.push_str(&format!("{all}\n"));
            }
        } else {
            let mut table = vec![["DRIVER", "VOLUME NAME"].map(str::to_owned).to_vec()];
            table.extend(
                volumes
                    .into_iter()
                    .map(|v| vec!["local".to_owned(), v.name]),
            );
            text = human::table(&table);
        }
        Ok(super::print(&text))
    }
}

/// In docker's words.
fn json(volume: &Volume) -> Value {
    json!({
        "CreatedAt": volume.record.created, "Driver": "local", "Labels": volume.record.labels,
        "Mountpoint": volume.data(), "Name": volume.name, "Options": BTreeMap::<String, String>::new(),
        "Scope": "local", "Anonymous": volume.record.anonymous,
    })
}

/// Show all that is known of volumes, as JSON
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  vellum volume inspect data
  vellum volume inspect data | jq -r '.[0].Mountpoint'")]
struct Inspect {
    #[command(flatten)]
    store: StoreArgs,

    /// Names of volumes
    #[arg(value_name = "VOLUME", required = true)]
    names: Vec<String>,
}

impl Inspect {
    fn show(&self) -> Result<ExitCode> {
        let store = self.store.open()?;
        let mut code = ExitCode::SUCCESS;
        let mut all = Vec::new();
        for name in &self.names {
            match store.volume(name) {
                Ok(volume) => all.push(json(&volume)),
                Err(e) => {
                    complain("volume inspect", &e);
                    code = ExitCode::FAILURE;
                }
            }
        }
        let printed = super::print(&format!("{:#}\n", Value::Array(all)));
        Ok(if code == ExitCode::SUCCESS {
            printed
        } else {
            code
        })
    }
}

/// Remove volumes that no container uses, with all that is in them
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  vellum volume rm data
  vellum volume rm -f data      # no failure if there is none, or if its record cannot be read")]
struct Rm {
    #[command(flatten)]
    store: StoreArgs,

    /// One that is not there is no failure, and one whose record cannot be read is removed
    #[arg(short, long)]
    force: bool,

    /// Names of volumes
    #[arg(value_name = "VOLUME", required = true)]
    names: Vec<String>,
}

impl Rm {
    fn remove(&self) -> Result<ExitCode> {
        // what containers wrote without root belongs to users of their namespace
        run::enter_user_namespace()?;
        let store = self.store.open()?;
        let mut code = ExitCode::SUCCESS;
        for name in &self.names {
            match run::remove_volume(&store, name, self.force) {
                Err(e) if self.force && e.is(Errno::ENOENT) => {}
                Err(e) => {
                    complain("volume rm", &e);
                    code = ExitCode::FAILURE;
                    continue;
                }
                Ok(()) => {}
            }
            super::print(&format!("{name}\n"));
        }
        Ok(code)
    }
}

/// Remove anonymous volumes that no container uses
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  vellum volume prune
  vellum volume prune -f                      # without a question
  vellum volume prune -a -f                   # also those that have a name
  vellum volume prune -f --filter label=of=web")]
struct Prune {
    #[command(flatten)]
    store: StoreArgs,

    /// Also volumes that have a name
    #[arg(short, long)]
    all: bool,

    /// Do not ask
    #[arg(short, long)]
    force: bool,

    /// Only those: label=NAME[=VALUE]
    #[arg(long, value_name = "WHAT=VALUE")]
    filter: Vec<String>,
}

impl Prune {
    fn prune(&self) -> Result<ExitCode> {
        let filters = filters(&self.filter)?;
        if filters.iter().any(|f| !matches!(f, Filter::Label(..))) {
            let why = "--filter: label=NAME[=VALUE] is expected";
            return Err(Error::because(Errno::EINVAL, why));
        }
        let which = if self.all { "all" } else { "anonymous" };
        if !self.force && !agreed(which)? {
            return Ok(ExitCode::SUCCESS);
        }
        run::enter_user_namespace()?;
        let store = self.store.open()?;
        let meant = |v: &Volume| {
            (self.all || v.record.anonymous) && filters.iter().all(|f| f.holds(v, false))
        };
        let (names, bytes) = remove_unused(&store, &meant)?;
        let mut text = String::new();
        if !names.is_empty() {
            text = format!("Deleted Volumes:\n{}\n\n", names.join("\n"));
        }
        text.push_str(&format!("Total reclaimed space: {}\n", human::size(bytes)));
        Ok(super::print(&text))
    }
}

/// Removes volumes that no container uses; their names, and what they occupied.
pub fn remove_unused(store: &Store, meant: &dyn Fn(&Volume) -> bool) -> Result<(Vec<String>, u64)> {
    let (all, found) = run::unused_volumes(store, meant)?;
    let (mut names, mut bytes) = (Vec::new(), 0);
    for volume in found {
        bytes += volume.disk_use()?;
        store.remove_volume(&all, &volume)?;
        names.push(volume.name);
    }
    Ok((names, bytes))
}

/// As docker asks.
fn agreed(which: &str) -> Result<bool> {
    let mut out = std::io::stdout();
    write!(
        out,
        "WARNING! This will remove {which} local volumes not used by at least one container.\n\
         Are you sure you want to continue? [y/N] "
    )?;
    out.flush()?;
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    Ok(["y", "yes"].contains(&answer.trim().to_lowercase().as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_are_dockers() {
        for text in [
            "dangling=true",
            "dangling=0",
            "name=x",
            "label=a",
            "label=a=b",
        ] {
            Filter::parse(text).unwrap();
        }
        for text in ["dangling", "dangling=maybe", "driver=local", ""] {
            assert!(Filter::parse(text).is_err(), "{text}");
        }
    }
}
