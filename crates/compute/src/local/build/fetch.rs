//! The repository into a directory: an upload unpacked, or a clone of a branch's newest commit.

use super::environment::{self, GIT_CONFIG, GIT_CREDENTIALS, REPOSITORY};
use super::repository::Repository;
use super::script::quoted;
use super::{APP, BuildError, Work, blocking};
use crate::local::container::launch::{ExtraFile, HostMount};
use crate::local::network::nft::REFUSED;
use apron_images::process::Cancel;
use apron_images::runtimes::{self, Runtime};
use apron_images::unpack::{self, Bounds};
use apron_model::build::{BuildConfiguration, SourceLocation, shown_address, user_information};
use apron_model::instance::Exit;
use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// For the address of a git server that could not be reached, which is only wanted for a better reason.
const LOOKUP_WAIT: Duration = Duration::from_secs(3);
/// What git says when it came to no connection at all.
const NO_CONNECTION: [&str; 4] =
    ["Failed to connect", "Could not connect", "Connection timed out", "Connection refused"];

/// Answers with the commit where the source is git. `into` does not exist yet.
pub(super) async fn fetch(work: &Work<'_>, into: &Path) -> Result<Option<String>, BuildError> {
    let made = into.to_owned();
    blocking(move || fs::create_dir_all(&made).map_err(|source| BuildError::Io { path: made, source }))
        .await?;
    match &work.spec.source {
        SourceLocation::Upload { digest } => {
            let (content, digest, helper) =
                (work.context.content.clone(), digest.clone(), work.context.helper.clone());
            let into = into.to_owned();
            let cancel = Cancel::new();
            let _ends_with_the_build = cancel.on_drop();
            let bounds = Bounds { bytes_max: work.context.bytes_max, ..Bounds::until(&cancel) };
            blocking(move || Ok(unpack::unpack_tree(&content, &digest, &into, &helper, &bounds)?)).await?;
            Ok(None)
        }
        SourceLocation::Git { url, branch } => clone(work, url, branch, into).await.map(Some),
    }
}

async fn clone(work: &Work<'_>, url: &str, branch: &str, into: &Path) -> Result<String, BuildError> {
    let shown = shown_address(url);
    let mut mounts = environment::certificates();
    mounts.push(HostMount { source: into.to_owned(), target: APP.to_owned(), read_only: false });
    let address = if let Some(path) = url.strip_prefix("file://") {
        let (roots, path, shown) = (work.context.source_roots.clone(), PathBuf::from(path), shown.clone());
        let repository = blocking(move || Repository::open(&roots, &path, &shown)).await?;
        mounts.push(HostMount { source: repository.path(), target: REPOSITORY.to_owned(), read_only: true });
        work.steps.hold(repository.into_descriptor());
        format!("file://{REPOSITORY}")
    } else if url.starts_with("https://") || url.starts_with("http://") {
        shown.clone()
    } else {
        let reason =
            format!("{shown} is not a repository that can be fetched; expected https://, http:// or file://");
        return Err(BuildError::input(reason));
    };
    if branch.is_empty() || branch.starts_with('-') || branch.contains(char::is_whitespace) {
        return Err(BuildError::input(format!("{branch:?} is not the name of a branch")));
    }
    let credentials = Credentials::of(url)?;
    let runtime = runtime_with_git(work).await?;
    let (_, layers) = work.base(&runtime).await?;
    work.line(format!("cloning {shown}, branch {branch}")).await;
    let command = format!(
        "git clone --quiet --depth 1 --single-branch --no-tags --branch {} -- {} {APP} && git -C {APP} rev-parse HEAD",
        quoted(branch),
        quoted(&address)
    );
    let file = |target: &str, content: String| ExtraFile { target: target.to_owned(), content };
    let mut files = vec![file(GIT_CONFIG, git_config(&address, credentials.is_some()))];
    files.extend(credentials.map(|credentials| file(GIT_CREDENTIALS, credentials.0)));
    let mut env = environment::variables(&runtime.base, &work.context.environment);
    env.insert("GIT_CONFIG_SYSTEM".to_owned(), GIT_CONFIG.to_owned());
    let mut commit = None;
    let argv = ["/bin/sh", "-c", &command].map(str::to_owned).to_vec();
    let launch = work.steps.launch(work, "fetch", &layers, argv, env, "/", files, mounts);
    let exit = work
        .steps
        .run(work, "fetch", launch, &mut |line| match is_commit(&line) {
            true => {
                commit = Some(line);
                Vec::new()
            }
            false => vec![line],
        })
        .await?;
    // With it goes what the container was told, a password included: commands of the repository run next.
    work.steps.remove("fetch").await?;
    match (exit.code, commit) {
        (Some(0), Some(commit)) => Ok(commit),
        _ => Err(clone_error(&shown, branch, exit, unreachable_address(url).await)),
    }
}

/// What git is told beside its arguments. The repository belongs to somebody else; that is why it is read in a
/// container. A connection over which nothing comes ends.
fn git_config(address: &str, with_credentials: bool) -> String {
    let mut config =
        "[safe]\n\tdirectory = *\n[http]\n\tlowSpeedLimit = 1\n\tlowSpeedTime = 120\n".to_owned();
    if let (true, Some((scheme, rest))) = (with_credentials, address.split_once("://")) {
        // For this host only: a server that points to another one does not get them.
        let host: String = rest.split(['/', '?', '#']).next().unwrap_or(rest).replace(['"', '\\', '\n'], "");
        config.push_str(&format!(
            "[credential \"{scheme}://{host}\"]\n\thelper = \"!f() {{ test \\\"$1\\\" != get || cat {GIT_CREDENTIALS}; }}; f\"\n"
        ));
    }
    config
}

/// User and password of an address, in the form that git reads them from a helper. Files carry them: arguments
/// can be seen by every process, and git keeps an address in the clone.
struct Credentials(String);

impl Credentials {
    fn of(url: &str) -> Result<Option<Credentials>, BuildError> {
        let Some(information) = user_information(url) else { return Ok(None) };
        let (user, password) = information.split_once(':').unwrap_or((information, ""));
        let plain = |text: &str| {
            let text = percent_decoded(text)?;
            (!text.contains(char::is_control)).then_some(text)
        };
        match (plain(user), plain(password)) {
            (Some(user), Some(password)) => {
                Ok(Some(Credentials(format!("username={user}\npassword={password}\n"))))
            }
            _ => Err(BuildError::input("the user or password in the repository's address cannot be read")),
        }
    }
}

/// None: a `%` without its two digits, or no UTF-8.
fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let digits = std::str::from_utf8(rest.get(..2)?).ok()?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        rest = &rest[2..];
    }
    String::from_utf8(bytes).ok()
}

/// Where the runtime is known before the source is here its base clones too. Otherwise the smallest that is there,
/// and when there is none the one that is made for it.
async fn runtime_with_git(work: &Work<'_>) -> Result<Runtime, BuildError> {
    let catalogue = work.context.catalogue.clone();
    if let BuildConfiguration::Api { runtime, .. } = &work.spec.configuration {
        let runtime = catalogue.find(runtime)?;
        if catalogue.with_git().any(|with_git| with_git == runtime) {
            return Ok(runtime.clone());
        }
    }
    let (content, bases) = (work.context.content.clone(), work.context.node_dir.join("bases"));
    blocking(move || {
        let all = catalogue.with_git().chain([catalogue.fetch()]);
        let cached = all.filter_map(|runtime| {
            let image = runtimes::cached(&content, &bases, &runtime.base)?;
            let layers = content.manifest(&image).ok()?.layers;
            Some((layers.iter().map(|layer| layer.size).sum::<u64>(), runtime))
        });
        let smallest = cached.min_by_key(|(bytes, _)| *bytes).map(|(_, runtime)| runtime);
        Ok(smallest.unwrap_or(catalogue.fetch()).clone())
    })
    .await
}

/// The address of a git server that builds do not reach unless the operator allows it.
async fn unreachable_address(url: &str) -> Option<Ipv4Addr> {
    let shown = shown_address(url);
    let (_, rest) = shown.strip_prefix("http").and_then(|rest| rest.split_once("://"))?;
    let authority = rest.split(['/', '?', '#']).next()?;
    let host = authority.rsplit_once(':').map_or(authority, |(host, _)| host);
    let found = tokio::time::timeout(LOOKUP_WAIT, tokio::net::lookup_host((host, 0))).await.ok()?.ok()?;
    let mut addresses = found.filter_map(|address| match address.ip() {
        IpAddr::V4(address) => Some(address),
        IpAddr::V6(_) => None,
    });
    addresses.find(|address| REFUSED.iter().any(|(net, bits)| in_net(*address, *net, *bits)))
}

fn in_net(address: Ipv4Addr, net: Ipv4Addr, bits: u8) -> bool {
    let mask = u32::MAX.checked_shl(32 - u32::from(bits)).unwrap_or(0);
    address.to_bits() & mask == net.to_bits() & mask
}

fn is_commit(line: &str) -> bool {
    (line.len() == 40 || line.len() == 64) && line.bytes().all(|b| b.is_ascii_hexdigit())
}

fn clone_error(shown: &str, branch: &str, exit: Exit, private: Option<Ipv4Addr>) -> BuildError {
    let last_lines = exit.last_lines;
    let said = |part: &str| last_lines.iter().any(|line| line.contains(part));
    if said("not found in upstream origin") {
        let reason = format!("the repository {shown} has no branch {branch}; another is named with --branch");
        return BuildError::Input { reason, last_lines };
    }
    // What servers answer for a repository that is not there is what they answer for a private one.
    if said("could not read Username") || said("Authentication failed") || said("Repository not found") {
        let reason = format!(
            "the repository {shown} does not exist, or is private: then its URL needs a user and a password or token"
        );
        return BuildError::Input { reason, last_lines };
    }
    let fatal = last_lines.iter().rev().find(|l| l.starts_with("fatal: ")).or(last_lines.last());
    let why = fatal.map_or("git said nothing", |line| line.trim_start_matches("fatal: "));
    let mut reason = format!("the repository {shown} could not be cloned: {why}");
    if let Some(address) = private.filter(|_| NO_CONNECTION.iter().any(|part| said(part))) {
        reason.push_str(&match address.is_loopback() {
            true => format!("; {address} is the build's own container there, not this machine"),
            false => format!(
                "; {address} is a private address, which builds reach only if `egress_allow` in the configuration \
                 names it"
            ),
        });
    }
    let permanent = ["not found", "does not appear to be a git"];
    let fatal = |part: &str| last_lines.iter().any(|line| line.starts_with("fatal: ") && line.contains(part));
    match permanent.iter().any(|part| fatal(part)) {
        true => BuildError::Input { reason, last_lines },
        false => BuildError::Unreachable { reason, last_lines },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_told_to_git_apart() {
        let of = |url: &str| Credentials::of(url).map(|found| found.map(|found| found.0));
        assert_eq!(of("https://host/a@b").unwrap(), None);
        assert_eq!(
            of("https://user:se%40cret@host/a").unwrap().unwrap(),
            "username=user\npassword=se@cret\n"
        );
        assert_eq!(of("https://token@host/a").unwrap().unwrap(), "username=token\npassword=\n");
        for wrong in
            ["https://u:a%0ab@host/", "https://u:%4@host/", "https://u:%zz@host/", "https://%ff@host/"]
        {
            let error = of(wrong).unwrap_err().to_string();
            assert!(!error.contains("host"), "{error}");
        }
        assert!(!git_config("https://host/a", false).contains("credential"));
        assert!(git_config("https://host:8443/a", true).contains("[credential \"https://host:8443\"]"));
    }

    #[tokio::test]
    async fn a_private_address_is_told() {
        let failed = |line: &str, private| {
            let exit = Exit {
                code: Some(128),
                signal: None,
                out_of_memory: false,
                reason: None,
                last_lines: vec![line.to_owned()],
            };
            clone_error("http://h/a", "main", exit, private).fault()
        };
        let line = "fatal: unable to access 'http://h/a/': Failed to connect to h port 80 after 1 ms: Couldn't connect";
        let private = unreachable_address("http://user:secret@10.1.2.3:8080/a").await;
        assert_eq!(private, Some(Ipv4Addr::new(10, 1, 2, 3)));
        let fault = failed(line, private);
        assert!(!fault.permanent && fault.reason.contains("10.1.2.3 is a private address"), "{fault:?}");
        assert!(fault.reason.contains("`egress_allow`"), "{fault:?}");
        let own = unreachable_address("http://127.0.0.1/a").await;
        assert!(failed(line, own).reason.contains("the build's own container"));
        let secret = failed("fatal: Authentication failed for 'http://h/a/'", private);
        assert!(secret.permanent && secret.reason.contains("does not exist, or is private"), "{secret:?}");
        assert!(!secret.reason.contains("address"), "{secret:?}");
        assert_eq!(unreachable_address("https://192.0.2.1/a").await, None);
        assert_eq!(unreachable_address("file:///a").await, None);
        assert!(!failed(line, None).reason.contains("private"));
    }
}
