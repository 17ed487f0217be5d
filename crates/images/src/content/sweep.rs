//! Mark and sweep: what nobody needs any more leaves the store.

use super::place::age;
use super::{Content, ContentError, hex_of, io_error, is_hex};
use crate::manifest::DOCUMENT_BYTES_MAX;
use apron_model::ids::Digest;
use nix::fcntl::FlockArg;
use std::collections::{BTreeSet, HashSet};
use std::io;
use std::time::Duration;

/// What a sweep removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    pub blobs: u64,
    pub bytes: u64,
}

impl Content {
    /// Removes every blob that is older than this and that nobody needs: none of `keep` and of the names is it,
    /// and it is neither configuration nor layer of one of those that are image manifests. Others in `keep`,
    /// such as archives of sources, stay as they are. Leftovers in tmp/ go too, when the store is this user's.
    ///
    /// `older_than` must exceed the longest time between a blob's arrival, or its `renew`, and the moment at
    /// which the caller's list holds its image: a pull, an import or a build in progress is known by its young
    /// blobs alone. Within that it is safe beside them. When a manifest cannot be read nothing is removed.
    pub fn sweep(&self, keep: &BTreeSet<Digest>, older_than: Duration) -> Result<Swept, ContentError> {
        self.place.remove_leftovers();
        let mut needed: HashSet<String> = HashSet::new();
        // Names that are set from here on are of blobs that were put or renewed just before.
        let named = self.named()?;
        for root in keep.iter().chain(&named) {
            let Ok(hex) = hex_of(root) else { continue };
            needed.insert(hex.to_owned());
            for part in self.parts(root)? {
                needed.insert(hex_of(&part)?.to_owned());
            }
        }
        let mut swept = Swept::default();
        let mut first_error = None;
        let walked = self.place.each_blob(|name| {
            if is_hex(name) && !needed.contains(name) {
                match self.sweep_one(name, older_than) {
                    Ok(Some(bytes)) => {
                        swept.blobs += 1;
                        swept.bytes = swept.bytes.saturating_add(bytes);
                    }
                    Ok(None) => {}
                    Err(e) => {
                        first_error.get_or_insert(e);
                    }
                }
            }
            Ok(())
        });
        walked.map_err(|e| io_error(&self.place.dir, e))?;
        match first_error {
            Some(error) => Err(error),
            None => Ok(swept),
        }
    }

    /// Answers with its size if it was old enough and is gone. The lock is held for one blob at a time, so that
    /// nobody waits for a sweep.
    fn sweep_one(&self, hex: &str, older_than: Duration) -> Result<Option<u64>, ContentError> {
        let fail = |e: io::Error| io_error(&self.place.blob_path(hex), e);
        let old = |status: &nix::sys::stat::FileStat| age(status).is_some_and(|age| age >= older_than);
        // Most blobs are needed or young: look before the lock, then again under it.
        if !self.place.blob_status(hex).map_err(fail)?.as_ref().is_some_and(old) {
            return Ok(None);
        }
        let _lock = self.place.lock(FlockArg::LockExclusiveNonblock)?;
        match self.place.blob_status(hex).map_err(fail)? {
            Some(status) if old(&status) => {
                self.place.blob_remove(hex).map_err(fail)?;
                Ok(Some(u64::try_from(status.st_size).unwrap_or(0)))
            }
            _ => Ok(None),
        }
    }

    /// Configuration and layers of an image. Nothing hangs on what is not there, is no manifest, or is not what its
    /// name says.
    pub fn parts(&self, image: &Digest) -> Result<Vec<Digest>, ContentError> {
        let manifest = match self.blob_bytes(image) {
            // An archive of sources is not read to learn that it is no manifest.
            Ok(bytes) if bytes > DOCUMENT_BYTES_MAX => return Ok(Vec::new()),
            Ok(_) => self.manifest(image),
            Err(e) => Err(e),
        };
        match manifest {
            Ok(manifest) => {
                Ok(manifest.layers.into_iter().chain([manifest.config]).map(|part| part.digest).collect())
            }
            Err(
                ContentError::NotFound(_)
                | ContentError::Malformed { .. }
                | ContentError::Mismatch { .. }
                | ContentError::NotADigest(_),
            ) => Ok(Vec::new()),
            Err(e) => Err(e),
        }
    }
}
