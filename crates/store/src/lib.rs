//! All SQL, and the sole owner of transactions.
//!
//! One writer connection (BEGIN IMMEDIATE, WAL, synchronous FULL) makes writes one after the other; a pool of
//! readers sees consistent snapshots beside it. Wishes and facts are rows; a method is named after its noun.
//! What must be unique is an index, never a read before a write. No method waits for anything but the disk.

mod access_key;
mod build;
mod error;
mod housekeeping;
mod line;
mod meta;
mod open;
mod operation;
mod proxy;
mod revision;
mod rows;
mod service;
mod slot;
mod upload;

pub use access_key::{AccessKey, Rights};
pub use error::{Conflict, StoreError};
pub use housekeeping::Purged;
pub use line::PendingLine;
pub use meta::EngineClockRow;
pub use open::Store;
pub use operation::{Advanced, OperationPage};
pub use proxy::ProxyProcess;
pub use service::{ServiceCursor, ServiceRoutes};
pub use upload::{Upload, UploadKind};
