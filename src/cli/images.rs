//! `vellum images`.

use super::human::{self, Form};
use super::store::{StoreArgs, complain, finish};
use crate::image::reference::Reference;
use crate::image::store::{Image, Store};
use crate::vfs::Result;
use clap::Args;
use serde_json::json;
use std::process::ExitCode;

/// List images
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  vellum images
  vellum images debian
  vellum images -q --no-trunc
  vellum images --format json")]
pub struct Images {
    #[command(flatten)]
    store: StoreArgs,

    /// Only images of this repository, or with this name
    #[arg(value_name = "NAME[:TAG]")]
    name: Option<String>,

    /// Form of the list; json is one object a line
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    format: Form,

    /// Print only the image IDs
    #[arg(short, long)]
    quiet: bool,

    /// Print image IDs in full
    #[arg(long)]
    no_trunc: bool,
}

/// A line of the list.
struct Row {
    name: Option<Reference>,
    image: Image,
    size: u64,
}

impl Images {
    /// Lists.
    pub fn run(self) -> ExitCode {
        let name = match self
            .name
            .as_deref()
            .map(str::parse::<Reference>)
            .transpose()
        {
            Ok(name) => name,
            Err(e) => return super::usage_error("images", e.reason()),
        };
        finish("images", self.list(name.as_ref()))
    }

    fn list(&self, only: Option<&Reference>) -> Result<ExitCode> {
        let store = self.store.open()?;
        let mut code = ExitCode::SUCCESS;
        let mut rows = Vec::new();
        for (entry, image) in store.images()? {
            match image {
                Ok(image) => rows.extend(rows_of(&store, image, only)?),
                Err(e) => {
                    let what = entry.label().unwrap_or("image without a name");
                    complain("images", &e.context(what));
                    code = ExitCode::FAILURE;
                }
            }
        }
        // newest first, as docker has it
        rows.sort_by_key(|r| {
            let time = r.image.config.created().as_deref().and_then(human::seconds);
            (std::cmp::Reverse(time), r.name.clone())
        });
        let printed = super::print(&self.render(&rows));
        Ok(if code == ExitCode::SUCCESS {
            printed
        } else {
            code
        })
    }

    fn id(&self, row: &Row) -> String {
        match self.no_trunc {
            true => row.image.id.to_string(),
            false => row.image.id.short(),
        }
    }

    fn render(&self, rows: &[Row]) -> String {
        if self.quiet {
            let mut ids: Vec<String> = rows.iter().map(|r| self.id(r) + "\n").collect();
            ids.dedup();
            return ids.concat();
        }
        if self.format == Form::Json {
            return rows.iter().map(|r| self.json(r) + "\n").collect();
        }
        let head = ["REPOSITORY", "TAG", "IMAGE ID", "CREATED", "SIZE"];
        let mut table = vec![head.map(str::to_owned).to_vec()];
        for row in rows {
            let [repository, tag] = name_parts(row);
            let created = human::ago(row.image.config.created().as_deref());
            table.push(vec![
                repository,
                tag,
                self.id(row),
                created,
                human::size(row.size),
            ]);
        }
        human::table(&table)
    }

    fn json(&self, row: &Row) -> String {
        let [repository, tag] = name_parts(row);
        let created = row.image.config.created();
        json!({
            "Repository": repository, "Tag": tag, "ID": self.id(row),
            "Digest": row.image.digest, "CreatedAt": created,
            "CreatedSince": human::ago(created.as_deref()),
            "Size": human::size(row.size), "Bytes": row.size,
        })
        .to_string()
    }
}

fn rows_of(store: &Store, image: Image, only: Option<&Reference>) -> Result<Vec<Row>> {
    let size = image.size(store)?;
    let meant = |name: &Reference| match only {
        None => true,
        Some(only) if only.tag().is_none() => only.same_repository(name),
        Some(only) => only == name,
    };
    let row = |name: Option<Reference>| Row {
        name,
        image: image.clone(),
        size,
    };
    if image.names.is_empty() {
        return Ok(only.is_none().then(|| row(None)).into_iter().collect());
    }
    let names = image.names.iter().filter(|n| meant(n)).cloned();
    Ok(names.map(|n| row(Some(n))).collect())
}

fn name_parts(row: &Row) -> [String; 2] {
    let none = || "<none>".to_owned();
    match &row.name {
        Some(name) => [
            name.familiar_name(),
            name.tag().map_or_else(none, str::to_owned),
        ],
        None => [none(), none()],
    }
}
