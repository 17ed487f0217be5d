//! DescribeIdle: how the instances of a service stand on the idle ladder, and why.

use crate::api::apprunner::lookup;
use crate::api::apprunner::view::int;
use crate::api::call::Context;
use crate::api::failure;
use apron_model::idle::{Rung, Standing};
use apron_wire::Error;
use apron_wire::apron::{DescribeIdleRequest, DescribeIdleResponse, IdleInstance, IdleRung};

pub(super) async fn describe(
    context: Context<'_>,
    input: DescribeIdleRequest,
) -> Result<DescribeIdleResponse, Error> {
    let service = lookup(context, &input.service_arn).await?;
    let standing = context.platform.node.standing(&service.id).await;
    let mut standing = standing.map_err(|error| {
        tracing::warn!(error = crate::chain(&error), "how instances stand is not known");
        failure::internal("The node, which knows this, does not answer. Try again.")
    })?;
    standing.sort_by(|one, other| one.instance.cmp(&other.instance));
    Ok(DescribeIdleResponse {
        lowest_rung: rung(service.idle().lowest),
        instances: standing.iter().map(instance).collect(),
    })
}

fn instance(standing: &Standing) -> IdleInstance {
    IdleInstance {
        instance_id: standing.instance.to_string(),
        rung: rung(standing.rung),
        requests: int(standing.requests),
        reason: standing.reason(),
    }
}

pub(super) fn rung(rung: Rung) -> IdleRung {
    match rung {
        Rung::Active => IdleRung::Active,
        Rung::Throttled => IdleRung::Throttled,
        Rung::Frozen => IdleRung::Frozen,
        Rung::Zero => IdleRung::Zero,
    }
}
