//! Calls that AWS lacks: uploads, images, logs, status, why an operation failed, and the platform itself.

mod images;
mod logs;
mod operation;
mod platform;
mod status;
pub(crate) mod uploads;

use super::call::{Context, run};
use apron_wire::Error;
use apron_wire::apron::Operation;
use bytes::Bytes;
use http::Response;
use tokio::sync::watch;

/// Runs the operation.
pub(super) async fn dispatch(
    context: Context<'_>,
    operation: Operation,
    body: &[u8],
    id: &str,
    shutdown: &watch::Receiver<bool>,
) -> Result<Response<Bytes>, Error> {
    match operation {
        Operation::CreateUpload => run(body, id, |input| uploads::create(context, input)).await,
        Operation::PutUploadPart => run(body, id, |input| uploads::put_part(context, input)).await,
        Operation::CompleteUpload => run(body, id, |input| uploads::complete(context, input)).await,
        Operation::AbortUpload => run(body, id, |input| uploads::abort(context, input)).await,
        Operation::ListImages => run(body, id, |input| images::list(context, input)).await,
        Operation::DeleteImage => run(body, id, |input| images::delete(context, input)).await,
        Operation::GetLogs => run(body, id, |input| logs::get(context, input, shutdown.clone())).await,
        Operation::DescribeStatus => run(body, id, |input| status::describe(context, input)).await,
        Operation::DescribeOperation => run(body, id, |input| operation::describe(context, input)).await,
        Operation::DescribePlatform => run(body, id, |input| platform::describe(context, input)).await,
    }
}
