//! Drivers: what makes wished instances real.

pub mod driver;
pub mod local;
pub mod sim;
