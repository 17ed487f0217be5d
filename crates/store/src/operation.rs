//! Operations: appended by handlers, advanced by the engine, listed newest first.

use crate::error::{Conflict, StoreError};
use crate::open::Store;
use crate::rows::{Columns, Connection, Row, Statement, Tx, int, json, word};
use crate::sql::query;
use crate::{build, line, resource, revision, service, slot};
use apron_model::draw::Draw;
use apron_model::ids::{OperationId, ServiceId};
use apron_model::instance::Fault;
use apron_model::operation::{
    self, Build, Operation, OperationKind, OperationStatus, Standing, Step, View, Wake, Write,
};
use apron_model::time::WallTime;
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
            query("SELECT * FROM operation WHERE service = $1 AND seq < $2 ORDER BY seq DESC LIMIT $3")
                .bind(service.as_str())
                .bind(before.map_or(i64::MAX, int))
                .bind(i64::from(max) + 1)
                .fetch_all(&mut tx)
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

    /// All open operations, with their services. What waits for its turn is not open.
    pub async fn operation_list_open(&self) -> Result<Vec<(OperationId, ServiceId)>, StoreError> {
        let mut tx = self.read().await?;
        let rows =
            query("SELECT id, service FROM operation WHERE ended_at IS NULL AND NOT queued ORDER BY seq")
                .fetch_all(&mut tx)
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
            write(&mut tx, &view.service.id, draw.wall, one).await?;
        }
        tx.commit().await?;
        Ok(Some(Advanced { wrote: !advance.writes.is_empty(), wake: advance.wake }))
    }

    /// Deals with an operation that cannot be advanced because a row is `Corrupt`. Those that wait behind it and cannot
    /// be read are ended as FAILED, after which it may go on. Otherwise it is ended itself with the reason, and those
    /// that wait behind it too, while what serves goes on serving. None when there is no such operation.
    ///
    /// Fails with `Corrupt` when its service's row cannot be read either; nothing is changed then.
    pub async fn operation_abandon(
        &self,
        id: &OperationId,
        reason: &str,
        draw: &Draw,
    ) -> Result<Option<Advanced>, StoreError> {
        let mut tx = self.write().await?;
        let fault = Fault::permanent(reason);
        let named = "SELECT service FROM operation WHERE id = $1";
        let Some(row) = query(named).bind(id.as_str()).fetch_optional(&mut tx).await? else {
            return Ok(None);
        };
        let service_id = ServiceId::new(Columns { table: "operation", row: &row }.get::<String>("service")?);
        let waiting = query("SELECT * FROM operation WHERE service = $1 AND queued ORDER BY seq")
            .bind(service_id.as_str())
            .fetch_all(&mut tx)
            .await?;
        let mut readable = Vec::new();
        for row in &waiting {
            let waits = OperationId::new(Columns { table: "operation", row }.get::<String>("id")?);
            match operation(row) {
                Ok(_) => readable.push(waits),
                Err(_) => end_by_hand(&mut tx, &service_id, &waits, &fault, draw.wall).await?,
            }
        }
        if readable.len() < waiting.len()
            && let Ok(Some(view)) = view_of(&mut tx, id).await
            && decide(&view, &mut draw.clone()).is_ok()
        {
            tx.commit().await?;
            return Ok(Some(Advanced { wrote: true, wake: Wake::ByFactOr(draw.now) }));
        }
        let Some(service) = service::get(&mut tx, &service_id).await? else { return Ok(None) };
        let (service, lines) = operation::abandoned(&service, id, reason, draw);
        for ended in [id].into_iter().chain(&readable) {
            end_by_hand(&mut tx, &service_id, ended, &fault, draw.wall).await?;
        }
        service::put(&mut tx, &service).await?;
        slot::leave_behind(&mut tx, &service, draw).await?;
        for one in &lines {
            line::append(&mut tx, &service_id, Some(id), draw.wall, one).await?;
        }
        tx.commit().await?;
        Ok(Some(Advanced { wrote: true, wake: Wake::Done }))
    }

    /// Reads what decides about a call on a service, lets `decide` say what comes of it and which rows that writes,
    /// and writes them in the same transaction, at `now` as people read it.
    ///
    /// What `decide` answers is handed through; its error leaves everything as it was. The outer value is None when
    /// there is no such service. Fails with `Conflict::ResourceDeleted` when the service would come to name a shared
    /// resource that has been deleted; a configuration that one of its revisions has may name it still.
    pub async fn service_call<T, E>(
        &self,
        id: &ServiceId,
        now: WallTime,
        decide: impl FnOnce(&Standing) -> Result<(T, Vec<Write>), E> + Send,
    ) -> Result<Option<Result<T, E>>, StoreError> {
        let mut tx = self.write().await?;
        let Some(standing) = standing_of(&mut tx, id).await? else { return Ok(None) };
        let (answer, writes) = match decide(&standing) {
            Ok(decided) => decided,
            Err(refusal) => return Ok(Some(Err(refusal))),
        };
        for one in &writes {
            if let Write::Service(after) = one
                && after.config != standing.service.config
                && standing.revisions.iter().all(|revision| revision.config != after.config)
            {
                service::check_resources(&mut tx, after, Some(&standing.service.config)).await?;
            }
            if let Write::OperationNew(new) = one
                && new.kind == OperationKind::DeleteService
                && resource::has_ingress(&mut tx, id).await?
            {
                return Err(StoreError::Conflict(Conflict::HasIngress));
            }
            write(&mut tx, id, now, one).await?;
        }
        tx.commit().await?;
        Ok(Some(Ok(answer)))
    }

    /// Records the digest or commit that the source of a service has now.
    pub async fn service_source_seen_put(&self, id: &ServiceId, version: &str) -> Result<(), StoreError> {
        let mut tx = self.write().await?;
        query("UPDATE service SET source_seen = $2 WHERE id = $1")
            .bind(id.as_str())
            .bind(version)
            .execute(&mut tx)
            .await?;
        tx.commit().await?;
        Ok(())
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

async fn view_of(tx: &mut Connection, id: &OperationId) -> Result<Option<View>, StoreError> {
    let Some((operation, routed_version)) = get(tx, id).await? else { return Ok(None) };
    let Some(service) = service::get(tx, &operation.service).await? else { return Ok(None) };
    let build = build_of(tx, &operation).await?;
    let queued = list_queued(tx, &service.id).await?;
    let revisions = revision::list(tx, &service.id).await?;
    let slots = slot::list(tx, &service.id).await?;
    Ok(Some(View { service, operation, queued, revisions, build, slots, routed_version }))
}

async fn standing_of(tx: &mut Connection, id: &ServiceId) -> Result<Option<Standing>, StoreError> {
    let Some(service) = service::get(tx, id).await? else { return Ok(None) };
    let open = match &service.operation {
        None => None,
        Some(open) => get(tx, open).await?.map(|(operation, _)| operation),
    };
    let build = match &open {
        None => None,
        Some(open) => build_of(tx, open).await?,
    };
    let queued = list_queued(tx, id).await?;
    let revisions = revision::list(tx, id).await?;
    let row = query("SELECT routed_version, source_seen FROM service WHERE id = $1")
        .bind(id.as_str())
        .fetch_one(tx)
        .await?;
    let columns = Columns { table: "service", row: &row };
    let routed_version = columns.count("routed_version")?;
    let source_seen = columns.get("source_seen")?;
    Ok(Some(Standing { service, open, queued, revisions, build, routed_version, source_seen }))
}

/// The build that an operation waits for.
async fn build_of(tx: &mut Connection, operation: &Operation) -> Result<Option<Build>, StoreError> {
    match &operation.step {
        Step::Building { build, .. } => build::get(tx, build).await,
        Step::Queued
        | Step::Admitted
        | Step::Starting { .. }
        | Step::Rolling { .. }
        | Step::Routing { .. }
        | Step::Returning { .. }
        | Step::RollingBack { .. }
        | Step::Removing { .. }
        | Step::Ended => Ok(None),
    }
}

/// Those that wait behind the open one, first come first.
async fn list_queued(tx: &mut Connection, service: &ServiceId) -> Result<Vec<Operation>, StoreError> {
    let rows = query("SELECT * FROM operation WHERE service = $1 AND queued ORDER BY seq")
        .bind(service.as_str())
        .fetch_all(tx)
        .await?;
    rows.iter().map(operation).collect()
}

async fn write(tx: &mut Tx, service: &ServiceId, now: WallTime, write: &Write) -> Result<(), StoreError> {
    match write {
        Write::Service(row) => service::put(tx, row).await,
        Write::Operation(row) => put(tx, row).await,
        Write::OperationNew(row) => insert(tx, row).await,
        Write::Revision(row) => revision::put(tx, row).await,
        Write::RevisionServed(number) => revision::served(tx, service, *number).await,
        Write::RevisionConfig(number, config) => revision::config_put(tx, service, *number, config).await,
        Write::RevisionForget(number) => revision::forget(tx, service, *number).await,
        Write::Build(row) => build::put(tx, row).await,
        Write::Slot(row) => slot::insert(tx, row).await,
        Write::SlotWish(id, wish) => slot::wish_put(tx, id, *wish).await,
        Write::Line(operation, one) => line::append(tx, service, Some(operation), now, one).await,
    }
}

/// Ends an operation whatever its row holds, and the build that it waits for.
async fn end_by_hand(
    tx: &mut Tx,
    service: &ServiceId,
    id: &OperationId,
    fault: &Fault,
    now: WallTime,
) -> Result<(), StoreError> {
    query("UPDATE build SET wanted = FALSE WHERE operation = $1").bind(id.as_str()).execute(&mut *tx).await?;
    query(
        "UPDATE operation SET status = $2, step = $3, ended_at = $4, updated_at = $4, fault = $5, queued = FALSE,
             asked = NULL
         WHERE id = $1",
    )
    .bind(id.as_str())
    .bind(word(&OperationStatus::Failed))
    .bind(json(&Step::Ended))
    .bind(int(now.0))
    .bind(json(fault))
    .execute(&mut *tx)
    .await?;
    tx.changes(service.as_str());
    Ok(())
}

/// The operation and the version of its service that proxies serve.
pub(crate) async fn get(
    tx: &mut Connection,
    id: &OperationId,
) -> Result<Option<(Operation, u64)>, StoreError> {
    let row = query(
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

fn operation(row: &Row) -> Result<Operation, StoreError> {
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
        automatic: columns.get("automatic")?,
        fresh: columns.get("fresh")?,
        asked: columns.json_option("asked")?,
        cancelled: columns.get("cancelled")?,
        fault: columns.json_option("fault")?,
    })
}

pub(crate) async fn insert(tx: &mut Tx, operation: &Operation) -> Result<(), StoreError> {
    let insert = query(
        "INSERT INTO operation (id, status, step, started_at, ended_at, updated_at, fault, kind, queued, automatic,
             fresh, asked, cancelled, service, created_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)",
    );
    bind(insert, operation)
        .bind(operation.service.as_str())
        .bind(int(operation.created_at.0))
        .execute(tx)
        .await?;
    tx.changes(operation.service.as_str());
    Ok(())
}

async fn put(tx: &mut Tx, operation: &Operation) -> Result<(), StoreError> {
    let update = query(
        "UPDATE operation SET status = $2, step = $3, started_at = $4, ended_at = $5, updated_at = $6, fault = $7,
             kind = $8, queued = $9, automatic = $10, fresh = $11, asked = $12, cancelled = $13
         WHERE id = $1",
    );
    bind(update, operation).execute(tx).await?;
    tx.changes(operation.service.as_str());
    Ok(())
}

/// Its id and what may change, $1 to $13.
fn bind<'q>(query: Statement<'q>, operation: &'q Operation) -> Statement<'q> {
    query
        .bind(operation.id.as_str())
        .bind(word(&operation.status))
        .bind(json(&operation.step))
        .bind(operation.started_at.map(|at| int(at.0)))
        .bind(operation.ended_at.map(|at| int(at.0)))
        .bind(int(operation.updated_at.0))
        .bind(operation.fault.as_ref().map(json))
        .bind(word(&operation.kind))
        .bind(operation.is_queued())
        .bind(operation.automatic)
        .bind(operation.fresh)
        .bind(operation.asked.as_ref().map(json))
        .bind(operation.cancelled.as_deref())
}
