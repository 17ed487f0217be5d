//! What the operations on shared resources have in common: finding one by its ARN, making, deleting, and listing
//! them in pages. What a kind's answers look like stands in its own file.

use super::arn;
use super::input;
use crate::api::call::Context;
use crate::api::{failure, page};
use apron_model::resource::{self, Body, Kind, Known, New, Resource, ResourceError, Selector};
use apron_store::{Conflict, ResourceCursor, ResourceFilter, ResourceWrites, StoreError};
use apron_wire::Error;
use apron_wire::apprunner::Tag;

/// Makes a resource, or the next revision of one.
pub(super) async fn create(
    context: Context<'_>,
    name: &str,
    tags: Option<Vec<Tag>>,
    body: Body,
) -> Result<Known, Error> {
    let kind = body.kind();
    let tags = input::tags(tags.unwrap_or_default()).collect();
    let new = New { region: context.region.to_owned(), name: name.to_owned(), tags, body };
    let mut draw = context.platform.draw();
    let quotas = context.platform.quotas;
    let made = context.platform.store.resource_act(kind, context.region, name, |siblings| {
        let made = resource::create(new, siblings, &quotas, &mut draw)?;
        Ok::<_, ResourceError>((ResourceWrites { resources: vec![made.clone()], ..Default::default() }, made))
    });
    let made = made.await.map_err(|error| match error {
        StoreError::Conflict(Conflict::Exists) if kind == Kind::VpcIngressConnection => {
            failure::invalid("The service has a VPC ingress connection already; it may have one.")
        }
        StoreError::Conflict(Conflict::ServiceLeaves(status)) => failure::invalid_state(format!(
            "A VPC ingress connection cannot be made for a service in the current state: {}.",
            status.as_str()
        )),
        error => failure::store(error),
    })?;
    let resource = made.map_err(|error| refused(error, Missing::Invalid))?;
    Ok(Known { resource, latest: true, in_use: false, is_default: false })
}

/// How an ARN that names nothing is refused: not every operation models ResourceNotFoundException.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Missing {
    NotFound,
    Invalid,
}

pub(super) fn refused(error: ResourceError, missing: Missing) -> Error {
    match (error, missing) {
        (ResourceError::NotFound(text), Missing::NotFound) => failure::not_found(text),
        (ResourceError::NotFound(text), Missing::Invalid) | (ResourceError::Invalid(text), _) => {
            failure::invalid(text)
        }
        (ResourceError::Quota(text), _) => failure::quota(text),
    }
}

/// The resource that an ARN names; a deleted one for as long as it is remembered, by its whole ARN.
pub(super) async fn find(
    context: Context<'_>,
    kind: Kind,
    arn: &str,
    missing: Missing,
) -> Result<Known, Error> {
    let selector = selector(context, kind, arn, missing).await?;
    let siblings = context
        .platform
        .store
        .resource_siblings(kind, context.region, &selector.name)
        .await
        .map_err(failure::store)?;
    siblings.get(&selector, arn).cloned().map_err(|error| refused(error, missing))
}

/// As `find`, and refuses a deleted one.
pub(super) async fn find_active(
    context: Context<'_>,
    kind: Kind,
    arn: &str,
    missing: Missing,
) -> Result<Known, Error> {
    let known = find(context, kind, arn, missing).await?;
    if known.resource.is_active() { Ok(known) } else { Err(refused(resource::missing(kind, arn), missing)) }
}

async fn selector(context: Context<'_>, kind: Kind, arn: &str, missing: Missing) -> Result<Selector, Error> {
    let (parsed, selector) = arn::parse_resource(kind, arn)?;
    if !parsed.is_of(context) {
        return Err(refused(resource::missing(kind, arn), missing));
    }
    Ok(selector)
}

/// Deletes what the ARN names. Returns it as it is shown then.
pub(super) async fn delete(
    context: Context<'_>,
    kind: Kind,
    arn: &str,
    all_revisions: bool,
) -> Result<Resource, Error> {
    let selector = selector(context, kind, arn, Missing::NotFound).await?;
    let draw = context.platform.draw();
    let name = selector.name.clone();
    let deleted = context.platform.store.resource_act(kind, context.region, &name, |siblings| {
        let deleted = resource::delete(siblings, &selector, all_revisions, arn, &draw)?;
        let shown = deleted.last().cloned().ok_or_else(|| resource::missing(kind, arn))?;
        Ok::<_, ResourceError>((ResourceWrites { resources: deleted, ..Default::default() }, shown))
    });
    let deleted = deleted.await.map_err(|error| match error {
        StoreError::Conflict(Conflict::ResourceNeeded) => failure::invalid(format!(
            "The {} {name} cannot be deleted: an operation that has not ended may bring a service back to it.",
            kind.words()
        )),
        error => failure::store(error),
    })?;
    deleted.map_err(|error| refused(error, Missing::NotFound))
}

/// Changes the one resource that the ARN names, which is not deleted.
pub(super) async fn change(
    context: Context<'_>,
    kind: Kind,
    arn: &str,
    missing: Missing,
    change: impl FnOnce(&mut Resource, &mut ResourceWrites) -> Result<(), ResourceError> + Send,
) -> Result<Known, Error> {
    let selector = selector(context, kind, arn, missing).await?;
    let name = selector.name.clone();
    let changed = context.platform.store.resource_act(kind, context.region, &name, |siblings| {
        let mut known = siblings.get(&selector, arn)?.clone();
        if !known.resource.is_active() {
            return Err(resource::missing(kind, arn));
        }
        let mut writes = ResourceWrites::default();
        change(&mut known.resource, &mut writes)?;
        writes.resources.push(known.resource.clone());
        Ok((writes, known))
    });
    changed.await.map_err(failure::store)?.map_err(|error| refused(error, missing))
}

/// A page of resources, and the token of the next one.
pub(super) async fn list(
    context: Context<'_>,
    kind: Kind,
    filter: &ResourceFilter,
    max_results: Option<i32>,
    token: Option<&str>,
) -> Result<(Vec<Known>, Option<String>), Error> {
    let cursor = |token| {
        let [name, revision] = page::parse(kind.arn_word(), token)?;
        Ok::<_, Error>(ResourceCursor { name, revision: page::number(&revision)? })
    };
    let after = token.map(cursor).transpose()?;
    let size = page::size(max_results);
    let rows = context
        .platform
        .store
        .resource_list(kind, context.region, filter, after.as_ref(), size + 1)
        .await
        .map_err(failure::store)?;
    Ok(page::cut(rows, size, |last| {
        page::token(kind.arn_word(), &[&last.resource.name, &last.resource.revision.to_string()])
    }))
}
