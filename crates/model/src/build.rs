//! One build as control wishes it and as the node reports it.

use crate::ids::{BuildId, Digest, ServiceId};
use crate::instance::Fault;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// A wished build. The node fetches the source, reads `apprunner.yaml` when asked to, runs the commands in
/// build containers and answers with the digest of an image in the content store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuildSpec {
    pub id: BuildId,
    pub source: SourceLocation,
    /// Where `apprunner.yaml` lies and commands run, below the repository's root; "/" is the root itself.
    pub source_directory: String,
    pub configuration: BuildConfiguration,
    /// Whose build it is: downloads are cached for this service alone.
    pub service: ServiceId,
}

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SourceLocation {
    /// A gzip-compressed tar in the content store, uploaded by a client.
    Upload { digest: Digest },
    /// `https://`, `http://` or `file://`. The address may carry a password: `shown_address` is for people.
    Git { url: String, branch: String },
}

impl fmt::Debug for SourceLocation {
    /// Without a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SourceLocation::Upload { digest } => f.debug_struct("Upload").field("digest", digest).finish(),
            SourceLocation::Git { url, branch } => {
                f.debug_struct("Git").field("url", &shown_address(url)).field("branch", branch).finish()
            }
        }
    }
}

/// The address of a repository without what stands before an `@` in its host: for logs and errors.
pub fn shown_address(url: &str) -> String {
    match user_information(url) {
        Some(information) => url.replacen(&format!("://{information}@"), "://", 1),
        None => url.to_owned(),
    }
}

/// The address of a repository with what a connection signs in with: a token, or `user:token`. An address that
/// names a user already stays as it is, and so does one that is not fetched over HTTP.
pub fn signed_address(url: &str, provider: &str, token: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    if !matches!(scheme, "https" | "http") || user_information(url).is_some() {
        return url.to_owned();
    }
    let (user, password) = token.split_once(':').unwrap_or_else(|| {
        // The users that providers document for tokens; with others any does.
        let user = match provider {
            "BITBUCKET" => "x-token-auth",
            "GITLAB" => "oauth2",
            _ => "x-access-token",
        };
        (user, token)
    });
    format!("{scheme}://{}:{}@{rest}", percent_encoded(user), percent_encoded(password))
}

fn percent_encoded(text: &str) -> String {
    text.bytes().fold(String::new(), |mut encoded, byte| {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                encoded.push(char::from(byte))
            }
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
        encoded
    })
}

/// `user:password` of an address such as `https://user:password@host/path`, where it has one.
pub fn user_information(url: &str) -> Option<&str> {
    let (_, rest) = url.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next()?;
    authority.rsplit_once('@').map(|(information, _)| information)
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BuildConfiguration {
    /// `apprunner.yaml` in the source directory.
    Repository,
    /// `CodeConfigurationValues` of the API.
    Api { runtime: String, build_command: Option<String>, start_command: Option<String> },
}

/// What a build gave. A new revision is this and the service's configuration.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuildOutcome {
    /// Digest of the image manifest.
    pub image: Digest,
    /// The commit that was built, where the source is git.
    pub commit: Option<String>,
    /// What `apprunner.yaml` says of the run; absent members leave the API's values.
    pub start_command: Option<String>,
    pub port: Option<u16>,
    /// `network.env`: a further variable that carries the port.
    pub port_env: Option<String>,
    pub env: BTreeMap<String, String>,
    pub warnings: Vec<String>,
}

impl fmt::Debug for BuildOutcome {
    /// Without the values of variables.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&String> = self.env.keys().collect();
        f.debug_struct("BuildOutcome")
            .field("image", &self.image)
            .field("commit", &self.commit)
            .field("start_command", &self.start_command)
            .field("port", &self.port)
            .field("port_env", &self.port_env)
            .field("env", &names)
            .field("warnings", &self.warnings)
            .finish()
    }
}

/// Progress of one build, in order. The last event is `Done` or `Failed`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BuildEvent {
    /// One line for the deployment log.
    Line(String),
    /// A stage ended: "base", "fetch", "build", "package"; milliseconds.
    Stage {
        name: String,
        ms: u64,
    },
    Done(BuildOutcome),
    Failed(Fault),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_signs_an_address_in() {
        for (url, provider, token, signed) in [
            ("https://h/a.git", "GITHUB", "t/1", "https://x-access-token:t%2F1@h/a.git"),
            ("https://h/a.git", "BITBUCKET", "t", "https://x-token-auth:t@h/a.git"),
            ("http://h:80/a", "GIT", "me:p@ss", "http://me:p%40ss@h:80/a"),
            ("https://u:p@h/a", "GIT", "t", "https://u:p@h/a"),
            ("file:///a", "GIT", "t", "file:///a"),
        ] {
            assert_eq!(signed_address(url, provider, token), signed);
            assert_eq!(shown_address(signed), shown_address(url));
        }
    }

    #[test]
    fn passwords_are_not_shown() {
        for (url, shown) in [
            ("https://user:secret@host/a@b.git", "https://host/a@b.git"),
            ("https://user:se@cret@host/a.git", "https://host/a.git"),
            ("https://user:secret@host", "https://host"),
            ("https://host/a.git", "https://host/a.git"),
            ("file:///a", "file:///a"),
            ("no address", "no address"),
        ] {
            assert_eq!(shown_address(url), shown);
            let source = SourceLocation::Git { url: url.to_owned(), branch: "main".to_owned() };
            assert!(!format!("{source:?}").contains("cret"), "{source:?}");
        }
        assert_eq!(user_information("https://user:se@cret@host/a@b"), Some("user:se@cret"));
        assert_eq!(user_information("https://host/a@b"), None);
    }
}
