//! The options of a remount: flags, and what mount(8) passes along.
//!
//! mount(8) hands over all that fstab and the mount table have of the mount. Of that only the
//! flags can change; what fstab says of the layers was said when they were stacked, and what else
//! the mount table has (`user_id=`, `default_permissions`) is the kernel's own.

use super::table::{Class, FLAGS, Set};
use super::{Draft, Item, Value, find, split, written};
use nix::mount::MsFlags;
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;

/// The word that asks for it.
pub const WORD: &str = "remount";

/// `MS_NOSYMFOLLOW` (Linux 5.10). A remount can promise what a new mount, which may be made by
/// `fusermount3`, cannot.
const NOSYMFOLLOW: MsFlags = MsFlags::from_bits_retain(256);

/// Options of ours that the mount table shows of every mount.
const FROM_TABLE: &[&str] = &["default_permissions", "allow_other", "fsname", "subtype"];

/// What a remount changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remount {
    /// Flags to switch on.
    pub set: MsFlags,
    /// Flags to switch off.
    pub clear: MsFlags,
    /// What people should know about the options.
    pub warnings: Vec<String>,
}

/// Reads the arguments of all `-o`; `None` if they ask for no remount.
pub fn remount(options: &[OsString]) -> Result<Option<Remount>, String> {
    let mut items = Vec::new();
    for text in options {
        items.extend(split(text.as_bytes())?);
    }
    if !items.iter().any(|item| item.key == WORD.as_bytes()) {
        return Ok(None);
    }
    // once from no flag and once from all: what differs from where it began was asked for
    let (mut none, mut all) = (Draft::default(), Draft::default());
    all.mount.flags = MsFlags::all();
    let mut warnings = Vec::new();
    let mut stay = Vec::new();
    for item in items.iter().filter(|item| item.key != WORD.as_bytes()) {
        match kind(item)? {
            Word::Flag(set) => {
                for draft in [&mut none, &mut all] {
                    set(draft, Value(None))?;
                }
            }
            Word::NoSymFollow => none.mount.flags.insert(NOSYMFOLLOW),
            Word::Stays => stay.push(String::from_utf8_lossy(&item.key).into_owned()),
            Word::Nothing => {}
            Word::Ignored(why) => {
                let warning = format!("option {} {why}", written(item));
                warnings.push(warning);
            }
        }
    }
    if !stay.is_empty() {
        warnings.push(format!(
            "a remount changes flags only; {} of the mount cannot change",
            stay.join(", ")
        ));
    }
    Ok(Some(Remount {
        set: none.mount.flags,
        clear: all.mount.flags.complement(),
        warnings,
    }))
}

/// What an option is to a remount.
enum Word {
    Flag(Set),
    NoSymFollow,
    /// Something that was settled when the mount was made.
    Stays,
    /// The kernel's, from the mount table; or mount(8)'s, from fstab.
    Nothing,
    Ignored(String),
}

fn kind(item: &Item) -> Result<Word, String> {
    if item.key == b"nosymfollow" {
        return Ok(Word::NoSymFollow);
    }
    // `sync=0` is another name of `fsync=0`, and none of a flag
    let flag = FLAGS.iter().find(|o| o.matches(&item.key));
    let Some(opt) = flag.filter(|_| item.value.is_none()) else {
        let Some(opt) = find(&item.key) else {
            return Ok(Word::Ignored("is not known, and ignored".into()));
        };
        let mine = matches!(opt.class, Class::Honoured(_)) && !FROM_TABLE.contains(&opt.name);
        return Ok(if mine { Word::Stays } else { Word::Nothing });
    };
    match opt.class {
        Class::Honoured(set) => Ok(Word::Flag(set)),
        Class::Tolerated => Ok(Word::Ignored(format!("is ignored: {}", opt.about))),
        Class::Refused => Err(format!("option {}: {}", written(item), opt.about)),
    }
}
