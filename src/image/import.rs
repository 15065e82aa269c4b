//! Importing: a root file system, in a tar or a folder, becomes an image of one layer.
//!
//! A tar is stored as it comes, apart from its compression, so its diff ID is its own digest; a folder
//! is packed as a container's changes are. Nothing is known of how to run it: the configuration says
//! the platform, the one that this program was built for, where it came from, and what instructions add.

use super::changes::pack_whole;
use super::commit::{NewLayer, change, new_layer, seal};
use super::compose::{Part, compose};
use super::instruction::Instruction;
use super::layer::LayerWriter;
use super::load::{Input, Limits, plain};
use super::prepare::room;
use super::reference::Reference;
use super::spill::Pages;
use super::store::{Image, Store};
use crate::vfs::Result;
use crate::vfs::error::Context;
use serde_json::json;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsFd;

/// Makes an image of what is in a tar or a folder, and has instructions say how it is run. Without a
/// message its history says the source's name.
pub fn import(
    store: &Store,
    input: &Input,
    message: Option<&str>,
    changes: &[Instruction],
    name: Option<&Reference>,
) -> Result<Image> {
    let said = || input.to_string();
    let mut run = json!({});
    // before anything is written
    change(&mut run, false, changes)?;
    let layer = layer_of(store, input).context(said)?;
    let (blob, diff_id) = seal(store, layer).context(said)?;
    let comment = message.map_or_else(|| format!("Imported from {input}"), str::to_owned);
    let said = ("vellum import".to_owned(), comment);
    compose(
        store,
        &[Part {
            blob,
            diff_id,
            said,
        }],
        run["config"].take(),
        name,
    )
}

fn layer_of(store: &Store, input: &Input) -> Result<NewLayer> {
    let mut layer = new_layer(store)?;
    match input {
        Input::Path(path) => {
            let file = File::open(path)?;
            if file.metadata()?.is_dir() {
                let pages = Pages::new(room(store));
                let mut writer = LayerWriter::within(layer, &pages)?;
                pack_whole(file.as_fd(), &mut writer, &pages)?;
                return writer.finish();
            }
            copy(file, &mut layer)?;
        }
        Input::Stdin => copy(std::io::stdin().lock(), &mut layer)?,
    }
    Ok(layer)
}

fn copy(from: impl Read, to: &mut impl Write) -> Result<()> {
    std::io::copy(&mut plain(from, Limits::default())?, to)?;
    Ok(())
}
