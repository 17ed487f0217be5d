//! What a caller of the store can do about a failure.

/// A unique index said no.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Conflict {
    /// A service of this name exists in the region.
    NameTaken,
    /// The service has an open operation.
    OperationOpen,
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
    /// The database did not answer or refused; the same call may work later.
    #[error("the database failed")]
    Database(#[source] sqlx::Error),
    #[error("the database could not be brought to this version's schema")]
    Migrate(#[source] Box<sqlx::migrate::MigrateError>),
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> StoreError {
        let Some(database) = error.as_database_error() else {
            return StoreError::Database(error);
        };
        if database.is_unique_violation() {
            let message = database.message();
            return StoreError::Conflict(if message.contains("operation.service") {
                Conflict::OperationOpen
            } else if message.contains("service.name") {
                Conflict::NameTaken
            } else {
                Conflict::Exists
            });
        }
        // SQLITE_FULL; extended codes keep the primary one in the low byte.
        const SQLITE_FULL: i64 = 13;
        match database.code().and_then(|code| code.parse::<i64>().ok()) {
            Some(code) if code & 0xff == SQLITE_FULL => StoreError::Full,
            _ => StoreError::Database(error),
        }
    }
}
