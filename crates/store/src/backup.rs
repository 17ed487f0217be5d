//! All rows of a database as lines of JSON, and a database filled with them.
//!
//! The lines are the same for SQLite and PostgreSQL, so that either can be filled with what the other held. A database
//! is filled at the schema that the lines were read at, and then brought to this version's like any older one.

use crate::error::StoreError;
use crate::housekeeping;
use crate::open::{Store, schema_known};
use crate::sql::{Connection, Row, Tx, Value, query, query_scalar};
use apron_model::ids::Digest;
use serde_json::{Map, Value as Json};
use sqlx::{AssertSqlSafe, Column as _, Row as _, TypeInfo as _};
use std::collections::BTreeSet;

/// Every table whose rows are kept, each after those that it refers to.
const TABLES: &[&str] = &[
    "meta",
    "region",
    "service",
    "operation",
    "revision",
    "build",
    "slot",
    "proxy",
    "line",
    "access_key",
    "resource",
    "connection_secret",
    "custom_domain",
    "custom_domain_host",
    "usage",
];
/// Tables whose rows mean nothing elsewhere: those of uploads tell of files that are half there.
#[cfg(test)]
const LEFT_OUT: &[&str] = &["upload"];
/// Tables whose rows the database numbers. PostgreSQL has to be told where to go on.
const NUMBERED: &[(&str, &str)] = &[("operation", "seq"), ("line", "seq")];
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("what was read cannot be passed on")]
    Write(#[source] std::io::Error),
    #[error(
        "the rows are of schema {0}, and this version knows schemas up to {1}: a newer version of Apron is needed"
    )]
    TooNew(u32, u32),
    #[error("the database {0} is not empty: name a new one, made with createdb")]
    NotEmpty(String),
    #[error("a row cannot be used: {0}")]
    Row(String),
}

impl From<sqlx::Error> for BackupError {
    fn from(error: sqlx::Error) -> BackupError {
        BackupError::Store(error.into())
    }
}

impl Store {
    /// Gives out every row, as one line each, and answers with the content that they name; all of one snapshot.
    pub async fn dump(
        &self,
        mut line: impl FnMut(&str) -> std::io::Result<()>,
    ) -> Result<BTreeSet<Digest>, BackupError> {
        let mut tx = self.read().await?;
        for table in TABLES {
            let all = query(AssertSqlSafe(format!("SELECT * FROM {table}")));
            let give = |row| -> Result<(), BackupError> {
                let text = Json::Array(vec![Json::from(*table), Json::Object(members(&row)?)]).to_string();
                line(&text).map_err(BackupError::Write)
            };
            all.each(&mut tx, give).await?;
        }
        Ok(housekeeping::content(&mut tx).await?)
    }
}

/// A database that is being filled. Dropped before it is finished it holds no row.
pub struct Filling {
    store: Store,
    tx: Tx,
}

impl Filling {
    /// Begins to fill a database that was made for it with rows that were read at this schema.
    ///
    /// Fails with `TooNew` when this version does not know the schema, and with `NotEmpty`.
    pub async fn begin(store: Store, schema: u32) -> Result<Filling, BackupError> {
        if !(1..=schema_known()).contains(&schema) {
            return Err(BackupError::TooNew(schema, schema_known()));
        }
        let mut tx = store.write().await?;
        if let Connection::Postgres(_) = *tx {
            let tables = "SELECT COUNT(*) FROM pg_tables WHERE schemaname = current_schema()";
            if query_scalar::<i64>(tables).fetch_one(&mut tx).await? > 0 {
                return Err(BackupError::NotEmpty(store.name()));
            }
        }
        tx.commit().await?;
        store.migrate_to(schema).await?;
        let tx = store.write().await?;
        Ok(Filling { store, tx })
    }

    /// Takes one line of a dump.
    pub async fn row(&mut self, line: &str) -> Result<(), BackupError> {
        let (table, members): (String, Map<String, Json>) =
            serde_json::from_str(line).map_err(|error| BackupError::Row(error.to_string()))?;
        let names: Vec<&str> = members.keys().map(String::as_str).collect();
        if let Some(wrong) = names.iter().chain([&table.as_str()]).find(|name| !is_name(name)) {
            return Err(BackupError::Row(format!("'{wrong}' is not the name of a table or column")));
        }
        let places: Vec<String> = (1..=names.len()).map(|place| format!("${place}")).collect();
        // Every name was looked at, so nothing but names stands here.
        let text = format!("INSERT INTO {table} ({}) VALUES ({})", names.join(", "), places.join(", "));
        let mut insert = query(AssertSqlSafe(text));
        for (name, value) in &members {
            insert = insert.bind(value_of(value).ok_or_else(|| {
                BackupError::Row(format!("{table}.{name} is neither a text, a whole number nor a truth"))
            })?);
        }
        insert.execute(&mut self.tx).await?;
        Ok(())
    }

    /// Keeps the rows and brings them to this version's schema.
    pub async fn finish(mut self) -> Result<Store, BackupError> {
        if let Connection::Postgres(_) = *self.tx {
            for (table, column) in NUMBERED {
                let next = format!(
                    "SELECT setval(pg_get_serial_sequence('{table}', '{column}'), MAX({column})) FROM {table}"
                );
                query(AssertSqlSafe(next)).execute(&mut self.tx).await?;
            }
        }
        self.tx.commit().await?;
        self.store.migrate_to(schema_known()).await?;
        Ok(self.store)
    }
}

/// The columns of a row that hold something.
fn members(row: &Row) -> Result<Map<String, Json>, sqlx::Error> {
    let mut members = Map::new();
    match row {
        Row::Sqlite(row) => {
            for (at, column) in row.columns().iter().enumerate() {
                let value = match column.type_info().name() {
                    "BOOLEAN" => row.try_get::<Option<bool>, _>(at)?.map(Json::from),
                    "TEXT" => row.try_get::<Option<String>, _>(at)?.map(Json::from),
                    _ => row.try_get::<Option<i64>, _>(at)?.map(Json::from),
                };
                members.extend(value.map(|value| (column.name().to_owned(), value)));
            }
        }
        Row::Postgres(row) => {
            for (at, column) in row.columns().iter().enumerate() {
                let value = match column.type_info().name() {
                    "BOOL" => row.try_get::<Option<bool>, _>(at)?.map(Json::from),
                    "TEXT" => row.try_get::<Option<String>, _>(at)?.map(Json::from),
                    _ => row.try_get::<Option<i64>, _>(at)?.map(Json::from),
                };
                members.extend(value.map(|value| (column.name().to_owned(), value)));
            }
        }
    }
    Ok(members)
}

fn value_of(value: &Json) -> Option<Value<'_>> {
    match value {
        Json::String(text) => Some(Value::from(text)),
        Json::Bool(truth) => Some(Value::from(*truth)),
        Json::Number(number) => number.as_i64().map(Value::from),
        Json::Null | Json::Array(_) | Json::Object(_) => None,
    }
}

fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_' || byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rows::test_directory;
    use crate::{PostgresDatabase, support};
    use apron_model::fixture;

    fn postgres(database: &support::Database) -> PostgresDatabase {
        let address = PostgresDatabase::parse(&database.url()).unwrap();
        address.or_password(Some(support::PASSWORD.to_owned()))
    }

    async fn lines(store: &Store) -> Vec<String> {
        let mut lines = Vec::new();
        let keep = |line: &str| {
            lines.push(line.to_owned());
            Ok(())
        };
        store.dump(keep).await.unwrap();
        lines.sort();
        lines
    }

    async fn filled(store: Store, schema: u32, lines: &[String]) -> Result<Store, BackupError> {
        let mut filling = Filling::begin(store, schema).await?;
        // In the order of the tables.
        let place =
            |line: &&String| TABLES.iter().position(|table| line.starts_with(&format!("[\"{table}\",")));
        let mut lines: Vec<&String> = lines.iter().collect();
        lines.sort_by_key(place);
        for line in lines {
            filling.row(line).await?;
        }
        filling.finish().await
    }

    /// Something in every table, as far as constraints and this test care.
    async fn something(store: &Store) {
        let mut tx = store.write().await.unwrap();
        for sql in [
            "INSERT INTO service (id, region, name, url_label, created_at, updated_at, state, config, tags, route_version)
                 VALUES ('s', 'r', 'Ünï \"quoted\"', 'l', 9007199254740993, 2, 'running', $1, '{}', 0)",
            "INSERT INTO operation (id, service, kind, status, step, created_at, updated_at)
                 VALUES ('o', 's', 'k', 'p', '{}', 1, 1)",
            "INSERT INTO build (id, service, operation, wish, wanted, failures, fact)
                 VALUES ('b', 's', 'o', '{}', TRUE, 3, '\"unknown\"')",
            "INSERT INTO line (service, at, line) VALUES ('s', 4, '{}')",
            "INSERT INTO upload (id, kind, size, used_at) VALUES ('u', 'source', 1, 1)",
            "INSERT INTO custom_domain (service, domain, www, token, created_at) VALUES ('s', 'a.example', FALSE, 't', 1)",
            "INSERT INTO custom_domain_host (host, service, domain) VALUES ('a.example', 's', 'a.example')",
        ] {
            let statement = query(sql);
            let config = crate::rows::json(&fixture::image_config("registry.test/web:1"));
            let statement = if sql.contains("$1") { statement.bind(config) } else { statement };
            statement.execute(&mut tx).await.unwrap();
        }
        tx.commit().await.unwrap();
    }

    #[tokio::test]
    async fn rows_go_from_one_database_to_the_other_and_back() {
        let directory = test_directory("dump");
        let path = |name: &str| directory.path().join(name);
        let first = Store::open(&path("first.db")).await.unwrap();
        something(&first).await;
        let expect = lines(&first).await;
        assert!(expect.iter().any(|line| line.contains("9007199254740993")), "{expect:#?}");
        assert!(!expect.iter().any(|line| line.starts_with("[\"upload")), "{expect:#?}");

        let server = support::Database::new();
        let empty = Store::blank_postgres(&postgres(&server)).await.unwrap();
        let second = filled(empty, first.schema().await.unwrap(), &expect).await.unwrap();
        assert_eq!(lines(&second).await, expect);
        // The numbers go on.
        let mut tx = second.write().await.unwrap();
        query("INSERT INTO line (service, at, line) VALUES ('s', 5, '{}')").execute(&mut tx).await.unwrap();
        query("DELETE FROM line WHERE at = 5").execute(&mut tx).await.unwrap();
        tx.commit().await.unwrap();
        second.close().await;
        let taken = Store::blank_postgres(&postgres(&server)).await.unwrap();
        let refused = Filling::begin(taken, schema_known()).await.map(|_| ());
        assert!(matches!(refused, Err(BackupError::NotEmpty(_))), "{refused:?}");

        let third =
            filled(Store::blank(&path("third.db")).await.unwrap(), schema_known(), &expect).await.unwrap();
        assert_eq!(lines(&third).await, expect);
    }

    #[tokio::test]
    async fn rows_of_an_older_schema_are_brought_to_this_one() {
        let directory = test_directory("dump");
        let old = Store::blank(&directory.path().join("old.db")).await.unwrap();
        let line = r#"["line",{"at":4,"line":"{}","operation":"o","seq":7,"service":"s"}]"#.to_owned();
        let store = filled(old, 1, std::slice::from_ref(&line)).await.unwrap();
        assert_eq!(lines(&store).await, [line]);
        assert_eq!(store.schema().await.unwrap(), schema_known());
        let later = Store::blank(&directory.path().join("later.db")).await.unwrap();
        let refused = Filling::begin(later, schema_known() + 1).await.map(|_| ());
        assert!(matches!(refused, Err(BackupError::TooNew(..))), "{refused:?}");
    }

    #[tokio::test]
    async fn what_is_no_row_is_refused() {
        let directory = test_directory("dump");
        let store = Store::blank(&directory.path().join("a.db")).await.unwrap();
        let mut filling = Filling::begin(store, schema_known()).await.unwrap();
        for line in [
            "",
            "[]",
            r#"["meta; DROP TABLE meta",{}]"#,
            r#"["meta",{"key) --":"1"}]"#,
            r#"["meta",{"key":[]}]"#,
        ] {
            let refused = filling.row(line).await;
            assert!(matches!(refused, Err(BackupError::Row(_))), "{line}: {refused:?}");
        }
    }

    /// A new table belongs into one of the lists above.
    #[tokio::test]
    async fn every_table_is_kept_or_left_out_on_purpose() {
        let directory = test_directory("dump");
        let store = Store::open(&directory.path().join("a.db")).await.unwrap();
        let mut tx = store.read().await.unwrap();
        let asked = r"SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite\_%' ESCAPE '\'
                          AND name NOT LIKE '\_sqlx%' ESCAPE '\' ORDER BY name";
        let mut known: Vec<&str> = TABLES.iter().chain(LEFT_OUT).copied().collect();
        known.sort_unstable();
        assert_eq!(query_scalar::<String>(asked).fetch_all(&mut tx).await.unwrap(), known);
        let asked = "SELECT name FROM sqlite_master WHERE sql LIKE '%AUTOINCREMENT%' ORDER BY name";
        let mut numbered: Vec<&str> = NUMBERED.iter().map(|(table, _)| *table).collect();
        numbered.sort_unstable();
        assert_eq!(query_scalar::<String>(asked).fetch_all(&mut tx).await.unwrap(), numbered);
    }
}
