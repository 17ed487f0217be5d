//! Compressed streams: found by their first bytes, never larger than allowed.

use apron_model::ids::Digest;
use flate2::read::MultiGzDecoder;
use ring::digest::{Context, SHA256};
use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};
use std::io::{self, BufRead, BufReader, Read};

/// zstd's own limit for decoders that do not know their sender: a frame may not demand more memory.
const ZSTD_WINDOW_BYTES_MAX: u64 = 128 * 1024 * 1024;

/// The content of a plain, gzip or zstd stream.
pub(crate) fn decompress<'r>(source: impl Read + 'r) -> io::Result<Box<dyn Read + 'r>> {
    let mut source = BufReader::with_capacity(256 * 1024, source);
    let mut magic = [0; 4];
    let mut have = 0;
    while have < magic.len() {
        match source.read(&mut magic[have..])? {
            0 => break,
            n => have += n,
        }
    }
    let source = io::Cursor::new(magic[..have].to_vec()).chain(source);
    Ok(match magic {
        [0x1f, 0x8b, ..] => Box::new(MultiGzDecoder::new(source)),
        [0x28, 0xb5, 0x2f, 0xfd] => {
            let mut decoder = FrameDecoder::new();
            decoder.set_max_window_size(ZSTD_WINDOW_BYTES_MAX);
            Box::new(Zstd { source: BufReader::new(source), decoder, in_frame: false })
        }
        _ => Box::new(source),
    })
}

/// zstd streams may hold several frames and skippable ones; the decoder knows one frame.
struct Zstd<R> {
    source: BufReader<R>,
    decoder: FrameDecoder,
    in_frame: bool,
}

impl<R: Read> Read for Zstd<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            if self.in_frame {
                while self.decoder.can_collect() == 0 && !self.decoder.is_finished() {
                    self.decoder
                        .decode_blocks(&mut self.source, BlockDecodingStrategy::UptoBlocks(1))
                        .map_err(io::Error::other)?;
                }
                if self.decoder.can_collect() > 0 {
                    return self.decoder.read(buffer);
                }
                self.in_frame = false;
            }
            if self.source.fill_buf()?.is_empty() {
                return Ok(0);
            }
            match self.decoder.init(&mut self.source) {
                Ok(()) => self.in_frame = true,
                Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame {
                    length,
                    ..
                })) => {
                    io::copy(&mut (&mut self.source).take(u64::from(length)), &mut io::sink())?;
                }
                Err(e) => return Err(io::Error::other(e)),
            }
        }
    }
}

/// Counts, hashes and bounds what is read through it.
pub(crate) struct Measured<R> {
    source: R,
    hash: Context,
    bytes: u64,
    bytes_max: u64,
}

/// More than the allowed bytes.
#[derive(Debug, thiserror::Error)]
#[error("it unpacks to more than {} MiB, the limit", .0 >> 20)]
struct TooLarge(u64);

/// Whether an error says that a stream is larger than allowed. The archive's reader wraps errors in its own,
/// which keep the kind; the kernel's errors of this kind have a number.
pub(crate) fn is_too_large(e: &io::Error) -> bool {
    e.kind() == io::ErrorKind::FileTooLarge && e.raw_os_error().is_none()
}

pub(crate) fn too_large(bytes_max: u64) -> io::Error {
    io::Error::new(io::ErrorKind::FileTooLarge, TooLarge(bytes_max))
}

impl<R: Read> Measured<R> {
    pub(crate) fn new(source: R, bytes_max: u64) -> Measured<R> {
        Measured { source, hash: Context::new(&SHA256), bytes: 0, bytes_max }
    }

    /// Reads to the end and answers with the digest of everything that was read.
    pub(crate) fn finish(mut self) -> io::Result<(Digest, u64)> {
        io::copy(&mut self, &mut io::sink())?;
        Ok((crate::content::digest_of(self.hash), self.bytes))
    }
}

impl<R: Read> Read for Measured<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.source.read(buffer)?;
        self.bytes += count as u64;
        if self.bytes > self.bytes_max {
            return Err(too_large(self.bytes_max));
        }
        self.hash.update(&buffer[..count]);
        Ok(count)
    }
}
