//! `apron proxy --static-route HOST=ADDR`: the data plane alone, as the platform's child is but with routes from the
//! command line. For measuring it beside other proxies, and for serving what no platform runs.

use crate::listeners;
use anyhow::{Context, Result, anyhow, bail};
use apron_model::routes::Network;
use apron_proxy::{Config, Listeners, PairFiles, StaticRoute};
use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::ExitCode;

/// Each loop is a thread with a socket; more than any machine has cores is a mistake.
const LOOPS_MAX: i64 = 1024;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Addresses that serve a host; may be repeated
    #[arg(long = "static-route", required = true, value_name = "HOST=ADDR[,ADDR]...")]
    routes: Vec<StaticRoute>,
    /// Address to listen on
    #[arg(long, value_name = "ADDR", value_parser = address)]
    http: SocketAddr,
    /// Address to listen on for HTTPS, with the certificate of --cert for every host
    #[arg(long, value_name = "ADDR", requires_all = ["cert", "key"], value_parser = address)]
    https: Option<SocketAddr>,
    /// Certificate in PEM, followed by what its issuer wants sent with it; may be replaced while the proxy runs
    #[arg(long, value_name = "FILE", requires_all = ["https", "key"])]
    cert: Option<PathBuf>,
    /// Key of the certificate, in PEM
    #[arg(long, value_name = "FILE", requires_all = ["https", "cert"])]
    key: Option<PathBuf>,
    /// Event loops [default: one per core]
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=LOOPS_MAX))]
    loops: Option<u16>,
    /// Addresses of load balancers whose X-Forwarded headers are believed; may be repeated
    #[arg(long, value_name = "NETWORK")]
    trusted: Vec<Network>,
    /// Addresses that may begin a connection with the PROXY protocol; may be repeated
    #[arg(long, value_name = "NETWORK")]
    proxy_protocol: Vec<Network>,
    /// Unix socket that gives Prometheus metrics: GET /metrics
    #[arg(long, value_name = "PATH")]
    admin: Option<PathBuf>,
}

fn address(text: &str) -> Result<SocketAddr, &'static str> {
    text.parse().map_err(|_| "expected an address with a port, like 0.0.0.0:80 or [::]:80")
}

/// Serves until SIGTERM. Prints `ready` when it accepts.
pub(crate) fn run(arguments: Arguments) -> Result<ExitCode> {
    crate::log::start();
    let loops = match arguments.loops {
        Some(loops) => usize::from(loops),
        None => std::thread::available_parallelism().map_or(1, usize::from),
    };
    let mut hosts = BTreeSet::new();
    if let Some(twice) = arguments.routes.iter().find(|route| !hosts.insert(&route.host)) {
        bail!(
            "--static-route: {} stands twice; one route takes several addresses, HOST=ADDR,ADDR",
            twice.host
        );
    }
    if let Some(path) = &arguments.admin {
        match UnixStream::connect(path).map_err(|error| error.kind()) {
            Err(ErrorKind::NotFound | ErrorKind::ConnectionRefused) => {}
            Ok(_) => bail!("--admin: another process answers on {}", path.display()),
            Err(kind) => bail!("--admin: {} is another's, or cannot be reached: {kind}", path.display()),
        }
    }
    let bind = |flag: &str, address: SocketAddr| {
        let bound = listeners::bind(address, loops).with_context(|| format!("--{flag}"))?;
        anyhow::Ok((bound.address.port(), bound.sockets))
    };
    let http = bind("http", arguments.http)?.1;
    let mut listeners = Listeners { http, https: Vec::new(), counts: None };
    let mut config = Config {
        admin: arguments.admin,
        trusted: arguments.trusted,
        proxy_protocol: arguments.proxy_protocol,
        ..Config::fixed(arguments.routes)
    };
    if let (Some(address), Some(certificate), Some(key)) = (arguments.https, arguments.cert, arguments.key) {
        config.certificates.pair = Some(PairFiles { certificate, key });
        let (port, sockets) = bind("https", address)?;
        (listeners.https, config.https_port) = (sockets, Some(port));
    }
    apron_proxy::run(config, listeners, || println!("ready"), || ()).map_err(|error| anyhow!(error))?;
    Ok(ExitCode::SUCCESS)
}
