//! The shell that joins the rest: the API, the operations engine, the reconcilers and the route publisher.
//!
//! A call becomes an operation's row; the engine turns rows into wishes; reconcilers make the world follow and
//! write facts; facts wake the engine. Nothing here that serves users: when control is dead, only deployments
//! and other changes wait.

pub mod api;
pub mod backup;
pub mod bench;
mod clock;
mod config;
mod console;
mod engine;
mod publish;
mod reconcile;
mod start;
#[cfg(test)]
mod tests;

pub use clock::{Clock, ManualClock, SystemClock};
pub use config::{Config, Names, RegistryOptions, RootKey};
pub use engine::Hints;
pub use publish::PublishError;
pub use start::{ControlError, run};

pub use apron_store::{DatabaseUrlError, PostgresDatabase};

use apron_images::content::Content;
use apron_model::draw::Draw;
use apron_model::resource::Quotas;
use apron_store::Store;
use apron_telemetry::Logs;
use std::sync::Arc;

/// What API handlers hold.
pub struct Platform {
    pub store: Store,
    pub logs: Logs,
    pub content: Content,
    pub hints: Hints,
    pub clock: Arc<dyn Clock>,
    pub names: Names,
    pub quotas: Quotas,
    /// Managed runtimes, by the API's names.
    pub runtimes: Vec<String>,
    pub(crate) uploads: api::uploads::Uploads,
    pub(crate) node: Arc<dyn reconcile::meter::Node>,
}

impl Platform {
    /// Time and fresh names for one call.
    pub fn draw(&self) -> Draw {
        // Handlers write no generations, so the epoch is of no consequence.
        engine::draw(self.clock.as_ref(), 0, self.quotas.instances_per_service)
    }
}

/// Does what may wait for a disk without holding up the other tasks of its thread.
pub(crate) fn blocking<T>(work: impl FnOnce() -> T) -> T {
    use tokio::runtime::{Handle, RuntimeFlavor};
    match Handle::try_current().map(|runtime| runtime.runtime_flavor()) {
        Ok(RuntimeFlavor::MultiThread) => tokio::task::block_in_place(work),
        // A runtime of one thread, as tests have, has nobody who could take the others over.
        _ => work(),
    }
}

/// An error and what caused it, in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}
