//! What `apron deploy` was pointed at: a directory, a git repository or an image, and what to call the service.

use anyhow::{Result, bail};
use std::path::{Path, PathBuf};

/// Hosts whose repositories people paste without a scheme.
const GIT_HOSTS: [&str; 4] = ["github.com/", "gitlab.com/", "bitbucket.org/", "codeberg.org/"];

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// A directory of sources, to be packed and uploaded.
    Directory(PathBuf),
    /// A URL that the platform can fetch from.
    Git(String),
    /// A reference into a registry, or the name of an imported archive.
    Image(String),
}

impl Target {
    /// Decides by what exists and what the text looks like. `is_directory` asks the file system.
    pub(crate) fn read(text: &str, is_directory: impl Fn(&Path) -> bool) -> Result<Target> {
        let path = Path::new(text);
        if is_directory(path) {
            let bare_repository = is_directory(&path.join("objects")) && is_directory(&path.join("refs"));
            if !bare_repository {
                return Ok(Target::Directory(path.to_owned()));
            }
            return Ok(Target::Git(format!("file://{}", std::path::absolute(path)?.display())));
        }
        if text.starts_with("https://") || text.starts_with("http://") || text.starts_with("file://") {
            return Ok(Target::Git(text.to_owned()));
        }
        if GIT_HOSTS.iter().any(|host| text.starts_with(host)) {
            return Ok(Target::Git(format!("https://{text}")));
        }
        if text.starts_with("ssh://") || (text.contains('@') && text.ends_with(".git")) {
            bail!(
                "'{text}' is a git URL over ssh, which is not supported; give the repository's https:// URL, or a \
                 directory that holds it"
            );
        }
        if text.is_empty() || text.starts_with(['.', '/', '~']) || text.ends_with('/') {
            bail!("the directory '{text}' does not exist; give a directory, a git URL or an image");
        }
        if text.ends_with(".git") {
            return Ok(Target::Git(format!("https://{text}")));
        }
        if text.chars().any(|c| c.is_whitespace() || c.is_control()) {
            bail!("'{}' is neither a directory, nor a git URL, nor an image", text.escape_debug());
        }
        Ok(Target::Image(text.to_owned()))
    }

    /// The image's name if it says neither a registry nor a tag: it may as well be a directory, mistyped.
    pub(crate) fn bare_word(&self) -> Option<&str> {
        match self {
            Target::Image(reference) => {
                Some(reference.as_str()).filter(|word| !word.contains(['/', ':', '@']))
            }
            Target::Directory(_) | Target::Git(_) => None,
        }
    }

    /// The last part of its name as a service's name.
    pub(crate) fn service_name(&self) -> Result<String> {
        let part = match self {
            Target::Directory(path) => {
                let whole = path.canonicalize().unwrap_or_else(|_| path.clone());
                whole.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
            }
            Target::Git(url) => {
                let path = url.split(['?', '#']).next().unwrap_or_default().trim_end_matches('/');
                let last = path.rsplit('/').next().unwrap_or_default();
                last.strip_suffix(".git").unwrap_or(last).to_owned()
            }
            Target::Image(reference) => {
                let name = reference.split('@').next().unwrap_or_default();
                let last = name.rsplit('/').next().unwrap_or_default();
                last.split(':').next().unwrap_or_default().to_owned()
            }
        };
        match valid_name(&part) {
            Some(name) => Ok(name),
            None => bail!("no service name can be made of '{part}'; give one with --name"),
        }
    }
}

/// Letters in lower case, since the name is also a host name; everything else that is not allowed as a hyphen.
fn valid_name(text: &str) -> Option<String> {
    let mut name = String::new();
    for c in text.chars() {
        let c = if c.is_ascii_alphanumeric() || c == '_' { c.to_ascii_lowercase() } else { '-' };
        if !(c == '-' && name.ends_with('-')) {
            name.push(c);
        }
    }
    let name = name.trim_start_matches(['-', '_']);
    let name = &name[..name.len().min(40)];
    let name = name.trim_end_matches(['-', '_']);
    (!name.is_empty()).then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expect: Result<(Target, &str), &str>) {
        let directories = ["app", "/srv/My App", "/srv/r.git", "/srv/r.git/objects", "/srv/r.git/refs", "/"];
        let is_directory = |path: &Path| directories.iter().any(|known| Path::new(known) == path);
        match (Target::read(text, is_directory), expect) {
            (Ok(target), Ok((expected, name))) => {
                assert_eq!(target, expected);
                assert_eq!(target.service_name().unwrap_or_default(), name);
            }
            (Err(error), Err(part)) => assert!(error.to_string().contains(part), "{error}"),
            (result, expect) => panic!("{text}: {result:?}, expected {expect:?}"),
        }
    }

    #[test]
    fn targets_and_their_names() {
        let git = |url: &str| Target::Git(url.into());
        let image = |reference: &str| Target::Image(reference.into());
        check("app", Ok((Target::Directory("app".into()), "app")));
        check("/srv/My App", Ok((Target::Directory("/srv/My App".into()), "my-app")));
        check("/srv/r.git", Ok((git("file:///srv/r.git"), "r")));
        check("/", Ok((Target::Directory("/".into()), "")));
        check("https://git.test/Team/My.App.git", Ok((git("https://git.test/Team/My.App.git"), "my-app")));
        check("file:///srv/x/", Ok((git("file:///srv/x/"), "x")));
        check("github.com/a/b", Ok((git("https://github.com/a/b"), "b")));
        check("git.test/a/b.git", Ok((git("https://git.test/a/b.git"), "b")));
        check("nginx", Ok((image("nginx"), "nginx")));
        check("127.0.0.1:5000/t/web:1.2", Ok((image("127.0.0.1:5000/t/web:1.2"), "web")));
        check("r.test/web@sha256:00", Ok((image("r.test/web@sha256:00"), "web")));
        check("./missing", Err("the directory './missing' does not exist"));
        check("missing/", Err("does not exist"));
        check("git@github.com:a/b.git", Err("https://"));
        check("ssh://git.test/a", Err("over ssh"));
        check("a b", Err("neither"));
    }

    #[test]
    fn a_word_alone_is_bare() {
        let bare = |reference: &str| Target::Image(reference.into()).bare_word().map(str::to_owned);
        assert_eq!(bare("webapp").as_deref(), Some("webapp"));
        for reference in ["web:1", "web@sha256:00", "docker.io/library/web"] {
            assert_eq!(bare(reference), None, "{reference}");
        }
        assert_eq!(Target::Directory("web".into()).bare_word(), None);
    }

    #[test]
    fn names_are_cut_and_cleaned() {
        assert_eq!(valid_name("--Über App!").as_deref(), Some("ber-app"));
        assert_eq!(valid_name(&"x".repeat(50)).unwrap().len(), 40);
        assert_eq!(valid_name("///"), None);
        assert_eq!(valid_name("_a_"), Some("a".into()));
    }
}
