//! Resources that services share: auto scaling and observability configurations, connections, VPC connectors and
//! VPC ingress connections. They live in a region, are named by an ARN, carry tags and are never changed but for
//! what their kind allows; what differs between the kinds is their body.
//!
//! A decision sees every revision of one name, as one transaction reads them, and says which rows to write.

mod body;
#[cfg(test)]
mod tests;

pub use body::{AutoScaling, Body, Connection, VpcConnector, VpcIngressConnection, scaling_of};

use crate::draw::Draw;
use crate::extension;
use crate::ids::ResourceId;
use crate::limits;
use crate::source::{InputError, laid_over};
use crate::time::{Timestamp, WallTime};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

/// The id of what each region has from the beginning, as on AWS.
pub const BUILT_IN_ID: &str = "00000000000000000000000000000001";
/// The name of it.
pub const BUILT_IN_NAME: &str = "DefaultConfiguration";

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    AutoScalingConfiguration,
    ObservabilityConfiguration,
    Connection,
    VpcConnector,
    VpcIngressConnection,
}

impl Kind {
    pub const ALL: [Kind; 5] = [
        Kind::AutoScalingConfiguration,
        Kind::ObservabilityConfiguration,
        Kind::Connection,
        Kind::VpcConnector,
        Kind::VpcIngressConnection,
    ];

    /// What its ARNs begin with behind the account: `autoscalingconfiguration/NAME/REVISION/ID`.
    pub fn arn_word(self) -> &'static str {
        match self {
            Kind::AutoScalingConfiguration => "autoscalingconfiguration",
            Kind::ObservabilityConfiguration => "observabilityconfiguration",
            Kind::Connection => "connection",
            Kind::VpcConnector => "vpcconnector",
            Kind::VpcIngressConnection => "vpcingressconnection",
        }
    }

    /// In messages: "auto scaling configuration".
    pub fn words(self) -> &'static str {
        match self {
            Kind::AutoScalingConfiguration => "auto scaling configuration",
            Kind::ObservabilityConfiguration => "observability configuration",
            Kind::Connection => "connection",
            Kind::VpcConnector => "VPC connector",
            Kind::VpcIngressConnection => "VPC ingress connection",
        }
    }

    /// Its ARNs carry a revision.
    pub fn has_revision(self) -> bool {
        match self {
            Kind::AutoScalingConfiguration | Kind::ObservabilityConfiguration | Kind::VpcConnector => true,
            Kind::Connection | Kind::VpcIngressConnection => false,
        }
    }

    /// A name that exists gets a further revision instead of being refused, and an ARN may leave the revision out.
    pub fn is_revised(self) -> bool {
        match self {
            Kind::AutoScalingConfiguration | Kind::ObservabilityConfiguration => true,
            Kind::Connection | Kind::VpcConnector | Kind::VpcIngressConnection => false,
        }
    }
}

/// One row: a revision of a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resource {
    pub id: ResourceId,
    pub region: String,
    pub name: String,
    /// Counted from 1; always 1 for kinds without revisions.
    pub revision: u32,
    pub created_at: WallTime,
    pub deleted_at: Option<WallTime>,
    /// When the row of a deleted one is forgotten, in engine time.
    pub purge_at: Option<Timestamp>,
    pub tags: BTreeMap<String, String>,
    pub body: Body,
}

impl Resource {
    pub fn kind(&self) -> Kind {
        self.body.kind()
    }

    pub fn is_active(&self) -> bool {
        self.deleted_at.is_none()
    }

    /// Marks it as deleted.
    fn delete(&mut self, draw: &Draw) {
        self.deleted_at = Some(draw.wall);
        self.purge_at = Some(draw.now + Duration::from_millis(limits::DELETED_KEPT_MS));
    }
}

/// A row with what follows from other rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    pub resource: Resource,
    /// The highest revision of its name that is not deleted.
    pub latest: bool,
    /// A service that is not deleted uses it.
    pub in_use: bool,
    /// New services of the region use it.
    pub is_default: bool,
}

/// All revisions of one name, deleted ones too, lowest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Siblings {
    pub known: Vec<Known>,
    /// Names of the kind that the region has, this one included if it is active.
    pub names: u64,
}

/// What an ARN or a part of one names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selector {
    pub kind: Kind,
    pub name: String,
    /// Without one the latest is meant.
    pub revision: Option<u32>,
    /// Without one any that is active.
    pub id: Option<ResourceId>,
}

/// How much of each kind a region may have. AWS's numbers are quotas of a shared cloud; on a machine of one's own
/// they only keep mistakes small.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Quotas {
    pub services: u64,
    pub auto_scaling_configurations: u64,
    pub auto_scaling_revisions: u64,
    pub observability_configurations: u64,
    pub observability_revisions: u64,
    pub connections: u64,
    pub vpc_connectors: u64,
    pub vpc_ingress_connections: u64,
    pub custom_domains_per_service: u64,
    /// None: nobody has set it, so AWS's bounds `MaxSize` and nothing bounds what tags ask for beyond it.
    pub instances_per_service: Option<u32>,
}

impl Default for Quotas {
    fn default() -> Quotas {
        Quotas {
            services: 1_000,
            auto_scaling_configurations: 100,
            auto_scaling_revisions: 50,
            observability_configurations: 100,
            observability_revisions: 50,
            connections: 100,
            vpc_connectors: 100,
            vpc_ingress_connections: 100,
            custom_domains_per_service: 500,
            instances_per_service: None,
        }
    }
}

impl Quotas {
    /// The most that `MaxSize` of an auto scaling configuration may be.
    pub fn max_size(&self) -> u32 {
        self.instances_per_service.unwrap_or(AutoScaling::default().max_size)
    }

    fn names(&self, kind: Kind) -> u64 {
        match kind {
            Kind::AutoScalingConfiguration => self.auto_scaling_configurations,
            Kind::ObservabilityConfiguration => self.observability_configurations,
            Kind::Connection => self.connections,
            Kind::VpcConnector => self.vpc_connectors,
            Kind::VpcIngressConnection => self.vpc_ingress_connections,
        }
    }

    fn revisions(&self, kind: Kind) -> u64 {
        match kind {
            Kind::AutoScalingConfiguration => self.auto_scaling_revisions,
            Kind::ObservabilityConfiguration => self.observability_revisions,
            Kind::Connection | Kind::VpcConnector | Kind::VpcIngressConnection => 1,
        }
    }
}

/// Why a call on a shared resource is refused; the text is for the caller.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResourceError {
    #[error("{0}")]
    NotFound(String),
    #[error("{0}")]
    Invalid(String),
    #[error("{0}")]
    Quota(String),
}

impl From<InputError> for ResourceError {
    fn from(error: InputError) -> ResourceError {
        ResourceError::Invalid(error.to_string())
    }
}

/// What Create… asks for. Lengths and patterns of single members were checked by the decoder.
#[derive(Clone, Debug)]
pub struct New {
    pub region: String,
    pub name: String,
    pub tags: Vec<(String, String)>,
    pub body: Body,
}

/// When the built-in resources are said to have been made, whenever their rows were: the day of the API's version.
const BUILT_IN_AT: WallTime = WallTime(1_589_500_800_000);

/// What a region has before anybody creates anything: one auto scaling and one observability configuration.
pub fn built_in(region: &str) -> [Resource; 2] {
    let resource = |body| Resource {
        id: ResourceId::new(BUILT_IN_ID),
        region: region.to_owned(),
        name: BUILT_IN_NAME.to_owned(),
        revision: 1,
        created_at: BUILT_IN_AT,
        deleted_at: None,
        purge_at: None,
        tags: BTreeMap::new(),
        body,
    };
    [
        resource(Body::AutoScalingConfiguration(AutoScaling::default())),
        resource(Body::ObservabilityConfiguration { traces: true }),
    ]
}

/// A new resource, or the next revision of one.
pub fn create(
    new: New,
    siblings: &Siblings,
    quotas: &Quotas,
    draw: &mut Draw,
) -> Result<Resource, ResourceError> {
    let kind = new.body.kind();
    new.body.check(quotas)?;
    if kind == Kind::ObservabilityConfiguration && new.name == BUILT_IN_NAME {
        return Err(ResourceError::Invalid(format!(
            "The name {BUILT_IN_NAME} is reserved for the observability configuration that every region has."
        )));
    }
    let active = siblings.known.iter().filter(|known| known.resource.is_active()).count() as u64;
    if active > 0 && !kind.is_revised() {
        let name = new.name;
        return Err(ResourceError::Invalid(format!("A {} named {name} exists already.", kind.words())));
    }
    if active == 0 && siblings.names >= quotas.names(kind) {
        return Err(ResourceError::Quota(format!(
            "The region has {} {}s, which is the quota. Delete one, or raise it under [quotas] of the configuration file.",
            siblings.names,
            kind.words()
        )));
    }
    if active >= quotas.revisions(kind) {
        return Err(ResourceError::Quota(format!(
            "The {} {} has {active} revisions, which is the quota. Delete one, or raise it under [quotas] of the \
             configuration file.",
            kind.words(),
            new.name
        )));
    }
    // A number comes again only when every row of its name is forgotten.
    let last = siblings.known.iter().map(|known| known.resource.revision).max().unwrap_or(0);
    Ok(Resource {
        id: draw.resource_id(),
        region: new.region,
        name: new.name,
        revision: if kind.is_revised() { last.saturating_add(1) } else { 1 },
        created_at: draw.wall,
        deleted_at: None,
        purge_at: None,
        tags: tagged(kind, &BTreeMap::new(), new.tags)?,
        body: new.body,
    })
}

/// Tags laid over those of a shared resource, as TagResource does.
///
/// # Errors
/// `Invalid`, also for the settings of ours, all of which are settings of services.
pub fn tagged(
    kind: Kind,
    current: &BTreeMap<String, String>,
    tags: impl IntoIterator<Item = (String, String)>,
) -> Result<BTreeMap<String, String>, ResourceError> {
    let all = laid_over(kind.words(), current, tags)?;
    match all.keys().find(|key| extension::is_ours(key)) {
        None => Ok(all),
        Some(key) => Err(ResourceError::Invalid(format!(
            "The tag key '{key}' is a setting of services; a {} has none.",
            kind.words()
        ))),
    }
}

impl Siblings {
    /// What the selector names, also a deleted one if the selector has its id.
    pub fn find(&self, selector: &Selector) -> Option<&Known> {
        self.known.iter().find(|known| {
            let resource = &known.resource;
            let revision = selector.revision.is_none_or(|revision| revision == resource.revision);
            match &selector.id {
                Some(id) => revision && *id == resource.id,
                None => revision && resource.is_active() && (selector.revision.is_some() || known.latest),
            }
        })
    }

    /// As `find`.
    ///
    /// # Errors
    /// `NotFound` with the ARN as it was written.
    pub fn get(&self, selector: &Selector, arn: &str) -> Result<&Known, ResourceError> {
        self.find(selector).ok_or_else(|| missing(selector.kind, arn))
    }
}

/// The refusal of an ARN that names nothing.
pub fn missing(kind: Kind, arn: &str) -> ResourceError {
    ResourceError::NotFound(format!("No {} with the ARN {arn} exists.", kind.words()))
}

/// Deletes one revision, or all of a name; what is in use stays, and then all stays. Returns the rows as they are
/// to be written, the one to show last. Deleting what is deleted changes nothing.
pub fn delete(
    siblings: &Siblings,
    selector: &Selector,
    all_revisions: bool,
    arn: &str,
    draw: &Draw,
) -> Result<Vec<Resource>, ResourceError> {
    if all_revisions && (selector.revision.is_some() || selector.id.is_some()) {
        return Err(ResourceError::Invalid(
            "With DeleteAllRevisions the ARN must end with the name: a revision and an id are left out."
                .to_owned(),
        ));
    }
    let chosen: Vec<&Known> = if all_revisions {
        siblings.known.iter().filter(|known| known.resource.is_active()).collect()
    } else {
        vec![siblings.get(selector, arn)?]
    };
    if chosen.is_empty() {
        return Err(missing(selector.kind, arn));
    }
    let mut deleted = Vec::with_capacity(chosen.len());
    for known in chosen {
        let mut resource = known.resource.clone();
        if resource.is_active() {
            let named = format!("The {} {}", selector.kind.words(), resource.name);
            let named =
                if selector.kind.has_revision() { format!("{named}/{}", resource.revision) } else { named };
            if known.is_default {
                return Err(ResourceError::Invalid(format!(
                    "{named} is the default of this region and cannot be deleted. Make another one the default first."
                )));
            }
            if known.in_use {
                return Err(ResourceError::Invalid(format!(
                    "{named} is used by a service and cannot be deleted."
                )));
            }
            if resource.id.as_str() == BUILT_IN_ID && selector.kind == Kind::ObservabilityConfiguration {
                return Err(ResourceError::Invalid(format!("{named} is built in and cannot be deleted.")));
            }
            resource.delete(draw);
        }
        deleted.push(resource);
    }
    Ok(deleted)
}
