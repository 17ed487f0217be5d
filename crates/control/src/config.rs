//! What control is told by the supervisor, and the names that the platform goes by.

use apron_model::resource::Quotas;
use apron_model::routes;
use apron_model::service::Service;
use apron_model::throttle::Rates;
use apron_store::PostgresDatabase;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

/// Resolved once by the supervisor; every member is required.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    pub data_dir: PathBuf,
    /// Where rows are kept; none for the SQLite file in the data directory.
    pub database: Option<PostgresDatabase>,
    /// Proxies pull tables here; control binds it.
    pub control_socket: PathBuf,
    /// The node listens here.
    pub node_socket: PathBuf,
    /// Beside root and control's own the only user that may pull tables.
    pub proxy_uid: u32,
    pub region: String,
    /// Twelve digits.
    pub account: String,
    pub apps_domain: String,
    /// What follows the host in a service's URL: nothing when it is served on 443, else ":port".
    pub apps_suffix: String,
    pub api_endpoint: String,
    pub apps_endpoint: String,
    pub registry: RegistryOptions,
    pub quotas: Quotas,
    /// Managed runtimes that the node can build on, by the API's names.
    pub runtimes: Vec<String>,
    /// What one caller may call.
    pub throttling: Rates,
    pub root_key: RootKey,
}

/// How registries are reached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RegistryOptions {
    /// `host[:port]` of registries without TLS; loopback always is.
    pub plain_http: Vec<String>,
    /// Host as written → `host[/prefix]` to ask instead.
    pub mirrors: BTreeMap<String, String>,
    /// A docker `config.json`.
    pub credentials: Option<PathBuf>,
}

/// The key of the platform's owner.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RootKey {
    pub id: String,
    pub secret: String,
}

impl fmt::Debug for RootKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RootKey").field("id", &self.id).finish_non_exhaustive()
    }
}

/// What the platform and its parts are called in answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names {
    pub region: String,
    pub account: String,
    pub apps_domain: String,
    pub apps_suffix: String,
    pub api_endpoint: String,
    pub apps_endpoint: String,
    pub version: &'static str,
}

impl Names {
    pub fn new(config: &Config) -> Names {
        Names {
            region: config.region.clone(),
            account: config.account.clone(),
            apps_domain: config.apps_domain.clone(),
            apps_suffix: config.apps_suffix.clone(),
            api_endpoint: config.api_endpoint.clone(),
            apps_endpoint: config.apps_endpoint.clone(),
            version: env!("CARGO_PKG_VERSION"),
        }
    }

    /// `ServiceUrl`: a host, with the port when it is not 443.
    pub fn service_url(&self, url_label: &str, region: &str) -> String {
        format!("{}{}", routes::url_host_of(url_label, region, &self.apps_domain), self.apps_suffix)
    }

    /// The host name of its default URL.
    pub fn service_host(&self, service: &Service) -> String {
        routes::url_host(service, &self.apps_domain)
    }

    /// The URL for people; see `routes::shown_url`.
    pub fn url(&self, service: &Service) -> String {
        routes::shown_url(&routes::url_host(service, &self.apps_domain), &self.apps_endpoint)
    }
}
