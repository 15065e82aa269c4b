//! History: how an image came to be, step by step.

use super::digest::Digest;
use super::store::{Image, Store};
use crate::vfs::Result;

/// One step, or one layer that no step tells of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// When, as the image says it.
    pub created: Option<String>,
    /// By what: a command.
    pub created_by: String,
    /// What else is said.
    pub comment: String,
    /// The diff ID of the layer that it made; none for a step that changed no file.
    pub layer: Option<Digest>,
    /// Size of that layer, uncompressed.
    pub size: u64,
}

/// The steps, newest first. Layers without a step, as of an image that has no history, come as steps
/// that say nothing.
pub fn history(store: &Store, image: &Image) -> Result<Vec<Step>> {
    let mut layers = image.diff_ids.iter().zip(image.layer_sizes(store)?);
    let mut steps = Vec::new();
    for told in image.config.history().iter().flatten() {
        let layer = match told.empty_layer() {
            Some(true) => None,
            _ => layers.next(),
        };
        let text = |t: &Option<String>| t.clone().unwrap_or_default();
        steps.push(Step {
            created: told.created().clone(),
            created_by: text(told.created_by()),
            comment: text(told.comment()),
            layer: layer.map(|(id, _)| *id),
            size: layer.map_or(0, |(_, size)| size),
        });
    }
    steps.extend(layers.map(|(id, size)| Step {
        created: None,
        created_by: String::new(),
        comment: String::new(),
        layer: Some(*id),
        size,
    }));
    steps.reverse();
    Ok(steps)
}
