//! Control as a whole: the real store, engine and reconcilers over a simulated driver and a modelled proxy.

mod cuts;
mod deployments;
mod metering;
pub(crate) mod publishing;
mod rig;
mod scaling;
mod verbs;
mod waiting;
