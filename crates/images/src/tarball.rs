//! Tar archives of strangers, member by member.
//!
//! The reader of the format takes what describes a member (long names, records of extensions, maps of sparse files)
//! into memory before it answers with the member. How long that may be is up to whoever wrote the archive, so the
//! bytes that it may read on its way to the next member are counted here, whatever it takes them for.

use crate::stream::{Measured, decompress};
use apron_model::ids::Digest;
use std::cell::Cell;
use std::io::{self, Read};
use std::rc::Rc;
use tar::{Archive, Entry};

/// What may describe one member: its name and attributes. Linux knows no longer path than 4 KiB and no larger
/// attribute than 64 KiB.
const DESCRIPTION_BYTES_MAX: u64 = 1024 * 1024;

/// A plain or compressed tar.
pub(crate) struct Tarball<'r> {
    archive: Archive<Measured<Described<'r>>>,
    /// What may still be read before the next member is there; None while a member's content is read.
    left: Rc<Cell<Option<u64>>>,
    bytes_max: u64,
}

/// One member, whose content can be read from it.
pub(crate) type Member<'a, 'r> = Entry<'a, Measured<Described<'r>>>;

impl<'r> Tarball<'r> {
    /// `bytes_max`: of the whole archive as it is without compression, and of what its members say that they hold.
    pub(crate) fn new(source: impl Read + 'r, bytes_max: u64) -> io::Result<Tarball<'r>> {
        let left = Rc::new(Cell::new(None));
        let described = Described { source: decompress(source)?, left: left.clone() };
        Ok(Tarball { archive: Archive::new(Measured::new(described, bytes_max)), left, bytes_max })
    }

    /// Calls `see` with each member in turn; its first error ends it. What `see` does not read is passed over.
    pub(crate) fn each<E: From<io::Error>>(
        &mut self,
        mut see: impl FnMut(&mut Member<'_, 'r>) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut held = 0_u64;
        let mut entries = self.archive.entries()?;
        loop {
            self.left.set(Some(DESCRIPTION_BYTES_MAX));
            let entry = entries.next();
            self.left.set(None);
            let Some(entry) = entry else { return Ok(()) };
            let mut entry = entry?;
            // A sparse file's holes take no byte of the archive.
            held = held.saturating_add(entry.size());
            if held > self.bytes_max {
                return Err(crate::stream::too_large(self.bytes_max).into());
            }
            see(&mut entry)?;
            io::copy(&mut entry, &mut io::sink())?;
        }
    }

    /// Reads to the end. Answers with the digest of the uncompressed archive and its bytes.
    pub(crate) fn finish(self) -> io::Result<(Digest, u64)> {
        self.archive.into_inner().finish()
    }
}

/// Counts what is read between two members.
pub(crate) struct Described<'r> {
    source: Box<dyn Read + 'r>,
    left: Rc<Cell<Option<u64>>>,
}

impl Read for Described<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.source.read(buffer)?;
        if let Some(left) = self.left.get() {
            let Some(less) = left.checked_sub(count as u64) else {
                let reason = format!(
                    "what describes one member is longer than {} KiB, the limit",
                    DESCRIPTION_BYTES_MAX >> 10
                );
                return Err(io::Error::new(io::ErrorKind::InvalidData, reason));
            };
            self.left.set(Some(less));
        }
        Ok(count)
    }
}
