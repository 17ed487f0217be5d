//! Calls that AWS lacks: uploads, images, logs, status, usage and idleness, why an operation failed, its end before its time and the same
//! once more, revisions and going back to one, the platform itself, and who may call it.

mod access_key;
mod audit;
mod connection;
mod idle;
mod images;
mod logs;
mod operation;
mod platform;
mod revision;
mod status;
pub(crate) mod uploads;
mod usage;

use super::call::{Context, run};
use super::poll::Poll;
use apron_wire::Error;
use apron_wire::apron::Operation;
use bytes::Bytes;
use http::Response;

/// Runs the operation.
pub(super) async fn dispatch(
    context: Context<'_>,
    operation: Operation,
    body: &[u8],
    id: &str,
    poll: Poll,
) -> Result<Response<Bytes>, Error> {
    match operation {
        Operation::CompleteConnection => run(body, id, |input| connection::complete(context, input)).await,
        Operation::CreateUpload => run(body, id, |input| uploads::create(context, input)).await,
        Operation::PutUploadPart => run(body, id, |input| uploads::put_part(context, input)).await,
        Operation::CompleteUpload => run(body, id, |input| uploads::complete(context, input)).await,
        Operation::AbortUpload => run(body, id, |input| uploads::abort(context, input)).await,
        Operation::ListImages => run(body, id, |input| images::list(context, input)).await,
        Operation::DeleteImage => run(body, id, |input| images::delete(context, input)).await,
        Operation::CreateAccessKey => run(body, id, |input| access_key::create(context, input)).await,
        Operation::ListAccessKeys => run(body, id, |input| access_key::list(context, input)).await,
        Operation::DeleteAccessKey => run(body, id, |input| access_key::delete(context, input)).await,
        Operation::GetAuditLog => run(body, id, |input| audit::get(context, input, poll)).await,
        Operation::GetLogs => run(body, id, |input| logs::get(context, input, poll)).await,
        Operation::DescribeStatus => run(body, id, |input| status::describe(context, input)).await,
        Operation::DescribeIdle => run(body, id, |input| idle::describe(context, input)).await,
        Operation::GetUsage => run(body, id, |input| usage::get(context, input)).await,
        Operation::CancelOperation => run(body, id, |input| operation::cancel(context, input)).await,
        Operation::RetryOperation => run(body, id, |input| operation::retry(context, input)).await,
        Operation::ListRevisions => run(body, id, |input| revision::list(context, input)).await,
        Operation::DescribeRevision => run(body, id, |input| revision::describe(context, input)).await,
        Operation::RollbackService => run(body, id, |input| revision::roll_back(context, input)).await,
        Operation::DescribeOperation => run(body, id, |input| operation::describe(context, input)).await,
        Operation::DescribePlatform => run(body, id, |input| platform::describe(context, input)).await,
    }
}
