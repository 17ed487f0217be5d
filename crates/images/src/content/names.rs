//! Names of images in the store: those of imported archives, and of the bases that builds start from.
//!
//! **Which image does a reference mean?** A reference that names a registry's host means that registry:
//! `ghcr.io/team/web:1` is asked for there first, and an import of that name serves where the registry does not
//! give the image (no network, no access, no such tag). A reference without a host, or with podman's
//! `localhost/`, means what the user has put here under that name; only without an import is a registry asked.
//! So an import never hides a newer image of a registry that was named, and one that was given a plain name is
//! what runs. `registry::Registry::obtain` does this.

use super::place::wall_clock;
use super::{Content, ContentError, io_error};
use apron_model::ids::Digest;
use apron_model::time::WallTime;
use nix::fcntl::FlockArg;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::PathBuf;

/// Each takes a few lines in one small file.
pub(super) const NAMES_MAX: usize = 10_000;
/// A registry's host, a path of some hundred characters and a tag of at most 128.
const NAME_BYTES_MAX: usize = 512;
/// `NAMES_MAX` of the longest.
const FILE_BYTES_MAX: u64 = 16 * 1024 * 1024;
const FILE: &str = "images.json";

/// Who gave a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NameSource {
    /// A user, by importing an archive.
    Imported,
    /// The node, for a base that it assembled; it is assembled again when it is missing.
    Base,
}

/// One name and what it stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name {
    pub name: String,
    /// Of the manifest.
    pub digest: Digest,
    pub source: NameSource,
    /// When the name was last set.
    pub set_at: WallTime,
    /// What the name stood for before it was set, when that was another image.
    pub replaced: Option<Digest>,
    /// Manifest, configuration and layers as they lie in the store; images may share layers. 0 when the image
    /// is not there.
    pub bytes: u64,
}

#[derive(Serialize, Deserialize)]
struct Entry {
    digest: Digest,
    source: NameSource,
    set_at: WallTime,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    replaced: Option<Digest>,
}

impl Content {
    /// Every name, in order.
    pub fn name_list(&self) -> Result<Vec<Name>, ContentError> {
        Ok(self.entries()?.into_iter().map(|(name, entry)| self.described(name, entry)).collect())
    }

    pub fn name_entry(&self, name: &str) -> Result<Option<Name>, ContentError> {
        Ok(self.entries()?.remove(name).map(|entry| self.described(name.to_owned(), entry)))
    }

    /// The manifest that a name stands for.
    pub fn name_get(&self, name: &str) -> Result<Option<Digest>, ContentError> {
        Ok(self.entries()?.remove(name).map(|entry| entry.digest))
    }

    /// The import of this name, or of the name that means the same with `:latest`, if all of it is there.
    pub(crate) fn import_of(&self, reference: &str) -> Result<Option<Name>, ContentError> {
        let last = reference.rsplit('/').next().unwrap_or(reference);
        let other = match (last.strip_suffix(":latest"), last.contains([':', '@'])) {
            (Some(_), _) => reference.strip_suffix(":latest").map(str::to_owned),
            (None, true) => None,
            (None, false) => Some(format!("{reference}:latest")),
        };
        for name in [Some(reference.to_owned()), other].into_iter().flatten() {
            if let Some(entry) = self.name_entry(&name)?
                && entry.source == NameSource::Imported
                && matches!(self.complete(&entry.digest), Ok(true))
            {
                return Ok(Some(entry));
            }
        }
        Ok(None)
    }

    /// Lets a name of an imported image stand for this manifest.
    pub fn name_set(&self, name: &str, manifest: &Digest) -> Result<(), ContentError> {
        self.name_put(name, manifest, NameSource::Imported)
    }

    /// Like `name_set` for several names and the manifest of each: all of them are set or, on an error, none.
    pub fn names_set(&self, images: &[(String, Digest)]) -> Result<(), ContentError> {
        let images = images.iter().map(|(name, manifest)| (name.as_str(), manifest));
        self.names_put(images.collect(), NameSource::Imported)
    }

    /// Lets a name stand for this manifest.
    pub(crate) fn name_put(
        &self,
        name: &str,
        manifest: &Digest,
        source: NameSource,
    ) -> Result<(), ContentError> {
        self.names_put(vec![(name, manifest)], source)
    }

    /// What the names stood for before stays in the store until a sweep.
    fn names_put(&self, images: Vec<(&str, &Digest)>, source: NameSource) -> Result<(), ContentError> {
        let usable = |name: &str| {
            !name.is_empty() && name.len() <= NAME_BYTES_MAX && name.bytes().all(|b| b.is_ascii_graphic())
        };
        if let Some((name, _)) = images.iter().find(|(name, _)| !usable(name)) {
            return Err(ContentError::BadName(name.chars().take(100).collect()));
        }
        for (_, manifest) in &images {
            // A sweep that has read the names already must find the image young. That it is not complete is the
            // caller's affair.
            let _ = self.complete(manifest);
        }
        let set_at = WallTime(u64::try_from(wall_clock().as_millis()).unwrap_or(u64::MAX));
        self.change(|names| {
            for (name, manifest) in images {
                let before = names.get(name);
                let replaced = match before {
                    Some(entry) if entry.digest != *manifest => Some(entry.digest.clone()),
                    Some(entry) => entry.replaced.clone(),
                    None if names.len() >= NAMES_MAX => return Err(ContentError::TooManyNames),
                    None => None,
                };
                let entry = Entry { digest: manifest.clone(), source, set_at, replaced };
                names.insert(name.to_owned(), entry);
            }
            Ok(())
        })
    }

    /// Forgets a name and answers with what it stood for; None when there was no such name. The image itself
    /// goes with the next sweep that finds nobody else who needs it.
    pub fn name_remove(&self, name: &str) -> Result<Option<Digest>, ContentError> {
        let mut removed = None;
        self.change(|names| {
            removed = names.remove(name).map(|entry| entry.digest);
            Ok(())
        })?;
        Ok(removed)
    }

    /// The manifests that have a name.
    pub(super) fn named(&self) -> Result<Vec<Digest>, ContentError> {
        Ok(self.entries()?.into_values().map(|entry| entry.digest).collect())
    }

    fn change(
        &self,
        change: impl FnOnce(&mut BTreeMap<String, Entry>) -> Result<(), ContentError>,
    ) -> Result<(), ContentError> {
        let _lock = self.place.lock(FlockArg::LockExclusiveNonblock)?;
        let mut names = self.entries()?;
        change(&mut names)?;
        let fail = |e| io_error(&self.names_path(), e);
        let text = serde_json::to_vec_pretty(&names).map_err(|e| fail(io::Error::other(e)))?;
        let (temporary, mut file) = self.place.temporary()?;
        file.write_all(&text)
            .and_then(|()| file.sync_all())
            .and_then(|()| self.place.replace(&temporary, FILE))
            .map_err(|e| {
                self.place.remove_temporary(&temporary);
                fail(e)
            })
    }

    fn entries(&self) -> Result<BTreeMap<String, Entry>, ContentError> {
        let fail = |e| io_error(&self.names_path(), e);
        match self.place.read(FILE, FILE_BYTES_MAX).map_err(fail)? {
            // The text of a parse error could quote what a link led to, so only the place is said.
            Some(text) => serde_json::from_slice(&text).map_err(|e| {
                let reason = format!("not valid at line {}, column {}", e.line(), e.column());
                fail(io::Error::new(io::ErrorKind::InvalidData, reason))
            }),
            None => Ok(BTreeMap::new()),
        }
    }

    fn described(&self, name: String, entry: Entry) -> Name {
        let Entry { digest, source, set_at, replaced } = entry;
        let bytes = self.image_bytes(&digest).unwrap_or(0);
        Name { name, digest, source, set_at, replaced, bytes }
    }

    fn image_bytes(&self, image: &Digest) -> Result<u64, ContentError> {
        let manifest = self.manifest(image)?;
        let mut bytes = self.blob_bytes(image)?;
        for descriptor in manifest.layers.iter().chain([&manifest.config]) {
            bytes = bytes.saturating_add(self.blob_bytes(&descriptor.digest)?);
        }
        Ok(bytes)
    }

    fn names_path(&self) -> PathBuf {
        self.place.dir.join(FILE)
    }
}
