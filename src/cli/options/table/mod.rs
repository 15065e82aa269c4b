//! The table of options.

mod kernel;
mod layers;
mod words;

use super::{Draft, Value};

pub use words::FLAGS;

/// What an option does to a draft.
pub type Set = fn(&mut Draft, Value<'_>) -> Result<(), String>;

/// What becomes of an option.
#[derive(Clone, Copy, Debug)]
pub enum Class {
    /// It does what it says. A value that cannot be honoured is refused.
    Honoured(Set),
    /// The mount is refused; the option's text is the reason.
    Refused,
    /// It is ignored with a warning; the option's text is the reason.
    Tolerated,
}

impl Class {
    /// Its name in the documentation.
    pub fn name(&self) -> &'static str {
        match self {
            Class::Honoured(_) => "honoured",
            Class::Refused => "refused",
            Class::Tolerated => "tolerated",
        }
    }
}

/// An option.
#[derive(Clone, Copy, Debug)]
pub struct Opt {
    /// What stands before the `=`. A `*` at the end stands for anything.
    pub name: &'static str,
    /// How the value is written, from the `=` on.
    pub value: &'static str,
    /// What becomes of it.
    pub class: Class,
    /// A sentence: what it does, or why not.
    pub about: &'static str,
}

impl Opt {
    /// True when the option `key` is this one.
    pub fn matches(&self, key: &[u8]) -> bool {
        match self.name.strip_suffix('*') {
            Some(prefix) => key.starts_with(prefix.as_bytes()),
            None => key == self.name.as_bytes(),
        }
    }

    /// True when several of it add up; of the others the last counts.
    pub fn many(&self) -> bool {
        self.name == layers::LOWER_ONE || self.value.is_empty()
    }
}

/// Options that belong together.
#[derive(Clone, Copy, Debug)]
pub struct Section {
    /// Its heading.
    pub title: &'static str,
    /// Its options.
    pub options: &'static [Opt],
}

/// Every option that is known.
pub const SECTIONS: &[Section] = &[
    Section {
        title: "Layers",
        options: layers::LAYERS,
    },
    Section {
        title: "Owners",
        options: layers::OWNERS,
    },
    Section {
        title: "What files look like",
        options: layers::SHOWN,
    },
    Section {
        title: "Speed and safety",
        options: kernel::SPEED,
    },
    Section {
        title: "Who may use the mount, and its name",
        options: kernel::ACCESS,
    },
    Section {
        title: "Options of libfuse",
        options: kernel::LIBFUSE,
    },
    Section {
        title: "Mount flags",
        options: words::FLAGS,
    },
    Section {
        title: "Words for other programs",
        options: words::OTHERS,
    },
];

const fn honoured(name: &'static str, value: &'static str, about: &'static str, set: Set) -> Opt {
    Opt {
        name,
        value,
        class: Class::Honoured(set),
        about,
    }
}

const fn refused(name: &'static str, value: &'static str, about: &'static str) -> Opt {
    Opt {
        name,
        value,
        class: Class::Refused,
        about,
    }
}

const fn tolerated(name: &'static str, value: &'static str, about: &'static str) -> Opt {
    Opt {
        name,
        value,
        class: Class::Tolerated,
        about,
    }
}
