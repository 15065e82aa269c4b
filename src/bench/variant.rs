//! Which of the things that images have the stacks have in abundance.

use super::cut::Mix;
use super::tree::Shape;
use serde::{Deserialize, Serialize};

/// A kind of stack.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Variant {
    /// Of everything a little, as images are.
    #[default]
    Mixed,
    /// Most files have an older version beneath.
    Shadowed,
    /// As many deleted files as there are files, and many opaque directories.
    Whiteouts,
    /// Files many directories deep. The tree has to be a generated one.
    Deep,
    /// Thousands of files in one directory. The tree has to be a generated one.
    Wide,
}

/// Directories more that a deep file is in.
const LEVELS: usize = 30;

impl Variant {
    /// How the tree is cut.
    pub fn mix(self) -> Mix {
        match self {
            Variant::Mixed | Variant::Deep | Variant::Wide => Mix::USUAL,
            Variant::Shadowed => Mix {
                shadowed: 70,
                ..Mix::USUAL
            },
            Variant::Whiteouts => Mix {
                deleted: 100,
                opaque: 40,
                ..Mix::USUAL
            },
        }
    }

    /// What the generated tree looks like.
    pub fn shape(self) -> Shape {
        match self {
            Variant::Deep => Shape::Deep(LEVELS),
            Variant::Wide => Shape::Wide,
            Variant::Mixed | Variant::Shadowed | Variant::Whiteouts => Shape::Usual,
        }
    }

    /// True if it says what the tree is, so that no other can be given.
    pub fn is_a_tree(self) -> bool {
        self.shape() != Shape::Usual
    }
}
