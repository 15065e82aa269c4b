//! Layers that are kept as they came, where what is made of them does not matter.

use super::*;
use crate::vfs::Result;

/// Keeps a layer as the tar that it is.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct CopyTar;

impl Unpack for CopyTar {
    fn unpack(
        &self,
        _: &Store,
        layer_tar: &mut dyn Read,
        diff_id: Digest,
        stage: &Path,
    ) -> Result<Digests> {
        let mut file = std::fs::File::create_new(stage.join("tar"))?;
        std::io::copy(layer_tar, &mut file).context(|| format!("layer {diff_id}"))?;
        Digests::of([])
    }

    fn finish(&self, store: &Store, diff_ids: &[Digest]) -> Result<()> {
        match oci::chain_id(diff_ids) {
            Some(chain) => store.publish_index(chain, store.temp()?),
            None => Ok(()),
        }
    }
}
