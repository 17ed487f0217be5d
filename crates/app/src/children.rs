//! The child side of the supervisor: `apron control`, `apron node`, `apron proxy`.
//!
//! A child gets its typed configuration, its listeners and a pipe for its signs of life as inherited descriptors, gives
//! up every right that it does not need, and runs. It never depends on the supervisor: it is in a session of
//! its own, nothing ends it when the supervisor dies, and its log goes to a pipe that may be full or broken.

pub(crate) mod privileges;
pub(crate) mod reach;

use crate::supervisor::Role;
use anyhow::{Context, Result, anyhow, bail};
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::ffi::CString;
use std::fs::File;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

/// Names of the variables that carry descriptor numbers.
pub(crate) const CONFIG_FD: &str = "APRON_CONFIG_FD";
pub(crate) const SIGNS_FD: &str = "APRON_SIGNS_FD";
pub(crate) const LISTENERS: &str = "APRON_LISTENERS";
/// Of proxy and node: where proxies count the requests in flight together.
pub(crate) const COUNTS_FD: &str = "APRON_COUNTS_FD";
/// How often a child that works says so; the proxy has the same period.
pub(crate) const SIGN_PERIOD: Duration = Duration::from_secs(1);
/// A configuration has some kilobytes.
const CONFIG_BYTES_MAX: u64 = 1024 * 1024;

/// What the configuration descriptor holds.
#[derive(Serialize, Deserialize)]
pub(crate) struct Handover<C> {
    /// The user to become, with all rights dropped; none for the node, which stays root.
    pub(crate) user: Option<u32>,
    pub(crate) data_dir: PathBuf,
    pub(crate) config: C,
}

/// Runs one child to its end. What went wrong is in the log that the supervisor reads.
pub(crate) fn run(role: Role) -> ExitCode {
    match run_to_end(role) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Before logging started there is only standard error.
            match tracing::event_enabled!(tracing::Level::ERROR) {
                true => tracing::error!("{error:#}"),
                false => crate::log::say(&format!("apron: {error:#}")),
            }
            ExitCode::FAILURE
        }
    }
}

fn run_to_end(role: Role) -> Result<()> {
    match role {
        Role::Control => {
            let mut inherited = Inherited::<apron_control::Config>::take(role)?;
            let api = TcpListener::from(inherited.listener("api")?);
            let ready = inherited.signs.by_runtime();
            apron_control::run(inherited.config, api, ready).map_err(|e| chained(&e))
        }
        Role::Node => {
            let inherited = Inherited::<apron_compute::local::node::Config>::take(role)?;
            let ready = inherited.signs.by_runtime();
            apron_compute::local::node::run(inherited.config, inherited.counts, ready)
                .map_err(|e| chained(&e))
        }
        Role::Proxy => {
            let mut inherited = Inherited::<apron_proxy::Config>::take(role)?;
            // A copy for the proxy: by the number of this one the next supervisor finds it.
            let counts = inherited.counts.as_ref();
            let listeners = apron_proxy::Listeners {
                counts: counts.map(OwnedFd::try_clone).transpose().context("cannot copy a descriptor")?,
                http: inherited.listeners("http"),
                https: inherited.listeners("https"),
            };
            let signs = inherited.signs;
            let (first, further) = (signs.clone(), move || signs.give());
            apron_proxy::run(inherited.config, listeners, move || first.give(), further)
                .map_err(|e| chained(&e))
        }
    }
}

/// An error with its causes in one line; errors of the crates do not print their sources themselves.
fn chained(error: &(dyn std::error::Error + 'static)) -> anyhow::Error {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(&format!(": {cause}"));
        source = cause.source();
    }
    anyhow!(text)
}

/// What the supervisor left for this child.
struct Inherited<C> {
    config: C,
    listeners: BTreeMap<String, Vec<OwnedFd>>,
    /// For node and proxy, unless there is none to have.
    counts: Option<OwnedFd>,
    signs: Signs,
}

impl<C: DeserializeOwned> Inherited<C> {
    /// Takes the descriptors, starts logging and becomes the user of the configuration. Called once, while
    /// this is the only thread.
    fn take(role: Role) -> Result<Inherited<C>> {
        if std::env::var_os(CONFIG_FD).is_none() {
            let alone = match role {
                Role::Proxy => "; alone it runs with --static-route and --http, see apron proxy --help",
                _ => "",
            };
            bail!("apron {} is started by apron serve, not by hand{alone}", role.name());
        }
        crate::log::start();
        let name = CString::new(format!("apron-{}", role.name())).expect("names of roles hold no zero byte");
        nix::sys::prctl::set_name(&name).context("cannot set the name of the process")?;
        let config = inherited(&number(CONFIG_FD)?)?;
        let signs = Signs(Arc::new(File::from(inherited(&number(SIGNS_FD)?)?)));
        let counts = match std::env::var_os(COUNTS_FD) {
            Some(_) => Some(inherited(&number(COUNTS_FD)?)?),
            None => None,
        };
        let mut listeners: BTreeMap<String, Vec<OwnedFd>> = BTreeMap::new();
        for (name, numbers) in parse_listeners(&std::env::var(LISTENERS).unwrap_or_default())? {
            for number in numbers {
                listeners.entry(name.clone()).or_default().push(inherited(&number)?);
            }
        }
        let mut text = String::new();
        File::from(config)
            .take(CONFIG_BYTES_MAX)
            .read_to_string(&mut text)
            .context("cannot read the inherited configuration")?;
        // The text holds the root key; an error must not print it.
        let handover: Handover<C> = serde_json::from_str(&text)
            .map_err(|e| anyhow!("the inherited configuration does not fit at column {}", e.column()))?;
        if let Some(user) = handover.user {
            reach::ensure(&handover.data_dir, user)?;
            privileges::become_user(user)?;
        }
        Ok(Inherited { config: handover.config, listeners, counts, signs })
    }

    fn listeners(&mut self, name: &str) -> Vec<OwnedFd> {
        self.listeners.remove(name).unwrap_or_default()
    }

    fn listener(&mut self, name: &str) -> Result<OwnedFd> {
        self.listeners(name).pop().ok_or_else(|| anyhow!("no listener '{name}' was inherited"))
    }
}

/// Signs of life to the supervisor: the first says that the child can work, further ones that it still turns.
/// The pipe ends when the child is about to end.
#[derive(Clone)]
struct Signs(Arc<File>);

impl Signs {
    /// Never waits. A supervisor that is gone, or does not read, does not want to know.
    fn give(&self) {
        let _ = (&*self.0).write(b"\n");
    }

    /// What gives the first sign when it is called inside a runtime, and further ones for as long as that runtime
    /// turns its tasks.
    fn by_runtime(self) -> impl FnOnce() + Send + 'static {
        move || {
            // Ends with the runtime: it is to say whether that turns, and nothing else.
            tokio::spawn(async move {
                let mut tick = tokio::time::interval(SIGN_PERIOD);
                loop {
                    tick.tick().await;
                    self.give();
                }
            });
        }
    }
}

fn number(variable: &str) -> Result<RawFd> {
    let text = std::env::var(variable).with_context(|| format!("{variable} is not set"))?;
    text.parse().with_context(|| format!("{variable} is not a descriptor number"))
}

/// Owns an inherited descriptor and keeps it from this process's own children.
pub(crate) fn inherited(number: &RawFd) -> Result<OwnedFd> {
    if *number <= libc::STDERR_FILENO {
        bail!("descriptor {number} cannot be an inherited one");
    }
    // SAFETY: only looked at; a number that is not open gives EBADF.
    let borrowed = unsafe { BorrowedFd::borrow_raw(*number) };
    fcntl(borrowed, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))
        .with_context(|| format!("descriptor {number} was not inherited"))?;
    // SAFETY: it is open, and the supervisor passed it to nobody else in this process.
    Ok(unsafe { OwnedFd::from_raw_fd(*number) })
}

/// `api=5;http=6,7` as names and numbers.
fn parse_listeners(text: &str) -> Result<Vec<(String, Vec<RawFd>)>> {
    let one = |item: &str| {
        let (name, numbers) = item.split_once('=')?;
        let numbers = numbers.split(',').map(|n| n.parse().ok()).collect::<Option<Vec<_>>>()?;
        Some((name.to_owned(), numbers))
    };
    text.split(';')
        .filter(|item| !item.is_empty())
        .map(|item| one(item).ok_or_else(|| anyhow!("'{item}' in {LISTENERS} is not NAME=FD,FD")))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listeners_are_parsed_and_nonsense_is_refused() {
        let parsed = parse_listeners("api=5;http=6,7").unwrap();
        assert_eq!(parsed, [("api".to_owned(), vec![5]), ("http".to_owned(), vec![6, 7])]);
        assert!(parse_listeners("").unwrap().is_empty());
        assert!(parse_listeners("http=").is_err());
        assert!(parse_listeners("http").is_err());
    }

    #[test]
    fn a_descriptor_that_is_not_open_is_refused() {
        assert!(inherited(&1).is_err());
        assert!(inherited(&100_000).is_err());
    }
}
