//! Operations: appended by handlers, advanced by the engine, listed newest first.

use crate::error::StoreError;
use crate::open::Store;
use crate::rows::{Columns, Statement, int, json, word};
use crate::{build, line, revision, service, slot};
use apron_model::draw::Draw;
use apron_model::ids::{OperationId, ServiceId};
use apron_model::operation::{self, Operation, Step, View, Wake, Write};
use sqlx::sqlite::SqliteRow;
use sqlx::{Sqlite, Transaction};
use std::panic::AssertUnwindSafe;

/// A page of operations, newest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OperationPage {
    pub operations: Vec<Operation>,
    /// Where the next page begins; none when this was the last.
    pub next: Option<u64>,
}

/// What came of advancing an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Advanced {
    /// Rows were written, so that reconcilers have work and the operation may be able to go on at once.
    pub wrote: bool,
    pub wake: Wake,
}

impl Store {
    pub async fn operation_get(&self, id: &OperationId) -> Result<Option<Operation>, StoreError> {
        let mut tx = self.read().await?;
        Ok(get(&mut tx, id).await?.map(|(operation, _)| operation))
    }

    /// A page of a service's operations, newest first, from behind the cursor of the page before.
    pub async fn operation_list(
        &self,
        service: &ServiceId,
        before: Option<u64>,
        max: u32,
    ) -> Result<OperationPage, StoreError> {
        let mut tx = self.read().await?;
        let rows =
            sqlx::query("SELECT * FROM operation WHERE service = $1 AND seq < $2 ORDER BY seq DESC LIMIT $3")
                .bind(service.as_str())
                .bind(before.map_or(i64::MAX, int))
                .bind(i64::from(max) + 1)
                .fetch_all(&mut *tx)
                .await?;
        let shown = &rows[..rows.len().min(max as usize)];
        let next = match shown.last() {
            Some(last) if rows.len() > shown.len() => {
                Some(Columns { table: "operation", row: last }.count("seq")?)
            }
            _ => None,
        };
        Ok(OperationPage { operations: shown.iter().map(operation).collect::<Result<_, _>>()?, next })
    }

    /// All open operations, with their services.
    pub async fn operation_list_open(&self) -> Result<Vec<(OperationId, ServiceId)>, StoreError> {
        let mut tx = self.read().await?;
        let rows = sqlx::query("SELECT id, service FROM operation WHERE ended_at IS NULL ORDER BY seq")
            .fetch_all(&mut *tx)
            .await?;
        rows.iter()
            .map(|row| {
                let columns = Columns { table: "operation", row };
                let service = ServiceId::new(columns.get::<String>("service")?);
                Ok((OperationId::new(columns.get::<String>("id")?), service))
            })
            .collect()
    }

    /// Reads the operation's view, lets the model decide, and writes what it says in the same transaction. None
    /// when there is no such operation.
    pub async fn operation_advance(
        &self,
        id: &OperationId,
        draw: &mut Draw,
    ) -> Result<Option<Advanced>, StoreError> {
        // Most calls find nothing to write; a snapshot tells so without holding up the writer.
        let Some(view) = self.operation_view(id).await? else { return Ok(None) };
        let advance = decide(&view, &mut draw.clone())?;
        if advance.writes.is_empty() {
            return Ok(Some(Advanced { wrote: false, wake: advance.wake }));
        }
        let mut tx = self.write().await?;
        let Some(view) = view_of(&mut tx, id).await? else { return Ok(None) };
        let advance = decide(&view, draw)?;
        for one in &advance.writes {
            write(&mut tx, &view, draw, one).await?;
        }
        tx.commit().await?;
        Ok(Some(Advanced { wrote: !advance.writes.is_empty(), wake: advance.wake }))
    }

    /// All rows that an operation may look at, in one snapshot.
    pub async fn operation_view(&self, id: &OperationId) -> Result<Option<View>, StoreError> {
        view_of(&mut *self.read().await?, id).await
    }
}

/// A row that breaks an invariant of the model stops its own operation, not the others.
fn decide(view: &View, draw: &mut Draw) -> Result<operation::Advance, StoreError> {
    std::panic::catch_unwind(AssertUnwindSafe(|| operation::advance(view, draw))).map_err(|_| {
        StoreError::Corrupt {
            table: "operation",
            column: "step",
            reason: format!("operation {} is in no state that its kind knows", view.operation.id),
        }
    })
}

async fn view_of(tx: &mut sqlx::SqliteConnection, id: &OperationId) -> Result<Option<View>, StoreError> {
    let Some((operation, routed_version)) = get(tx, id).await? else { return Ok(None) };
    let Some(service) = service::get(tx, &operation.service).await? else { return Ok(None) };
    let build = match &operation.step {
        Step::Building { build, .. } => build::get(tx, build).await?,
        _ => None,
    };
    let revisions = revision::list(tx, &service.id).await?;
    let slots = slot::list(tx, &service.id).await?;
    Ok(Some(View { service, operation, revisions, build, slots, routed_version }))
}

async fn write(
    tx: &mut Transaction<'static, Sqlite>,
    view: &View,
    draw: &Draw,
    write: &Write,
) -> Result<(), StoreError> {
    match write {
        Write::Service(row) => service::put(tx, row).await,
        Write::Operation(row) => put(tx, row).await,
        Write::Revision(row) => revision::put(tx, row).await,
        Write::RevisionServed(number) => revision::served(tx, &view.service.id, *number).await,
        Write::RevisionForget(number) => revision::forget(tx, &view.service.id, *number).await,
        Write::Build(row) => build::put(tx, row).await,
        Write::Slot(row) => slot::insert(tx, row).await,
        Write::SlotWish(id, wish) => slot::wish_put(tx, id, *wish).await,
        Write::Line(one) => {
            line::append(tx, &view.service.id, Some(&view.operation.id), draw.wall, one).await
        }
    }
}

/// The operation and the version of its service that proxies serve.
async fn get(
    tx: &mut sqlx::SqliteConnection,
    id: &OperationId,
) -> Result<Option<(Operation, u64)>, StoreError> {
    let row = sqlx::query(
        "SELECT operation.*, service.routed_version FROM operation
         JOIN service ON service.id = operation.service WHERE operation.id = $1",
    )
    .bind(id.as_str())
    .fetch_optional(tx)
    .await?;
    row.map(|row| {
        let routed = Columns { table: "service", row: &row }.count("routed_version")?;
        Ok((operation(&row)?, routed))
    })
    .transpose()
}

fn operation(row: &SqliteRow) -> Result<Operation, StoreError> {
    let columns = Columns { table: "operation", row };
    Ok(Operation {
        id: OperationId::new(columns.get::<String>("id")?),
        service: ServiceId::new(columns.get::<String>("service")?),
        kind: columns.word("kind")?,
        status: columns.word("status")?,
        step: columns.json("step")?,
        created_at: columns.wall("created_at")?,
        started_at: columns.wall_option("started_at")?,
        ended_at: columns.wall_option("ended_at")?,
        updated_at: columns.wall("updated_at")?,
        fault: columns.json_option("fault")?,
    })
}

pub(crate) async fn insert(
    tx: &mut Transaction<'static, Sqlite>,
    operation: &Operation,
) -> Result<(), StoreError> {
    let insert = sqlx::query(
        "INSERT INTO operation (id, status, step, started_at, ended_at, updated_at, fault, service, kind, created_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
    );
    bind(insert, operation)
        .bind(operation.service.as_str())
        .bind(word(&operation.kind))
        .bind(int(operation.created_at.0))
        .execute(&mut **tx)
        .await?;
    Ok(())
}

async fn put(tx: &mut Transaction<'static, Sqlite>, operation: &Operation) -> Result<(), StoreError> {
    let update = sqlx::query(
        "UPDATE operation SET status = $2, step = $3, started_at = $4, ended_at = $5, updated_at = $6, fault = $7
         WHERE id = $1",
    );
    bind(update, operation).execute(&mut **tx).await?;
    Ok(())
}

/// Its id and what may change, $1 to $7.
fn bind<'q>(query: Statement<'q>, operation: &'q Operation) -> Statement<'q> {
    query
        .bind(operation.id.as_str())
        .bind(word(&operation.status))
        .bind(json(&operation.step))
        .bind(operation.started_at.map(|at| int(at.0)))
        .bind(operation.ended_at.map(|at| int(at.0)))
        .bind(int(operation.updated_at.0))
        .bind(operation.fault.as_ref().map(json))
}
