//! Failures that every handler may meet, as AWS shapes them. Both APIs model the same five errors by the same
//! names, so one set of makers serves both.

use crate::chain;
use apron_model::source::InputError;
use apron_store::StoreError;
use apron_telemetry::LogError;
use apron_wire::Error;
use apron_wire::apprunner::ErrorType;

pub(super) fn invalid(message: impl Into<String>) -> Error {
    ErrorType::InvalidRequest.with(message)
}

pub(super) fn invalid_state(message: impl Into<String>) -> Error {
    ErrorType::InvalidState.with(message)
}

pub(super) fn not_found(message: impl Into<String>) -> Error {
    ErrorType::ResourceNotFound.with(message)
}

pub(super) fn quota(message: impl Into<String>) -> Error {
    ErrorType::ServiceQuotaExceeded.with(message)
}

pub(super) fn internal(message: impl Into<String>) -> Error {
    ErrorType::InternalServiceError.with(message)
}

pub(super) fn input(error: InputError) -> Error {
    match error {
        InputError::Invalid(message) | InputError::Unsupported(message) => invalid(message),
    }
}

/// What the database says is for the log; the caller learns what to do.
pub(super) fn store(error: StoreError) -> Error {
    tracing::error!(error = chain(&error), "the database refused a call");
    match error {
        StoreError::Full => internal("The disk under the platform's database is full; nothing was changed."),
        StoreError::Corrupt { table, column, .. } => internal(format!(
            "The platform's database is damaged: a row's {column} in {table} cannot be read. Nothing was changed; \
             what else there is goes on."
        )),
        StoreError::Conflict(_)
        | StoreError::Held(_)
        | StoreError::EpochTooFar { .. }
        | StoreError::Database(_)
        | StoreError::Unreachable(..)
        | StoreError::Migrate(_) => internal("The platform's database failed; nothing was changed."),
    }
}

pub(super) fn logs(error: LogError) -> Error {
    tracing::error!(error = chain(&error), "logs cannot be read");
    internal("The platform's logs cannot be read.")
}
