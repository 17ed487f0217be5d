//! What `apron serve` is told: flags over a file over named defaults, resolved once.
//!
//! This is the only place that reads configuration. Every problem of the file is reported in one go with its
//! line, because a person who fixes one error per start gives up before the last one.

mod database;
mod file;
mod help;
#[cfg(test)]
mod tests;

pub(crate) use database::{DatabaseFlags, resolve as resolve_database};
pub(crate) use file::FileProblem;

use apron_control::PostgresDatabase;
use apron_model::resource::Quotas;
use apron_model::routes::Network;
use apron_model::throttle::Rates;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// Where a packaged Apron keeps everything.
pub(crate) const DATA_DIR: &str = "/var/lib/apron";
/// Names the data directory where no flag does.
pub(crate) const DATA_DIR_VARIABLE: &str = "APRON_DATA_DIR";
/// On loopback, because whoever reaches the API with the root key owns the platform.
pub(crate) const API: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 7070);
/// Users without a name, above what distributions hand out and below the ranges of instances.
pub(crate) const CONTROL_UID: u32 = 61_900;
pub(crate) const PROXY_UID: u32 = 61_901;
/// Names below `localhost` resolve to this machine without any DNS set up.
pub(crate) const APPS_DOMAIN: &str = "apron.localhost";
/// Published commands and documents use these, so that they run unchanged.
pub(crate) const REGION: &str = "us-east-1";
pub(crate) const ACCOUNT_ID: &str = "123456789012";
/// How long a proxy that was asked to end lets requests finish; as long as an instance gets.
pub(crate) const DRAIN_S: u32 = 30;
/// A loop costs about a megabyte; no machine that one proxy process should serve has more cores.
pub(crate) const LOOPS_MAX: usize = 256;

/// Flags of `apron serve`. A flag wins over the file.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(after_long_help = help::MORE)]
pub(crate) struct Arguments {
    /// Where everything is kept [default: $APRON_DATA_DIR, else /var/lib/apron]
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// A TOML file with settings; flags win over it
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Where the AWS API listens [default: 127.0.0.1:7070]
    #[arg(long, value_name = "ADDR")]
    pub(crate) api: Option<SocketAddr>,
    /// Where applications answer HTTP, or off [default: [::]:80, or :8080 when that is taken]
    #[arg(long, value_name = "ADDR|off")]
    pub(crate) http: Option<Listen>,
    /// Where applications answer HTTPS, or off [default: [::]:443, or :8443 when that is taken]
    #[arg(long, value_name = "ADDR|off")]
    pub(crate) https: Option<Listen>,
    /// Names of services end in this domain [default: apron.localhost]
    #[arg(long, value_name = "DOMAIN")]
    pub(crate) apps_domain: Option<String>,
    /// The region that stands in names by default [default: us-east-1]
    #[arg(long, value_name = "REGION")]
    pub(crate) region: Option<String>,
    #[command(flatten)]
    pub(crate) database: DatabaseFlags,
    /// Directory below which services may name git repositories as file://; may be repeated [default: none]
    #[arg(long = "source-root", value_name = "DIR")]
    pub(crate) source_roots: Vec<PathBuf>,
    /// Remove all instances and what they need from this machine when stopped; the data stays
    #[arg(long)]
    pub(crate) ephemeral: bool,
    /// Only say what is wrong with the settings, if anything is
    #[arg(long)]
    pub(crate) check: bool,
}

/// An address to listen on, or not to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Listen {
    Off,
    At(SocketAddr),
}

impl FromStr for Listen {
    type Err = String;
    fn from_str(text: &str) -> Result<Listen, String> {
        match text {
            "off" => Ok(Listen::Off),
            address => address
                .parse()
                .map(Listen::At)
                .map_err(|_| format!("'{address}' is neither an address like 0.0.0.0:80 nor off")),
        }
    }
}

/// Where to listen for applications' users.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Apps {
    Off,
    At(SocketAddr),
    /// Nobody said: the well-known port when it is free, else the other one, and that is said at start.
    Preferred {
        port: u16,
        otherwise: u16,
    },
}

/// Everything the platform is told, complete and checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Settings {
    pub(crate) data_dir: PathBuf,
    /// Where rows are kept; none for the file in the data directory.
    pub(crate) database: Option<PostgresDatabase>,
    pub(crate) ephemeral: bool,
    pub(crate) api: SocketAddr,
    pub(crate) http: Apps,
    pub(crate) https: Apps,
    pub(crate) apps_domain: String,
    pub(crate) region: String,
    pub(crate) account_id: String,
    pub(crate) control_uid: u32,
    pub(crate) proxy_uid: u32,
    /// Event loops of the proxy, and so listening sockets per address.
    pub(crate) loops: usize,
    pub(crate) drain_s: u32,
    /// Where repositories of this machine may lie.
    pub(crate) source_roots: Vec<PathBuf>,
    pub(crate) build_environment: BuildEnvironment,
    pub(crate) node: NodeSettings,
    pub(crate) proxy: ProxySettings,
    pub(crate) registries: RegistrySettings,
    pub(crate) quotas: Quotas,
    pub(crate) throttling: Rates,
}

/// `[build_environment]`: variables of every build. One may hold a password, so only names are shown.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct BuildEnvironment(pub(crate) BTreeMap<String, String>);

impl std::fmt::Debug for BuildEnvironment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// `[node]`. What is absent is the node's own default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct NodeSettings {
    pub(crate) address_ranges: Option<Vec<String>>,
    pub(crate) pairs_ready: Option<usize>,
    pub(crate) free_memory_min_mib: Option<u64>,
    pub(crate) dns: Vec<SocketAddr>,
    pub(crate) egress_allow: Vec<String>,
    /// A file of further managed runtimes.
    pub(crate) runtimes: Option<PathBuf>,
}

/// `[proxy]`. What is absent is the proxy's own default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ProxySettings {
    /// Certificates and keys of hosts; the proxy's user has to be able to read them.
    pub(crate) certificates: Option<PathBuf>,
    /// Whose X-Forwarded headers are believed.
    pub(crate) trusted: Vec<Network>,
    /// Who may begin a connection with the PROXY protocol.
    pub(crate) proxy_protocol: Vec<Network>,
    pub(crate) connections_per_address_max: Option<u32>,
    /// By which name the proxy says in Via that it was there.
    pub(crate) via: Option<String>,
}

/// `[registries]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct RegistrySettings {
    /// Hosts that speak plain HTTP; loopback may always.
    pub(crate) plain_http: Vec<String>,
    /// Host in an image's name, to the host (and prefix) that is asked instead.
    pub(crate) mirrors: BTreeMap<String, String>,
    /// A docker `config.json` with credentials.
    pub(crate) credentials: Option<PathBuf>,
}

/// Why the configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    #[error("cannot read {}: {source}", path.display())]
    Unreadable { path: PathBuf, source: std::io::Error },
    #[error("{} cannot be used:{}", path.display(), listed(problems))]
    Problems { path: PathBuf, problems: Vec<FileProblem> },
    #[error("{0}")]
    Flag(String),
}

fn listed(problems: &[FileProblem]) -> String {
    problems.iter().map(|p| format!("\n  {p}")).collect()
}

/// Reads the file that the flags name, if any, and puts flags, file and defaults together.
pub(crate) fn resolve(arguments: &Arguments) -> Result<Settings, ConfigError> {
    let file = match &arguments.config {
        None => file::File::default(),
        Some(path) => file::read(path)?,
    };
    let settings = combine(arguments, file)?;
    match settings.http == Apps::Off && settings.https == Apps::Off {
        true => Err(ConfigError::Flag("http and https are both off: no application could be reached".into())),
        false => Ok(settings),
    }
}

/// The data directory: the flag's, else the variable's, else the usual one. An empty variable counts as absent.
pub(crate) fn data_dir(flag: Option<&Path>, variable: Option<OsString>) -> PathBuf {
    let named = || variable.filter(|value| !value.is_empty()).map(PathBuf::from);
    flag.map(Path::to_owned).or_else(named).unwrap_or_else(|| DATA_DIR.into())
}

/// The users of control and of the proxy, as `apron serve` with this file has them.
pub(crate) fn resolve_users(config: Option<&Path>) -> Result<(u32, u32), ConfigError> {
    let file = config.map(file::read).transpose()?.unwrap_or_default();
    Ok((file.control_uid.unwrap_or(CONTROL_UID), file.proxy_uid.unwrap_or(PROXY_UID)))
}

/// The domain of services' names, as `apron serve` with this file and this flag has it.
pub(crate) fn resolve_apps_domain(config: Option<&Path>, flag: Option<&str>) -> Result<String, ConfigError> {
    let file = config.map(file::read).transpose()?.unwrap_or_default();
    apps_domain(flag, file.apps_domain)
}

fn apps_domain(flag: Option<&str>, file: Option<String>) -> Result<String, ConfigError> {
    let domain = flag.map(str::to_owned).or(file).unwrap_or_else(|| APPS_DOMAIN.into());
    file::domain_checked(&domain).map_err(|m| ConfigError::Flag(format!("--apps-domain: {m}")))?;
    Ok(domain.to_ascii_lowercase())
}

fn combine(arguments: &Arguments, file: file::File) -> Result<Settings, ConfigError> {
    let apps_domain = apps_domain(arguments.apps_domain.as_deref(), file.apps_domain)?;
    let region = arguments.region.clone().or(file.region).unwrap_or_else(|| REGION.into());
    file::region_checked(&region).map_err(|m| ConfigError::Flag(format!("--region: {m}")))?;
    let data_dir = data_dir(arguments.data_dir.as_deref(), std::env::var_os(DATA_DIR_VARIABLE));
    let data_dir = std::path::absolute(&data_dir)
        .map_err(|e| ConfigError::Flag(format!("--data-dir {}: {e}", data_dir.display())))?;
    let source_roots = match arguments.source_roots.is_empty() {
        true => file.source_roots,
        false => arguments.source_roots.iter().map(|root| flag_root(root)).collect::<Result<_, _>>()?,
    };
    let database = database::combine(&arguments.database, file.database, |name| std::env::var(name).ok())?;
    let cores = std::thread::available_parallelism().map_or(1, |n| n.get());
    Ok(Settings {
        data_dir,
        database,
        ephemeral: arguments.ephemeral,
        api: arguments.api.or(file.api).unwrap_or(API),
        http: apps(arguments.http.or(file.http), 80, 8080),
        https: apps(arguments.https.or(file.https), 443, 8443),
        apps_domain,
        region,
        account_id: file.account_id.unwrap_or_else(|| ACCOUNT_ID.into()),
        control_uid: file.control_uid.unwrap_or(CONTROL_UID),
        proxy_uid: file.proxy_uid.unwrap_or(PROXY_UID),
        loops: file.loops.unwrap_or(cores).clamp(1, LOOPS_MAX),
        drain_s: file.drain_s.unwrap_or(DRAIN_S),
        source_roots,
        build_environment: file.build_environment,
        node: file.node,
        proxy: file.proxy,
        registries: file.registries,
        quotas: file.quotas,
        throttling: file.throttling,
    })
}

/// A flag may be relative to where the command is given, as other paths are.
fn flag_root(root: &Path) -> Result<PathBuf, ConfigError> {
    let problem = |why: String| ConfigError::Flag(format!("--source-root {}: {why}", root.display()));
    let path = std::path::absolute(root).map_err(|e| problem(e.to_string()))?;
    match path.is_dir() {
        true => Ok(path),
        false => Err(problem(file::NO_DIRECTORY.to_owned())),
    }
}

fn apps(given: Option<Listen>, port: u16, otherwise: u16) -> Apps {
    match given {
        None => Apps::Preferred { port, otherwise },
        Some(Listen::Off) => Apps::Off,
        Some(Listen::At(address)) => Apps::At(address),
    }
}
