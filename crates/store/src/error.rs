//! What a caller of the store can do about a failure.

use apron_model::service::Status;

/// A unique index said no.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Conflict {
    /// A service of this name exists in the region, or an access key of this name.
    NameTaken,
    /// The service has an open operation.
    OperationOpen,
    /// The region has as many services as it may have.
    ServiceQuota,
    /// A shared resource that a service names was deleted meanwhile.
    ResourceDeleted,
    /// The service is deleted or is going to be; with what it shows of that.
    ServiceLeaves(Status),
    /// The service has a VPC ingress connection and is to be deleted.
    HasIngress,
    /// A shared resource that is to be deleted may still be come back to.
    ResourceNeeded,
    /// A custom domain, or with `www` the name `www.` below it, belongs to a service already.
    HostTaken { www: bool },
    /// The row exists already.
    Exists,
}

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("conflict: {0:?}")]
    Conflict(Conflict),
    /// A column does not hold what it should: a damaged or foreign database.
    #[error("{table}.{column} cannot be read: {reason}")]
    Corrupt { table: &'static str, column: &'static str, reason: String },
    /// A peer reports an epoch that no history of this platform explains; it is not to be believed.
    #[error("epoch {seen} is too far above the stored one, {stored}")]
    EpochTooFar { seen: u64, stored: u64 },
    /// The disk under the database is full; nothing was written.
    #[error("no space is left for the database")]
    Full,
    /// Another process writes to this database; only one may.
    #[error("{0} is held by another control process")]
    Held(String),
    /// There is no way to the database; the source says why.
    #[error("the database {0} cannot be reached")]
    Unreachable(String, #[source] sqlx::Error),
    /// The database did not answer or refused; the same call may work later.
    #[error("the database failed")]
    Database(#[source] sqlx::Error),
    #[error("the database could not be brought to this version's schema")]
    Migrate(#[source] Box<sqlx::migrate::MigrateError>),
}

impl StoreError {
    /// The database itself is in trouble: whatever else is asked of it now would fare no better.
    pub fn concerns_all(&self) -> bool {
        match self {
            StoreError::Full | StoreError::Held(_) | StoreError::Unreachable(..) => true,
            StoreError::Database(error) => matches!(
                error,
                sqlx::Error::Io(_)
                    | sqlx::Error::Tls(_)
                    | sqlx::Error::Protocol(_)
                    | sqlx::Error::PoolTimedOut
                    | sqlx::Error::PoolClosed
                    | sqlx::Error::WorkerCrashed
            ),
            StoreError::Conflict(_)
            | StoreError::Corrupt { .. }
            | StoreError::EpochTooFar { .. }
            | StoreError::Migrate(_) => false,
        }
    }
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> StoreError {
        let Some(database) = error.as_database_error() else {
            return StoreError::Database(error);
        };
        if database.is_unique_violation() {
            return StoreError::Conflict(conflict(database.constraint(), database.message()));
        }
        match database.code().is_some_and(|code| is_full(&code)) {
            true => StoreError::Full,
            false => StoreError::Database(error),
        }
    }
}

/// What each unique index keeps apart: its name, by which PostgreSQL tells of it, a column that SQLite names, and the
/// conflict. Of the others it is enough to know that the row exists.
const CONFLICTS: &[(&str, &str, Conflict)] = &[
    ("operation_open", "operation.service", Conflict::OperationOpen),
    ("service_name", "service.name", Conflict::NameTaken),
    ("access_key_name", "access_key.name", Conflict::NameTaken),
];

fn conflict(index: Option<&str>, message: &str) -> Conflict {
    CONFLICTS
        .iter()
        .find(|(name, column, _)| index == Some(*name) || (index.is_none() && message.contains(column)))
        .map_or(Conflict::Exists, |(_, _, conflict)| *conflict)
}

fn is_full(code: &str) -> bool {
    const POSTGRES_DISK_FULL: &str = "53100";
    // SQLITE_FULL; extended codes keep the primary one in the low byte.
    const SQLITE_FULL: i64 = 13;
    // PostgreSQL's codes have five characters, SQLite's are numbers of four digits at most.
    match code.len() {
        5 => code == POSTGRES_DISK_FULL,
        _ => code.parse::<i64>().is_ok_and(|code| code & 0xff == SQLITE_FULL),
    }
}
