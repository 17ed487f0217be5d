//! Reading columns: what does not fit becomes `Corrupt`, with the table and the column.

use crate::error::StoreError;
use crate::sql::Field;
use apron_model::time::{Timestamp, WallTime};
use serde::Serialize;
use serde::de::DeserializeOwned;

pub(crate) use crate::sql::{Connection, Row, Statement, Tx};

/// A row of a known table.
pub(crate) struct Columns<'r> {
    pub(crate) table: &'static str,
    pub(crate) row: &'r Row,
}

impl<'r> Columns<'r> {
    fn corrupt(&self, column: &'static str, reason: impl ToString) -> StoreError {
        StoreError::Corrupt { table: self.table, column, reason: reason.to_string() }
    }

    pub(crate) fn get<T: Field<'r>>(&self, column: &'static str) -> Result<T, StoreError> {
        self.row.get(column).map_err(|error| self.corrupt(column, error))
    }

    pub(crate) fn json<T: DeserializeOwned>(&self, column: &'static str) -> Result<T, StoreError> {
        let text: &str = self.get(column)?;
        serde_json::from_str(text).map_err(|error| self.corrupt(column, error))
    }

    pub(crate) fn json_option<T: DeserializeOwned>(
        &self,
        column: &'static str,
    ) -> Result<Option<T>, StoreError> {
        let text: Option<&str> = self.get(column)?;
        text.map(|text| serde_json::from_str(text).map_err(|error| self.corrupt(column, error))).transpose()
    }

    /// An enum without data, stored as its bare word.
    pub(crate) fn word<T: DeserializeOwned>(&self, column: &'static str) -> Result<T, StoreError> {
        let text: String = self.get(column)?;
        serde_json::from_value(serde_json::Value::String(text)).map_err(|error| self.corrupt(column, error))
    }

    pub(crate) fn count(&self, column: &'static str) -> Result<u64, StoreError> {
        let number: i64 = self.get(column)?;
        u64::try_from(number).map_err(|error| self.corrupt(column, error))
    }

    pub(crate) fn small(&self, column: &'static str) -> Result<u32, StoreError> {
        u32::try_from(self.count(column)?).map_err(|error| self.corrupt(column, error))
    }

    pub(crate) fn small_option(&self, column: &'static str) -> Result<Option<u32>, StoreError> {
        let number: Option<i64> = self.get(column)?;
        number.map(|number| u32::try_from(number).map_err(|error| self.corrupt(column, error))).transpose()
    }

    pub(crate) fn wall(&self, column: &'static str) -> Result<WallTime, StoreError> {
        self.count(column).map(WallTime)
    }

    pub(crate) fn wall_option(&self, column: &'static str) -> Result<Option<WallTime>, StoreError> {
        let number: Option<i64> = self.get(column)?;
        number
            .map(|number| u64::try_from(number).map(WallTime).map_err(|error| self.corrupt(column, error)))
            .transpose()
    }

    pub(crate) fn time(&self, column: &'static str) -> Result<Timestamp, StoreError> {
        self.count(column).map(Timestamp)
    }

    pub(crate) fn time_option(&self, column: &'static str) -> Result<Option<Timestamp>, StoreError> {
        Ok(self.wall_option(column)?.map(|time| Timestamp(time.0)))
    }
}

/// The types of the model have string keys and no floats, which is all that JSON text cannot hold.
pub(crate) fn json<T: Serialize>(value: &T) -> String {
    serde_json::to_string(value).expect("a model value is JSON")
}

/// The bare word of an enum without data.
pub(crate) fn word<T: Serialize>(value: &T) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => word,
        other => unreachable!("an enum without data is a word, not {other:?}"),
    }
}

/// Databases count with a sign. Our counters and milliseconds never come near its range.
pub(crate) fn int(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

#[cfg(test)]
pub(crate) fn test_directory(name: &str) -> TestDirectory {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let path = std::env::temp_dir().join(format!("apron-store-{name}-{}-{number}", std::process::id()));
    std::fs::create_dir_all(&path).unwrap();
    TestDirectory(path)
}

/// Removed when dropped.
#[cfg(test)]
pub(crate) struct TestDirectory(std::path::PathBuf);

#[cfg(test)]
impl TestDirectory {
    pub(crate) fn path(&self) -> &std::path::Path {
        &self.0
    }
}

#[cfg(test)]
impl Drop for TestDirectory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// An empty database of each kind; they go when this is dropped.
#[cfg(test)]
pub(crate) struct Both {
    pub(crate) stores: [crate::Store; 2],
    _file: TestDirectory,
    _server: crate::support::Database,
}

#[cfg(test)]
pub(crate) async fn both(name: &str) -> Both {
    let (file, server) = (test_directory(name), crate::support::Database::new());
    let address = crate::PostgresDatabase::parse(&server.url()).unwrap();
    let address = address.or_password(Some(crate::support::PASSWORD.to_owned()));
    let stores = [
        crate::Store::open(&file.path().join("a.db")).await.unwrap(),
        crate::Store::connect(&address).await.unwrap(),
    ];
    Both { stores, _file: file, _server: server }
}
