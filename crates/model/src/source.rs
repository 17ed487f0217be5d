//! What a caller writes of a service, turned into what the model keeps.
//!
//! CreateService and UpdateService share nearly all their members, and both mean "lay this over what was there":
//! for a new service that is the defaults, for an existing one its present configuration. So there is one path,
//! `configure`, and what comes out of it is complete and consistent; nothing further in checks it again.
//! Lengths, patterns and enumerations of single members were checked where the request was decoded; here stand
//! the rules that need two members, a default, or knowledge of what Apron can do.

mod environment;
mod merge;
mod size;
#[cfg(test)]
mod tests;
mod unheeded;

pub use size::{SIZES, default_size};
pub use unheeded::unheeded;

use crate::service::{RepositoryType, Scaling, Service, ServiceConfig};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// How the address of an uploaded source begins; its digest follows.
pub const UPLOAD_PREFIX: &str = "apron:source/";

/// Why a written service cannot become one. Both kinds are the caller's to change; the text is for them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InputError {
    /// Wrong by AWS's rules, or would not work.
    #[error("{0}")]
    Invalid(String),
    /// Right on AWS, and not built here yet: better refused than accepted without effect.
    #[error("{0}")]
    Unsupported(String),
}

/// A service that may be created, apart from a name that is taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewService {
    pub name: String,
    pub tags: BTreeMap<String, String>,
    pub config: ServiceConfig,
}

/// The members that CreateService and UpdateService share. An absent one keeps what is there. An update that waits
/// for its turn is kept in this form.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceInput {
    pub source: Option<SourceInput>,
    pub instance: Option<InstanceInput>,
    pub health: Option<HealthInput>,
    /// The auto scaling configuration that was named, as it was found.
    pub scaling: Option<Scaling>,
    pub network: Option<NetworkInput>,
    pub observability_enabled: Option<bool>,
    pub kms_key: Option<String>,
}

/// Exactly one of `code` and `image` on creation.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceInput {
    pub code: Option<CodeInput>,
    pub image: Option<ImageInput>,
    pub auto_deployments: Option<bool>,
    pub access_role_arn: Option<String>,
    pub connection_arn: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CodeInput {
    pub repository_url: String,
    pub branch: String,
    pub source_directory: Option<String>,
    pub configuration: Option<CodeConfigurationInput>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CodeConfigurationInput {
    /// REPOSITORY: `apprunner.yaml` says how to build and run.
    pub from_file: bool,
    pub runtime: Option<String>,
    pub build_command: Option<String>,
    pub run: RunInput,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageInput {
    pub identifier: String,
    pub repository_type: RepositoryType,
    pub run: RunInput,
}

/// What code and image sources are both told about running.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunInput {
    pub start_command: Option<String>,
    /// A decimal number as text, as AWS sends it.
    pub port: Option<String>,
    pub env: Option<BTreeMap<String, String>>,
    pub secrets: Option<BTreeMap<String, String>>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstanceInput {
    /// "1024" or "1 vCPU".
    pub cpu: Option<String>,
    /// "2048" or "2 GB".
    pub memory: Option<String>,
    pub role_arn: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthInput {
    pub http: Option<bool>,
    pub path: Option<String>,
    pub interval_s: Option<u32>,
    pub timeout_s: Option<u32>,
    pub healthy_threshold: Option<u32>,
    pub unhealthy_threshold: Option<u32>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkInput {
    pub public: Option<bool>,
    pub vpc_egress: Option<bool>,
    pub dual_stack: Option<bool>,
}

/// A new service of the account from what was written. `scaling` is the default of its region.
pub fn new_service(
    name: &str,
    tags: impl IntoIterator<Item = (String, String)>,
    input: &ServiceInput,
    scaling: &Scaling,
    account: &str,
) -> Result<NewService, InputError> {
    check_name(name)?;
    let tags = laid_over("service", &BTreeMap::new(), tags)?;
    Ok(NewService {
        name: name.to_owned(),
        tags,
        config: merge::configure(None, input, scaling, Some(account))?,
    })
}

/// The configuration that `service` has when `input` is laid over its present one.
pub fn changed(service: &Service, input: &ServiceInput) -> Result<ServiceConfig, InputError> {
    merge::configure(Some(service), input, &service.config.scaling, None)
}

/// Tags of one resource; AWS's quota.
pub const TAGS_MAX: usize = 50;

/// `tags` laid over `current`, as TagResource does. A key named twice is refused: which one was meant? `what` they are
/// tags of is said in refusals: "service".
pub fn laid_over(
    what: &str,
    current: &BTreeMap<String, String>,
    tags: impl IntoIterator<Item = (String, String)>,
) -> Result<BTreeMap<String, String>, InputError> {
    let mut added = BTreeMap::new();
    for (at, (key, value)) in tags.into_iter().enumerate() {
        let lower = key.to_ascii_lowercase();
        // The decoder refuses an empty one that is there.
        if key.is_empty() {
            return invalid(format!(
                "Tags.{}.Key is missing: a tag has a key of 1 to 128 characters.",
                at + 1
            ));
        }
        if key.chars().count() > 128 || value.chars().count() > 256 {
            return invalid(format!(
                "The tag '{key}' is too long: a key has 1 to 128 characters, a value at most 256."
            ));
        }
        if lower.starts_with("aws:") {
            return invalid(format!("The tag key '{key}' is reserved: keys may not begin with 'aws:'."));
        }
        if added.insert(key.clone(), value).is_some() {
            return invalid(format!("The tag key '{key}' is given more than once."));
        }
    }
    let mut all = current.clone();
    all.extend(added);
    if all.len() > TAGS_MAX {
        return invalid(format!("The {what} would have {} tags; at most {TAGS_MAX} are allowed.", all.len()));
    }
    Ok(all)
}

/// One to forty of letters, digits, hyphen and underscore, beginning with a letter or digit. AWS wants four at
/// least; a shorter name harms nobody.
pub fn check_name(name: &str) -> Result<(), InputError> {
    let valid = name.len() <= 40
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_');
    if valid {
        return Ok(());
    }
    invalid(format!(
        "The service name '{name}' is not valid: 1 to 40 letters, digits, '-' or '_', beginning with a letter \
         or a digit."
    ))
}

fn invalid<T>(text: impl Into<String>) -> Result<T, InputError> {
    Err(InputError::Invalid(text.into()))
}

fn unsupported<T>(text: impl Into<String>) -> Result<T, InputError> {
    Err(InputError::Unsupported(text.into()))
}
