//! Layers: each blob read once, unpacked again, and compared with what the store has of it.

use super::{Fsck, LayerUse, Remedy, Thing, difference, digest_fault};
use crate::image::digest::{Digest, Digesting};
use crate::image::entry::Item;
use crate::image::layer::Limits;
use crate::image::load::{Decoder, Outcome};
use crate::image::oci::{Compression, Descriptor};
use crate::image::store::{INFO, LayerFacts, Staging};
use crate::image::table::Table;
use crate::image::tree::Content;
use crate::image::unpack::{OBJECTS, PACK, TABLE, unpack};
use crate::vfs::{Error, Result};
use nix::errno::Errno;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};

/// A layer as its blob makes it.
struct Fresh {
    stage: Staging,
    facts: LayerFacts,
}

impl Fsck<'_> {
    /// All layers that images have, then those that none has.
    pub(super) fn all_layers(&mut self) -> Result<()> {
        let layers = std::mem::take(&mut self.layers);
        for (diff_id, layer) in &layers {
            self.layer(*diff_id, layer)?;
            self.progress.done(*diff_id, Outcome::Checked);
        }
        for diff_id in self.store.layers()? {
            if !layers.contains_key(&diff_id) {
                self.alone(diff_id)?;
            }
        }
        self.layers = layers;
        Ok(())
    }

    fn layer(&mut self, diff_id: Digest, layer: &LayerUse) -> Result<()> {
        let mut fresh = None;
        for (digest, blob) in &layer.blobs {
            let made = self.read(diff_id, *digest, blob)?;
            fresh = fresh.or(made);
        }
        match fresh {
            Some(fresh) => self.compare(diff_id, fresh),
            None => self.alone(diff_id),
        }
    }

    /// Reads a layer's blob. Nothing is made of one that has a fault.
    fn read(
        &mut self,
        diff_id: Digest,
        digest: Digest,
        blob: &Descriptor,
    ) -> Result<Option<Fresh>> {
        let thing = Thing::Blob(digest);
        if self.judged.get(&thing) == Some(&false) {
            return Ok(None);
        }
        let path = self.store.blob_path(digest);
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(e) => {
                let why = super::unreadable(&path, e)?;
                self.bad_blob(digest, "blob of a layer", why)?;
                return Ok(None);
            }
        };
        self.progress.start(diff_id, blob.size());
        let counted = Counted(file, |n| self.progress.advance(diff_id, n));
        let mut from = BufReader::with_capacity(1 << 18, Digesting::new(counted));
        let stage = self.store.staging()?;
        let (made, rest) = match from.fill_buf().map(Compression::sniff) {
            Err(e) => (Err(e.into()), from),
            Ok(how) => again(how, from, &stage)?,
        };
        let read = drain(rest);
        let what = "blob of a layer";
        let (is, size) = match read {
            Ok(read) => read,
            Err(e) => {
                let why = super::unreadable(&path, e)?;
                self.bad_blob(digest, what, why)?;
                return Ok(None);
            }
        };
        if is != digest {
            self.bad_blob(digest, what, format!("its content has the digest {is}"))?;
            return Ok(None);
        }
        let why = match made {
            Err(e) if super::is_ours(&e) => {
                return Err(e.context(format!("unpack layer {diff_id} again")));
            }
            Err(e) => format!("cannot be unpacked: {e}"),
            Ok((tar, _)) if tar != diff_id => {
                format!("its tar has the digest {tar}, and the diff ID is {diff_id}")
            }
            Ok(_) if size != blob.size() => {
                format!("has {size} bytes, and the manifest says {}", blob.size())
            }
            Ok((_, facts)) => {
                self.judged.insert(thing, true);
                return Ok(Some(Fresh { stage, facts }));
            }
        };
        self.fault(thing, format!("{what} {digest}"), &path, why, Remedy::None);
        Ok(None)
    }

    /// Compares what the store has with what the blob makes, and puts that there if it is wanted.
    fn compare(&mut self, diff_id: Digest, fresh: Fresh) -> Result<()> {
        fresh.facts.objects.each(|object| {
            let thing = Thing::Object(object);
            self.like_layer(diff_id, thing.clone());
            self.object(object, Remedy::Repair)?;
            if let Some(store) = self.mend
                && self.judged.get(&thing) == Some(&false)
            {
                let from = fresh.stage.path().join(OBJECTS).join(object.hex());
                store.mend_object(object, &from)?;
                self.now(&thing, Remedy::Mended);
            }
            Ok(())
        })?;
        let thing = Thing::Layer(diff_id);
        let dir = self.store.layer_path(diff_id);
        let mut faults = Vec::new();
        if dir.is_dir() {
            for name in [PACK, TABLE] {
                let is = dir.join(name);
                let why = difference(&fresh.stage.path().join(name), &is)?;
                faults.extend(why.map(|why| (format!("{name} of layer {diff_id}"), is, why)));
            }
            let why = match self.store.layer_info(diff_id) {
                Ok(info) => match fresh.facts.are(&info)? {
                    true => None,
                    false => Some("is not what the layer has".to_owned()),
                },
                Err(e) => Some(of_info(&e)),
            };
            let what = format!("{INFO} of layer {diff_id}");
            faults.extend(why.map(|why| (what, dir.join(INFO), why)));
        } else {
            faults.push((format!("unpacked layer {diff_id}"), dir, "missing".into()));
        }
        if faults.is_empty() {
            self.judged.insert(thing, true);
            return Ok(());
        }
        for (what, path, why) in faults {
            self.fault(thing.clone(), what, &path, why, Remedy::Repair);
        }
        if let Some(store) = self.mend {
            let Fresh { stage, facts } = fresh;
            std::fs::remove_dir_all(stage.path().join(OBJECTS))?;
            store.mend_layer(diff_id, stage, &facts)?;
            self.now(&thing, Remedy::Mended);
        }
        Ok(())
    }

    /// Whoever uses a layer uses this too.
    fn like_layer(&mut self, diff_id: Digest, thing: Thing) {
        if let Some(users) = self.users.get(&Thing::Layer(diff_id)).cloned() {
            self.users.entry(thing).or_default().extend(users);
        }
    }

    /// Compares an object with its digest, once.
    fn object(&mut self, object: Digest, remedy: Remedy) -> Result<()> {
        let thing = Thing::Object(object);
        if self.judged.contains_key(&thing) {
            return Ok(());
        }
        let path = self.store.object_path(object);
        match digest_fault(&path, object)? {
            Some(why) => self.fault(thing, format!("object {object}"), &path, why, remedy),
            None => drop(self.judged.insert(thing, true)),
        }
        Ok(())
    }

    /// A layer without its blob: as far as it can be told by itself whether it is whole.
    fn alone(&mut self, diff_id: Digest) -> Result<()> {
        let thing = Thing::Layer(diff_id);
        let used = self.is_used(&thing);
        // one that nobody uses goes
        let remedy = if used {
            Remedy::ReloadAndRepair
        } else {
            Remedy::Repair
        };
        let dir = self.store.layer_path(diff_id);
        if !dir.is_dir() {
            let what = format!("unpacked layer {diff_id}");
            self.fault(thing, what, &dir, "missing".into(), Remedy::Reload);
            return Ok(());
        }
        let mut faults = Vec::new();
        let info = match self.store.layer_info(diff_id) {
            Ok(info) => info.objects,
            Err(e) => {
                faults.push((INFO, of_info(&e)));
                Vec::new()
            }
        };
        let mut objects: BTreeMap<Digest, u64> = BTreeMap::new();
        match needs(&dir.join(TABLE), &mut objects) {
            Err(e) if super::is_ours(&e) => return Err(e.context(dir.display())),
            Err(e) if e.is(Errno::ENOENT) => faults.push((TABLE, "missing".to_owned())),
            Err(e) => faults.push((TABLE, e.to_string())),
            Ok(need) => {
                let pack = dir.join(PACK);
                let has = std::fs::metadata(&pack).map(|m| m.len());
                match has {
                    Err(e) => faults.push((PACK, super::unreadable(&pack, e)?)),
                    Ok(has) if has != need => {
                        faults.push((PACK, format!("has {has} bytes, not {need}")));
                    }
                    Ok(_) => {}
                }
            }
        }
        let all: BTreeSet<Digest> = objects.keys().copied().chain(info).collect();
        for object in all {
            if used {
                self.like_layer(diff_id, Thing::Object(object));
                self.object(object, remedy)?;
            } else if let Some(why) = digest_fault(&self.store.object_path(object), object)? {
                // loading would take the layer for whole
                faults.push((TABLE, format!("its object {object}: {why}")));
            }
        }
        if faults.is_empty() {
            self.judged.insert(thing, true);
            return Ok(());
        }
        for (name, why) in faults {
            let what = format!("{name} of layer {diff_id}");
            self.fault(thing.clone(), what, &dir.join(name), why, remedy);
        }
        if let Some(store) = self.mend
            && !used
        {
            store.remove_layer(diff_id)?;
            self.now(&thing, Remedy::Mended);
        }
        Ok(())
    }

    /// Objects that no layer has.
    pub(super) fn other_objects(&mut self) -> Result<()> {
        for object in self.store.objects()? {
            let thing = Thing::Object(object);
            if self.judged.contains_key(&thing) {
                continue;
            }
            let remedy = match self.is_used(&thing) {
                true => Remedy::ReloadAndRepair,
                false => Remedy::Repair,
            };
            self.object(object, remedy)?;
            if let Some(store) = self.mend
                && self.judged.get(&thing) == Some(&false)
                && !self.is_used(&thing)
            {
                store.remove_object(object)?;
                self.now(&thing, Remedy::Mended);
            }
        }
        Ok(())
    }
}

/// Why a layer's record cannot be read, without what it is of.
fn of_info(e: &Error) -> String {
    match e.errno() {
        Errno::ENOENT => "missing".to_owned(),
        _ => e
            .reason()
            .rsplit_once(INFO)
            .map_or(e.reason(), |(_, why)| why)
            .trim_start_matches(": ")
            .to_owned(),
    }
}

/// How long a table's pack has to be; and the objects that it refers to, with their sizes.
fn needs(table: &std::path::Path, objects: &mut BTreeMap<Digest, u64>) -> Result<u64> {
    let file = File::open(table)?;
    let mut table = Table::open(BufReader::with_capacity(1 << 18, file))?;
    let mut need = 0;
    table.rows(|row| {
        if let Item::File(_, size) = row.entry.item {
            match row.content {
                Content::Packed { offset, .. } => need = need.max(offset.saturating_add(size)),
                Content::Object(object) => drop(objects.insert(object, size)),
                Content::Empty => {}
            }
        }
        Ok(())
    })?;
    Ok(need)
}

/// Digest of a tar, and what the store is to know of its layer.
type Made = Result<(Digest, LayerFacts)>;

/// Unpacks a blob again into `stage`; what is left of the blob is given back.
fn again<R: BufRead>(how: Compression, from: R, stage: &Staging) -> Result<(Made, R)> {
    let mut tar = Digesting::new(Decoder::new(how, from)?);
    // all objects are made again, to replace those that are damaged
    let unpacked = unpack(&mut tar, Limits::default(), stage.path(), &|_| false);
    let read = io::copy(&mut tar, &mut io::sink());
    let size = tar.len();
    let (decoder, digest) = tar.finish();
    let made = unpacked.and_then(|unpacked| {
        read?;
        let objects = unpacked.objects;
        Ok((digest, LayerFacts { size, objects }))
    });
    Ok((made, decoder.into_inner()))
}

/// Reads to the end: the digest and the size of all that was read.
fn drain<R: Read>(mut from: BufReader<Digesting<R>>) -> io::Result<(Digest, u64)> {
    io::copy(&mut from, &mut io::sink())?;
    let digesting = from.into_inner();
    let size = digesting.len();
    Ok((digesting.finish().1, size))
}

/// Tells how many bytes are read.
struct Counted<F: Fn(u64)>(File, F);

impl<F: Fn(u64)> Read for Counted<F> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.0.read(buf)?;
        (self.1)(n as u64);
        Ok(n)
    }
}
