//! The last route table on disk, so that a proxy serves from its first moment, also with control dead.
//!
//! The file is replaced in one step: a crash leaves the old table or the new one. Its format is read by later
//! releases, so members are only ever added.

use crate::tables::Tables;
use apron_model::ids::Generation;
use apron_model::routes::RouteTable;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::sleep;

const FORMAT: u32 = 1;
/// After a failed save; a newer table is tried at once.
const RETRY_PAUSE: Duration = Duration::from_secs(1);
/// No table is newer.
const EVERY_TABLE: Generation = Generation { epoch: u64::MAX, counter: u64::MAX };

#[derive(Serialize, Deserialize)]
struct SavedTable<T> {
    format: u32,
    table: T,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum SavedError {
    #[error("cannot read or write the saved route table")]
    Io(#[from] io::Error),
    #[error("the saved route table is damaged")]
    Damaged(#[from] serde_json::Error),
    #[error("the saved route table has format {0}, this release reads {FORMAT}")]
    Format(u32),
}

/// `None` when nothing was ever saved.
pub(crate) fn load(path: &Path) -> Result<Option<RouteTable>, SavedError> {
    let text = match std::fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let saved: SavedTable<RouteTable> = serde_json::from_slice(&text)?;
    if saved.format != FORMAT {
        return Err(SavedError::Format(saved.format));
    }
    Ok(Some(saved.table))
}

/// Written beside, synced, renamed.
pub(crate) fn save(path: &Path, table: &RouteTable) -> Result<(), SavedError> {
    let text = serde_json::to_vec(&SavedTable { format: FORMAT, table })?;
    replace(path, &text, 0o600)?;
    Ok(())
}

/// Replaces a file in one step. The temporary name carries the process id, because during a takeover two proxies
/// write.
pub(crate) fn replace(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt;
    let directory = path.parent().unwrap_or(Path::new("."));
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let temporary = directory.join(format!(".{name}.{}", std::process::id()));
    let written = (|| {
        let mut file = File::options().write(true).create(true).truncate(true).mode(mode).open(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&temporary, path)?;
        File::open(directory)?.sync_all()
    })();
    if written.is_err() {
        // The error that matters is the first one.
        let _ = std::fs::remove_file(&temporary);
    }
    written
}

/// Saves each table that comes, the newest when several came at once, until `stop`. One that cannot be saved is
/// tried again until it is, or a newer one comes; serving goes on meanwhile.
pub(crate) async fn keep(
    path: &Path,
    tables: &Tables,
    mut news: watch::Receiver<Option<Arc<RouteTable>>>,
    mut stop: watch::Receiver<bool>,
) {
    let mut said = String::new();
    let mut unsaved = false;
    loop {
        tokio::select! {
            changed = news.changed() => if changed.is_err() { return },
            () = sleep(RETRY_PAUSE), if unsaved => {}
            _ = stop.wait_for(|stop| *stop) => {
                // A proxy that drains has a successor, which keeps the file from now on.
                tables.saved(EVERY_TABLE);
                return;
            }
        }
        let Some(table) = news.borrow_and_update().clone() else { continue };
        let (path, generation) = (path.to_owned(), table.generation);
        let saved = tokio::task::spawn_blocking(move || save(&path, &table)).await;
        // A panic in there has been said on stderr, and is tried again like any other failure.
        let result = saved.unwrap_or_else(|panic| Err(SavedError::Io(io::Error::other(panic))));
        unsaved = result.is_err();
        match result {
            Ok(()) => {
                tables.saved(generation);
                said.clear();
            }
            Err(error) => {
                let source = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
                // The same reason again is no news.
                if source != said {
                    tracing::error!(%error, source, "route table not saved; control hears of it a few seconds late");
                    said = source;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use apron_model::ids::Generation;

    struct Directory(std::path::PathBuf);

    impl Directory {
        fn new(name: &str) -> Directory {
            let path = std::env::temp_dir().join(format!("apron-saved-{name}-{}", std::process::id()));
            std::fs::create_dir_all(&path).unwrap();
            Directory(path)
        }
    }

    impl Drop for Directory {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn what_is_saved_is_loaded() {
        let directory = Directory::new("round");
        let path = directory.0.join("routes.json");
        assert!(load(&path).unwrap().is_none());
        for counter in 1..4 {
            let generation = Generation { epoch: 1, counter };
            let table = RouteTable { generation, services: Vec::new() };
            save(&path, &table).unwrap();
            assert_eq!(load(&path).unwrap().unwrap(), table);
        }
        assert_eq!(std::fs::read_dir(&directory.0).unwrap().count(), 1, "no temporary file stays");
    }

    #[test]
    fn damage_is_an_error_and_not_a_panic() {
        let directory = Directory::new("damage");
        let path = directory.0.join("routes.json");
        for text in ["", "{", "[]", "{\"format\":1}", "{\"format\":1,\"table\":{\"services\":7}}"] {
            std::fs::write(&path, text).unwrap();
            assert!(matches!(load(&path), Err(SavedError::Damaged(_))), "{text}");
        }
        let later = "{\"format\":2,\"table\":{\"generation\":{\"epoch\":0,\"counter\":0},\"services\":[]}}";
        std::fs::write(&path, later).unwrap();
        assert!(matches!(load(&path), Err(SavedError::Format(2))));
    }
}
