//! OCI image manifests and configurations: the members that are used, and the platform rule.

use apron_model::ids::Digest;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

pub const MANIFEST_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";
pub const INDEX_TYPE: &str = "application/vnd.oci.image.index.v1+json";
pub const DOCKER_MANIFEST_TYPE: &str = "application/vnd.docker.distribution.manifest.v2+json";
pub const DOCKER_LIST_TYPE: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
pub const CONFIG_TYPE: &str = "application/vnd.oci.image.config.v1+json";
pub const LAYER_TYPE: &str = "application/vnd.oci.image.layer.v1.tar";
pub const LAYER_GZIP_TYPE: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

/// A manifest or a configuration larger than this is refused; the largest published ones have some 100 KB.
pub const DOCUMENT_BYTES_MAX: u64 = 8 * 1024 * 1024;
/// Overlayfs mounts at most 500 lower layers, Docker builds at most 127.
pub const LAYERS_MAX: usize = 128;

/// One blob as a manifest names it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    pub media_type: String,
    pub digest: Digest,
    pub size: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

impl Descriptor {
    pub fn new(media_type: &str, digest: Digest, size: u64) -> Descriptor {
        let media_type = media_type.to_owned();
        Descriptor { media_type, digest, size, platform: None, annotations: BTreeMap::new() }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Platform {
    pub architecture: String,
    pub os: String,
}

/// An image manifest, of OCI or of Docker: the members have the same names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ImageManifest {
    pub schema_version: u32,
    #[serde(default = "default_manifest_type")]
    pub media_type: String,
    pub config: Descriptor,
    pub layers: Vec<Descriptor>,
}

fn default_manifest_type() -> String {
    MANIFEST_TYPE.to_owned()
}

/// A list of manifests, one per platform.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ImageIndex {
    pub schema_version: u32,
    #[serde(default)]
    pub media_type: String,
    pub manifests: Vec<Descriptor>,
}

/// An image configuration as it is used here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageConfig {
    pub architecture: String,
    pub os: String,
    pub run: RunDefaults,
    /// Digests of the uncompressed layers, lowest first.
    pub diff_ids: Vec<Digest>,
}

/// What an image says of the process that it runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunDefaults {
    /// `NAME=value`, in the image's order.
    pub env: Vec<String>,
    pub entrypoint: Vec<String>,
    pub cmd: Vec<String>,
    /// Absolute; "/" when the image names none.
    pub working_dir: String,
    /// `user[:group]` by name or number; empty means root.
    pub user: String,
}

/// The configuration as it lies in a blob.
#[derive(Serialize, Deserialize)]
pub(crate) struct ConfigFile {
    #[serde(default)]
    architecture: String,
    #[serde(default)]
    os: String,
    #[serde(default)]
    config: Option<ConfigRun>,
    rootfs: RootFs,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct ConfigRun {
    #[serde(skip_serializing_if = "Option::is_none")]
    env: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    entrypoint: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cmd: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    working_dir: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct RootFs {
    #[serde(rename = "type", default)]
    kind: String,
    diff_ids: Vec<Digest>,
}

impl From<ConfigFile> for ImageConfig {
    fn from(file: ConfigFile) -> ImageConfig {
        let run = file.config.unwrap_or_default();
        let working_dir = run.working_dir.filter(|dir| !dir.is_empty()).unwrap_or_else(|| "/".to_owned());
        ImageConfig {
            architecture: file.architecture,
            os: file.os,
            run: RunDefaults {
                env: run.env.unwrap_or_default(),
                entrypoint: run.entrypoint.unwrap_or_default(),
                cmd: run.cmd.unwrap_or_default(),
                working_dir,
                user: run.user.unwrap_or_default(),
            },
            diff_ids: file.rootfs.diff_ids,
        }
    }
}

impl From<&ImageConfig> for ConfigFile {
    fn from(config: &ImageConfig) -> ConfigFile {
        let list = |items: &[String]| (!items.is_empty()).then(|| items.to_vec());
        let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        ConfigFile {
            architecture: config.architecture.clone(),
            os: config.os.clone(),
            config: Some(ConfigRun {
                env: list(&config.run.env),
                entrypoint: list(&config.run.entrypoint),
                cmd: list(&config.run.cmd),
                working_dir: text(&config.run.working_dir),
                user: text(&config.run.user),
            }),
            rootfs: RootFs { kind: "layers".to_owned(), diff_ids: config.diff_ids.clone() },
        }
    }
}

/// This machine's architecture as images name it.
pub fn host_architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// The entry of a list for this machine, or the platforms that the list has instead.
pub(crate) fn for_this_machine(index: &ImageIndex) -> Result<&Descriptor, String> {
    let matches = |d: &&Descriptor| {
        d.platform.as_ref().is_some_and(|p| p.os == "linux" && p.architecture == host_architecture())
    };
    if let Some(found) = index.manifests.iter().find(matches) {
        return Ok(found);
    }
    // An OCI layout with one image often names no platform; its configuration is checked afterwards.
    if let [only] = index.manifests.as_slice()
        && only.platform.is_none()
    {
        return Ok(only);
    }
    let offered: Vec<String> = index
        .manifests
        .iter()
        .filter_map(|d| d.platform.as_ref())
        .filter(|p| p.os != "unknown")
        .map(|p| format!("{}/{}", p.os, p.architecture))
        .collect();
    Err(if offered.is_empty() { "no platform".to_owned() } else { offered.join(", ") })
}
