//! What runs instances, seen from control: wishes in, facts out. `local` drives the node of this machine,
//! `sim` a world in memory for tests of the engine.

use apron_model::build::{BuildEvent, BuildSpec};
use apron_model::idle::Standing;
use apron_model::ids::{InstanceId, ServiceId};
use apron_model::instance::{InstanceSpec, Observed};
use apron_model::meter::{Handed, Taken};
use apron_model::scaling::Readings;
use futures_util::Stream;
use std::future::Future;
use std::time::Duration;

/// What this driver is able to do; what it is not is refused when it is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Can {
    /// Changes CPU and memory limits of a running instance.
    pub resize_in_place: bool,
    /// An address belongs to the instance id over crash and restart.
    pub stable_addresses: bool,
}

/// Nothing here says what happened to an instance: that is a fact, in `Observed`.
#[derive(Debug, thiserror::Error)]
pub enum DriverError {
    /// The driver did not answer; the reconciler comes again.
    #[error("{0} does not answer")]
    Unreachable(String),
    /// It answered no and will say no again.
    #[error("refused: {0}")]
    Refused(String),
}

/// Something may have changed; only `list` says what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hint {
    Instances,
    /// New output of this instance can be read.
    Output(InstanceId),
}

/// Output of one instance from a byte offset on, as whole lines.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Output {
    pub lines: Vec<OutputLine>,
    /// Where to read on. Grows over restarts and log rotation; lines that were dropped are skipped and said.
    pub next: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct OutputLine {
    /// Wall time of arrival, milliseconds since 1970.
    pub at_ms: u64,
    pub text: String,
}

pub trait Driver: Send + Sync + 'static {
    fn can(&self) -> Can;
    /// Makes the instance exist as wished; idempotent. Returns when the wish is durable, not when it runs.
    fn ensure(&self, want: &InstanceSpec) -> impl Future<Output = Result<(), DriverError>> + Send;
    /// SIGTERM, the grace, SIGKILL, and everything of it gone. Returns when the wish is durable; `list` no
    /// longer names the instance when it is done. An unknown id is a success.
    fn remove(
        &self,
        id: &InstanceId,
        grace: Duration,
    ) -> impl Future<Output = Result<(), DriverError>> + Send;
    fn list(&self) -> impl Future<Output = Result<Vec<Observed>, DriverError>> + Send;
    /// Ends when the connection to the driver breaks; the caller lists, then asks anew.
    fn changes(&self) -> impl Future<Output = Result<impl Stream<Item = Hint> + Send, DriverError>> + Send;
    fn output(&self, id: &InstanceId, from: u64) -> impl Future<Output = Result<Output, DriverError>> + Send;
    /// How the instances of a service stand on the idle ladder.
    fn standing(
        &self,
        service: &ServiceId,
    ) -> impl Future<Output = Result<Vec<Standing>, DriverError>> + Send;
    /// What the instances of these services that are healthy have used so far and use now, and which of them are awake.
    fn readings(&self, services: &[ServiceId]) -> impl Future<Output = Result<Readings, DriverError>> + Send;
    /// What instances used. The same again, until its number is said to be taken.
    fn usage(&self, taken: Option<&Taken>) -> impl Future<Output = Result<Handed, DriverError>> + Send;
    /// The service is gone for good: what is kept between its builds goes too. An unknown one is a success.
    fn forget_service(&self, id: &ServiceId) -> impl Future<Output = Result<(), DriverError>> + Send;
    /// Runs a build to its end. Dropping the stream cancels it. The same id again starts it anew.
    fn build(
        &self,
        spec: &BuildSpec,
    ) -> impl Future<Output = Result<impl Stream<Item = BuildEvent> + Send, DriverError>> + Send;
}
