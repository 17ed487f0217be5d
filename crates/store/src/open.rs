//! Opening the database and bringing it to this version's schema.
//!
//! Writers follow one another on both databases, so that a statement always sees the last commit. SQLite has one
//! writer anyway. On PostgreSQL the one connection that writes holds a session lock of the database: whoever does not
//! hold it cannot write, and a session that ends gives it up.

use crate::error::StoreError;
use crate::postgres::PostgresDatabase;
use crate::rows::Columns;
use crate::sql::{Connection, Tx};
use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::postgres::{PgConnection, PgPool, PgPoolOptions};
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePool, SqlitePoolOptions,
    SqliteSynchronous,
};
use sqlx::{AssertSqlSafe, Connection as _, SqlSafeStr, SqlStr};
use std::borrow::Cow;
use std::fmt;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Readers beside the one writer. Reads are short; more would only hold memory.
const READERS_MAX: u32 = 4;
/// Another control process may write during a takeover; its transactions take milliseconds.
const BUSY_MS_MAX: u64 = 5_000;
/// Pages of 4 KiB in SQLite's write-ahead log, 64 MiB, from which on `Store::checkpoint` holds the writer for a moment, so
/// that the log can begin anew.
const LOG_PAGES_LONG: i64 = 16_384;
/// Pages of the log from which on a commit itself copies them, which holds the writer for long: where nobody calls
/// `Store::checkpoint`.
const LOG_PAGES_MAX: i64 = 4 * LOG_PAGES_LONG;
/// A call waits this long for a PostgreSQL connection: an earlier control's session may have to end first.
const CONNECT_MS_MAX: u64 = 5_000;
/// The session lock of the writer. PostgreSQL keeps such numbers apart by database; this one spells Apron.
const WRITER_LOCK: i64 = 0x0041_7072_6f6e;

/// Awaited before every transaction begins: what it waits for decides which of several callers goes on.
pub type Gate = Arc<dyn Fn() -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync>;

/// The database of one platform. Cloning gives another handle to it.
#[derive(Clone)]
pub struct Store {
    pools: Pools,
    /// Only benches have one.
    gate: Option<Gate>,
}

#[derive(Clone)]
enum Pools {
    Sqlite { writer: SqlitePool, reader: SqlitePool, checkpointer: SqlitePool },
    Postgres { writer: PgPool, reader: PgPool, database: PostgresDatabase, held: Arc<AtomicBool> },
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Store({})", self.name())
    }
}

impl Store {
    /// Opens or makes the database file and applies missing migrations.
    pub async fn open(path: &Path) -> Result<Store, StoreError> {
        let store = Store::blank(path).await?;
        store.migrate_to(schema_known()).await?;
        Ok(store)
    }

    /// A database for a bench: it does not outlive the machine, because nothing waits for a disk, has one reader, so
    /// that one call is answered at a time, and every transaction passes the gate first.
    pub async fn open_for_bench(path: &Path, gate: Gate) -> Result<Store, StoreError> {
        let pools = Pools::file(path, SqliteSynchronous::Off, 1).await?;
        let store = Store { pools, gate: Some(gate) };
        store.migrate_to(schema_known()).await?;
        Ok(store)
    }

    /// Opens or makes the database file and leaves its schema as it is.
    pub async fn blank(path: &Path) -> Result<Store, StoreError> {
        Ok(Store { pools: Pools::file(path, SqliteSynchronous::Full, READERS_MAX).await?, gate: None })
    }

    /// Opens a database file beside a platform that may be running with it: to be read, and never written.
    pub async fn open_read_only(path: &Path) -> Result<Store, StoreError> {
        let options = sqlite(path, SqliteSynchronous::Full).read_only(true);
        let pool = SqlitePoolOptions::new().max_connections(1).connect_with(options).await?;
        let (writer, checkpointer) = (pool.clone(), pool.clone());
        Ok(Store { pools: Pools::Sqlite { writer, reader: pool, checkpointer }, gate: None })
    }

    /// Connects to a PostgreSQL database and applies missing migrations.
    ///
    /// Fails with `Held` when another control process has had the database for as long as a call may wait.
    pub async fn connect(database: &PostgresDatabase) -> Result<Store, StoreError> {
        let store = Store::blank_postgres(database).await?;
        store.migrate_to(schema_known()).await?;
        Ok(store)
    }

    /// Connects to a PostgreSQL database and leaves its schema as it is. Fails with `Held` like `connect`.
    pub async fn blank_postgres(database: &PostgresDatabase) -> Result<Store, StoreError> {
        let store = Store { pools: Pools::server(database), gate: None };
        match store.write().await {
            Ok(_) => Ok(store),
            Err(StoreError::Database(_)) => {
                // A pool that gives up does not say why.
                let tried = PgConnection::connect_with(&database.options()).await;
                tried.map_err(|error| StoreError::Unreachable(database.to_string(), error))?;
                Ok(store)
            }
            Err(error) => Err(error),
        }
    }

    /// Connects to a PostgreSQL database beside a platform that may be running with it: to be read, and never written.
    pub async fn connect_read_only(database: &PostgresDatabase) -> Result<Store, StoreError> {
        let pool = PgPoolOptions::new().max_connections(1).connect_with(database.options()).await;
        let pool = pool.map_err(|error| StoreError::Unreachable(database.to_string(), error))?;
        let (writer, held, database) = (pool.clone(), Arc::default(), database.clone());
        Ok(Store { pools: Pools::Postgres { writer, reader: pool, database, held }, gate: None })
    }

    /// Applies the migrations up to and with this one that are missing.
    pub(crate) async fn migrate_to(&self, schema: u32) -> Result<(), StoreError> {
        let migrated = match &self.pools {
            Pools::Sqlite { writer, .. } => migrator(Dialect::Sqlite).run_to(schema.into(), writer).await,
            Pools::Postgres { writer, .. } => migrator(Dialect::Postgres).run_to(schema.into(), writer).await,
        };
        migrated.map_err(|error| StoreError::Migrate(Box::new(error)))
    }

    /// The number of the last migration that was applied.
    pub async fn schema(&self) -> Result<u32, StoreError> {
        let applied = crate::sql::query("SELECT MAX(version) AS version FROM _sqlx_migrations WHERE success")
            .fetch_one(&mut *self.read().await?)
            .await?;
        Columns { table: "_sqlx_migrations", row: &applied }.small("version")
    }

    /// Where the rows are, for messages.
    pub(crate) fn name(&self) -> String {
        match &self.pools {
            Pools::Sqlite { .. } => "SQLite".to_owned(),
            Pools::Postgres { database, .. } => database.to_string(),
        }
    }

    /// Waits for running transactions and closes the database; a file's write-ahead log is folded into it.
    pub async fn close(&self) {
        match &self.pools {
            Pools::Sqlite { writer, reader, checkpointer } => {
                checkpointer.close().await;
                reader.close().await;
                writer.close().await;
            }
            Pools::Postgres { writer, reader, .. } => {
                reader.close().await;
                writer.close().await;
            }
        }
    }

    /// Copies what was committed from SQLite's write-ahead log to the database file, beside the writer. Gives the pages
    /// that stay in the log, because a reader may still need what they replace or because they came meanwhile; the next
    /// call has them. PostgreSQL does this itself.
    pub async fn checkpoint(&self) -> Result<u32, StoreError> {
        let Pools::Sqlite { writer, checkpointer, .. } = &self.pools else { return Ok(0) };
        let mut left = checkpoint(&mut *checkpointer.acquire().await?).await?;
        if left.pages > LOG_PAGES_LONG {
            // While others write there is always more to copy, and the log grows. Little is left now.
            left = checkpoint(&mut *writer.acquire().await?).await?;
        }
        Ok(u32::try_from(left.pages - left.copied).unwrap_or_default())
    }

    async fn pass(&self) {
        if let Some(gate) = &self.gate {
            gate().await;
        }
    }

    /// A transaction that may write. Dropped without commit it leaves nothing.
    pub(crate) async fn write(&self) -> Result<Tx, StoreError> {
        self.pass().await;
        Ok(Tx::new(match &self.pools {
            Pools::Sqlite { writer, .. } => Connection::Sqlite(writer.begin_with("BEGIN IMMEDIATE").await?),
            Pools::Postgres { writer, database, held, .. } => {
                let begun = writer.begin_with("BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE").await;
                Connection::Postgres(begun.map_err(|error| match error {
                    sqlx::Error::PoolTimedOut if held.load(Ordering::Relaxed) => {
                        StoreError::Held(database.to_string())
                    }
                    error => error.into(),
                })?)
            }
        }))
    }

    /// A consistent snapshot to read from.
    pub(crate) async fn read(&self) -> Result<Tx, StoreError> {
        self.pass().await;
        Ok(Tx::new(match &self.pools {
            Pools::Sqlite { reader, .. } => Connection::Sqlite(reader.begin().await?),
            Pools::Postgres { reader, .. } => Connection::Postgres(
                reader.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?,
            ),
        }))
    }
}

impl Pools {
    async fn file(
        path: &Path,
        synchronous: SqliteSynchronous,
        readers_max: u32,
    ) -> Result<Pools, StoreError> {
        let options = sqlite(path, synchronous).create_if_missing(true).journal_mode(SqliteJournalMode::Wal);
        // SQLite ends a transaction itself when the disk is full; the ROLLBACK that follows then fails and leaves the
        // connection counting a transaction that is none. Such a connection is replaced.
        let writer = SqlitePoolOptions::new()
            .max_connections(1)
            // A file's connection does not break by itself, and asking it costs as much as a statement.
            .test_before_acquire(false)
            .before_acquire(|connection, _| Box::pin(async move { Ok(!connection.is_in_transaction()) }))
            .connect_with(options)
            .await?;
        let reader = SqlitePoolOptions::new()
            .max_connections(readers_max)
            .test_before_acquire(false)
            .connect_with(sqlite(path, synchronous).read_only(true))
            .await?;
        let checkpointer =
            SqlitePoolOptions::new().max_connections(1).connect_lazy_with(sqlite(path, synchronous));
        Ok(Pools::Sqlite { writer, reader, checkpointer })
    }

    fn server(database: &PostgresDatabase) -> Pools {
        let held = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&held);
        let writer = PgPoolOptions::new()
            .max_connections(1)
            // The session that holds the lock stays.
            .idle_timeout(None)
            .max_lifetime(None)
            .acquire_timeout(Duration::from_millis(CONNECT_MS_MAX))
            .after_connect(move |connection, _| {
                let held = Arc::clone(&seen);
                Box::pin(async move {
                    let locked = lock(connection).await?;
                    held.store(!locked, Ordering::Relaxed);
                    // The pool tries again for as long as the call may wait.
                    if locked {
                        Ok(())
                    } else {
                        Err(sqlx::Error::Protocol("the database is held".to_owned()))
                    }
                })
            })
            .connect_lazy_with(database.options());
        let reader = PgPoolOptions::new()
            .max_connections(READERS_MAX)
            .acquire_timeout(Duration::from_millis(CONNECT_MS_MAX))
            .connect_lazy_with(database.options());
        Pools::Postgres { writer, reader, database: database.clone(), held }
    }
}

/// What the write-ahead log holds.
struct Log {
    pages: i64,
    copied: i64,
}

/// Copies what no reader stands in the way of, and waits for nobody.
async fn checkpoint(connection: &mut SqliteConnection) -> Result<Log, sqlx::Error> {
    let (_, pages, copied): (i64, i64, i64) =
        sqlx::query_as("PRAGMA wal_checkpoint(PASSIVE)").fetch_one(connection).await?;
    Ok(Log { pages, copied })
}

async fn lock(connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar("SELECT pg_try_advisory_lock($1)").bind(WRITER_LOCK).fetch_one(connection).await
}

fn sqlite(path: &Path, synchronous: SqliteSynchronous) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .synchronous(synchronous)
        .foreign_keys(true)
        .busy_timeout(Duration::from_millis(BUSY_MS_MAX))
        .pragma("wal_autocheckpoint", LOG_PAGES_MAX.to_string())
}

/// Numbered from 1, never changed once released.
const MIGRATIONS: &[(&str, &str)] = &[
    ("first", include_str!("../migrations/0001_first.sql")),
    ("upload", include_str!("../migrations/0002_upload.sql")),
    ("revision served", include_str!("../migrations/0003_revision_served.sql")),
    ("line between operations", include_str!("../migrations/0004_line_between_operations.sql")),
    ("shared resources", include_str!("../migrations/0005_resource.sql")),
    ("rights", include_str!("../migrations/0006_rights.sql")),
    ("operation queue", include_str!("../migrations/0007_operation_queue.sql")),
    ("service page", include_str!("../migrations/0008_service_page.sql")),
    ("resource endpoint", include_str!("../migrations/0009_resource_endpoint.sql")),
    ("changes", include_str!("../migrations/0010_changes.sql")),
    ("service_wanted", include_str!("../migrations/0011_service_wanted.sql")),
    ("usage", include_str!("../migrations/0012_usage.sql")),
    ("service scaling", include_str!("../migrations/0013_service_scaling.sql")),
];

/// The schema of this version: the number of its last migration.
pub(crate) fn schema_known() -> u32 {
    MIGRATIONS.len() as u32
}

/// What a migration's text has to be put into before a database takes it.
#[derive(Clone, Copy)]
enum Dialect {
    /// The text as it stands.
    Sqlite,
    /// Numbers that the database gives are identity columns; texts compare byte by byte, whatever the database's
    /// language; and JSON is checked by a function that the first migration brings along. PostgreSQL starts with all
    /// migrations at once, so none of them meets rows there that an identity column would have to go on from.
    Postgres,
}

const POSTGRES_FIRST: &str = "CREATE FUNCTION json_valid(text) RETURNS boolean LANGUAGE sql IMMUTABLE STRICT
    AS 'SELECT $1::json IS NOT NULL';\n";

impl Dialect {
    fn text(self, version: i64, sql: &'static str) -> SqlStr {
        match self {
            Dialect::Sqlite => SqlStr::from_static(sql),
            Dialect::Postgres => {
                let numbered = "BIGINT GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY";
                let text = sql
                    .replace("INTEGER PRIMARY KEY AUTOINCREMENT", numbered)
                    .replace(" TEXT", " TEXT COLLATE \"C\"");
                let first = if version == 1 { POSTGRES_FIRST } else { "" };
                AssertSqlSafe(format!("{first}{text}")).into_sql_str()
            }
        }
    }
}

fn migrator(dialect: Dialect) -> Migrator {
    let migrations = MIGRATIONS.iter().zip(1..).map(|((name, sql), version)| {
        let text = dialect.text(version, sql);
        Migration::new(version, Cow::Borrowed(*name), MigrationType::Simple, text, false)
    });
    Migrator::with_migrations(migrations.collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql::{query, query_scalar};
    use crate::support;

    const SQLITE_SCHEMA: &[&str] =
        &[r"SELECT sql FROM sqlite_master WHERE sql IS NOT NULL AND name NOT LIKE '\_sqlx%' ESCAPE '\'
             ORDER BY name"];
    const POSTGRES_SCHEMA: &[&str] = &[
        r"SELECT concat_ws(' ', table_name, column_name, data_type, is_nullable, column_default, collation_name, is_identity)
              FROM information_schema.columns WHERE table_schema = 'public' AND table_name NOT LIKE '\_sqlx%' ORDER BY 1",
        r"SELECT indexdef FROM pg_indexes WHERE schemaname = 'public' AND tablename NOT LIKE '\_sqlx%' ORDER BY 1",
        r"SELECT conrelid::regclass || ' ' || pg_get_constraintdef(oid) FROM pg_constraint
              WHERE connamespace = 'public'::regnamespace AND conrelid::regclass::text NOT LIKE '%\_sqlx%' ORDER BY 1",
    ];

    /// The schema as text, without what the migrator keeps for itself.
    async fn schema(store: &Store) -> Vec<String> {
        let mut tx = store.read().await.unwrap();
        let asked = match *tx {
            Connection::Sqlite(_) => SQLITE_SCHEMA,
            Connection::Postgres(_) => POSTGRES_SCHEMA,
        };
        let mut schema = Vec::new();
        for sql in asked {
            schema.extend(query_scalar::<String>(*sql).fetch_all(&mut tx).await.unwrap());
        }
        assert!(schema.iter().any(|text| text.contains("service_name")), "{schema:#?}");
        schema
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
            migrator(Dialect::Sqlite).run_to(version, &pool).await.unwrap();
            pool.close().await;
        }
        for _ in 0..2 {
            let store = Store::open(&grown).await.unwrap();
            assert_eq!(schema(&store).await, schema(&fresh).await);
            store.close().await;
        }
    }

    #[tokio::test]
    async fn a_migrated_schema_equals_a_fresh_one_on_postgresql() {
        let (fresh, grown) = (support::Database::new(), support::Database::new());
        let store = Store::connect(&postgres(&fresh)).await.unwrap();
        let expect = schema(&store).await;
        for version in 1..=MIGRATIONS.len() as i64 {
            let pool = PgPoolOptions::new().connect_with(postgres(&grown).options()).await.unwrap();
            migrator(Dialect::Postgres).run_to(version, &pool).await.unwrap();
            pool.close().await;
        }
        for _ in 0..2 {
            let store = Store::connect(&postgres(&grown)).await.unwrap();
            assert_eq!(schema(&store).await, expect);
            store.close().await;
        }
    }

    fn postgres(database: &support::Database) -> PostgresDatabase {
        let address = PostgresDatabase::parse(&database.url()).unwrap();
        address.or_password(Some(support::PASSWORD.to_owned()))
    }

    #[tokio::test]
    async fn keys_from_before_there_were_rights_are_those_of_the_last_owner() {
        let directory = crate::rows::test_directory("rights");
        let path = directory.path().join("a.db");
        let before = MIGRATIONS.iter().position(|(name, _)| *name == "rights").unwrap();
        let options = SqliteConnectOptions::new().filename(&path).create_if_missing(true);
        let pool = SqlitePoolOptions::new().max_connections(1).connect_with(options).await.unwrap();
        migrator(Dialect::Sqlite).run_to(before as i64, &pool).await.unwrap();
        for (id, at) in [("B", 5), ("A", 5), ("C", 4)] {
            sqlx::query("INSERT INTO access_key VALUES ($1, 's', 'root', 'root', $2)")
                .bind(id)
                .bind(at)
                .execute(&pool)
                .await
                .unwrap();
        }
        pool.close().await;
        let store = Store::open(&path).await.unwrap();
        let keys = store.access_key_list().await.unwrap();
        let ids: Vec<_> = keys.iter().map(|key| (key.id.as_str(), key.rights)).collect();
        assert_eq!(ids, [("B", apron_model::access::Rights::Admin)]);
    }

    #[tokio::test]
    async fn readers_cannot_write_and_writes_are_durable() {
        let directory = crate::rows::test_directory("pragma");
        let server = support::Database::new();
        let stores = [
            (Store::open(&directory.path().join("a.db")).await.unwrap(), ["PRAGMA journal_mode", "wal"]),
            (Store::connect(&postgres(&server)).await.unwrap(), ["SHOW synchronous_commit", "on"]),
        ];
        for (store, [asked, expect]) in stores {
            let mut reader = store.read().await.unwrap();
            let refused = query("INSERT INTO meta VALUES ('a', 'b')").execute(&mut reader).await;
            assert!(refused.is_err(), "{store:?}");
            let mut writer = store.write().await.unwrap();
            let said: String = query_scalar(asked).fetch_one(&mut writer).await.unwrap();
            assert_eq!(said, expect);
            if let Connection::Sqlite(_) = *writer {
                let full: i64 = query_scalar("PRAGMA synchronous").fetch_one(&mut writer).await.unwrap();
                assert_eq!(full, 2);
            }
            assert!(!format!("{store:?}").contains(support::PASSWORD));
        }
    }

    /// Beside a reader that is at an older state and a writer that is open.
    #[tokio::test]
    async fn the_log_is_copied_without_waiting_for_anybody() {
        let directory = crate::rows::test_directory("checkpoint");
        let store = Store::open(&directory.path().join("a.db")).await.unwrap();
        let write = async |key: &str| {
            let mut tx = store.write().await.unwrap();
            query("INSERT INTO meta VALUES ($1, 'b')").bind(key).execute(&mut tx).await.unwrap();
            tx.commit().await.unwrap();
        };
        write("a").await;
        assert_eq!(store.checkpoint().await.unwrap(), 0);
        let mut reader = store.read().await.unwrap();
        let seen = "SELECT COUNT(*) FROM meta WHERE key IN ('a', 'c')";
        assert_eq!(query_scalar::<i64>(seen).fetch_one(&mut reader).await.unwrap(), 1);
        write("c").await;
        let writer = store.write().await.unwrap();
        assert!(store.checkpoint().await.unwrap() > 0, "the reader needs the page as it was");
        assert_eq!(query_scalar::<i64>(seen).fetch_one(&mut reader).await.unwrap(), 1);
        // One that is dropped ends when its connection's thread comes to it.
        reader.commit().await.unwrap();
        writer.commit().await.unwrap();
        assert_eq!(store.checkpoint().await.unwrap(), 0);
        assert_eq!(query_scalar::<i64>(seen).fetch_one(&mut store.read().await.unwrap()).await.unwrap(), 2);
        store.close().await;
    }
}
