//! One build as control wishes it and as the node reports it.

use crate::ids::{BuildId, Digest};
use crate::instance::Fault;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A wished build. The node fetches the source, reads `apprunner.yaml` when asked to, runs the commands in
/// build containers and answers with the digest of an image in the content store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuildSpec {
    pub id: BuildId,
    pub source: SourceLocation,
    /// Where `apprunner.yaml` lies and commands run, below the repository's root; "/" is the root itself.
    pub source_directory: String,
    pub configuration: BuildConfiguration,
    /// Names the build container's cgroup and the log lines; nothing more.
    pub service_name: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SourceLocation {
    /// A gzip-compressed tar in the content store, uploaded by a client.
    Upload { digest: Digest },
    /// `https://`, `http://` or `file://`.
    Git { url: String, branch: String },
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
