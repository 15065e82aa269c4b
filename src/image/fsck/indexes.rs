//! Indexes: each checked, and compared with one that is made anew of the layers.

use super::{Fsck, Remedy, Thing, difference};
use crate::image::digest::Digest;
use crate::image::index::Index;
use crate::image::prepare::fresh_index;
use crate::vfs::Result;
use nix::errno::Errno;

impl Fsck<'_> {
    /// The index of every image.
    pub(super) fn indexes(&mut self) -> Result<()> {
        for (chain, layers) in std::mem::take(&mut self.chains) {
            self.index(chain, &layers)?;
        }
        Ok(())
    }

    fn index(&mut self, chain: Digest, layers: &[Digest]) -> Result<()> {
        let whole = layers
            .iter()
            .all(|layer| self.judged.get(&Thing::Layer(*layer)) == Some(&true));
        let path = self.store.index_path(chain);
        let (thing, what) = (Thing::Index(chain), format!("index {chain}"));
        let checked = Index::open(&path).and_then(|index| index.check());
        let mut why = match checked {
            Ok(()) => None,
            Err(e) if super::is_ours(&e) => return Err(e),
            Err(e) if e.is(Errno::ENOENT) => Some("missing".to_owned()),
            Err(e) => {
                let file = format!("{}: ", path.display());
                Some(e.to_string().replace(&file, ""))
            }
        };
        if !whole {
            // what it should be is only known when the layers are
            if let Some(why) = why {
                self.fault(thing, what, &path, why, Remedy::Repair);
            }
            return Ok(());
        }
        let fresh = match fresh_index(self.store, layers) {
            Ok(fresh) => fresh,
            Err(e) if super::is_ours(&e) => return Err(e),
            Err(e) => {
                let why = format!("cannot be made of the layers: {e}");
                self.fault(thing, what, &path, why, Remedy::None);
                return Ok(());
            }
        };
        if why.is_none() {
            why = difference(fresh.path(), &path)?;
        }
        let Some(why) = why else {
            self.judged.insert(thing, true);
            return Ok(());
        };
        self.fault(thing.clone(), what, &path, why, Remedy::Repair);
        if self.mend.is_some() {
            self.store.publish_index(chain, fresh)?;
            self.now(&thing, Remedy::Mended);
        }
        Ok(())
    }
}
