//! CompleteConnection: what AWS lets a person do in its console only.

use crate::api::apprunner::connection;
use crate::api::call::Context;
use crate::api::failure;
use apron_store::ConnectionSecret;
use apron_wire::Error;
use apron_wire::apron::{CompleteConnectionRequest, CompleteConnectionResponse, ConnectionStatus};

pub(super) async fn complete(
    context: Context<'_>,
    input: CompleteConnectionRequest,
) -> Result<CompleteConnectionResponse, Error> {
    let secret = ConnectionSecret {
        access_token: trimmed("AccessToken", input.access_token)?,
        ssh_key: input.ssh_key,
        webhook_secret: trimmed("WebhookSecret", input.webhook_secret)?,
    };
    if secret == ConnectionSecret::default() {
        return Err(failure::invalid("One of AccessToken, SshKey and WebhookSecret is required."));
    }
    if secret.ssh_key.as_deref().is_some_and(|key| !key.contains("PRIVATE KEY-----")) {
        return Err(failure::invalid("SshKey is not a private key in OpenSSH's or PEM's form."));
    }
    let connection = connection::complete(context, &input.connection_arn, secret).await?;
    let status = connection.status.and_then(|status| ConnectionStatus::parse(status.as_str()));
    let (Some(connection_arn), Some(status)) = (connection.connection_arn, status) else {
        return Err(failure::internal("The connection has no state."));
    };
    Ok(CompleteConnectionResponse { connection_arn, status })
}

/// One line; files that hold one end with a line end.
fn trimmed(member: &str, text: Option<String>) -> Result<Option<String>, Error> {
    let Some(text) = text else { return Ok(None) };
    let text = text.trim();
    if text.is_empty() || text.contains(|c: char| c.is_control() || c.is_whitespace()) {
        return Err(failure::invalid(format!(
            "{member} is not one word: no blanks and line ends belong into it."
        )));
    }
    Ok(Some(text.to_owned()))
}
