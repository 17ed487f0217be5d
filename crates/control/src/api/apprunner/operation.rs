//! ListOperations.

use super::{lookup, view};
use crate::api::call::Context;
use crate::api::{failure, page};
use apron_wire::Error;
use apron_wire::apprunner::{ListOperationsRequest, ListOperationsResponse};

/// Marks tokens of this list.
const TOKEN: &str = "o";

pub(super) async fn list(
    context: Context<'_>,
    input: ListOperationsRequest,
) -> Result<ListOperationsResponse, Error> {
    let service = lookup(context, &input.service_arn).await?;
    let cursor = |token: String| {
        let [before] = page::parse(TOKEN, &token)?;
        page::number(&before)
    };
    let before = input.next_token.map(cursor).transpose()?;
    let rows = context
        .platform
        .store
        .operation_list(&service.id, before, page::size(input.max_results))
        .await
        .map_err(failure::store)?;
    let operations = rows.operations.iter().map(|row| view::operation(&input.service_arn, row)).collect();
    Ok(ListOperationsResponse {
        operation_summary_list: Some(operations),
        next_token: rows.next.map(|next| page::token(TOKEN, &[&next.to_string()])),
    })
}
