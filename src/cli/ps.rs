//! `vellum ps`.

use super::human::{self, Form};
use super::store::{StoreArgs, complain, finish};
use crate::image::container::Container;
use crate::image::store::Store;
use crate::run::{self, Folder, State, Status};
use crate::vfs::Result;
use clap::Args;
use nix::errno::Errno;
use serde_json::json;
use std::process::ExitCode;

/// List containers that run
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  vellum ps
  vellum ps -a
  vellum ps -a --format json

'Dead' is a container whose end nobody saw: the process that looked after it, or the machine, died
before. 'vellum start' starts it again, 'vellum rm' removes what is left of it.")]
pub struct Ps {
    #[command(flatten)]
    store: StoreArgs,

    /// Also those that do not run, and those of 'vellum mount'
    #[arg(short, long)]
    all: bool,

    /// Print only the names
    #[arg(short, long)]
    quiet: bool,

    /// Form of the list; json is one object a line
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    format: Form,
}

/// What is shown of a container.
struct Row {
    container: Container,
    status: Status,
    command: String,
}

impl Ps {
    /// Lists.
    pub fn run(self) -> ExitCode {
        finish("ps", self.list())
    }

    fn list(&self) -> Result<ExitCode> {
        let store = self.store.open()?;
        let mut code = ExitCode::SUCCESS;
        let mut rows = Vec::new();
        for name in store.container_names()? {
            let row = store.container(&name).and_then(|c| Row::of(&store, c));
            match row {
                Ok(row) => rows.push(row),
                // gone meanwhile
                Err(e) if e.is(Errno::ENOENT) => {}
                Err(e) => {
                    let what = format!("container {name:?} ('vellum rm -f' removes it)");
                    complain("ps", &e.context(what));
                    code = ExitCode::FAILURE;
                }
            }
        }
        rows.retain(|row| self.all || matches!(row.status, Status::Running(_)));
        let printed = super::print(&self.text(&rows)?);
        Ok(if code == ExitCode::SUCCESS {
            printed
        } else {
            code
        })
    }

    fn text(&self, rows: &[Row]) -> Result<String> {
        let mut text = String::new();
        if self.quiet {
            rows.iter()
                .for_each(|r| text.push_str(&format!("{}\n", r.container.name)));
        } else if self.format == Form::Json {
            for row in rows {
                if let Some(json) = row.unless_gone(row.json())? {
                    text.push_str(&format!("{json}\n"));
                }
            }
        } else {
            let head = ["NAME", "IMAGE", "COMMAND", "CREATED", "STATUS"].map(str::to_owned);
            let mut lines = vec![Vec::from(head)];
            for row in rows {
                lines.extend(row.unless_gone(row.cells())?);
            }
            text = human::table(&lines);
        }
        Ok(text)
    }
}

impl Row {
    fn of(store: &Store, container: Container) -> Result<Row> {
        let folder = Folder::of(&container);
        let command = match folder.config()? {
            Some(config) => {
                let image = store.image(&container.record.manifest)?;
                run::command(&config, &image.config)?.join(" ")
            }
            None => String::new(),
        };
        Ok(Row {
            status: folder.status()?,
            command,
            container,
        })
    }

    /// What was found out; nothing if the container has gone meanwhile.
    fn unless_gone<T>(&self, found: Result<T>) -> Result<Option<T>> {
        match found {
            Err(_) if !self.container.dir().exists() => Ok(None),
            found => found.map(Some),
        }
    }

    fn state(&self) -> Option<&State> {
        match &self.status {
            Status::Running(state) | Status::Exited(state) | Status::Dead(state) => Some(state),
            Status::Mounted | Status::Created => None,
        }
    }

    fn word(&self) -> &'static str {
        match &self.status {
            Status::Mounted => "mounted",
            Status::Created => "created",
            Status::Running(_) => "running",
            Status::Exited(_) => "exited",
            Status::Dead(_) => "dead",
        }
    }

    fn status(&self) -> Result<String> {
        let since = |time: &Option<String>| human::ago(time.as_deref());
        let error = self.state().and_then(State::trouble);
        Ok(match &self.status {
            Status::Mounted => match self.container.mounted_on()? {
                Some(at) => format!("Mounted on {}", at.display()),
                None => "Not mounted".to_owned(),
            },
            Status::Created => "Created".to_owned(),
            Status::Running(state) => {
                let since = since(&state.started);
                let up = format!("Up {}", since.strip_suffix(" ago").unwrap_or("0 seconds"));
                match error {
                    Some(error) => format!("{up} ({})", human::plain(error)),
                    None => up,
                }
            }
            Status::Exited(state) => {
                let code = state.exit_code.unwrap_or(run::FAILED);
                let exited = format!("Exited ({code}) {}", since(&state.finished));
                match error {
                    Some(error) => format!("{exited} ({})", human::plain(error)),
                    None => exited,
                }
            }
            Status::Dead(state) => format!("Dead (started {})", since(&state.started)),
        })
    }

    fn cells(&self) -> Result<Vec<String>> {
        const WIDEST: usize = 30;
        let mut command: String = human::plain(&self.command).chars().take(WIDEST).collect();
        if command.len() < self.command.len() {
            command.push('…');
        }
        Ok(vec![
            self.container.name.clone(),
            self.container.record.image.clone(),
            command,
            human::ago(Some(&self.container.record.created)),
            self.status()?,
        ])
    }

    fn json(&self) -> Result<serde_json::Value> {
        let none = State::default();
        let state = self.state().unwrap_or(&none);
        let config = Folder::of(&self.container).config()?;
        Ok(json!({
            "Name": self.container.name,
            "ID": config.as_ref().map(|c| &c.id),
            "Image": self.container.record.image,
            "ImageID": self.container.record.id,
            "Command": self.command,
            "Created": self.container.record.created,
            "State": self.word(),
            "Status": self.status()?,
            "Pid": state.first.map(|p| p.pid),
            "StartedAt": state.started,
            "FinishedAt": state.finished,
            "ExitCode": state.exit_code,
            "Error": state.trouble(),
            "Labels": config.map(|c| c.labels),
            "MountedOn": self.container.mounted_on()?,
        }))
    }
}
