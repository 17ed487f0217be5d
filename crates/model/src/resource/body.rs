//! What differs between the kinds of shared resources.

use super::{Kind, Known, Quotas, ResourceError};
use crate::ids::ServiceId;
use crate::service::Scaling;
use serde::{Deserialize, Serialize};

/// Stored as JSON beside the columns that all kinds share.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Body {
    AutoScalingConfiguration(AutoScaling),
    ObservabilityConfiguration {
        /// `TraceConfiguration` with the one vendor that there is, AWSXRAY.
        traces: bool,
    },
    Connection(Connection),
    VpcConnector(VpcConnector),
    VpcIngressConnection(VpcIngressConnection),
}

/// How many instances, and how many requests at once for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AutoScaling {
    pub max_concurrency: u32,
    /// Provisioned instances; 0 means that an idle service has none.
    pub min_size: u32,
    pub max_size: u32,
}

impl Default for AutoScaling {
    /// AWS's.
    fn default() -> AutoScaling {
        AutoScaling { max_concurrency: 100, min_size: 1, max_size: 25 }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connection {
    /// As AWS names it, e.g. GITHUB.
    pub provider: String,
    /// Somebody has handed over what it signs in with; before that it is PENDING_HANDSHAKE.
    pub completed: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VpcConnector {
    pub subnets: Vec<String>,
    pub security_groups: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VpcIngressConnection {
    pub service: ServiceId,
    pub vpc_id: String,
    pub vpc_endpoint_id: String,
    /// The host name by which the service is reached through it.
    pub domain_name: String,
}

impl Body {
    pub fn kind(&self) -> Kind {
        match self {
            Body::AutoScalingConfiguration(_) => Kind::AutoScalingConfiguration,
            Body::ObservabilityConfiguration { .. } => Kind::ObservabilityConfiguration,
            Body::Connection(_) => Kind::Connection,
            Body::VpcConnector(_) => Kind::VpcConnector,
            Body::VpcIngressConnection(_) => Kind::VpcIngressConnection,
        }
    }

    /// The rules that need more than one member.
    ///
    /// # Errors
    /// `Invalid`, naming the member and the rule.
    pub fn check(&self, quotas: &Quotas) -> Result<(), ResourceError> {
        match self {
            Body::AutoScalingConfiguration(AutoScaling { min_size, max_size, .. }) => {
                if min_size > max_size {
                    return invalid(format!(
                        "MinSize {min_size} is more than MaxSize {max_size}; it may be as much at most."
                    ));
                }
                if *max_size > quotas.max_size() {
                    return invalid(format!(
                        "MaxSize {max_size} is more than a service may have: {}, by [quotas] of the configuration file.",
                        quotas.max_size()
                    ));
                }
                Ok(())
            }
            Body::VpcConnector(VpcConnector { subnets, security_groups }) => {
                check_ids("Subnets", subnets, "subnet-")?;
                check_ids("SecurityGroups", security_groups, "sg-")?;
                if subnets.is_empty() {
                    return invalid("Subnets is empty; a VPC connector needs at least one.".to_owned());
                }
                Ok(())
            }
            Body::VpcIngressConnection(VpcIngressConnection { vpc_id, vpc_endpoint_id, .. }) => {
                check_id("IngressVpcConfiguration.VpcId", vpc_id, "vpc-")?;
                check_id("IngressVpcConfiguration.VpcEndpointId", vpc_endpoint_id, "vpce-")
            }
            Body::ObservabilityConfiguration { .. } | Body::Connection(_) => Ok(()),
        }
    }
}

/// Subnets or security groups of one connector; AWS takes 16 of each.
const IDS_MAX: usize = 16;
const ID_CHARS_MAX: usize = 64;

fn check_ids(member: &str, ids: &[String], prefix: &str) -> Result<(), ResourceError> {
    if ids.len() > IDS_MAX {
        return invalid(format!("{member} has {} members; at most {IDS_MAX} are taken.", ids.len()));
    }
    for (at, id) in ids.iter().enumerate() {
        check_id(&format!("{member}[{at}]"), id, prefix)?;
        if ids[..at].contains(id) {
            return invalid(format!("{member} names {id} twice."));
        }
    }
    Ok(())
}

fn check_id(member: &str, id: &str, prefix: &str) -> Result<(), ResourceError> {
    let rest = id.strip_prefix(prefix).unwrap_or_default();
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-';
    if rest.is_empty() || id.len() > ID_CHARS_MAX || !rest.chars().all(plain) {
        return invalid(format!(
            "{member} '{}' is no such id: it begins with {prefix}, and letters, digits and hyphens follow.",
            id.chars().take(ID_CHARS_MAX).collect::<String>().escape_debug()
        ));
    }
    Ok(())
}

fn invalid<T>(text: String) -> Result<T, ResourceError> {
    Err(ResourceError::Invalid(text))
}

/// What a service keeps of the auto scaling configuration that it uses.
///
/// # Errors
/// `Invalid` for another kind of resource.
pub fn scaling_of(known: &Known, arn: String) -> Result<Scaling, ResourceError> {
    let resource = &known.resource;
    let Body::AutoScalingConfiguration(AutoScaling { max_concurrency, min_size, max_size }) = resource.body
    else {
        return invalid(format!("{arn} is not the ARN of an auto scaling configuration."));
    };
    let (name, revision) = (resource.name.clone(), resource.revision);
    Ok(Scaling { arn, name, revision, max_concurrency, min_size, max_size })
}
