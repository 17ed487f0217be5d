//! Services: create, describe, list, update, pause, resume, delete, and deploy anew.

use super::resource::{self, Missing};
use super::{arn, connection, input, view, vpc_ingress_connection};
use crate::api::call::Context;
use crate::api::{failure, page};
use apron_images::registry::reference;
use apron_model::extension::{self, ExtensionError};
use apron_model::ids::{OperationId, ServiceId};
use apron_model::manifest;
use apron_model::operation::{self, Call, CallError, Called, Operation, OperationKind};
use apron_model::resource::{Kind, Known, ResourceError, scaling_of};
use apron_model::service::{Action, Refusal, Scaling, Service, State};
use apron_model::source::{self, ServiceInput};
use apron_store::{Conflict, StoreError};
use apron_wire::Error;
use apron_wire::apprunner::{
    CreateServiceRequest, CreateServiceResponse, DeleteServiceRequest, DeleteServiceResponse,
    DescribeServiceRequest, DescribeServiceResponse, ListServicesRequest, ListServicesResponse,
    PauseServiceRequest, PauseServiceResponse, ResumeServiceRequest, ResumeServiceResponse,
    StartDeploymentRequest, StartDeploymentResponse, UpdateServiceRequest, UpdateServiceResponse,
};
use std::collections::BTreeMap;

/// Of an identifier that is none, so much is shown.
const SHOWN_CHARS_MAX: usize = 100;
/// Marks tokens of ListServices.
const TOKEN: &str = "s";

pub(super) async fn create(
    context: Context<'_>,
    mut request: CreateServiceRequest,
) -> Result<CreateServiceResponse, Error> {
    let tags = input::tags(request.tags.take().unwrap_or_default()).collect::<Vec<_>>();
    let name = request.service_name.clone();
    let scaling = match request.auto_scaling_configuration_arn.take() {
        Some(arn) => scaling(context, &arn).await?,
        None => default_scaling(context).await?,
    };
    let input = input::create(request);
    check_image(&input)?;
    check_runtime(context, &input)?;
    check_connection(context, &input).await?;
    let new = source::new_service(&name, tags, &input, &scaling, &context.platform.names.account)
        .map_err(failure::input)?;
    let instances_max = context.platform.quotas.instances_per_service;
    extension::admit(&new.tags, &BTreeMap::new(), instances_max).map_err(|error| match error {
        ExtensionError::Quota { .. } => failure::quota(format!("{error}.")),
        error => failure::invalid(format!("{error}.")),
    })?;

    let mut draw = context.platform.draw();
    let mut service = Service {
        id: draw.service_id(),
        region: context.region.to_owned(),
        name: new.name,
        url_label: draw.url_label(),
        created_at: draw.wall,
        updated_at: draw.wall,
        deleted_at: None,
        state: State::Creating,
        config: new.config,
        scaling: None,
        tags: new.tags,
        active: None,
        candidate: None,
        previous: None,
        operation: None,
        last_failure: None,
        wanted: 0,
        cap: Default::default(),
        route_version: 0,
        purge_at: None,
    };
    let operation =
        Operation::pending(draw.operation_id(), service.id.clone(), OperationKind::CreateService, draw.wall);
    let services_max = context.platform.quotas.services;
    let created = context.platform.store.service_create(&service, &operation, services_max);
    created.await.map_err(|error| match error {
        StoreError::Conflict(Conflict::NameTaken) => {
            failure::invalid(format!("Service with the provided name already exists: {name}"))
        }
        StoreError::Conflict(Conflict::ServiceQuota) => failure::quota(format!(
            "The region has {services_max} services, which is the quota. Delete one, or raise it under [quotas] of the \
             configuration file."
        )),
        error => changed_meanwhile(error),
    })?;
    context.platform.hints.operation();
    service.operation = Some(operation.id.clone());
    Ok(CreateServiceResponse {
        service: view::service(context, &service),
        operation_id: operation.id.to_string(),
    })
}

pub(super) async fn describe(
    context: Context<'_>,
    input: DescribeServiceRequest,
) -> Result<DescribeServiceResponse, Error> {
    let service = lookup(context, &input.service_arn).await?;
    Ok(DescribeServiceResponse { service: view::service(context, &service) })
}

pub(super) async fn list(
    context: Context<'_>,
    input: ListServicesRequest,
) -> Result<ListServicesResponse, Error> {
    let after = input.next_token.map(|token| page::service_cursor(TOKEN, &token)).transpose()?;
    let size = page::size(input.max_results);
    let store = &context.platform.store;
    let rows = store.service_list(context.region, after.as_ref(), size + 1).await.map_err(failure::store)?;
    let (rows, next_token) = page::cut(rows, size, |last| page::service_token(TOKEN, last));
    let service_summary_list = rows.iter().map(|row| view::summary(context, row)).collect();
    Ok(ListServicesResponse { service_summary_list, next_token })
}

pub(super) async fn update(
    context: Context<'_>,
    mut request: UpdateServiceRequest,
) -> Result<UpdateServiceResponse, Error> {
    let arn = request.service_arn.clone();
    let scaling = match request.auto_scaling_configuration_arn.take() {
        Some(arn) => Some(scaling(context, &arn).await?),
        None => None,
    };
    let input = ServiceInput { scaling, ..input::update(request) };
    check_image(&input)?;
    check_runtime(context, &input)?;
    check_connection(context, &input).await?;
    let called = act(context, &arn, &Call::Update(Box::new(input))).await?;
    Ok(UpdateServiceResponse {
        service: view::service(context, &called.service),
        operation_id: required(called.operation)?,
    })
}

pub(super) async fn pause(
    context: Context<'_>,
    input: PauseServiceRequest,
) -> Result<PauseServiceResponse, Error> {
    let called = act(context, &input.service_arn, &Call::Pause).await?;
    Ok(PauseServiceResponse {
        service: view::service(context, &called.service),
        operation_id: called.operation.map(|id| id.to_string()),
    })
}

pub(super) async fn resume(
    context: Context<'_>,
    input: ResumeServiceRequest,
) -> Result<ResumeServiceResponse, Error> {
    let called = act(context, &input.service_arn, &Call::Resume).await?;
    Ok(ResumeServiceResponse {
        service: view::service(context, &called.service),
        operation_id: called.operation.map(|id| id.to_string()),
    })
}

pub(super) async fn delete(
    context: Context<'_>,
    input: DeleteServiceRequest,
) -> Result<DeleteServiceResponse, Error> {
    let called = act(context, &input.service_arn, &Call::Delete).await?;
    Ok(DeleteServiceResponse {
        service: view::service(context, &called.service),
        operation_id: required(called.operation)?,
    })
}

pub(super) async fn start_deployment(
    context: Context<'_>,
    input: StartDeploymentRequest,
) -> Result<StartDeploymentResponse, Error> {
    let call = Call::StartDeployment { automatic: false };
    let called = act(context, &input.service_arn, &call).await?;
    Ok(StartDeploymentResponse { operation_id: required(called.operation)? })
}

/// The service that an ARN names, also a deleted one for as long as it is remembered.
pub(in crate::api) async fn lookup(context: Context<'_>, arn: &str) -> Result<Service, Error> {
    find(context, arn, Missing::NotFound).await
}

/// As `lookup`; `missing` is how an ARN that names nothing is refused.
pub(super) async fn find(context: Context<'_>, arn: &str, missing: Missing) -> Result<Service, Error> {
    let (named, name, id) = arn::parse_service(arn)?;
    if !named.is_of(context) {
        return Err(gone(arn, missing));
    }
    let found = context.platform.store.service_get(&id).await.map_err(failure::store)?;
    let found = found.filter(|service| service.region == named.region && service.name == name);
    found.ok_or_else(|| gone(arn, missing))
}

/// The refusal of an ARN that names no service.
pub(super) fn gone(arn: &str, missing: Missing) -> Error {
    let text = format!("Service with the provided ARN is not found: {arn}");
    resource::refused(ResourceError::NotFound(text), missing)
}

/// Makes a call on a service; the model decides about it within one transaction.
pub(in crate::api) async fn act(context: Context<'_>, arn: &str, call: &Call) -> Result<Called, Error> {
    let found = lookup(context, arn).await?;
    let mut draw = context.platform.draw();
    let now = draw.wall;
    let acted = context
        .platform
        .store
        .service_call(&found.id, now, |standing| operation::call(standing, call, &mut draw))
        .await;
    let called = match acted {
        Ok(Some(Ok(called))) => called,
        Ok(Some(Err(error))) => return Err(refused(arn, call.action(), error)),
        Ok(None) => return Err(not_found(arn)),
        Err(StoreError::Conflict(Conflict::HasIngress)) => return Err(entered(context, &found.id).await),
        // Another call was faster by less than a transaction.
        Err(StoreError::Conflict(Conflict::OperationOpen)) => {
            return Err(refused(arn, call.action(), CallError::Refused(Refusal::InProgress)));
        }
        Err(error) => return Err(changed_meanwhile(error)),
    };
    if called.operation.is_some() {
        context.platform.hints.operation();
    }
    Ok(called)
}

/// A refusal as the caller's tools expect it.
pub(in crate::api) fn refused(arn: &str, action: Action, error: CallError) -> Error {
    match error {
        CallError::Refused(Refusal::Deleted) => not_found(arn),
        // The model of StartDeployment has no error for a wrong state.
        CallError::Refused(refusal) if action == Action::StartDeployment => {
            failure::invalid(refusal.sentence(action))
        }
        CallError::Refused(refusal) => failure::invalid_state(refusal.sentence(action)),
        CallError::Input(error) => failure::input(error),
        CallError::Unknown(sentence) => failure::not_found(sentence),
        CallError::Impossible(sentence) => failure::invalid_state(sentence),
    }
}

pub(super) fn not_found(arn: &str) -> Error {
    gone(arn, Missing::NotFound)
}

/// The refusal to delete a service that has a VPC ingress connection.
async fn entered(context: Context<'_>, service: &ServiceId) -> Error {
    let targets = match vpc_ingress_connection::dns_targets(context, service).await {
        Ok(targets) => targets,
        Err(error) => return error,
    };
    // It may have gone meanwhile.
    let arn = targets.into_iter().find_map(|target| target.vpc_ingress_connection_arn);
    let named = arn.map_or_else(String::new, |arn| format!(" {arn}"));
    failure::invalid(format!("The service has the VPC ingress connection{named}. Delete that first."))
}

/// Updates, deletions and deployments always open an operation.
fn required(operation: Option<OperationId>) -> Result<String, Error> {
    operation
        .map(|id| id.to_string())
        .ok_or_else(|| failure::internal("The call was admitted without an operation."))
}

/// The auto scaling configuration that an ARN names, whole or in part, as a service keeps it.
async fn scaling(context: Context<'_>, arn: &str) -> Result<Scaling, Error> {
    let known = resource::find_active(context, Kind::AutoScalingConfiguration, arn, Missing::Invalid).await?;
    kept(context, &known)
}

/// What a new service uses that names none.
async fn default_scaling(context: Context<'_>) -> Result<Scaling, Error> {
    let known = context.platform.store.scaling_default_get(context.region).await.map_err(failure::store)?;
    let known =
        known.ok_or_else(|| failure::internal("The region has no default auto scaling configuration."))?;
    kept(context, &known)
}

fn kept(context: Context<'_>, known: &Known) -> Result<Scaling, Error> {
    let arn = arn::resource(context, &known.resource);
    scaling_of(known, arn).map_err(|error| resource::refused(error, Missing::Invalid))
}

/// An image that is named can be asked for; what is there is found out by the deployment.
fn check_image(input: &ServiceInput) -> Result<(), Error> {
    match input.source.as_ref().and_then(|source| source.image.as_ref()) {
        None => Ok(()),
        Some(image) => reference::check(&image.identifier).map_err(|why| {
            failure::invalid(format!(
                "ImageIdentifier '{}' is not an image reference: {why}.",
                image.identifier.chars().take(SHOWN_CHARS_MAX).collect::<String>().escape_debug()
            ))
        }),
    }
}

/// A managed runtime that is named is one of the node's.
fn check_runtime(context: Context<'_>, input: &ServiceInput) -> Result<(), Error> {
    let code = input.source.as_ref().and_then(|source| source.code.as_ref());
    // The one of a configuration file is looked at when the file is read.
    let written = code.and_then(|code| code.configuration.as_ref()).filter(|written| !written.from_file);
    let named = written.and_then(|written| written.runtime.as_deref());
    let known = &context.platform.runtimes;
    match named {
        Some(name) if !known.iter().any(|known| known == name) => {
            let known: Vec<&str> = known.iter().map(String::as_str).collect();
            let why = manifest::unknown_runtime(name, &known);
            let end = if why.ends_with('?') { "" } else { "." };
            Err(failure::invalid(format!("{why}{end}")))
        }
        _ => Ok(()),
    }
}

/// A connection that is named can be used.
async fn check_connection(context: Context<'_>, input: &ServiceInput) -> Result<(), Error> {
    match input.source.as_ref().and_then(|source| source.connection_arn.as_deref()) {
        None => Ok(()),
        Some(arn) => connection::check(context, arn).await,
    }
}

/// What was looked up before the transaction may be gone in it.
fn changed_meanwhile(error: StoreError) -> Error {
    match error {
        StoreError::Conflict(Conflict::ResourceDeleted) => failure::invalid(
            "The auto scaling configuration or the connection that the service names has just been deleted.",
        ),
        error => failure::store(error),
    }
}
