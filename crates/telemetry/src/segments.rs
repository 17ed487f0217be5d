//! The segments of one stream on disk.
//!
//! A segment is a file named by the number of its first line, twenty digits and `.log`. Only the newest one
//! grows. A file is opened for each append: lines come in batches, so that this costs microseconds, and no
//! number of streams can use up file descriptors.

use crate::line::{self, Line};
use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// Its presence says that the stream has ended.
const ENDED: &str = "ended";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Segment {
    /// Number of its first line.
    pub(crate) first: u64,
    /// Bytes of whole lines.
    pub(crate) bytes: u64,
}

/// What is known of a stream's files; right as long as this process alone writes them.
#[derive(Clone, Debug)]
pub(crate) struct Segments {
    dir: PathBuf,
    /// Oldest first; empty when nothing was ever written.
    list: VecDeque<Segment>,
    /// Number of the next line.
    pub(crate) next: u64,
    pub(crate) ended: bool,
}

impl Segments {
    /// Reads what lies in `dir`, which need not exist. A torn end of the newest segment is cut off.
    pub(crate) fn load(dir: PathBuf) -> io::Result<Segments> {
        let mut list = Vec::new();
        let mut ended = false;
        match fs::read_dir(&dir) {
            Ok(entries) => {
                for entry in entries {
                    let entry = entry?;
                    let name = entry.file_name();
                    let name = name.to_string_lossy();
                    if name == ENDED {
                        ended = true;
                    } else if let Some(first) = name.strip_suffix(".log").and_then(|n| n.parse().ok()) {
                        list.push(Segment { first, bytes: entry.metadata()?.len() });
                    }
                }
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(e),
        }
        list.sort_by_key(|s| s.first);
        let mut segments = Segments { dir, list: list.into(), next: 0, ended };
        if let Some(newest) = segments.list.back().copied() {
            let (bytes, lines) = recover(&segments.path(newest.first))?;
            segments.next = newest.first + lines;
            segments.list.back_mut().expect("just seen").bytes = bytes;
        }
        Ok(segments)
    }

    pub(crate) fn path(&self, first: u64) -> PathBuf {
        self.dir.join(format!("{first:020}.log"))
    }

    /// Number of the oldest line that is still there; equal to `next` when there is none.
    pub(crate) fn oldest(&self) -> u64 {
        self.list.front().map_or(self.next, |s| s.first)
    }

    /// Writes rows that are `lines` lines, after rotating when the newest segment is full. Returns the file
    /// that was written to, for a later sync. On an error nothing of the rows stays.
    pub(crate) fn append(
        &mut self,
        rows: &[u8],
        lines: u64,
        bytes_max: u64,
        segments_max: usize,
    ) -> io::Result<PathBuf> {
        let full = self.list.back().is_none_or(|s| s.bytes > 0 && s.bytes + rows.len() as u64 > bytes_max);
        if full {
            fs::create_dir_all(&self.dir)?;
            while self.list.len() >= segments_max.max(1) {
                let oldest = self.list.front().expect("the loop's condition").first;
                remove_if_there(&self.path(oldest))?;
                self.list.pop_front();
            }
            self.list.push_back(Segment { first: self.next, bytes: 0 });
        }
        let newest = *self.list.back().expect("pushed above when there was none");
        let path = self.path(newest.first);
        let mut file = OpenOptions::new().create(true).append(true).open(&path)?;
        if let Err(e) = file.write_all(rows) {
            // A full disk takes a part of the rows; without the cut the next line would join the torn one.
            let _ = file.set_len(newest.bytes);
            return Err(e);
        }
        self.list.back_mut().expect("as above").bytes += rows.len() as u64;
        self.next += lines;
        Ok(path)
    }

    /// Lines from number `from` on, at most `max` and about `bytes_max` of them. `from` lies within what is
    /// there. A segment that rotation took away meanwhile ends the reading; the caller sees it by the count.
    pub(crate) fn read(&self, from: u64, max: usize, bytes_max: usize) -> io::Result<Vec<Line>> {
        let mut lines = Vec::new();
        let mut bytes = 0;
        for (index, segment) in self.list.iter().enumerate() {
            let end = self.list.get(index + 1).map_or(self.next, |s| s.first);
            if end <= from {
                continue;
            }
            let mut content = Vec::new();
            match File::open(self.path(segment.first)) {
                Ok(file) => file.take(segment.bytes).read_to_end(&mut content)?,
                Err(e) if e.kind() == io::ErrorKind::NotFound => break,
                Err(e) => return Err(e),
            };
            let skip = from.saturating_sub(segment.first) as usize;
            for row in content.split(|b| *b == b'\n').filter(|row| !row.is_empty()).skip(skip) {
                if lines.len() >= max || bytes >= bytes_max {
                    return Ok(lines);
                }
                bytes += row.len();
                lines.push(line::decode(row));
            }
        }
        Ok(lines)
    }

    /// Notes that no further line comes.
    pub(crate) fn end(&mut self) -> io::Result<()> {
        if !self.ended {
            fs::create_dir_all(&self.dir)?;
            File::create(self.dir.join(ENDED))?.sync_all()?;
            self.ended = true;
        }
        Ok(())
    }
}

/// Cuts a torn end off and returns the bytes and the number of whole lines that stay. A power cut may leave a
/// half row or a run of zeros; what stands before it is kept.
fn recover(path: &Path) -> io::Result<(u64, u64)> {
    let mut file = OpenOptions::new().read(true).write(true).open(path)?;
    let mut content = Vec::new();
    file.read_to_end(&mut content)?;
    let (mut good, mut lines) = (content.len(), content.iter().filter(|b| **b == b'\n').count() as u64);
    loop {
        let end = content[..good].iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
        let begin = match end {
            0 => 0,
            _ => content[..end - 1].iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1),
        };
        good = end;
        if end == 0 || line::is_whole(&content[begin..end - 1]) {
            break;
        }
        good = begin;
        lines -= 1;
    }
    if good < content.len() {
        file.set_len(good as u64)?;
        file.seek(SeekFrom::End(0))?;
        file.sync_all()?;
        tracing::warn!(path = %path.display(), bytes = content.len() - good, "cut a torn end off a log segment");
    }
    Ok((good as u64, lines))
}

pub(crate) fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}
