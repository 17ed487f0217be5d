//! Tags of services and of shared resources. They act at once and are no part of a revision; an operation may be
//! open meanwhile.

use super::arn::{self, Arn, Named};
use super::resource::{self, Missing};
use super::{input, lookup, service};
use crate::api::call::Context;
use crate::api::failure;
use apron_model::resource::{ResourceError, tagged};
use apron_model::{extension, source};
use apron_wire::Error;
use apron_wire::apprunner::{
    ListTagsForResourceRequest, ListTagsForResourceResponse, Tag, TagResourceRequest, TagResourceResponse,
    UntagResourceRequest, UntagResourceResponse,
};
use std::collections::BTreeMap;

type Tags = BTreeMap<String, String>;

pub(super) async fn list(
    context: Context<'_>,
    input: ListTagsForResourceRequest,
) -> Result<ListTagsForResourceResponse, Error> {
    let arn = &input.resource_arn;
    let tags = match parse(arn)?.named {
        Named::Service { .. } => lookup(context, arn).await?.tags,
        Named::Resource(selector) => {
            resource::find_active(context, selector.kind, arn, Missing::NotFound).await?.resource.tags
        }
    };
    let tag = |(key, value): (String, String)| Tag { key: Some(key), value: Some(value) };
    Ok(ListTagsForResourceResponse { tags: Some(tags.into_iter().map(tag).collect()) })
}

pub(super) async fn put(
    context: Context<'_>,
    request: TagResourceRequest,
) -> Result<TagResourceResponse, Error> {
    let tags: Vec<_> = input::tags(request.tags).collect();
    change(context, &request.resource_arn, move |what, current| {
        source::laid_over(what, current, tags).map_err(|error| error.to_string())
    })
    .await?;
    Ok(TagResourceResponse {})
}

pub(super) async fn remove(
    context: Context<'_>,
    request: UntagResourceRequest,
) -> Result<UntagResourceResponse, Error> {
    let keys = request.tag_keys;
    change(context, &request.resource_arn, move |_, current| {
        let mut tags = current.clone();
        tags.retain(|key, _| !keys.contains(key));
        Ok(tags)
    })
    .await?;
    Ok(UntagResourceResponse {})
}

fn parse(arn: &str) -> Result<Arn, Error> {
    arn::parse(arn).ok_or_else(|| {
        failure::invalid(format!(
            "'{}' is not the ARN of a service or of another resource that has tags.",
            arn.escape_debug()
        ))
    })
}

/// Lets `change` say what the tags of the named thing, of which it is told the kind, become; its error is for the caller.
async fn change(
    context: Context<'_>,
    arn: &str,
    change: impl FnOnce(&str, &Tags) -> Result<Tags, String> + Send,
) -> Result<(), Error> {
    match parse(arn)?.named {
        Named::Service { .. } => of_service(context, arn, change).await,
        Named::Resource(selector) => {
            resource::change(context, selector.kind, arn, Missing::NotFound, |resource, _| {
                let tags = change(selector.kind.words(), &resource.tags).map_err(ResourceError::Invalid)?;
                resource.tags = tagged(resource.kind(), &tags, [])?;
                Ok(())
            })
            .await?;
            Ok(())
        }
    }
}

async fn of_service(
    context: Context<'_>,
    arn: &str,
    change: impl FnOnce(&str, &Tags) -> Result<Tags, String> + Send,
) -> Result<(), Error> {
    let service = lookup(context, arn).await?;
    let instances_max = context.platform.quotas.instances_per_service;
    let changed = context
        .platform
        .store
        .service_act(&service.id, |service| {
            if service.deleted_at.is_some() {
                return Err(service::not_found(arn));
            }
            let tags = change("service", &service.tags).map_err(failure::invalid)?;
            extension::admit(&tags, &service.tags, instances_max)
                .map_err(|error| failure::invalid(format!("{error}.")))?;
            service.tags = tags;
            Ok(())
        })
        .await
        .map_err(failure::store)?
        .ok_or_else(|| service::not_found(arn))?;
    if changed.is_ok() {
        // Some tags are for proxies or for instances, and act at once.
        context.platform.hints.routes();
        context.platform.hints.instances();
    }
    changed
}
