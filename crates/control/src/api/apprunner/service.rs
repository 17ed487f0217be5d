//! Services: create, describe, list, update, pause, resume, delete, and deploy anew.

use super::{arn, input, view};
use crate::api::call::Context;
use crate::api::{failure, page};
use apron_model::ids::{OperationId, ServiceId};
use apron_model::operation::{Operation, OperationKind};
use apron_model::service::{Action, Admission, Refusal, Service, State, admit, settled, status};
use apron_model::source::{self, Place};
use apron_model::time::WallTime;
use apron_model::{extension, service};
use apron_store::{Conflict, ServiceCursor, StoreError};
use apron_wire::Error;
use apron_wire::apprunner::{
    CreateServiceRequest, CreateServiceResponse, DeleteServiceRequest, DeleteServiceResponse,
    DescribeServiceRequest, DescribeServiceResponse, ListServicesRequest, ListServicesResponse,
    PauseServiceRequest, PauseServiceResponse, ResumeServiceRequest, ResumeServiceResponse,
    StartDeploymentRequest, StartDeploymentResponse, UpdateServiceRequest, UpdateServiceResponse,
};

/// Marks tokens of ListServices.
const TOKEN: &str = "s";

pub(super) async fn create(
    context: Context<'_>,
    mut request: CreateServiceRequest,
) -> Result<CreateServiceResponse, Error> {
    let tags = input::tags(request.tags.take().unwrap_or_default()).collect::<Vec<_>>();
    let name = request.service_name.clone();
    let new =
        source::new_service(&name, tags, &input::create(request), place(context)).map_err(failure::input)?;
    extension::read(&new.tags).map_err(|error| failure::invalid(format!("{error}.")))?;

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
        tags: new.tags,
        active: None,
        candidate: None,
        previous: None,
        operation: None,
        last_failure: None,
        route_version: 0,
        purge_at: None,
    };
    let operation =
        Operation::pending(draw.operation_id(), service.id.clone(), OperationKind::CreateService, draw.wall);
    context.platform.store.service_create(&service, &operation).await.map_err(|error| match error {
        StoreError::Conflict(Conflict::NameTaken) => {
            failure::invalid(format!("Service with the provided name already exists: {name}"))
        }
        error => failure::store(error),
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
    let after = match &input.next_token {
        None => None,
        Some(token) => {
            let [created_at, id] = page::parse::<2>(TOKEN, token)?;
            let created_at = created_at.parse().map_err(|_| failure::invalid("NextToken is not valid."))?;
            Some(ServiceCursor { created_at: WallTime(created_at), id: ServiceId::new(id) })
        }
    };
    let size = page::size(input.max_results);
    // One row more than is shown tells whether another page follows.
    let store = &context.platform.store;
    let mut rows =
        store.service_list(context.region, after.as_ref(), size + 1).await.map_err(failure::store)?;
    let more = rows.len() > size as usize;
    rows.truncate(size as usize);
    let next_token = rows
        .last()
        .filter(|_| more)
        .map(|last| page::token(TOKEN, &[&last.created_at.0.to_string(), last.id.as_str()]));
    let service_summary_list = rows.iter().map(|row| view::summary(context, row)).collect();
    Ok(ListServicesResponse { service_summary_list, next_token })
}

pub(super) async fn update(
    context: Context<'_>,
    request: UpdateServiceRequest,
) -> Result<UpdateServiceResponse, Error> {
    let arn = request.service_arn.clone();
    let input = input::update(request);
    let place = place(context);
    let (service, operation) = act(context, &arn, Action::Update, |service| {
        service.config = source::changed(service, &input, place).map_err(failure::input)?;
        Ok(())
    })
    .await?;
    Ok(UpdateServiceResponse { service, operation_id: required(operation)? })
}

pub(super) async fn pause(
    context: Context<'_>,
    input: PauseServiceRequest,
) -> Result<PauseServiceResponse, Error> {
    let (service, operation_id) = act(context, &input.service_arn, Action::Pause, |_| Ok(())).await?;
    Ok(PauseServiceResponse { service, operation_id })
}

pub(super) async fn resume(
    context: Context<'_>,
    input: ResumeServiceRequest,
) -> Result<ResumeServiceResponse, Error> {
    let (service, operation_id) = act(context, &input.service_arn, Action::Resume, |_| Ok(())).await?;
    Ok(ResumeServiceResponse { service, operation_id })
}

pub(super) async fn delete(
    context: Context<'_>,
    input: DeleteServiceRequest,
) -> Result<DeleteServiceResponse, Error> {
    let (service, operation) = act(context, &input.service_arn, Action::Delete, |_| Ok(())).await?;
    Ok(DeleteServiceResponse { service, operation_id: required(operation)? })
}

pub(super) async fn start_deployment(
    context: Context<'_>,
    input: StartDeploymentRequest,
) -> Result<StartDeploymentResponse, Error> {
    let (_, operation) = act(context, &input.service_arn, Action::StartDeployment, |_| Ok(())).await?;
    Ok(StartDeploymentResponse { operation_id: required(operation)? })
}

/// The service that an ARN names, also a deleted one for as long as it is remembered.
pub(in crate::api) async fn lookup(context: Context<'_>, arn: &str) -> Result<Service, Error> {
    let named = arn::parse(arn)?;
    let missing = || not_found(arn);
    if named.region != context.region || named.account != context.platform.names.account {
        return Err(missing());
    }
    let found = context.platform.store.service_get(&named.id).await.map_err(failure::store)?;
    found.filter(|service| service.region == named.region && service.name == named.name).ok_or_else(missing)
}

/// Admits the action, changes the row and opens its operation, in one transaction; shows the service as it is
/// then. No operation where nothing is to be done.
async fn act(
    context: Context<'_>,
    arn: &str,
    action: Action,
    change: impl FnOnce(&mut Service) -> Result<(), Error> + Send,
) -> Result<(apron_wire::apprunner::Service, Option<String>), Error> {
    let found = lookup(context, arn).await?;
    let mut draw = context.platform.draw();
    let (id, now) = (draw.operation_id(), draw.wall);
    let acted = context
        .platform
        .store
        .service_act(&found.id, |service, open| {
            match admit(service, action).map_err(|refusal| refused(arn, service, action, refusal))? {
                Admission::Nothing => Ok((service.clone(), None)),
                Admission::Open(kind) => {
                    change(service)?;
                    service.updated_at = now;
                    *open = Some(Operation::pending(id.clone(), service.id.clone(), kind, now));
                    Ok((Service { operation: Some(id.clone()), ..service.clone() }, Some(id)))
                }
            }
        })
        .await;
    let (service, operation): (Service, Option<OperationId>) = match acted {
        Ok(Some(acted)) => acted?,
        Ok(None) => return Err(not_found(arn)),
        // Another call was faster by less than a transaction.
        Err(StoreError::Conflict(Conflict::OperationOpen)) => {
            return Err(refused(arn, &found, action, Refusal::InProgress));
        }
        Err(error) => return Err(failure::store(error)),
    };
    if operation.is_some() {
        context.platform.hints.operation();
    }
    Ok((view::service(context, &service), operation.map(|id| id.to_string())))
}

/// A refusal in the words that tools look for.
fn refused(arn: &str, service: &Service, action: Action, refusal: Refusal) -> Error {
    let shown = match refusal {
        Refusal::Deleted => return not_found(arn),
        Refusal::InProgress => service::Status::OperationInProgress,
        Refusal::State(state) => settled(state),
    };
    debug_assert!(refusal == Refusal::InProgress || status(service) == shown);
    let done = match action {
        // Its model has no error for a wrong state.
        Action::StartDeployment => {
            return failure::invalid(
                "Can't start a deployment on the specified service, because it isn't in RUNNING state",
            );
        }
        Action::Update => "updated",
        Action::Pause => "paused",
        Action::Resume => "resumed",
        Action::Delete => "deleted",
    };
    failure::invalid_state(format!("Service cannot be {done} in the current state: {}.", shown.as_str()))
}

fn not_found(arn: &str) -> Error {
    failure::not_found(format!("Service with the provided ARN is not found: {arn}"))
}

/// Updates, deletions and deployments always open an operation.
fn required(operation: Option<String>) -> Result<String, Error> {
    operation.ok_or_else(|| failure::internal("The call was admitted without an operation."))
}

fn place<'a>(context: Context<'a>) -> Place<'a> {
    Place { region: context.region, account: &context.platform.names.account }
}
