//! References to images, as Docker reads them: `[host[:port]/]path[:tag][@digest]`.

use apron_model::ids::Digest;

/// Docker's own limit of host and path together.
const NAME_BYTES_MAX: usize = 255;
const TAG_BYTES_MAX: usize = 128;
/// Where a reference without a host leads.
pub(super) const DOCKER_HUB: &str = "docker.io";

/// Whether a text names an image.
///
/// # Errors
/// The reason, for people.
pub fn check(text: &str) -> Result<(), String> {
    Reference::parse(text).map(drop)
}

/// An image in a registry. Its parts can stand in a URL as they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reference {
    /// `host[:port]` as it was written; `docker.io` where none was.
    pub(super) registry: String,
    pub(super) repository: String,
    /// `latest` where none was written. The digest counts where there is one.
    pub(super) tag: String,
    pub(super) digest: Option<Digest>,
}

impl Reference {
    /// The reason is for people.
    pub(super) fn parse(text: &str) -> Result<Reference, String> {
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => {
                let digest = Digest::new(digest);
                crate::content::hex_of(&digest).map_err(|e| e.to_string())?;
                (rest, Some(digest))
            }
            None => (text, None),
        };
        let (registry, path) = match rest.split_once('/') {
            Some((host, path)) if is_host(host) => (host, path),
            _ => (DOCKER_HUB, rest),
        };
        // Docker's older name of the same.
        let registry = if registry == "index.docker.io" { DOCKER_HUB } else { registry };
        let (path, tag) = path.split_once(':').unwrap_or((path, "latest"));
        let repository = match registry == DOCKER_HUB && !path.contains('/') {
            true => format!("library/{path}"),
            false => path.to_owned(),
        };
        if registry.len() + 1 + repository.len() > NAME_BYTES_MAX {
            return Err(format!("host and path have more than {NAME_BYTES_MAX} characters"));
        }
        if !registry_is_valid(registry) {
            return Err(format!("{registry:?} is not a host"));
        }
        if !path.split('/').all(part_is_valid) {
            return Err(
                "its path may have lower-case letters, digits, and single '.', '_' and '-' between them"
                    .to_owned(),
            );
        }
        let tag_is_valid = tag.len() <= TAG_BYTES_MAX
            && tag.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_')
            && tag.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'));
        if !tag_is_valid {
            return Err("its tag may have letters, digits, '.', '_' and '-'".to_owned());
        }
        Ok(Reference { registry: registry.to_owned(), repository, tag: tag.to_owned(), digest })
    }

    /// What a manifest is asked for by.
    pub(super) fn tag_or_digest(&self) -> &str {
        self.digest.as_ref().map_or(&self.tag, Digest::as_str)
    }

    /// `host[:port]` that answers.
    pub(super) fn host(&self) -> &str {
        match self.registry.as_str() {
            DOCKER_HUB => "registry-1.docker.io",
            other => other,
        }
    }
}

/// The first part of a reference is a host when no path could look so.
fn is_host(part: &str) -> bool {
    part.contains(['.', ':']) || part == "localhost" || part.bytes().any(|b| b.is_ascii_uppercase())
}

fn registry_is_valid(registry: &str) -> bool {
    let (host, port) = match registry.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (registry, None),
    };
    let name = |host: &str| {
        !host.is_empty()
            && host.split('.').all(|label| {
                !label.is_empty() && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            })
    };
    let address = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port > 0))
        && match address {
            Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
            None => name(host),
        }
}

/// Letters and digits, with one `.`, one or two `_`, or any number of `-` between them.
fn part_is_valid(part: &str) -> bool {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    part.bytes().all(|b| plain(b) || matches!(b, b'.' | b'_' | b'-'))
        && part.bytes().next().is_some_and(plain)
        && part.bytes().last().is_some_and(plain)
        && !["..", "._", "_.", "___", ".-", "-.", "_-", "-_"].iter().any(|wrong| part.contains(wrong))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_as_docker_reads_them() {
        let check = |text: &str, registry: &str, repository: &str, asked_for: &str| {
            let reference = Reference::parse(text).unwrap();
            assert_eq!(reference.registry, registry, "{text}");
            assert_eq!(reference.repository, repository, "{text}");
            assert_eq!(reference.tag_or_digest(), asked_for, "{text}");
        };
        check("nginx", "docker.io", "library/nginx", "latest");
        check("index.docker.io/nginx", "docker.io", "library/nginx", "latest");
        check("team/web:2", "docker.io", "team/web", "2");
        check("ghcr.io/team/web", "ghcr.io", "team/web", "latest");
        check("localhost:5000/web:1", "localhost:5000", "web", "1");
        check("localhost/web_one:V1.2-a", "localhost", "web_one", "V1.2-a");
        check("[::1]:5000/a--b/c__d", "[::1]:5000", "a--b/c__d", "latest");
        let digest = format!("sha256:{}", "a".repeat(64));
        check(&format!("ghcr.io/team/web:1@{digest}"), "ghcr.io", "team/web", &digest);
        assert_eq!(Reference::parse("nginx").unwrap().host(), "registry-1.docker.io");
    }

    #[test]
    fn what_is_no_reference() {
        for text in [
            "",
            "Not A Reference",
            "Web",
            "ghcr.io/",
            "ghcr.io/Team/web",
            "ghcr.io/team//web",
            "ghcr.io/../web",
            "ghcr.io/team/web?x=1",
            "ghcr.io/team/web#x",
            "ghcr.io/team/web:",
            "ghcr.io/team/web:a/b",
            "ghcr.io/team/web@sha256:short",
            "user@ghcr.io/team/web",
            "ghcr.io:0/web",
            "ghcr.io:70000/web",
            "gh_cr.io/web",
            "[::1/web",
            "[::1].x:1/web",
        ] {
            assert!(Reference::parse(text).is_err(), "{text:?}");
        }
        assert!(Reference::parse(&"a".repeat(300)).is_err());
        assert!(Reference::parse(&format!("web:{}", "a".repeat(129))).is_err());
    }
}
