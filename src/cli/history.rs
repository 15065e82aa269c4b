//! `vellum history`.

use super::human::{self, Form};
use super::store::{StoreArgs, finish};
use crate::image::history::{Step, history};
use crate::vfs::Result;
use clap::Args;
use serde_json::json;
use std::process::ExitCode;

/// Show how an image came to be
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  vellum history debian:12
  vellum history --no-trunc --format json debian:12")]
pub struct History {
    #[command(flatten)]
    store: StoreArgs,

    /// Print commands and digests in full
    #[arg(long)]
    no_trunc: bool,

    /// Form of the list; json is one object a line
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    format: Form,

    /// Name or ID of an image
    #[arg(value_name = "IMAGE")]
    image: String,
}

/// Longest command shown, if it is not to be shown in full.
const SHOWN: usize = 45;

impl History {
    /// Shows it.
    pub fn run(self) -> ExitCode {
        finish("history", self.show())
    }

    fn show(&self) -> Result<ExitCode> {
        let store = self.store.open()?;
        let steps = history(&store, &store.resolve(&self.image)?)?;
        Ok(super::print(&match self.format {
            Form::Json => steps.iter().map(|s| json(s) + "\n").collect(),
            Form::Table => self.table(&steps),
        }))
    }

    fn table(&self, steps: &[Step]) -> String {
        let head = ["LAYER", "CREATED", "CREATED BY", "SIZE", "COMMENT"];
        let mut rows = vec![head.map(str::to_owned).to_vec()];
        for step in steps {
            let layer = match (step.layer, self.no_trunc) {
                (None, _) => "<empty>".to_owned(),
                (Some(id), true) => id.to_string(),
                (Some(id), false) => id.short(),
            };
            rows.push(vec![
                layer,
                human::ago(step.created.as_deref()),
                self.command(&step.created_by),
                human::size(step.size),
                step.comment.clone(),
            ]);
        }
        human::table(&rows)
    }

    /// A command on one line, without what could steer a terminal.
    fn command(&self, text: &str) -> String {
        let plain = |c: char| if c.is_control() { ' ' } else { c };
        let line: String = text.chars().map(plain).collect();
        if self.no_trunc || line.chars().count() <= SHOWN {
            return line;
        }
        line.chars().take(SHOWN - 1).chain(['…']).collect()
    }
}

fn json(step: &Step) -> String {
    json!({
        "Layer": step.layer, "Created": step.created, "CreatedBy": step.created_by,
        "Size": step.size, "Comment": step.comment, "EmptyLayer": step.layer.is_none(),
    })
    .to_string()
}
