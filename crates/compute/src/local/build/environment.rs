//! What build commands find around them and the image does not keep: certificates, and the variables that the
//! operator gives to every build. Nothing else of the platform's own environment goes in: it may hold secrets.

use crate::local::container::launch::HostMount;
use apron_images::runtimes::Base;
use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

const CA_BUNDLE: &str = "/run/apron-ca-certificates.crt";
pub(super) const SCRIPT: &str = "/run/apron-build.sh";
pub(super) const GIT_CONFIG: &str = "/run/apron-gitconfig";
pub(super) const GIT_CREDENTIALS: &str = "/run/apron-git-credentials";
pub(super) const REPOSITORY: &str = "/run/apron-repository";
pub(super) const RESOLV_CONF: &str = "/etc/resolv.conf";

/// Mount points of ours in the container that runs the commands, which are left out of the image with those of
/// the caches.
pub(super) const TARGETS: [&str; 3] = [CA_BUNDLE, SCRIPT, RESOLV_CONF];

/// Names under which tools look for a bundle of certificates.
const CA_NAMES: [&str; 9] = [
    "SSL_CERT_FILE",
    "PIP_CERT",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "NODE_EXTRA_CA_CERTS",
    "npm_config_cafile",
    "GIT_SSL_CAINFO",
    "CARGO_HTTP_CAINFO",
    "AWS_CA_BUNDLE",
];
/// Where Debian, and where Red Hat's family keep the host's bundle.
const HOST_BUNDLES: [&str; 2] = ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt"];

fn host_bundle() -> Option<PathBuf> {
    let own = std::env::var_os("SSL_CERT_FILE").map(PathBuf::from).filter(|path| path.is_file());
    own.or_else(|| HOST_BUNDLES.iter().map(PathBuf::from).find(|path| path.is_file()))
}

/// Variables of every build container: ours, the base's, the operator's. The user's own come on top.
pub(super) fn variables(base: &Base, given: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let mut env = BTreeMap::from([
        ("PATH".to_owned(), base.search_path()),
        ("HOME".to_owned(), "/root".to_owned()),
        // Nobody answers questions, and progress bars are noise in a log.
        ("DEBIAN_FRONTEND".to_owned(), "noninteractive".to_owned()),
        ("GIT_TERMINAL_PROMPT".to_owned(), "0".to_owned()),
        ("PIP_DISABLE_PIP_VERSION_CHECK".to_owned(), "1".to_owned()),
        ("PIP_ROOT_USER_ACTION".to_owned(), "ignore".to_owned()),
        ("PIP_PROGRESS_BAR".to_owned(), "off".to_owned()),
        ("npm_config_update_notifier".to_owned(), "false".to_owned()),
        ("npm_config_fund".to_owned(), "false".to_owned()),
    ]);
    env.extend(base.env.clone());
    if host_bundle().is_some() {
        env.extend(CA_NAMES.iter().map(|name| ((*name).to_owned(), CA_BUNDLE.to_owned())));
    }
    env.extend(given.iter().map(|(name, value)| (name.clone(), value.clone())));
    env
}

pub(super) fn certificates() -> Vec<HostMount> {
    let mount = |source| HostMount { source, target: CA_BUNDLE.to_owned(), read_only: true };
    host_bundle().into_iter().filter_map(|path| fs::canonicalize(path).ok()).map(mount).collect()
}
