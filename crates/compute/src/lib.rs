//! Drivers: what makes wished instances real.

pub mod driver;
