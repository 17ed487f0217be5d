//! Services: one row each, changed only together with what must change with it.

use crate::error::StoreError;
use crate::open::Store;
use crate::rows::{Columns, Statement, int, json, word};
use crate::{operation, slot};
use apron_model::ids::{OperationId, ServiceId};
use apron_model::operation::Operation;
use apron_model::reconcile::Slot;
use apron_model::service::Service;
use apron_model::time::WallTime;
use sqlx::sqlite::SqliteRow;
use sqlx::{Sqlite, Transaction};
use std::collections::BTreeMap;

/// Selects services, each with the id of its open operation, if any; one text that is known at compile time.
macro_rules! concat_select {
    ($rest:literal) => {
        concat!(
            "SELECT service.*, open.id AS open_operation FROM service
             LEFT JOIN operation AS open ON open.service = service.id AND open.ended_at IS NULL ",
            $rest
        )
    };
}
/// Where a page of services ended; the next begins behind it, however many came and went meanwhile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceCursor {
    pub created_at: WallTime,
    pub id: ServiceId,
}

/// What the route table is made of, read in one transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceRoutes {
    pub service: Service,
    /// Those that are not gone.
    pub slots: Vec<Slot>,
    pub routed_version: u64,
}

impl Store {
    /// Makes a service and its first operation in one transaction.
    ///
    /// Fails with `Conflict::NameTaken` when a service of this name exists in the region.
    pub async fn service_create(&self, service: &Service, operation: &Operation) -> Result<(), StoreError> {
        let mut tx = self.write().await?;
        insert(&mut tx, service).await?;
        operation::insert(&mut tx, operation).await?;
        tx.commit().await?;
        Ok(())
    }

    /// Also finds a deleted service, for as long as its row is kept.
    pub async fn service_get(&self, id: &ServiceId) -> Result<Option<Service>, StoreError> {
        get(&mut *self.read().await?, id).await
    }

    /// The service of this name in the region that is not deleted.
    pub async fn service_find(&self, region: &str, name: &str) -> Result<Option<Service>, StoreError> {
        let mut tx = self.read().await?;
        let row = sqlx::query(concat_select!("WHERE region = $1 AND name = $2 AND deleted_at IS NULL"))
            .bind(region)
            .bind(name)
            .fetch_optional(&mut *tx)
            .await?;
        row.as_ref().map(service).transpose()
    }

    /// A page of the region's services that are not deleted, oldest first.
    pub async fn service_list(
        &self,
        region: &str,
        after: Option<&ServiceCursor>,
        max: u32,
    ) -> Result<Vec<Service>, StoreError> {
        let (created_at, id) =
            after.map_or((-1, ""), |cursor| (int(cursor.created_at.0), cursor.id.as_str()));
        let mut tx = self.read().await?;
        let rows = sqlx::query(concat_select!(
            "WHERE region = $1 AND deleted_at IS NULL AND (service.created_at, service.id) > ($2, $3)
             ORDER BY service.created_at, service.id LIMIT $4"
        ))
        .bind(region)
        .bind(created_at)
        .bind(id)
        .bind(i64::from(max))
        .fetch_all(&mut *tx)
        .await?;
        rows.iter().map(service).collect()
    }

    /// Reads a service and lets `act` decide, in one transaction, what becomes of it.
    ///
    /// `act` may change the service, and append an operation by setting the second value; what it returns is
    /// handed through. Its error leaves everything as it was. The outer value is None when there is no such
    /// service.
    pub async fn service_act<T, E>(
        &self,
        id: &ServiceId,
        act: impl FnOnce(&mut Service, &mut Option<Operation>) -> Result<T, E> + Send,
    ) -> Result<Option<Result<T, E>>, StoreError> {
        let mut tx = self.write().await?;
        let Some(before) = get(&mut tx, id).await? else { return Ok(None) };
        let mut after = before.clone();
        let mut opened = None;
        let answer = match act(&mut after, &mut opened) {
            Ok(answer) => answer,
            Err(refusal) => return Ok(Some(Err(refusal))),
        };
        if let Some(opened) = &opened {
            operation::insert(&mut tx, opened).await?;
        }
        if after != before {
            put(&mut tx, &after).await?;
        }
        tx.commit().await?;
        Ok(Some(Ok(answer)))
    }

    /// Every service that proxies may have to know, with its slots.
    pub async fn service_routes(&self) -> Result<Vec<ServiceRoutes>, StoreError> {
        let mut tx = self.read().await?;
        let rows = sqlx::query(concat_select!("WHERE deleted_at IS NULL ORDER BY service.id"))
            .fetch_all(&mut *tx)
            .await?;
        let mut slots: BTreeMap<ServiceId, Vec<Slot>> = BTreeMap::new();
        for slot in slot::list_present(&mut tx).await? {
            slots.entry(slot.service.clone()).or_default().push(slot);
        }
        rows.iter()
            .map(|row| {
                let service = service(row)?;
                let slots = slots.remove(&service.id).unwrap_or_default();
                let routed_version = Columns { table: "service", row }.count("routed_version")?;
                Ok(ServiceRoutes { service, slots, routed_version })
            })
            .collect()
    }

    /// Records which version of each service every live proxy serves.
    pub async fn service_routed_put(&self, versions: &[(ServiceId, u64)]) -> Result<(), StoreError> {
        let mut tx = self.write().await?;
        for (id, version) in versions {
            sqlx::query("UPDATE service SET routed_version = $2 WHERE id = $1 AND routed_version < $2")
                .bind(id.as_str())
                .bind(int(*version))
                .execute(&mut *tx)
                .await?;
        }
        tx.commit().await?;
        Ok(())
    }
}

pub(crate) fn service(row: &SqliteRow) -> Result<Service, StoreError> {
    let columns = Columns { table: "service", row };
    let previous = match (columns.small_option("previous")?, columns.time_option("previous_until")?) {
        (Some(number), Some(until)) => Some((number, until)),
        _ => None,
    };
    Ok(Service {
        id: ServiceId::new(columns.get::<String>("id")?),
        region: columns.get("region")?,
        name: columns.get("name")?,
        url_label: columns.get("url_label")?,
        created_at: columns.wall("created_at")?,
        updated_at: columns.wall("updated_at")?,
        deleted_at: columns.wall_option("deleted_at")?,
        state: columns.word("state")?,
        config: columns.json("config")?,
        tags: columns.json("tags")?,
        active: columns.small_option("active")?,
        candidate: columns.small_option("candidate")?,
        previous,
        operation: columns.get::<Option<String>>("open_operation")?.map(OperationId::new),
        last_failure: columns.get("last_failure")?,
        route_version: columns.count("route_version")?,
        purge_at: columns.time_option("purge_at")?,
    })
}

pub(crate) async fn get(
    tx: &mut sqlx::SqliteConnection,
    id: &ServiceId,
) -> Result<Option<Service>, StoreError> {
    let row =
        sqlx::query(concat_select!("WHERE service.id = $1")).bind(id.as_str()).fetch_optional(tx).await?;
    row.as_ref().map(service).transpose()
}

async fn insert(tx: &mut Transaction<'static, Sqlite>, service: &Service) -> Result<(), StoreError> {
    let insert = sqlx::query(
        "INSERT INTO service (id, updated_at, deleted_at, state, config, tags, active, candidate, previous,
             previous_until, last_failure, route_version, purge_at, region, name, url_label, created_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17)",
    );
    bind(insert, service)
        .bind(&service.region)
        .bind(&service.name)
        .bind(&service.url_label)
        .bind(int(service.created_at.0))
        .execute(&mut **tx)
        .await?;
    Ok(())
}

/// Writes what may change. The open operation is not a column: it is the operation's row that says so.
pub(crate) async fn put(tx: &mut Transaction<'static, Sqlite>, service: &Service) -> Result<(), StoreError> {
    let update = sqlx::query(
        "UPDATE service SET updated_at = $2, deleted_at = $3, state = $4, config = $5, tags = $6, active = $7,
             candidate = $8, previous = $9, previous_until = $10, last_failure = $11, route_version = $12,
             purge_at = $13
         WHERE id = $1",
    );
    bind(update, service).execute(&mut **tx).await?;
    Ok(())
}

/// Its id and what may change, $1 to $13.
fn bind<'q>(query: Statement<'q>, service: &'q Service) -> Statement<'q> {
    query
        .bind(service.id.as_str())
        .bind(int(service.updated_at.0))
        .bind(service.deleted_at.map(|at| int(at.0)))
        .bind(word(&service.state))
        .bind(json(&service.config))
        .bind(json(&service.tags))
        .bind(service.active.map(i64::from))
        .bind(service.candidate.map(i64::from))
        .bind(service.previous.map(|(number, _)| i64::from(number)))
        .bind(service.previous.map(|(_, until)| int(until.0)))
        .bind(service.last_failure.as_deref())
        .bind(int(service.route_version))
        .bind(service.purge_at.map(|at| int(at.0)))
}
