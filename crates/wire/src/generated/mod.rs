//! Shapes of the two APIs, written by `cargo xtask codegen` from `specs/`; tidy fails when they are stale.

pub mod apprunner;
pub mod apron;
