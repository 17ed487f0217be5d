//! How much a build has written, found by walking its directories while it writes.

use super::BuildError;
use crate::local::instance::disk::size;
use apron_images::room;
use apron_images::tree::Measure;
use apron_model::limits::BUILD_FILES_MAX;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Between two walks.
const INTERVAL: Duration = Duration::from_secs(5);
/// A walk that took long is followed by a pause of this many times its length: it must stay a small part of the
/// machine's work.
const PAUSE_FACTOR: u32 = 10;
/// Looked at between two looks at the number of files.
const ENTRIES_PER_STEP: usize = 10_000;

/// Between two looks at the disk: at 1 GiB/s a build takes half of what lies between the floor that stops it and the
/// one at which instances are ended.
const DISK_INTERVAL: Duration = Duration::from_millis(250);

/// Why a tree is not measured to its end.
#[derive(Debug, thiserror::Error)]
pub(super) enum MeasureError {
    #[error("the build made more than {BUILD_FILES_MAX} files")]
    TooMany,
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Watches what lies below `roots` and answers when it is more than `bytes_max`, or more than can be measured.
pub(super) async fn exceeded(roots: Vec<PathBuf>, bytes_max: u64) -> BuildError {
    loop {
        let (began, walked) = (Instant::now(), roots.clone());
        let walk = move || {
            let roots: Vec<&Path> = walked.iter().map(PathBuf::as_path).collect();
            measure(&roots)
        };
        match tokio::task::spawn_blocking(walk).await {
            Ok(Ok(bytes)) if bytes > bytes_max => return too_much(bytes, bytes_max),
            Ok(Ok(_)) => {}
            Ok(Err(error @ MeasureError::TooMany)) => return BuildError::input(error.to_string()),
            // More than a walk takes upon itself; the sentence says of what.
            Ok(Err(MeasureError::Io(error))) if error.kind() == io::ErrorKind::Other => {
                return BuildError::input(format!("what the build wrote cannot be measured: {error}"));
            }
            Ok(Err(MeasureError::Io(source))) => {
                return BuildError::Io { path: PathBuf::from("what the build wrote"), source };
            }
            Err(_) => return BuildError::Cancelled,
        }
        tokio::time::sleep(INTERVAL.max(began.elapsed() * PAUSE_FACTOR)).await;
    }
}

/// Answers when the disk of the builds has less free than must stay.
pub(super) async fn disk_full(node_dir: &Path) -> BuildError {
    loop {
        if let Some(shortage) = room::shortage_at(node_dir, 0) {
            return BuildError::DiskFull(shortage);
        }
        tokio::time::sleep(DISK_INTERVAL).await;
    }
}

fn too_much(bytes: u64, bytes_max: u64) -> BuildError {
    BuildError::input(format!("the build wrote {}, the limit is {}", size(bytes), size(bytes_max)))
}

/// Bytes of disk that everything below the roots takes; one that is missing counts nothing. Blocking.
pub(super) fn measure(roots: &[&Path]) -> Result<u64, MeasureError> {
    let mut bytes = 0;
    let mut steps = BUILD_FILES_MAX.div_ceil(ENTRIES_PER_STEP as u64);
    for root in roots {
        let mut measure = match Measure::begin(root) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            begun => begun?,
        };
        while !measure.go_on(ENTRIES_PER_STEP)? {
            steps = steps.checked_sub(1).ok_or(MeasureError::TooMany)?;
        }
        bytes += measure.bytes();
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    struct Directory(PathBuf);
    impl Drop for Directory {
        fn drop(&mut self) {
            let _ = apron_images::tree::remove(&self.0);
        }
    }

    #[test]
    fn what_was_written_is_added_up() {
        let directory = Directory(std::env::temp_dir().join(format!("apron-written-{}", std::process::id())));
        let (one, other) = (directory.0.join("one"), directory.0.join("other"));
        for dir in [&one, &other] {
            fs::create_dir_all(dir.join("a/b")).unwrap();
            fs::write(dir.join("a/b/file"), vec![1; 1 << 20]).unwrap();
        }
        let found = measure(&[&one, &directory.0.join("missing"), &other]).unwrap();
        assert!((2 << 20..3 << 20).contains(&found), "{found}");
    }

    #[test]
    fn figures() {
        let error = too_much((102 << 30) / 10 + 1, 10 << 30);
        assert_eq!(error.to_string(), "the build wrote 10.2 GiB, the limit is 10 GiB");
        assert!(error.fault().permanent);
    }
}
