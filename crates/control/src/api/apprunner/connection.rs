//! Connections: what private repositories are fetched with. One is made here and completed by
//! `Apron.CompleteConnection`, where AWS wants a visit to its console.

use super::resource::{self, Missing};
use super::{arn, view};
use crate::api::call::Context;
use crate::api::failure;
use apron_model::resource::{Body, Connection, Kind, Resource};
use apron_store::{ConnectionSecret, ResourceFilter};
use apron_wire::Error;
use apron_wire::apprunner as wire;

const KIND: Kind = Kind::Connection;

pub(super) async fn create(
    context: Context<'_>,
    input: wire::CreateConnectionRequest,
) -> Result<wire::CreateConnectionResponse, Error> {
    let provider = input.provider_type.as_str().to_owned();
    let body = Body::Connection(Connection { provider, completed: false });
    let made = resource::create(context, &input.connection_name, input.tags, body).await?;
    Ok(wire::CreateConnectionResponse { connection: shown(context, &made.resource)? })
}

pub(super) async fn list(
    context: Context<'_>,
    input: wire::ListConnectionsRequest,
) -> Result<wire::ListConnectionsResponse, Error> {
    let filter = ResourceFilter { name: input.connection_name, ..Default::default() };
    let (rows, next_token) =
        resource::list(context, KIND, &filter, input.max_results, input.next_token.as_deref()).await?;
    let summary = |known: &apron_model::resource::Known| {
        let shown = shown(context, &known.resource)?;
        Ok(wire::ConnectionSummary {
            connection_name: shown.connection_name,
            connection_arn: shown.connection_arn,
            provider_type: shown.provider_type,
            status: shown.status,
            created_at: shown.created_at,
        })
    };
    let connection_summary_list = rows.iter().map(summary).collect::<Result<_, Error>>()?;
    Ok(wire::ListConnectionsResponse { connection_summary_list, next_token })
}

pub(super) async fn delete(
    context: Context<'_>,
    input: wire::DeleteConnectionRequest,
) -> Result<wire::DeleteConnectionResponse, Error> {
    let deleted = resource::delete(context, KIND, &input.connection_arn, false).await?;
    Ok(wire::DeleteConnectionResponse { connection: Some(shown(context, &deleted)?) })
}

/// Keeps what the connection signs in with; from then on services can use it. Handing over something again
/// replaces that alone.
pub(in crate::api) async fn complete(
    context: Context<'_>,
    arn: &str,
    secret: ConnectionSecret,
) -> Result<wire::Connection, Error> {
    let known = resource::change(context, KIND, arn, Missing::NotFound, |resource, writes| {
        if let Body::Connection(connection) = &mut resource.body {
            connection.completed |= secret.access_token.is_some() || secret.ssh_key.is_some();
        }
        writes.secret = Some((resource.id.clone(), secret));
        Ok(())
    })
    .await?;
    shown(context, &known.resource)
}

/// A service may use the connection.
///
/// # Errors
/// `InvalidRequestException` when there is none, or nobody has completed it.
pub(super) async fn check(context: Context<'_>, arn: &str) -> Result<(), Error> {
    let known = resource::find_active(context, KIND, arn, Missing::Invalid).await?;
    match &known.resource.body {
        Body::Connection(Connection { completed: true, .. }) => Ok(()),
        _ => Err(failure::invalid(format!(
            "The connection {} is in state PENDING_HANDSHAKE and cannot be used. Complete it first: apron connection \
             complete {0} --token-file FILE",
            known.resource.name
        ))),
    }
}

fn shown(context: Context<'_>, resource: &Resource) -> Result<wire::Connection, Error> {
    let Body::Connection(connection) = &resource.body else {
        return Err(failure::internal("The row of the connection is of another kind."));
    };
    let status = match (resource.is_active(), connection.completed) {
        (false, _) => wire::ConnectionStatus::Deleted,
        (true, true) => wire::ConnectionStatus::Available,
        (true, false) => wire::ConnectionStatus::PendingHandshake,
    };
    Ok(wire::Connection {
        connection_name: Some(resource.name.clone()),
        connection_arn: Some(arn::resource(context, resource)),
        provider_type: wire::ProviderType::parse(&connection.provider),
        status: Some(status),
        created_at: Some(view::seconds(resource.created_at)),
    })
}
