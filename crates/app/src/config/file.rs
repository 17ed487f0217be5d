//! The TOML file of `--config`: one table of known keys, each with its reader.

use super::database::DatabaseSettings;
use super::{
    BuildEnvironment, ConfigError, LOOPS_MAX, Listen, NodeSettings, ProxySettings, RegistrySettings,
};
use apron_control::PostgresDatabase;
use apron_model::resource::Quotas;
use apron_model::throttle::Rates;
use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::path::{Path, PathBuf};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// What the file says; absent members leave the default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct File {
    pub(super) api: Option<SocketAddr>,
    pub(super) http: Option<Listen>,
    pub(super) https: Option<Listen>,
    pub(super) apps_domain: Option<String>,
    pub(super) region: Option<String>,
    pub(super) database: DatabaseSettings,
    pub(super) account_id: Option<String>,
    pub(super) control_uid: Option<u32>,
    pub(super) proxy_uid: Option<u32>,
    pub(super) loops: Option<usize>,
    pub(super) drain_s: Option<u32>,
    pub(super) source_roots: Vec<PathBuf>,
    pub(super) build_environment: BuildEnvironment,
    pub(super) node: NodeSettings,
    pub(super) proxy: ProxySettings,
    pub(super) registries: RegistrySettings,
    pub(super) quotas: Quotas,
    pub(super) throttling: Rates,
}

const KEYS: &[&str] = &[
    "api",
    "http",
    "https",
    "apps_domain",
    "region",
    "database",
    "database_password_file",
    "account_id",
    "control_uid",
    "proxy_uid",
    "loops",
    "drain_s",
    "source_roots",
    "build_environment",
    "node",
    "proxy",
    "registries",
    "quotas",
    "throttling",
];
const NODE_KEYS: &[&str] =
    &["address_ranges", "pairs_ready", "free_memory_min_mib", "dns", "egress_allow", "runtimes"];
const PROXY_KEYS: &[&str] =
    &["certificates", "trusted", "proxy_protocol", "connections_per_address_max", "via"];
const REGISTRIES_KEYS: &[&str] = &["plain_http", "mirrors", "credentials"];

/// A quota with a range of its own.
const INSTANCES_KEY: &str = "instances_per_service";
/// More rows than one machine's platform is made for.
const QUOTA_MAX: u64 = 1_000_000;
const INSTANCES_MAX: u64 = 1_000;
/// Calls; more than any machine answers in a second.
const RATE_MAX: u64 = 1_000_000;
/// Connections of one address; more than any proxy holds.
const CONNECTIONS_MAX: u64 = 10_000_000;

/// Every build gets all of them; a few proxies and indexes are meant.
const BUILD_VARIABLES_MAX: usize = 64;
const BUILD_VARIABLE_BYTES_MAX: usize = 8 * 1024;

/// One thing that is wrong, where, and what would be right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FileProblem {
    /// Counted from 1, as is the column, in characters.
    pub(crate) line: usize,
    pub(crate) column: usize,
    pub(crate) message: String,
}

impl fmt::Display for FileProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}: {}", self.line, self.column, self.message)
    }
}

/// Reads the file at this path.
pub(super) fn read(path: &Path) -> Result<File, ConfigError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| ConfigError::Unreadable { path: path.to_owned(), source })?;
    parse(&text).map_err(|problems| ConfigError::Problems { path: path.to_owned(), problems })
}

/// The file's content, or everything that is wrong with it.
pub(super) fn parse(text: &str) -> Result<File, Vec<FileProblem>> {
    let (document, errors) = DeTable::parse_recoverable(text);
    let mut reader = Reader { text, problems: Vec::new() };
    for error in errors {
        reader.problem(error.span().unwrap_or(0..0), error.message().to_owned());
    }
    // After a syntax error the rest may have been misread; its problems would mislead.
    let file = match reader.problems.is_empty() {
        true => reader.file(document.get_ref()),
        false => File::default(),
    };
    if !reader.problems.is_empty() {
        reader.problems.sort_by_key(|p| (p.line, p.column));
        return Err(reader.problems);
    }
    Ok(file)
}

/// Said of a flag and of a key alike.
pub(super) const NO_DIRECTORY: &str = "there is no such directory";

struct Reader<'t> {
    text: &'t str,
    problems: Vec<FileProblem>,
}

type Table<'t> = DeTable<'t>;

impl Reader<'_> {
    fn file(&mut self, table: &Table<'_>) -> File {
        self.known(table, "", KEYS);
        let file = File {
            api: self.parsed(table, "api", "an address like 127.0.0.1:7070", |t| t.parse().ok()),
            http: self.parsed(table, "http", "an address like 0.0.0.0:80, or \"off\"", |t| t.parse().ok()),
            https: self.parsed(table, "https", "an address like 0.0.0.0:443, or \"off\"", |t| t.parse().ok()),
            apps_domain: self.checked(table, "apps_domain", domain_checked),
            region: self.checked(table, "region", region_checked),
            database: self.database(table),
            account_id: self.checked(table, "account_id", account_checked),
            // Zero is root, which these two must never be.
            control_uid: self.number(table, "control_uid", 1, u64::from(u32::MAX) - 1).map(|n| n as u32),
            proxy_uid: self.number(table, "proxy_uid", 1, u64::from(u32::MAX) - 1).map(|n| n as u32),
            loops: self.number(table, "loops", 1, LOOPS_MAX as u64).map(|n| n as usize),
            drain_s: self.number(table, "drain_s", 0, 3600).map(|n| n as u32),
            source_roots: self.source_roots(table),
            build_environment: self
                .section(table, "build_environment")
                .map(|t| self.build_environment(t))
                .unwrap_or_default(),
            node: self.section(table, "node").map(|t| self.node(t)).unwrap_or_default(),
            proxy: self.section(table, "proxy").map(|t| self.proxy(t)).unwrap_or_default(),
            registries: self.section(table, "registries").map(|t| self.registries(t)).unwrap_or_default(),
            quotas: self.section(table, "quotas").map(|t| self.quotas(t)).unwrap_or_default(),
            throttling: self.section(table, "throttling").map(|t| self.throttling(t)).unwrap_or_default(),
        };
        if let (Some(control), Some(proxy)) = (file.control_uid, file.proxy_uid)
            && control == proxy
        {
            let at = table.get("proxy_uid").map_or(0..0, Spanned::span);
            self.problem(
                at,
                "'proxy_uid' and 'control_uid' must differ: they guard against each other".into(),
            );
        }
        file
    }

    fn database(&mut self, table: &Table<'_>) -> DatabaseSettings {
        // What the text says is not repeated in a message: it may hold a password.
        let check = |url: &str| PostgresDatabase::parse(url).map(|_| ()).map_err(|error| error.to_string());
        let url = self.checked(table, "database", check);
        DatabaseSettings {
            database: url.and_then(|url| PostgresDatabase::parse(&url).ok()),
            password_file: self.parsed(
                table,
                "database_password_file",
                "the absolute path of a file",
                absolute,
            ),
        }
    }

    fn source_roots(&mut self, table: &Table<'_>) -> Vec<PathBuf> {
        let roots = self.list(table, "source_roots", "absolute paths of directories", absolute);
        let items = table.get("source_roots").and_then(|value| value.get_ref().as_array());
        for item in items.into_iter().flat_map(|items| items.iter()) {
            let missing = item.get_ref().as_str().and_then(absolute).filter(|path| !path.is_dir());
            if let Some(path) = missing {
                self.problem(item.span(), format!("'source_roots': {}: {NO_DIRECTORY}", path.display()));
            }
        }
        roots.unwrap_or_default()
    }

    fn node(&mut self, table: &Table<'_>) -> NodeSettings {
        self.known(table, "node.", NODE_KEYS);
        let network = |text: &str| network_checked(text).then(|| text.to_owned());
        let server = |text: &str| {
            text.parse().ok().or_else(|| text.parse::<IpAddr>().ok().map(|ip| SocketAddr::new(ip, 53)))
        };
        NodeSettings {
            address_ranges: self.list(table, "address_ranges", "networks like \"10.213.0.0/16\"", network),
            pairs_ready: self.number(table, "pairs_ready", 0, 64).map(|n| n as usize),
            free_memory_min_mib: self.number(table, "free_memory_min_mib", 0, 1024 * 1024),
            dns: self.list(table, "dns", "addresses like \"192.0.2.53\"", server).unwrap_or_default(),
            egress_allow: self
                .list(table, "egress_allow", "networks like \"10.1.2.0/24\"", network)
                .unwrap_or_default(),
            runtimes: self.parsed(table, "runtimes", "the absolute path of a file", absolute),
        }
    }

    fn proxy(&mut self, table: &Table<'_>) -> ProxySettings {
        self.known(table, "proxy.", PROXY_KEYS);
        let certificates = self.parsed(table, "certificates", "the absolute path of a directory", absolute);
        if let (Some(path), Some(value)) = (&certificates, table.get("certificates"))
            && !path.is_dir()
        {
            let message = format!("'certificates': {}: {NO_DIRECTORY}", path.display());
            self.problem(value.span(), message);
        }
        let networks = "addresses or networks like \"10.0.0.0/8\"";
        let via = |text: &str| apron_proxy::is_via_name(text).then(|| text.to_owned());
        let connections = self.number(table, "connections_per_address_max", 1, CONNECTIONS_MAX);
        ProxySettings {
            certificates,
            trusted: self.list(table, "trusted", networks, |t| t.parse().ok()).unwrap_or_default(),
            proxy_protocol: self
                .list(table, "proxy_protocol", networks, |t| t.parse().ok())
                .unwrap_or_default(),
            connections_per_address_max: connections.map(|number| number as u32),
            via: self.parsed(table, "via", "a word", via),
        }
    }

    fn build_environment(&mut self, table: &Table<'_>) -> BuildEnvironment {
        let mut variables = BTreeMap::new();
        for (name, value) in table {
            let key = name.get_ref();
            if !variable_checked(key) {
                let message = format!(
                    "'build_environment': '{key}' cannot be a variable's name: letters, digits and _ are allowed"
                );
                self.problem(name.span(), message);
                continue;
            }
            // A value may hold a password: none is shown.
            match value.get_ref() {
                DeValue::String(text) if text.len() > BUILD_VARIABLE_BYTES_MAX || text.contains('\0') => {
                    let message = format!(
                        "'build_environment.{key}' must have at most {BUILD_VARIABLE_BYTES_MAX} bytes and no zero byte"
                    );
                    self.problem(value.span(), message);
                }
                DeValue::String(text) => {
                    variables.insert(key.to_string(), text.to_string());
                }
                other => {
                    let message = format!(
                        "'build_environment.{key}' must be a string, not a value of type {}",
                        other.type_str()
                    );
                    self.problem(value.span(), message);
                }
            }
        }
        if table.len() > BUILD_VARIABLES_MAX {
            let at = table.keys().next().map_or(0..0, Spanned::span);
            self.problem(at, format!("'build_environment' may have at most {BUILD_VARIABLES_MAX} variables"));
        }
        BuildEnvironment(variables)
    }

    fn registries(&mut self, table: &Table<'_>) -> RegistrySettings {
        self.known(table, "registries.", REGISTRIES_KEYS);
        let host = |text: &str| (!text.is_empty() && !text.contains("://")).then(|| text.to_owned());
        let mut mirrors = BTreeMap::new();
        if let Some(hosts) = self.section(table, "mirrors") {
            for (name, value) in hosts {
                match value.get_ref().as_str().and_then(host) {
                    Some(target) => {
                        mirrors.insert(name.get_ref().to_string(), target);
                    }
                    None => self.expected(
                        value,
                        name.get_ref(),
                        "a host, with a path if wanted, without a scheme",
                    ),
                }
            }
        }
        RegistrySettings {
            plain_http: self
                .list(table, "plain_http", "hosts like \"registry.lan:5000\"", host)
                .unwrap_or_default(),
            mirrors,
            credentials: self.parsed(table, "credentials", "the absolute path of a file", absolute),
        }
    }

    fn quotas(&mut self, table: &Table<'_>) -> Quotas {
        let mut quotas = Quotas::default();
        let numbers = [
            ("services", &mut quotas.services),
            ("auto_scaling_configurations", &mut quotas.auto_scaling_configurations),
            ("auto_scaling_revisions", &mut quotas.auto_scaling_revisions),
            ("observability_configurations", &mut quotas.observability_configurations),
            ("observability_revisions", &mut quotas.observability_revisions),
            ("connections", &mut quotas.connections),
            ("vpc_connectors", &mut quotas.vpc_connectors),
            ("vpc_ingress_connections", &mut quotas.vpc_ingress_connections),
            ("custom_domains_per_service", &mut quotas.custom_domains_per_service),
        ];
        let keys: Vec<&str> = numbers.iter().map(|(key, _)| *key).chain([INSTANCES_KEY]).collect();
        self.known(table, "quotas.", &keys);
        for (key, quota) in numbers {
            *quota = self.number(table, key, 0, QUOTA_MAX).unwrap_or(*quota);
        }
        let instances = self.number(table, INSTANCES_KEY, 1, INSTANCES_MAX);
        quotas.instances_per_service = instances.map(|number| number as u32);
        quotas
    }

    fn throttling(&mut self, table: &Table<'_>) -> Rates {
        let mut rates = Rates::default();
        let Rates { reads, writes, strangers } = &mut rates;
        let numbers = [
            ("reads_per_second", &mut reads.per_second),
            ("reads_burst", &mut reads.burst),
            ("writes_per_second", &mut writes.per_second),
            ("writes_burst", &mut writes.burst),
            ("strangers_per_second", &mut strangers.per_second),
            ("strangers_burst", &mut strangers.burst),
        ];
        let keys: Vec<&str> = numbers.iter().map(|(key, _)| *key).collect();
        self.known(table, "throttling.", &keys);
        for (key, rate) in numbers {
            *rate = self.number(table, key, 1, RATE_MAX).map_or(*rate, |number| number as u32);
        }
        rates
    }

    fn problem(&mut self, at: Range<usize>, message: String) {
        let before = self.text.get(..at.start.min(self.text.len())).unwrap_or(self.text);
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        self.problems.push(FileProblem {
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
            message,
        });
    }

    fn expected(&mut self, value: &Spanned<DeValue<'_>>, key: &str, what: &str) {
        let got = match value.get_ref() {
            DeValue::String(text) => format!("\"{text}\""),
            DeValue::Integer(number) => number.as_str().to_owned(),
            other => format!("a value of type {}", other.type_str()),
        };
        self.problem(value.span(), format!("'{key}' must be {what}, not {got}"));
    }

    fn known(&mut self, table: &Table<'_>, prefix: &str, keys: &[&str]) {
        for key in table.keys().filter(|key| !keys.contains(&key.get_ref().as_ref())) {
            let message = format!("unknown key '{prefix}{}'; known are {}", key.get_ref(), keys.join(", "));
            self.problem(key.span(), message);
        }
    }

    fn section<'a, 't>(&mut self, table: &'a Table<'t>, key: &str) -> Option<&'a Table<'t>> {
        let value = table.get(key)?;
        let section = value.get_ref().as_table();
        if section.is_none() {
            self.expected(value, key, "a table");
        }
        section
    }

    fn parsed<T>(
        &mut self,
        table: &Table<'_>,
        key: &str,
        what: &str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Option<T> {
        let value = table.get(key)?;
        let parsed = value.get_ref().as_str().and_then(parse);
        if parsed.is_none() {
            self.expected(value, key, what);
        }
        parsed
    }

    fn checked(
        &mut self,
        table: &Table<'_>,
        key: &str,
        check: impl Fn(&str) -> Result<(), String>,
    ) -> Option<String> {
        let text = self.parsed(table, key, "a string", |t| Some(t.to_owned()))?;
        if let Err(message) = check(&text) {
            self.problem(table.get(key)?.span(), format!("'{key}': {message}"));
        }
        Some(text)
    }

    fn number(&mut self, table: &Table<'_>, key: &str, min: u64, max: u64) -> Option<u64> {
        let value = table.get(key)?;
        let digits = |n: &toml::de::DeInteger<'_>| u64::from_str_radix(n.as_str(), n.radix()).ok();
        let number = value.get_ref().as_integer().and_then(digits).filter(|n| (min..=max).contains(n));
        if number.is_none() {
            self.expected(value, key, &format!("a whole number from {min} to {max}"));
        }
        number
    }

    fn list<T>(
        &mut self,
        table: &Table<'_>,
        key: &str,
        what: &str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Option<Vec<T>> {
        let value = table.get(key)?;
        let Some(items) = value.get_ref().as_array() else {
            self.expected(value, key, &format!("a list of {what}"));
            return None;
        };
        let mut list = Vec::new();
        for item in items.iter() {
            match item.get_ref().as_str().and_then(&parse) {
                Some(parsed) => list.push(parsed),
                None => self.expected(item, key, &format!("a list of {what}")),
            }
        }
        Some(list)
    }
}

/// Who reads the file works in another directory than whoever wrote the path.
fn absolute(text: &str) -> Option<PathBuf> {
    Some(PathBuf::from(text)).filter(|path| path.is_absolute())
}

fn variable_checked(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 128
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

fn network_checked(text: &str) -> bool {
    let Some((address, bits)) = text.split_once('/') else { return false };
    address.parse::<std::net::Ipv4Addr>().is_ok() && bits.parse::<u8>().is_ok_and(|b| (1..=32).contains(&b))
}

/// A domain as a service's host name can end in it.
pub(super) fn domain_checked(text: &str) -> Result<(), String> {
    let label = |l: &str| {
        !l.is_empty()
            && l.len() <= 63
            && !l.starts_with('-')
            && !l.ends_with('-')
            && l.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    match text.len() <= 180 && text.split('.').all(label) {
        true => Ok(()),
        false => Err(format!("'{text}' is not a domain name like apps.example.com")),
    }
}

/// A region as it stands in signatures and ARNs.
pub(super) fn region_checked(text: &str) -> Result<(), String> {
    let fits = (1..=32).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && text.starts_with(|c: char| c.is_ascii_lowercase());
    match fits {
        true => Ok(()),
        false => Err(format!("'{text}' is not a region like us-east-1")),
    }
}

fn account_checked(text: &str) -> Result<(), String> {
    match text.len() == 12 && text.bytes().all(|b| b.is_ascii_digit()) {
        true => Ok(()),
        false => Err("an account has twelve digits".into()),
    }
}
