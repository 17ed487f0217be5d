//! Tags of services. They act at once and are no part of a revision; an operation may be open meanwhile.

use super::{input, lookup};
use crate::api::call::Context;
use crate::api::failure;
use apron_model::service::Service;
use apron_model::{extension, source};
use apron_wire::Error;
use apron_wire::apprunner::{
    ListTagsForResourceRequest, ListTagsForResourceResponse, Tag, TagResourceRequest, TagResourceResponse,
    UntagResourceRequest, UntagResourceResponse,
};

pub(super) async fn list(
    context: Context<'_>,
    input: ListTagsForResourceRequest,
) -> Result<ListTagsForResourceResponse, Error> {
    let service = lookup(context, &input.resource_arn).await?;
    let tag = |(key, value): (String, String)| Tag { key: Some(key), value: Some(value) };
    Ok(ListTagsForResourceResponse { tags: Some(service.tags.into_iter().map(tag).collect()) })
}

pub(super) async fn put(
    context: Context<'_>,
    request: TagResourceRequest,
) -> Result<TagResourceResponse, Error> {
    let tags: Vec<_> = input::tags(request.tags).collect();
    change(context, &request.resource_arn, move |service| {
        let all = source::laid_over(&service.tags, tags).map_err(failure::input)?;
        extension::read(&all).map_err(|error| failure::invalid(format!("{error}.")))?;
        service.tags = all;
        Ok(())
    })
    .await?;
    Ok(TagResourceResponse {})
}

pub(super) async fn remove(
    context: Context<'_>,
    request: UntagResourceRequest,
) -> Result<UntagResourceResponse, Error> {
    let keys = request.tag_keys;
    change(context, &request.resource_arn, move |service| {
        for key in &keys {
            service.tags.remove(key);
        }
        Ok(())
    })
    .await?;
    Ok(UntagResourceResponse {})
}

async fn change(
    context: Context<'_>,
    arn: &str,
    change: impl FnOnce(&mut Service) -> Result<(), Error> + Send,
) -> Result<(), Error> {
    let service = lookup(context, arn).await?;
    let gone = || failure::not_found(format!("Service with the provided ARN is not found: {arn}"));
    context
        .platform
        .store
        .service_act(&service.id, |service, _| {
            if service.deleted_at.is_some() {
                return Err(gone());
            }
            change(service)
        })
        .await
        .map_err(failure::store)?
        .ok_or_else(gone)?
}
