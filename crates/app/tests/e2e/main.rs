//! The whole platform as its users meet it: real processes, real containers, real sockets. One module per numbered
//! point of the first delivery, then bad input and crashes. One program, so that the support is linked once.
//!
//! Needs root and what `scripts/test` installs. `support::platform` bounds how many platforms run at a time.

mod support;

mod e01_house;
mod e02_demo;
mod e03_serve;
mod e04_build;
mod e05_images;
mod e06_containers;
mod e07_proxy;
mod e08_aws_cli;
mod e09_by_hand;
mod e09_console;
mod e10_examples;
mod e11_conformance;
mod e11_keys;
mod e12_services;
mod e13_verbs;
mod e20_bad_input;
mod e21_crashes;
mod e22_backup;
mod e23_kills;
mod e24_replacement;
mod e25_static_stability;
mod e26_policies;
mod e30_scaling;
mod e31_idle;
mod e32_cost;
