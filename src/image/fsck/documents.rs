//! Documents, and what they refer to: the names, manifests and configurations.

use super::{Fsck, Remedy, Thing, digest_fault, unreadable};
use crate::image::container::RECORD;
use crate::image::digest::Digest;
use crate::image::oci::{self, Descriptor, Role, digest_of};
use crate::image::store::{Entry, INDEX, LAYOUT, User, same_count};
use crate::vfs::{Error, Result};
use nix::errno::Errno;
use std::fs::{self, File};

impl Fsck<'_> {
    /// Goes from the names and from what uses images to all that they refer to.
    pub(super) fn documents(&mut self) -> Result<()> {
        self.layout()?;
        match self.store.entries() {
            Ok(entries) => entries
                .iter()
                .try_for_each(|e| self.root(&e.manifest, &label(e)))?,
            Err(e) if super::is_ours(&e) => return Err(e),
            Err(e) => {
                let path = self.store.root().join(INDEX);
                let why = match e.is(Errno::ENOENT) {
                    true => "missing",
                    false => e
                        .reason()
                        .trim_start_matches(&format!("{}: ", path.display())),
                };
                let why = format!("{why}; the names of all images are in it");
                let what = INDEX.to_owned();
                self.fault(Thing::Names, what, &path, why, Remedy::None);
            }
        }
        self.users()
    }

    fn layout(&mut self) -> Result<()> {
        let path = self.store.root().join(LAYOUT);
        let why = match fs::read(&path) {
            Err(e) => Some(unreadable(&path, e)?),
            Ok(text) => {
                let said = serde_json::from_slice::<serde_json::Value>(&text).ok();
                let version = said.as_ref().and_then(|v| v["imageLayoutVersion"].as_str());
                (version != Some("1.0.0")).then(|| "does not say version 1.0.0".to_owned())
            }
        };
        let Some(why) = why else {
            return Ok(());
        };
        self.fault(Thing::Layout, LAYOUT.into(), &path, why, Remedy::Repair);
        if let Some(store) = self.mend {
            store.mend_layout()?;
            self.now(&Thing::Layout, Remedy::Mended);
        }
        Ok(())
    }

    /// Containers and mounts.
    fn users(&mut self) -> Result<()> {
        let mut readable = true;
        for name in self.store.container_names()? {
            let said = format!("container {name:?}");
            match self.store.container(&name) {
                Ok(container) => self.root(&container.record.manifest, &said)?,
                Err(e) => {
                    readable = false;
                    let path = self.store.uppers().join(&name).join(RECORD);
                    let (thing, why) = (Thing::Container(name), e.reason().to_owned());
                    self.fault(thing, said, &path, why, Remedy::None);
                }
            }
        }
        if !readable {
            return Ok(());
        }
        match self.store.users() {
            Ok(all) => {
                let mounts = all.into_iter().filter(|(user, _)| *user == User::Process);
                for (user, manifest) in mounts {
                    self.root(&manifest, &user.to_string())?;
                }
            }
            Err(e) => {
                let path = self.store.root().join("vellum/pins");
                let why = e.reason().to_owned();
                self.fault(Thing::Pins, "pins".into(), &path, why, Remedy::None);
            }
        }
        Ok(())
    }

    /// What a manifest, or an index of manifests, refers to.
    fn root(&mut self, descriptor: &Descriptor, user: &str) -> Result<()> {
        match oci::role_of(descriptor) {
            Ok(Role::Index) => {
                let Some(bytes) = self.document(descriptor, "index of manifests", user)? else {
                    return Ok(());
                };
                match oci::parse_index("", &bytes) {
                    Err(e) => self.not_understood(descriptor, "index of manifests", &e),
                    // those for other platforms are often left out
                    Ok(index) => {
                        for one in index.manifests() {
                            if digest_of(one).is_ok_and(|d| self.store.has_blob(d)) {
                                self.root(one, user)?;
                            }
                        }
                        Ok(())
                    }
                }
            }
            Ok(_) => self.manifest(descriptor, user),
            // something of another tool: its blob is looked at, and no more is known of it
            Err(_) => {
                self.uses(user, Thing::Blob(digest_of(descriptor)?));
                Ok(())
            }
        }
    }

    fn manifest(&mut self, descriptor: &Descriptor, user: &str) -> Result<()> {
        let Some(bytes) = self.document(descriptor, "manifest", user)? else {
            return Ok(());
        };
        let parts = match oci::parse_manifest("", &bytes) {
            Ok(parts) => parts,
            // other tools may keep what is no image
            Err(e) if e.is(Errno::EOPNOTSUPP) => return self.something_else(&bytes, user),
            Err(e) => return self.not_understood(descriptor, "manifest", &e),
        };
        self.images.insert(digest_of(descriptor)?);
        for layer in parts.layers() {
            self.uses(user, Thing::Blob(digest_of(layer)?));
        }
        let Some(bytes) = self.document(parts.config(), "configuration", user)? else {
            return Ok(());
        };
        let ids = oci::parse_config("", &bytes).and_then(|config| {
            let ids = oci::diff_ids(&config)?;
            same_count(&parts, &ids)?;
            Ok(ids)
        });
        let ids = match ids {
            Ok(ids) => ids,
            Err(e) => return self.not_understood(parts.config(), "configuration", &e),
        };
        for (id, blob) in ids.iter().zip(parts.layers()) {
            self.uses(user, Thing::Layer(*id));
            let layer = self.layers.entry(*id).or_default();
            layer.blobs.insert(digest_of(blob)?, blob.clone());
        }
        if let Some(chain) = oci::chain_id(&ids) {
            self.uses(user, Thing::Index(chain));
            self.chains.insert(chain, ids);
        }
        Ok(())
    }

    /// A manifest of no image: what it names is used.
    fn something_else(&mut self, bytes: &[u8], user: &str) -> Result<()> {
        let parts: serde_json::Value = serde_json::from_slice(bytes).unwrap_or_default();
        let layers = parts["layers"].as_array().into_iter().flatten();
        for part in layers.chain([&parts["config"]]) {
            if let Some(Ok(digest)) = part["digest"].as_str().map(str::parse) {
                self.uses(user, Thing::Blob(digest));
            }
        }
        Ok(())
    }

    /// Reads a document if it is whole.
    fn document(&mut self, of: &Descriptor, what: &str, user: &str) -> Result<Option<Vec<u8>>> {
        let digest = digest_of(of)?;
        let thing = Thing::Blob(digest);
        self.uses(user, thing.clone());
        if self.judged.get(&thing) == Some(&false) {
            return Ok(None);
        }
        let path = self.store.blob_path(digest);
        let read = File::open(&path)
            .map_err(Error::from)
            .and_then(|f| oci::read_document("", f));
        let (why, whole) = match read {
            Err(e) if super::is_ours(&e) => return Err(e.context(path.display())),
            Err(e) if e.is(Errno::ENOENT) => ("missing".to_owned(), false),
            Err(e) => (e.to_string(), false),
            Ok(bytes) => match oci::verify(of, &bytes) {
                Ok(()) => {
                    self.judged.insert(thing, true);
                    return Ok(Some(bytes));
                }
                Err(e) => (e.reason().to_owned(), Digest::of(&bytes) == digest),
            },
        };
        match whole {
            // the blob is what it should be: what refers to it is not
            true => self.fault(thing, format!("{what} {digest}"), &path, why, Remedy::None),
            false => self.bad_blob(digest, what, why)?,
        }
        Ok(None)
    }

    fn not_understood(&mut self, of: &Descriptor, what: &str, e: &Error) -> Result<()> {
        let digest = digest_of(of)?;
        let (thing, what) = (Thing::Blob(digest), format!("{what} {digest}"));
        if self.judged.get(&thing) != Some(&false) {
            let path = self.store.blob_path(digest);
            let why = e.reason().trim_start_matches(": ").to_owned();
            self.fault(thing, what, &path, why, Remedy::None);
        }
        Ok(())
    }

    /// All blobs that were not looked at yet; what refers to one that is missing.
    pub(super) fn other_blobs(&mut self) -> Result<()> {
        let used = self.users.keys().filter_map(|thing| match thing {
            Thing::Blob(digest) => Some(*digest),
            _ => None,
        });
        let mut all: std::collections::BTreeSet<Digest> = used.collect();
        all.extend(self.store.blobs()?);
        for digest in all {
            let thing = Thing::Blob(digest);
            if self.judged.contains_key(&thing) {
                continue;
            }
            match digest_fault(&self.store.blob_path(digest), digest)? {
                Some(why) => self.bad_blob(digest, "blob", why)?,
                None => drop(self.judged.insert(thing, true)),
            }
        }
        Ok(())
    }
}

/// What people know an image by.
fn label(entry: &Entry) -> String {
    match (entry.name(), entry.label(), digest_of(&entry.manifest)) {
        (Some(name), ..) => name.familiar(),
        (None, Some(label), _) => label.to_owned(),
        (None, None, Ok(digest)) => format!("<none>@{}", digest.short()),
        (None, None, Err(_)) => "<none>".to_owned(),
    }
}
