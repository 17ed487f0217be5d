//! One way to say a statement to both databases.
//!
//! A statement is one text with `$1` parameters that SQLite and PostgreSQL both take; which of them hears it is
//! known when it is run. Our values are whole numbers, truths and texts, and each knows its type also when it is
//! absent, because PostgreSQL asks for it.

use futures_util::TryStreamExt;
use sqlx::postgres::{PgArguments, PgRow};
use sqlx::query::Query;
use sqlx::sqlite::{SqliteArguments, SqliteRow};
use sqlx::{Decode, Postgres, Row as _, SqlSafeStr, SqlStr, Sqlite, Transaction, Type};
use std::borrow::Cow;
use std::collections::BTreeSet;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};

/// Reads within a transaction, or in one that also writes.
pub(crate) enum Connection {
    Sqlite(Transaction<'static, Sqlite>),
    Postgres(Transaction<'static, Postgres>),
}

/// A transaction. Dropped without commit it leaves nothing.
pub(crate) struct Tx {
    connection: Connection,
    /// Services that were written, or slots of theirs.
    changed: BTreeSet<String>,
}

impl Tx {
    pub(crate) fn new(connection: Connection) -> Tx {
        Tx { connection, changed: BTreeSet::new() }
    }

    /// Says that this service or a slot of it was written. Committing gives it the next number, so that readers who
    /// know all up to an earlier one find it.
    pub(crate) fn changes(&mut self, service: &str) {
        if !self.changed.contains(service) {
            self.changed.insert(service.to_owned());
        }
    }

    pub(crate) async fn commit(mut self) -> Result<(), sqlx::Error> {
        if !self.changed.is_empty() {
            // Writers follow one another, so numbers are committed in their order.
            let number: String = query_scalar(
                "INSERT INTO meta (key, value) VALUES ('change', '1')
                 ON CONFLICT (key) DO UPDATE SET value = CAST(CAST(meta.value AS BIGINT) + 1 AS TEXT) RETURNING value",
            )
            .fetch_one(&mut self.connection)
            .await?;
            let number = number.parse::<i64>().map_err(|error| sqlx::Error::Decode(error.into()))?;
            for service in &self.changed {
                query("UPDATE service SET changed = $2 WHERE id = $1")
                    .bind(service)
                    .bind(number)
                    .execute(&mut self.connection)
                    .await?;
            }
        }
        match self.connection {
            Connection::Sqlite(tx) => tx.commit().await,
            Connection::Postgres(tx) => tx.commit().await,
        }
    }
}

impl Deref for Tx {
    type Target = Connection;
    fn deref(&self) -> &Connection {
        &self.connection
    }
}

impl DerefMut for Tx {
    fn deref_mut(&mut self) -> &mut Connection {
        &mut self.connection
    }
}

pub(crate) enum Row {
    Sqlite(SqliteRow),
    Postgres(PgRow),
}

/// What a column can be read as.
pub(crate) trait Field<'r>:
    Decode<'r, Sqlite> + Type<Sqlite> + Decode<'r, Postgres> + Type<Postgres>
{
}

impl<'r, T: Decode<'r, Sqlite> + Type<Sqlite> + Decode<'r, Postgres> + Type<Postgres>> Field<'r> for T {}

impl Row {
    pub(crate) fn get<'r, T: Field<'r>>(&'r self, column: &str) -> Result<T, sqlx::Error> {
        match self {
            Row::Sqlite(row) => row.try_get(column),
            Row::Postgres(row) => row.try_get(column),
        }
    }

    pub(crate) fn first<'r, T: Field<'r>>(&'r self) -> Result<T, sqlx::Error> {
        match self {
            Row::Sqlite(row) => row.try_get(0),
            Row::Postgres(row) => row.try_get(0),
        }
    }
}

/// A value on its way to a parameter.
#[derive(Clone, Debug)]
pub(crate) enum Value<'q> {
    Number(Option<i64>),
    Truth(Option<bool>),
    Text(Option<Cow<'q, str>>),
}

macro_rules! from {
    ($($given:ty, $value:ident => $made:expr;)*) => {$(
        impl<'q> From<$given> for Value<'q> {
            fn from($value: $given) -> Value<'q> {
                $made
            }
        }
    )*};
}

from! {
    i64, number => Value::Number(Some(number));
    Option<i64>, number => Value::Number(number);
    bool, truth => Value::Truth(Some(truth));
    Option<bool>, truth => Value::Truth(truth);
    &'q str, text => Value::Text(Some(Cow::Borrowed(text)));
    &'q String, text => Value::Text(Some(Cow::Borrowed(text)));
    String, text => Value::Text(Some(Cow::Owned(text)));
    Option<&'q str>, text => Value::Text(text.map(Cow::Borrowed));
    Option<&'q String>, text => Value::Text(text.map(|text| Cow::Borrowed(text.as_str())));
    Option<String>, text => Value::Text(text.map(Cow::Owned));
}

/// A statement whose values are being bound.
pub(crate) struct Statement<'q> {
    sql: SqlStr,
    values: Vec<Value<'q>>,
}

/// A statement that answers with rows, or with nothing.
pub(crate) fn query<'q>(sql: impl SqlSafeStr) -> Statement<'q> {
    Statement { sql: sql.into_sql_str(), values: Vec::new() }
}

/// A statement of whose rows only the first column counts.
pub(crate) fn query_scalar<'q, T>(sql: impl SqlSafeStr) -> Scalar<'q, T> {
    Scalar { statement: query(sql), read: PhantomData }
}

impl<'q> Statement<'q> {
    pub(crate) fn bind(mut self, value: impl Into<Value<'q>>) -> Statement<'q> {
        self.values.push(value.into());
        self
    }

    pub(crate) async fn fetch_all(self, connection: &mut Connection) -> Result<Vec<Row>, sqlx::Error> {
        match connection {
            Connection::Sqlite(tx) => {
                Ok(self.sqlite().fetch_all(&mut **tx).await?.into_iter().map(Row::Sqlite).collect())
            }
            Connection::Postgres(tx) => {
                Ok(self.postgres().fetch_all(&mut **tx).await?.into_iter().map(Row::Postgres).collect())
            }
        }
    }

    pub(crate) async fn fetch_optional(
        self,
        connection: &mut Connection,
    ) -> Result<Option<Row>, sqlx::Error> {
        match connection {
            Connection::Sqlite(tx) => Ok(self.sqlite().fetch_optional(&mut **tx).await?.map(Row::Sqlite)),
            Connection::Postgres(tx) => {
                Ok(self.postgres().fetch_optional(&mut **tx).await?.map(Row::Postgres))
            }
        }
    }

    pub(crate) async fn fetch_one(self, connection: &mut Connection) -> Result<Row, sqlx::Error> {
        self.fetch_optional(connection).await?.ok_or(sqlx::Error::RowNotFound)
    }

    /// Shows the rows one after the other, as they arrive.
    pub(crate) async fn each<E: From<sqlx::Error>>(
        self,
        connection: &mut Connection,
        mut see: impl FnMut(Row) -> Result<(), E>,
    ) -> Result<(), E> {
        match connection {
            Connection::Sqlite(tx) => {
                let mut rows = self.sqlite().fetch(&mut **tx);
                while let Some(row) = rows.try_next().await? {
                    see(Row::Sqlite(row))?;
                }
            }
            Connection::Postgres(tx) => {
                let mut rows = self.postgres().fetch(&mut **tx);
                while let Some(row) = rows.try_next().await? {
                    see(Row::Postgres(row))?;
                }
            }
        }
        Ok(())
    }

    pub(crate) async fn execute(self, connection: &mut Connection) -> Result<Done, sqlx::Error> {
        let rows = match connection {
            Connection::Sqlite(tx) => self.sqlite().execute(&mut **tx).await?.rows_affected(),
            Connection::Postgres(tx) => self.postgres().execute(&mut **tx).await?.rows_affected(),
        };
        Ok(Done { rows })
    }

    fn sqlite(self) -> Query<'q, Sqlite, SqliteArguments> {
        #[cfg(test)]
        heard::note(&self);
        self.values.into_iter().fold(sqlx::query(self.sql), |query, value| match value {
            Value::Number(number) => query.bind(number),
            Value::Truth(truth) => query.bind(truth),
            Value::Text(text) => query.bind(text),
        })
    }

    fn postgres(self) -> Query<'q, Postgres, PgArguments> {
        #[cfg(test)]
        heard::note(&self);
        self.values.into_iter().fold(sqlx::query(self.sql), |query, value| match value {
            Value::Number(number) => query.bind(number),
            Value::Truth(truth) => query.bind(truth),
            // Its texts cannot hold a zero byte, and what an application said may.
            Value::Text(Some(text)) if text.contains('\0') => query.bind(text.replace('\0', "\u{fffd}")),
            Value::Text(text) => query.bind(text),
        })
    }
}

/// What a statement without rows did.
pub(crate) struct Done {
    rows: u64,
}

impl Done {
    pub(crate) fn rows_affected(&self) -> u64 {
        self.rows
    }
}

/// See `query_scalar`.
pub(crate) struct Scalar<'q, T> {
    statement: Statement<'q>,
    read: PhantomData<fn() -> T>,
}

impl<'q, T: for<'r> Field<'r>> Scalar<'q, T> {
    pub(crate) fn bind(self, value: impl Into<Value<'q>>) -> Scalar<'q, T> {
        Scalar { statement: self.statement.bind(value), read: PhantomData }
    }

    pub(crate) async fn fetch_all(self, connection: &mut Connection) -> Result<Vec<T>, sqlx::Error> {
        self.statement.fetch_all(connection).await?.iter().map(Row::first).collect()
    }

    pub(crate) async fn fetch_optional(self, connection: &mut Connection) -> Result<Option<T>, sqlx::Error> {
        self.statement.fetch_optional(connection).await?.as_ref().map(Row::first).transpose()
    }

    pub(crate) async fn fetch_one(self, connection: &mut Connection) -> Result<T, sqlx::Error> {
        self.statement.fetch_one(connection).await?.first()
    }
}

/// The statements of a test's thread, for the tests of how databases carry them out.
#[cfg(test)]
pub(crate) mod heard {
    use super::{Statement, Value};
    use std::borrow::Cow;
    use std::cell::RefCell;

    thread_local! {
        static HEARD: RefCell<Vec<(String, Vec<Value<'static>>)>> = const { RefCell::new(Vec::new()) };
    }

    pub(super) fn note(statement: &Statement<'_>) {
        let values = statement.values.iter().map(|value| match value {
            Value::Number(number) => Value::Number(*number),
            Value::Truth(truth) => Value::Truth(*truth),
            Value::Text(text) => Value::Text(text.as_deref().map(|text| Cow::Owned(text.to_owned()))),
        });
        let one = (statement.sql.as_str().to_owned(), values.collect());
        HEARD.with_borrow_mut(|heard| heard.push(one));
    }

    /// What was said since it was last asked.
    pub(crate) fn take() -> Vec<(String, Vec<Value<'static>>)> {
        HEARD.take()
    }
}
