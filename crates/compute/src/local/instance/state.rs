//! What an instance's task is told, what its own work reports, and the states that it is in.

use super::birth::{Born, Stillborn, Unended};
use super::health;
use super::wanted::Removing;
use crate::local::container::alive::{Alive, Found};
use apron_model::instance::{Exit, InstanceSpec};
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::{Notify, oneshot};

/// What the task is told; the answer comes when the wish is durable.
pub(in crate::local) enum Order {
    Ensure(Box<InstanceSpec>, oneshot::Sender<Result<(), String>>),
    /// Cannot be refused.
    Remove(Removing, oneshot::Sender<()>),
    /// Kill the container of this start, for this reason; another is left alone.
    End {
        run: u32,
        reason: String,
    },
    /// Nothing has been to do for it for long: it is to have no process until it is woken. Of the ladder.
    Sleep,
    Wake,
    /// Its first answer since its start began then. Of the ladder.
    Answered(Instant),
}

/// What the task's own work reports.
pub(super) enum Event {
    Started(Result<Box<Born>, Box<Stillborn>>),
    Health(health::News),
    Ended(Found),
    /// A wait is over: the backoff, or the grace of a stop.
    Due,
    /// The running container is to be given its size, again.
    Resize,
    Cleared(Result<(), Unended>),
    /// What was left of a container is gone, of an instance that goes on.
    Rested(Result<(), Unended>),
}

pub(super) enum State {
    Starting {
        /// Told when nobody wants the start any more.
        unwanted: Arc<Notify>,
    },
    Running {
        alive: Arc<Alive>,
        since: Instant,
    },
    /// It exited, or could not be started for now; the next start comes when the backoff is over.
    Waiting,
    /// It cannot be started as it is wished.
    Failed,
    /// SIGTERM was sent; held so that its end can be waited for.
    Stopping {
        _alive: Arc<Alive>,
    },
    Clearing,
    /// It sleeps without a process, and what was left of the last one is gone.
    Asleep,
    Gone,
}

/// What a starting node found of an instance that it knows.
pub(in crate::local) enum Adopted {
    Alive(Box<Alive>),
    /// It ended while no node lived.
    Exited(Exit),
    /// Nothing that could be used is left of it, or it is new.
    Nothing,
}
