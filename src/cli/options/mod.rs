//! The options of a mount, as they stand after `-o`.
//!
//! One table ([`SECTIONS`]) has every option known, with what it does. From it the parser works,
//! and `docs/mount-options.md` is made from it. An option is in exactly one class: honoured,
//! refused with the reason, or tolerated with a warning; none is dropped in silence. One that the
//! table does not have is tolerated: configurations of podman and of distributions pass such.
//!
//! Of an option given twice the last counts. There is no I/O here; paths are bytes.

mod draft;
mod remount;
mod split;
mod table;
mod values;

pub use draft::{Draft, Request};
pub use remount::{Remount, remount};
pub use split::{Item, split};
pub use table::{Class, Opt, SECTIONS, Section};
pub use values::{Value, escape_path};

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

/// Reads the argument of one `-o` into a draft.
pub fn apply(draft: &mut Draft, options: &OsStr) -> Result<(), String> {
    for item in split(options.as_bytes())? {
        apply_one(draft, &item)?;
    }
    Ok(())
}

fn apply_one(draft: &mut Draft, item: &Item) -> Result<(), String> {
    let written = written(item);
    let Some(opt) = find(&item.key) else {
        draft.warn(format!("option {written} is not known, and ignored"));
        return Ok(());
    };
    match opt.class {
        Class::Refused => return Err(format!("option {written}: {}", opt.about)),
        Class::Tolerated => draft.warn(format!("option {written} is ignored: {}", opt.about)),
        Class::Honoured(set) => {
            set(draft, Value(item.value.as_deref()))
                .map_err(|why| format!("option {written}: {why}"))?;
            note_repeated(draft, opt, item);
        }
    }
    Ok(())
}

fn note_repeated(draft: &mut Draft, opt: &'static Opt, item: &Item) {
    if item.value.is_none() || opt.many() {
        return;
    }
    if draft.seen.contains(&opt.name) {
        let name = opt.name;
        draft.warn(format!(
            "option {name} was given more than once: the last one counts"
        ));
    } else {
        draft.seen.push(opt.name);
    }
}

/// The option of this name in the table.
pub fn find(key: &[u8]) -> Option<&'static Opt> {
    SECTIONS
        .iter()
        .flat_map(|s| s.options)
        .find(|o| o.matches(key))
}

/// The option for messages, shortened: 500 layers tell nobody anything.
fn written(item: &Item) -> String {
    const SHOWN: usize = 60;
    let mut text = item.key.clone();
    if let Some(value) = &item.value {
        text.push(b'=');
        text.extend_from_slice(value);
    }
    let cut = text.len() > SHOWN;
    text.truncate(SHOWN);
    let dots = if cut { "..." } else { "" };
    format!("{}{dots}", String::from_utf8_lossy(&text).escape_debug())
}

/// The table as it stands in `docs/mount-options.md`.
pub fn markdown() -> String {
    let mut out = String::new();
    for section in SECTIONS {
        out.push_str(&format!(
            "### {}\n\n| option | | what it does |\n|---|---|---|\n",
            section.title
        ));
        for opt in section.options {
            out.push_str(&format!(
                "| `{}{}` | {} | {} |\n",
                opt.name,
                opt.value.replace('|', "\\|"),
                opt.class.name(),
                opt.about
            ));
        }
        out.push('\n');
    }
    out
}
