//! Opening the database and bringing it to this version's schema.

use crate::error::StoreError;
use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{Connection, SqlStr, Sqlite, Transaction};
use std::borrow::Cow;
use std::path::Path;
use std::time::Duration;

/// Readers beside the one writer. Reads are short; more would only hold memory.
const READERS_MAX: u32 = 4;
/// Another control process may write during a takeover; its transactions take milliseconds.
const BUSY_MS_MAX: u64 = 5_000;

/// The database of one platform. Cloning gives another handle to it.
#[derive(Clone, Debug)]
pub struct Store {
    writer: SqlitePool,
    reader: SqlitePool,
}

impl Store {
    /// Opens or makes the database file and applies missing migrations.
    pub async fn open(path: &Path) -> Result<Store, StoreError> {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(Duration::from_millis(BUSY_MS_MAX));
        // SQLite ends a transaction itself when the disk is full; the ROLLBACK that follows then fails and leaves the
        // connection counting a transaction that is none. Such a connection is replaced.
        let writer = SqlitePoolOptions::new()
            .max_connections(1)
            .before_acquire(|connection, _| Box::pin(async move { Ok(!connection.is_in_transaction()) }))
            .connect_with(options.clone())
            .await?;
        migrator().run(&writer).await.map_err(|error| StoreError::Migrate(Box::new(error)))?;
        let reader = SqlitePoolOptions::new()
            .max_connections(READERS_MAX)
            .connect_with(options.create_if_missing(false).read_only(true))
            .await?;
        Ok(Store { writer, reader })
    }

    /// Waits for running transactions and closes the file, folding the write-ahead log into it.
    pub async fn close(&self) {
        self.reader.close().await;
        self.writer.close().await;
    }

    /// A transaction that may write. Dropped without commit it leaves nothing.
    pub(crate) async fn write(&self) -> Result<Transaction<'static, Sqlite>, StoreError> {
        Ok(self.writer.begin_with("BEGIN IMMEDIATE").await?)
    }

    /// A consistent snapshot to read from.
    pub(crate) async fn read(&self) -> Result<Transaction<'static, Sqlite>, StoreError> {
        Ok(self.reader.begin().await?)
    }
}

/// Numbered from 1, never changed once released.
const MIGRATIONS: &[(&str, &str)] = &[
    ("first", include_str!("../migrations/0001_first.sql")),
    ("upload", include_str!("../migrations/0002_upload.sql")),
    ("revision served", include_str!("../migrations/0003_revision_served.sql")),
    ("line between operations", include_str!("../migrations/0004_line_between_operations.sql")),
];

fn migrator() -> Migrator {
    let migrations = MIGRATIONS.iter().zip(1..).map(|((name, sql), version)| {
        Migration::new(version, Cow::Borrowed(*name), MigrationType::Simple, SqlStr::from_static(sql), false)
    });
    Migrator::with_migrations(migrations.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The schema as text, without what the migrator keeps for itself.
    async fn schema(store: &Store) -> Vec<String> {
        sqlx::query_scalar("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL AND name NOT LIKE '\\_sqlx%' ESCAPE '\\' ORDER BY name")
            .fetch_all(&store.reader)
            .await
            .unwrap()
    }

    /// A database that grew migration by migration, closed and opened between, equals a fresh one; opening
    /// again changes nothing.
    #[tokio::test]
    async fn a_migrated_schema_equals_a_fresh_one() {
        let directory = crate::rows::test_directory("migrate");
        let fresh = Store::open(&directory.path().join("fresh.db")).await.unwrap();
        let grown = directory.path().join("grown.db");
        for version in 1..=MIGRATIONS.len() as i64 {
            let options = SqliteConnectOptions::new().filename(&grown).create_if_missing(true);
            let pool = SqlitePoolOptions::new().max_connections(1).connect_with(options).await.unwrap();
            migrator().run_to(version, &pool).await.unwrap();
            pool.close().await;
        }
        for _ in 0..2 {
            let store = Store::open(&grown).await.unwrap();
            assert_eq!(schema(&store).await, schema(&fresh).await);
            store.close().await;
        }
    }

    #[tokio::test]
    async fn readers_cannot_write_and_writes_are_durable() {
        let directory = crate::rows::test_directory("pragma");
        let store = Store::open(&directory.path().join("a.db")).await.unwrap();
        let refused = sqlx::query("INSERT INTO meta VALUES ('a', 'b')").execute(&store.reader).await;
        assert!(refused.is_err());
        let mode: String = sqlx::query_scalar("PRAGMA journal_mode").fetch_one(&store.writer).await.unwrap();
        let synchronous: i64 =
            sqlx::query_scalar("PRAGMA synchronous").fetch_one(&store.writer).await.unwrap();
        assert_eq!((mode.as_str(), synchronous), ("wal", 2));
    }
}
