//! All SQL, and the sole owner of transactions.
//!
//! On SQLite and on PostgreSQL one writer connection makes writes one after the other; a pool of readers sees
//! consistent snapshots beside it. Both take the same text (`sql`); what differs is in `open` and `error`. Wishes and
//! facts are rows; a method is named after its noun. What must be unique is an index, never a read before a write. No
//! method waits for anything but the database.

mod access_key;
mod backup;
mod build;
mod custom_domain;
mod error;
mod housekeeping;
mod line;
mod meta;
mod open;
mod operation;
#[cfg(test)]
mod plans;
mod postgres;
mod proxy;
mod resource;
mod revision;
mod rows;
mod service;
mod slot;
mod sql;
#[cfg(test)]
#[path = "../tests/support/mod.rs"]
mod support;
mod upload;
mod usage;

pub use access_key::AccessKey;
pub use backup::{BackupError, Filling};
pub use error::{Conflict, StoreError};
pub use housekeeping::Purged;
pub use line::PendingLine;
pub use meta::EngineClockRow;
pub use open::{Gate, Store};
pub use operation::{Advanced, OperationPage};
pub use postgres::{DatabaseUrlError, PostgresDatabase};
pub use proxy::ProxyProcess;
pub use resource::{ConnectionSecret, ResourceCursor, ResourceFilter, ResourceWrites};
pub use service::{RoutesSeen, ServiceCursor, ServiceRoutes, ServiceRoutesChanged, ServiceSummary};
pub use slot::SlotsRead;
pub use upload::{Upload, UploadKind};
pub use usage::{FORGOTTEN, UsageRow};
