//! GetAuditLog: who called what. Only keys with all rights come here.

use super::logs;
use crate::api::call::Context;
use apron_telemetry::Stream;
use apron_wire::Error;
use apron_wire::apron::{GetAuditLogRequest, GetAuditLogResponse};
use tokio::sync::watch;

pub(super) async fn get(
    context: Context<'_>,
    input: GetAuditLogRequest,
    shutdown: watch::Receiver<bool>,
) -> Result<GetAuditLogResponse, Error> {
    let asked = logs::Asked { from: input.from, wait_s: input.wait_seconds, lines: input.max_lines };
    let page = logs::page(context, &Stream::Audit, asked, shutdown).await?;
    let next = page.next.to_string();
    Ok(GetAuditLogResponse { lines: logs::lines(page), next })
}
