//! `apron proxy --static-route HOST=ADDR`: the data plane alone, as the platform's child is but with routes from the
//! command line. For measuring it beside other proxies, and for serving what no platform runs.

use anyhow::{Context, Result, anyhow};
use apron_proxy::{Config, Listeners, StaticRoute};
use std::net::SocketAddr;
use std::process::ExitCode;

/// Each loop is a thread with a socket; more than any machine has cores is a mistake.
const LOOPS_MAX: i64 = 1024;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Addresses that serve a host; may be repeated
    #[arg(long = "static-route", required = true, value_name = "HOST=ADDR[,ADDR]...")]
    routes: Vec<StaticRoute>,
    /// Address to listen on
    #[arg(long, value_name = "ADDR")]
    http: SocketAddr,
    /// Event loops [default: one per core]
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=LOOPS_MAX))]
    loops: Option<u16>,
}

/// Serves until SIGTERM. Prints `ready` when it accepts.
pub(crate) fn run(arguments: Arguments) -> Result<ExitCode> {
    crate::log::start();
    let loops = match arguments.loops {
        Some(loops) => usize::from(loops),
        None => std::thread::available_parallelism().map_or(1, usize::from),
    };
    let http = apron_proxy::bind(arguments.http, loops)
        .with_context(|| format!("cannot listen on {}", arguments.http))?;
    let listeners = Listeners { http, https: Vec::new() };
    apron_proxy::run(Config::fixed(arguments.routes), listeners, || println!("ready"), || ())
        .map_err(|error| anyhow!(error))?;
    Ok(ExitCode::SUCCESS)
}
