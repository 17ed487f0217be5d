//! What build commands find around them and the image does not keep: certificates, proxies, caches.

use super::super::launch::HostMount;
use super::{BuildError, Work, blocking};
use apron_images::runtimes::Base;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

const CA_BUNDLE: &str = "/run/apron-ca-certificates.crt";
pub(super) const SCRIPT: &str = "/run/apron-build.sh";
pub(super) const GIT_CONFIG: &str = "/run/apron-gitconfig";
pub(super) const REPOSITORY: &str = "/run/apron-repository";
const CACHE: &str = "/root/.cache";
const NPM_CACHE: &str = "/root/.npm";
pub(super) const RESOLV_CONF: &str = "/etc/resolv.conf";

/// Mount points of ours, which are left out of the image.
pub(super) const TARGETS: [&str; 7] =
    [CA_BUNDLE, SCRIPT, GIT_CONFIG, REPOSITORY, CACHE, NPM_CACHE, RESOLV_CONF];

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
/// Settings of this host by which its network is reached; builds need them as every program here does.
const PASSED_ON: [&str; 14] = [
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "PIP_INDEX_URL",
    "PIP_EXTRA_INDEX_URL",
    "PIP_TRUSTED_HOST",
    "PIP_DEFAULT_TIMEOUT",
    "NPM_CONFIG_REGISTRY",
    "npm_config_registry",
    "GOPROXY",
    "RUBYGEMS_HOST",
];
/// Where Debian, and where Red Hat's family keep the host's bundle.
const HOST_BUNDLES: [&str; 2] = ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt"];

fn host_bundle() -> Option<PathBuf> {
    let own = std::env::var_os("SSL_CERT_FILE").map(PathBuf::from).filter(|path| path.is_file());
    own.or_else(|| HOST_BUNDLES.iter().map(PathBuf::from).find(|path| path.is_file()))
}

/// Variables of every build container; the user's own come on top.
pub(super) fn variables(base: &Base) -> BTreeMap<String, String> {
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
    env.extend(PASSED_ON.iter().filter_map(|name| Some(((*name).to_owned(), std::env::var(name).ok()?))));
    if host_bundle().is_some() {
        env.extend(CA_NAMES.iter().map(|name| ((*name).to_owned(), CA_BUNDLE.to_owned())));
    }
    env
}

pub(super) fn certificates() -> Vec<HostMount> {
    let mount = |source| HostMount { source, target: CA_BUNDLE.to_owned(), read_only: true };
    host_bundle().into_iter().filter_map(|path| fs::canonicalize(path).ok()).map(mount).collect()
}

/// The service's own caches, made when they are missing.
pub(super) async fn caches(work: &Work<'_>, base: &Base) -> Result<Vec<HostMount>, BuildError> {
    let dir = work.context.node_dir.join("caches").join(cache_name(&work.spec.service_name)).join(&base.name);
    blocking(move || {
        let mut mounts = Vec::new();
        for (name, target) in [("cache", CACHE), ("npm", NPM_CACHE)] {
            let source = dir.join(name);
            make(&source)?;
            mounts.push(HostMount { source, target: target.to_owned(), read_only: false });
        }
        // Its age is the time since the last build.
        let touched =
            dir.parent().map(|parent| fs::File::open(parent)?.set_modified(std::time::SystemTime::now()));
        if let Some(Err(e)) = touched {
            return Err(BuildError::Io { path: dir, source: e });
        }
        Ok(mounts)
    })
    .await
}

fn make(dir: &Path) -> Result<(), BuildError> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(|source| BuildError::Io { path: dir.to_owned(), source })
}

/// A service's name as one path component, whatever it holds.
fn cache_name(service: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || c == '-' || c == '_' { c } else { '_' };
    let name: String = service.chars().map(plain).take(64).collect();
    if name.is_empty() { "_".to_owned() } else { name }
}
