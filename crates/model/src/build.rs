//! One build as control wishes it and as the node reports it.

use crate::ids::{BuildId, Digest, ServiceId};
use crate::instance::Fault;
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// The stage in which the platform makes its own base image ready, for which users of App Runner do not pay.
pub const BASE_STAGE: &str = "base";

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
    /// A stage ended: `BASE_STAGE`, "fetch", "build", "package"; milliseconds.
    Stage { name: String, ms: u64 },
    Done {
        #[serde(flatten)]
        outcome: BuildOutcome,
        /// From the beginning of the fetch on, without the making of base images. None: nobody measured it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        built_ms: Option<u64>,
    },
    Failed {
        #[serde(flatten)]
        fault: Fault,
        /// As in `Done`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        built_ms: Option<u64>,
    },
}

/// How long a build has taken so far, as its events tell it: that of which App Runner charges each minute.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BuildTime {
    /// Of tries that were interrupted.
    earlier_ms: u64,
    /// Of this one, by its stages or its end.
    told_ms: u64,
    /// Since when something runs of which no event has told yet. None: nothing does, or what users do not pay for.
    since: Option<Timestamp>,
}

impl BuildTime {
    pub fn hear(&mut self, event: &BuildEvent, now: Timestamp) {
        match event {
            BuildEvent::Line(_) => {}
            BuildEvent::Stage { name, .. } if name == BASE_STAGE => self.since = Some(now),
            BuildEvent::Stage { ms, .. } => {
                self.told_ms = self.told_ms.saturating_add(*ms);
                self.since = self.since.map(|_| now);
            }
            BuildEvent::Done { built_ms, .. } | BuildEvent::Failed { built_ms, .. } => {
                self.told_ms = built_ms.unwrap_or_else(|| self.of_this_try(now));
                self.since = None;
            }
        }
    }

    /// The node went, and the next try begins anew: what no event has told of is not counted.
    pub fn interrupt(&mut self) {
        let earlier_ms = self.earlier_ms.saturating_add(self.told_ms);
        *self = BuildTime { earlier_ms, ..BuildTime::default() };
    }

    /// Milliseconds of all tries, also of one that still runs.
    pub fn ms(&self, now: Timestamp) -> u64 {
        self.earlier_ms.saturating_add(self.of_this_try(now))
    }

    fn of_this_try(&self, now: Timestamp) -> u64 {
        let untold = self.since.map_or(Duration::ZERO, |since| now - since);
        self.told_ms.saturating_add(untold.as_millis() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;

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

    fn stage(name: &str, ms: u64) -> BuildEvent {
        BuildEvent::Stage { name: name.to_owned(), ms }
    }

    /// After a fetch of 2 s and a base of 30 s, `build` began at 40 s.
    fn building() -> BuildTime {
        let mut time = BuildTime::default();
        time.hear(&BuildEvent::Line("cloning".to_owned()), Timestamp(1_000));
        time.hear(&stage("fetch", 2_000), Timestamp(10_000));
        assert_eq!(time.ms(Timestamp(39_000)), 2_000, "a base is being made");
        time.hear(&stage(BASE_STAGE, 30_000), Timestamp(40_000));
        time
    }

    #[test]
    fn the_end_of_a_build_says_how_long_it_took() {
        let done = |built_ms| BuildEvent::Done { outcome: fixture::outcome(), built_ms };
        let failed = |built_ms| BuildEvent::Failed { fault: Fault::permanent("exit 1"), built_ms };
        for (end, ms) in [
            (done(Some(70_000)), 70_000),
            (failed(Some(70_000)), 70_000),
            (failed(Some(0)), 0),
            // Of a node that does not say it: what its stages took, and what came behind the last of them.
            (done(None), 2_000 + 5_000 + 3_000),
            (failed(None), 2_000 + 5_000 + 3_000),
        ] {
            let mut time = building();
            time.hear(&stage("build", 5_000), Timestamp(45_000));
            time.hear(&end, Timestamp(48_000));
            assert_eq!(time.ms(Timestamp(90_000)), ms, "{end:?}");
        }
        let mut nothing = BuildTime::default();
        nothing.hear(&failed(None), Timestamp(48_000));
        assert_eq!(nothing.ms(Timestamp(90_000)), 0);
    }

    #[test]
    fn a_build_without_an_end_took_what_was_told() {
        let mut time = building();
        assert_eq!(time.ms(Timestamp(100_000)), 2_000 + 60_000, "called off while it builds");
        time.interrupt();
        assert_eq!(time.ms(Timestamp(100_000)), 2_000, "the stage that was cut short is done again");
        time.hear(&stage("fetch", 1_000), Timestamp(101_000));
        time.interrupt();
        let end = BuildEvent::Done { outcome: fixture::outcome(), built_ms: Some(70_000) };
        time.hear(&end, Timestamp(180_000));
        assert_eq!(time.ms(Timestamp(180_000)), 2_000 + 1_000 + 70_000);
    }

    /// A node and a control of different releases understand each other.
    #[test]
    fn ends_are_read_with_and_without_their_time() {
        let outcome = BuildOutcome { port: Some(8_000), ..fixture::outcome() };
        let fault = Fault { last_lines: vec!["no".to_owned()], ..Fault::permanent("exit 1") };
        let read = |text: serde_json::Value| serde_json::from_value::<BuildEvent>(text).unwrap();
        let done = |built_ms| BuildEvent::Done { outcome: outcome.clone(), built_ms };
        let failed = |built_ms| BuildEvent::Failed { fault: fault.clone(), built_ms };
        assert_eq!(read(serde_json::json!({ "done": outcome })), done(None));
        assert_eq!(read(serde_json::json!({ "failed": fault })), failed(None));
        for event in [done(None), done(Some(5)), failed(None), failed(Some(5))] {
            assert_eq!(read(serde_json::to_value(&event).unwrap()), event);
        }
        let mut sent = serde_json::to_value([done(Some(5)), failed(Some(5))]).unwrap();
        assert_eq!(serde_json::from_value::<BuildOutcome>(sent[0]["done"].take()).unwrap(), outcome);
        assert_eq!(serde_json::from_value::<Fault>(sent[1]["failed"].take()).unwrap(), fault);
    }
}
