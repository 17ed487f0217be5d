//! DescribePlatform: where this platform is and what it calls itself.

use crate::api::call::Context;
use apron_wire::Error;
use apron_wire::apron::{DescribePlatformRequest, DescribePlatformResponse};

pub(super) async fn describe(
    context: Context<'_>,
    _: DescribePlatformRequest,
) -> Result<DescribePlatformResponse, Error> {
    let names = &context.platform.names;
    Ok(DescribePlatformResponse {
        version: names.version.to_owned(),
        api_endpoint: names.api_endpoint.clone(),
        apps_endpoint: names.apps_endpoint.clone(),
        apps_domain: names.apps_domain.clone(),
        region: names.region.clone(),
        account_id: names.account.clone(),
    })
}
