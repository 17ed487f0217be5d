//! The stand-alone proxy, for measuring and for tests that need it as a process of its own:
//! `static [--static-route HOST=ADDR[,ADDR]…] [--control SOCKET --saved FILE] [--http ADDR --loops N]
//! [--http-fds 3,4] [--https-fds 5] [--tls DIRECTORY] [--drain-ms N]`. It prints `ready` when it accepts.

use apron_proxy::{Config, Listeners, Source, Tls};
use std::net::SocketAddr;
use std::os::fd::{FromRawFd, OwnedFd};

fn main() {
    if let Err(problem) = try_main() {
        eprintln!("{problem}");
        std::process::exit(1);
    }
}

fn try_main() -> Result<(), Box<dyn std::error::Error>> {
    let mut config = Config::fixed(Vec::new());
    let mut listeners = Listeners { http: Vec::new(), https: Vec::new() };
    let (mut address, mut loops) = (None::<SocketAddr>, 1);
    let (mut routes, mut control, mut saved) = (Vec::new(), None, None);
    let mut arguments = std::env::args().skip(1);
    while let Some(flag) = arguments.next() {
        let value = arguments.next().ok_or_else(|| format!("{flag} needs a value"))?;
        match flag.as_str() {
            "--static-route" => routes.push(value.parse()?),
            "--control" => control = Some(value),
            "--saved" => saved = Some(value),
            "--http" => address = Some(value.parse()?),
            "--loops" => loops = value.parse()?,
            "--http-fds" => listeners.http = descriptors(&value)?,
            "--https-fds" => listeners.https = descriptors(&value)?,
            "--tls" => {
                let regions = vec!["us-east-1".into()];
                config.tls =
                    Some(Tls { directory: value.into(), apps_domain: "apron.localhost".into(), regions });
            }
            "--drain-ms" => config.drain_ms = value.parse()?,
            _ => return Err(format!("unknown flag {flag}").into()),
        }
    }
    config.source = match (control, saved) {
        (Some(socket), Some(saved)) => Source::Control { socket: socket.into(), saved: saved.into() },
        _ => Source::Static { routes },
    };
    if let Some(address) = address {
        listeners.http = apron_proxy::bind(address, loops)?;
    }
    apron_proxy::run(config, listeners, || println!("ready"))?;
    Ok(())
}

fn descriptors(list: &str) -> Result<Vec<OwnedFd>, std::num::ParseIntError> {
    // SAFETY: the caller of this program passes open descriptors that nothing else in it uses.
    list.split(',').map(|number| Ok(unsafe { OwnedFd::from_raw_fd(number.parse()?) })).collect()
}
