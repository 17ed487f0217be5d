//! What the reader of an archive tells the store: one frame after the other, each bounded.
//!
//! A byte that says what it is, then one or two fields, each with its length in four bytes, little-endian. Whoever
//! takes frames does not trust who writes them: a stranger's archive may have taken it over.

use std::io::{self, Read, Write};

/// Of one frame of a file's content.
pub(super) const DATA_BYTES_MAX: usize = 128 * 1024;
/// Of a member or a link's target: `blobs/sha256/<hex>` and what is like it.
pub(super) const NAME_BYTES_MAX: usize = 512;
const REASON_BYTES_MAX: usize = 512;

pub(super) enum Frame<'a> {
    /// A file of this name begins; `Data` and then `FileEnd` follow.
    File(&'a [u8]),
    Data(&'a [u8]),
    FileEnd,
    /// Name and target.
    Symlink(&'a [u8], &'a [u8]),
    HardLink(&'a [u8], &'a [u8]),
    /// The archive was read to its end.
    Complete,
    NotAnArchive(&'a [u8]),
}

/// As much of a reason as fits.
pub(super) fn cut(reason: &[u8]) -> &[u8] {
    &reason[..reason.len().min(REASON_BYTES_MAX)]
}

pub(super) fn write(to: &mut impl Write, frame: &Frame<'_>) -> io::Result<()> {
    let (kind, fields): (u8, &[&[u8]]) = match frame {
        Frame::File(name) => (b'f', &[name]),
        Frame::Data(data) => (b'd', &[data]),
        Frame::FileEnd => (b'e', &[]),
        Frame::Symlink(name, target) => (b's', &[name, target]),
        Frame::HardLink(name, target) => (b'h', &[name, target]),
        Frame::Complete => (b'.', &[]),
        Frame::NotAnArchive(reason) => (b'!', &[reason]),
    };
    to.write_all(&[kind])?;
    for field in fields {
        let length = u32::try_from(field.len()).map_err(io::Error::other)?;
        to.write_all(&length.to_le_bytes())?;
        to.write_all(field)?;
    }
    Ok(())
}

/// Takes frames into buffers of its own.
pub(super) struct Frames<R> {
    source: R,
    first: Vec<u8>,
    second: Vec<u8>,
}

impl<R: Read> Frames<R> {
    pub(super) fn new(source: R) -> Frames<R> {
        Frames { source, first: Vec::new(), second: Vec::new() }
    }

    /// The next frame; an error of the kind `UnexpectedEof` when there is none, `InvalidData` when it is none of these.
    pub(super) fn next(&mut self) -> io::Result<Frame<'_>> {
        let mut kind = [0];
        self.source.read_exact(&mut kind)?;
        let (first_max, second_max) = match kind[0] {
            b'f' => (Some(NAME_BYTES_MAX), None),
            b'd' => (Some(DATA_BYTES_MAX), None),
            b's' | b'h' => (Some(NAME_BYTES_MAX), Some(NAME_BYTES_MAX)),
            b'!' => (Some(REASON_BYTES_MAX), None),
            _ => (None, None),
        };
        for (field, bytes_max) in [(&mut self.first, first_max), (&mut self.second, second_max)] {
            let Some(bytes_max) = bytes_max else { continue };
            let mut length = [0; 4];
            self.source.read_exact(&mut length)?;
            let length = u32::from_le_bytes(length) as usize;
            if length > bytes_max {
                return Err(io::ErrorKind::InvalidData.into());
            }
            field.resize(length, 0);
            self.source.read_exact(field)?;
        }
        Ok(match kind[0] {
            b'f' => Frame::File(&self.first),
            b'd' => Frame::Data(&self.first),
            b'e' => Frame::FileEnd,
            b's' => Frame::Symlink(&self.first, &self.second),
            b'h' => Frame::HardLink(&self.first, &self.second),
            b'.' => Frame::Complete,
            b'!' => Frame::NotAnArchive(&self.first),
            _ => return Err(io::ErrorKind::InvalidData.into()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_as_they_went_and_no_larger() {
        let mut bytes = Vec::new();
        for frame in [Frame::File(b"a"), Frame::Data(b"xyz"), Frame::FileEnd, Frame::Symlink(b"b", b"a")] {
            write(&mut bytes, &frame).unwrap();
        }
        let mut frames = Frames::new(bytes.as_slice());
        assert!(matches!(frames.next(), Ok(Frame::File(b"a"))));
        assert!(matches!(frames.next(), Ok(Frame::Data(b"xyz"))));
        assert!(matches!(frames.next(), Ok(Frame::FileEnd)));
        assert!(matches!(frames.next(), Ok(Frame::Symlink(b"b", b"a"))));
        assert_eq!(frames.next().err().unwrap().kind(), io::ErrorKind::UnexpectedEof);
        let mut large = Vec::new();
        write(&mut large, &Frame::File(&vec![b'a'; NAME_BYTES_MAX + 1])).unwrap();
        for bytes in [large.as_slice(), b"x", b"f\xff\xff\xff\xff"] {
            assert_eq!(Frames::new(bytes).next().err().unwrap().kind(), io::ErrorKind::InvalidData);
        }
    }
}
