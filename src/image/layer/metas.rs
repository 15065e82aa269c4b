//! What a layer that is being written says of each path: a hard link is written with what its file has.

use crate::image::entry::{Meta, Path};
use crate::image::spill::{Pages, Records};
use crate::image::tree::{Strings, Text};
use crate::vfs::{Error, Result};
use nix::errno::Errno;

/// Attributes by path, in pages.
#[derive(Debug)]
pub struct Metas {
    paths: Strings,
    /// The number of each path's attributes; 0 for none, which is that of the empty string.
    of: Records<u32>,
    /// Attributes as bytes: many files have the same.
    metas: Strings,
}

/// Attributes that are there, by their number.
#[derive(Clone, Copy, Debug)]
pub struct Known(Text);

impl Metas {
    pub fn new(pages: &Pages) -> Result<Metas> {
        let mut of = Records::new(pages);
        // of the empty path
        of.push(&0)?;
        Ok(Metas {
            paths: Strings::new(pages)?,
            of,
            metas: Strings::new(pages)?,
        })
    }

    /// What was said last of a path.
    pub fn find(&self, path: &Path) -> Result<Option<Known>> {
        let Some(path) = self.paths.find(&path.join(&b'/'))? else {
            return Ok(None);
        };
        let known = Text::numbered(self.of.get(path.number())?);
        Ok((known != Text::EMPTY).then_some(Known(known)))
    }

    /// Attributes that are there.
    pub fn get(&self, known: Known) -> Result<Meta> {
        let bytes = self.metas.get(known.0)?;
        postcard::from_bytes(&bytes).map_err(|e| Error::because(Errno::EIO, e))
    }

    /// Notes attributes.
    pub fn note(&mut self, meta: &Meta) -> Result<Known> {
        let bytes = postcard::to_stdvec(meta).map_err(|e| Error::because(Errno::EIO, e))?;
        self.metas.intern(&bytes).map(Known)
    }

    /// Says what a path has now.
    pub fn set(&mut self, path: &Path, known: Known) -> Result<()> {
        let number = self.paths.intern(&path.join(&b'/'))?.number();
        match number < self.of.len() {
            true => self.of.set(number, &known.0.number()),
            false => self.of.push(&known.0.number()).map(drop),
        }
    }

    /// Forgets what was said of a path.
    pub fn clear(&mut self, path: &Path) -> Result<()> {
        match self.paths.find(&path.join(&b'/'))? {
            Some(path) => self.of.set(path.number(), &0),
            None => Ok(()),
        }
    }
}
