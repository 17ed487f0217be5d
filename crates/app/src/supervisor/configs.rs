//! What each child is told: the platform's settings in the child's own terms.

use super::directory::{ADMIN_SOCKET, CONTROL_SOCKET};
use super::{Addresses, Role, reachable};
use crate::children::Handover;
use crate::config::Settings;
use crate::credentials::AccessKey;
use anyhow::{Context, Result};
use apron_compute::local::node;
use apron_images::runtimes::Catalogue;
use serde::Serialize;
use std::net::SocketAddr;
use std::path::Path;

/// The JSON that each child reads, in the order of `Role::ALL`.
pub(super) fn handovers(
    settings: &Settings,
    data_dir: &Path,
    key: &AccessKey,
    addresses: &Addresses,
) -> Result<[Vec<u8>; 3]> {
    let json = |role: Role| match role {
        Role::Control => {
            encode(data_dir, Some(settings.control_uid), control(settings, data_dir, key, addresses)?)
        }
        Role::Node => encode(data_dir, None, node(settings, data_dir)),
        Role::Proxy => encode(data_dir, Some(settings.proxy_uid), proxy(settings, data_dir, addresses)),
    };
    let [control, node, proxy] = Role::ALL.map(json);
    Ok([control?, node?, proxy?])
}

fn encode<C: Serialize>(data_dir: &Path, user: Option<u32>, config: C) -> Result<Vec<u8>> {
    let handover = Handover { user, data_dir: data_dir.to_owned(), config };
    serde_json::to_vec(&handover).context("the data directory's path is not UTF-8")
}

fn control(
    settings: &Settings,
    data_dir: &Path,
    key: &AccessKey,
    addresses: &Addresses,
) -> Result<apron_control::Config> {
    // Read here: control's user may not be able to.
    let catalogue =
        Catalogue::open(settings.node.runtimes.as_deref()).context("the managed runtimes cannot be read")?;
    Ok(apron_control::Config {
        data_dir: data_dir.to_owned(),
        database: settings.database.clone(),
        control_socket: data_dir.join(CONTROL_SOCKET),
        node_socket: data_dir.join("run/node.sock"),
        apps_domain: settings.apps_domain.clone(),
        apps_suffix: apps_suffix(addresses),
        region: settings.region.clone(),
        account: settings.account_id.clone(),
        api_endpoint: format!("http://{}", reachable(addresses.api)),
        apps_endpoint: super::apps_endpoint(addresses),
        proxy_uid: settings.proxy_uid,
        registry: apron_control::RegistryOptions {
            plain_http: settings.registries.plain_http.clone(),
            mirrors: settings.registries.mirrors.clone(),
            credentials: settings.registries.credentials.clone(),
        },
        quotas: settings.quotas,
        runtimes: catalogue.api_names().into_iter().map(str::to_owned).collect(),
        throttling: settings.throttling,
        root_key: apron_control::RootKey { id: key.id.clone(), secret: key.secret.clone() },
    })
}

fn node(settings: &Settings, data_dir: &Path) -> node::Config {
    let given = &settings.node;
    node::Config {
        data_dir: data_dir.to_owned(),
        control_uid: settings.control_uid,
        proxy_uid: settings.proxy_uid,
        ranges: given
            .address_ranges
            .clone()
            .unwrap_or_else(|| node::DEFAULT_RANGES.iter().map(|r| (*r).to_owned()).collect()),
        pairs_ready: given.pairs_ready.unwrap_or(node::DEFAULT_PAIRS_READY),
        free_memory_min_mib: given.free_memory_min_mib.unwrap_or(node::DEFAULT_FREE_MEMORY_MIN_MIB),
        instance_disk_mib_max: apron_model::limits::INSTANCE_DISK_BYTES_MAX / (1024 * 1024),
        dns_upstream: given.dns.clone(),
        egress_allow: given.egress_allow.clone(),
        source_roots: settings.source_roots.clone(),
        build_environment: settings.build_environment.0.clone(),
        program: None,
        runtimes: given.runtimes.clone(),
    }
}

fn proxy(settings: &Settings, data_dir: &Path, addresses: &Addresses) -> apron_proxy::Config {
    let tls = addresses.https.map(|_| apron_proxy::Tls {
        directory: data_dir.join("proxy/tls"),
        apps_domain: settings.apps_domain.clone(),
        regions: vec![settings.region.clone()],
    });
    let drain_ms = u64::from(settings.drain_s) * 1000;
    let (socket, saved) = (data_dir.join(CONTROL_SOCKET), data_dir.join("proxy/routes.json"));
    let given = &settings.proxy;
    let certificates = apron_proxy::CertificateFiles {
        directory: given.certificates.clone(),
        ..apron_proxy::CertificateFiles::default()
    };
    let own = apron_proxy::Config::control(socket, saved, tls, drain_ms);
    apron_proxy::Config {
        certificates,
        https_port: addresses.https.map(|address| address.port()),
        access_log: Some(data_dir.join("proxy/access.log")),
        admin: Some(data_dir.join(ADMIN_SOCKET)),
        trusted: given.trusted.clone(),
        proxy_protocol: given.proxy_protocol.clone(),
        connections_per_address_max: given
            .connections_per_address_max
            .unwrap_or(own.connections_per_address_max),
        via: given.via.clone(),
        node: Some(data_dir.join("run/activity.sock")),
        ..own
    }
}

/// What follows the host in a ServiceUrl. Clients put `https://` before it, so the HTTPS listener counts where
/// there is one, and on its own port nothing needs to be said.
fn apps_suffix(addresses: &Addresses) -> String {
    let serving = addresses.https.or(addresses.http);
    match serving.map(|address: SocketAddr| address.port()) {
        None | Some(443) => String::new(),
        Some(port) => format!(":{port}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(http: Option<&str>, https: Option<&str>, expect: &str) {
        let address = |text: Option<&str>| text.map(|t| t.parse().unwrap());
        let api = "127.0.0.1:7070".parse().unwrap();
        assert_eq!(apps_suffix(&Addresses { api, http: address(http), https: address(https) }), expect);
    }

    #[test]
    fn a_service_url_is_bare_on_443_only() {
        check(Some("0.0.0.0:80"), Some("0.0.0.0:443"), "");
        check(Some("0.0.0.0:8080"), Some("0.0.0.0:8443"), ":8443");
        check(Some("127.0.0.1:8081"), None, ":8081");
        check(Some("0.0.0.0:80"), None, ":80");
    }
}
