//! Services: one row each, changed only together with what must change with it.

use crate::error::{Conflict, StoreError};
use crate::open::Store;
use crate::rows::{Columns, Connection, Row, Statement, Tx, int, json, word};
use crate::sql::{query, query_scalar};
use crate::{custom_domain, line, meta, operation, resource, slot};
use apron_model::ids::{OperationId, ResourceId, ServiceId, id_of_arn};
use apron_model::operation::{Line, Operation};
use apron_model::price::Cap;
use apron_model::reconcile::Slot;
use apron_model::service::{Service, ServiceConfig, Status, status_of};
use apron_model::time::WallTime;
use std::collections::BTreeMap;

/// Selects services, each with the id of its open operation, if any; one text that is known at compile time.
macro_rules! concat_select {
    ($rest:literal) => {
        concat!(
            "SELECT service.*, (SELECT open.id FROM operation AS open
                 WHERE open.service = service.id AND open.ended_at IS NULL AND NOT open.queued) AS open_operation FROM service ",
            $rest
        )
    };
}

/// Selects what lists show of services, without their configurations: each may have a megabyte of variables.
/// With EXISTS PostgreSQL would read the open operations of all services for every page.
macro_rules! concat_summary {
    ($rest:literal) => {
        concat!(
            "SELECT service.id, service.region, service.name, service.url_label, service.created_at,
                 service.updated_at, service.state, (
                     SELECT open.id FROM operation AS open WHERE open.service = service.id AND open.ended_at IS NULL
                         AND NOT open.queued) IS NOT NULL AS operation_open FROM service ",
            $rest
        )
    };
}

/// What lists show of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceSummary {
    pub id: ServiceId,
    pub region: String,
    pub name: String,
    pub url_label: String,
    pub created_at: WallTime,
    pub updated_at: WallTime,
    pub status: Status,
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

/// Up to where changes have been read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RoutesSeen(u64);

/// What `service_routes_changed` answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceRoutesChanged {
    pub rows: Vec<ServiceRoutes>,
    pub seen: RoutesSeen,
}

impl Store {
    /// Makes a service and its first operation in one transaction.
    ///
    /// Fails with `Conflict::NameTaken` when a service of this name exists in the region, with
    /// `Conflict::ServiceQuota` when the region has `services_max` of them, and with `Conflict::ResourceDeleted`
    /// when a shared resource that it names has been deleted meanwhile.
    pub async fn service_create(
        &self,
        service: &Service,
        operation: &Operation,
        services_max: u64,
    ) -> Result<(), StoreError> {
        let mut tx = self.write().await?;
        resource::region_ensure(&mut tx, &service.region).await?;
        check_resources(&mut tx, service, None).await?;
        insert(&mut tx, service).await?;
        let row = query("SELECT COUNT(*) AS services FROM service WHERE region = $1 AND deleted_at IS NULL")
            .bind(&service.region)
            .fetch_one(&mut tx)
            .await?;
        if (Columns { table: "service", row: &row }).count("services")? > services_max {
            return Err(StoreError::Conflict(Conflict::ServiceQuota));
        }
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
        let row = query(concat_select!("WHERE region = $1 AND name = $2 AND deleted_at IS NULL"))
            .bind(region)
            .bind(name)
            .fetch_optional(&mut tx)
            .await?;
        row.as_ref().map(service).transpose()
    }

    /// As `service_get`, without what may be large.
    pub async fn service_summary_get(&self, id: &ServiceId) -> Result<Option<ServiceSummary>, StoreError> {
        let statement = query(concat_summary!("WHERE service.id = $1")).bind(id.as_str());
        let row = statement.fetch_optional(&mut *self.read().await?).await?;
        row.as_ref().map(summary).transpose()
    }

    /// A page of the region's services that are not deleted, oldest first.
    pub async fn service_list(
        &self,
        region: &str,
        after: Option<&ServiceCursor>,
        max: u32,
    ) -> Result<Vec<ServiceSummary>, StoreError> {
        let (created_at, id) = place(after);
        let mut tx = self.read().await?;
        let rows = query(concat_summary!(
            "WHERE region = $1 AND deleted_at IS NULL AND (service.created_at, service.id) > ($2, $3)
             ORDER BY service.created_at, service.id LIMIT $4"
        ))
        .bind(region)
        .bind(created_at)
        .bind(id)
        .bind(i64::from(max))
        .fetch_all(&mut tx)
        .await?;
        rows.iter().map(summary).collect()
    }

    /// Reads a service and lets `act` change it, in one transaction. What it returns is handed through; its error
    /// leaves everything as it was. The outer value is None when there is no such service.
    pub async fn service_act<T, E>(
        &self,
        id: &ServiceId,
        act: impl FnOnce(&mut Service) -> Result<T, E> + Send,
    ) -> Result<Option<Result<T, E>>, StoreError> {
        let mut tx = self.write().await?;
        let Some(before) = get(&mut tx, id).await? else { return Ok(None) };
        let mut after = before.clone();
        let answer = match act(&mut after) {
            Ok(answer) => answer,
            Err(refusal) => return Ok(Some(Err(refusal))),
        };
        if after != before {
            check_resources(&mut tx, &after, Some(&before.config)).await?;
            put(&mut tx, &after).await?;
        }
        tx.commit().await?;
        Ok(Some(Ok(answer)))
    }

    /// Records how a service stands to its cap, which its instances are told of at once, and says so in its log.
    pub async fn service_cap_put(
        &self,
        id: &ServiceId,
        cap: Cap,
        said: &str,
        now: WallTime,
    ) -> Result<(), StoreError> {
        let mut tx = self.write().await?;
        let Some(before) = get(&mut tx, id).await?.filter(|before| before.cap != cap) else { return Ok(()) };
        put(&mut tx, &Service { cap, ..before }).await?;
        line::append(&mut tx, id, None, now, &Line::Event(said.to_owned())).await?;
        tx.commit().await?;
        Ok(())
    }

    /// Services that have a cap, or stand to one. One that cannot be read is left out.
    pub async fn service_list_capped(&self) -> Result<Vec<Service>, StoreError> {
        let capped = query(concat_select!(
            "WHERE deleted_at IS NULL AND (tags LIKE '%\"apron:cap-usd-month\"%' OR cap <> 'below')"
        ));
        let rows = capped.fetch_all(&mut *self.read().await?).await?;
        let readable = |row| {
            let read = service(row);
            read.inspect_err(|error| tracing::error!(%error, "the cap of a service is not heeded")).ok()
        };
        Ok(rows.iter().filter_map(readable).collect())
    }

    /// A page of the services that use an auto scaling configuration, oldest first.
    pub async fn service_list_for_scaling(
        &self,
        region: &str,
        scaling: &ResourceId,
        after: Option<&ServiceCursor>,
        max: u32,
    ) -> Result<Vec<ServiceSummary>, StoreError> {
        let (created_at, id) = place(after);
        let mut tx = self.read().await?;
        // Said as a range, it is answered along the one index that has this order: by `scaling_id = $2` PostgreSQL may
        // look for the few services of it among all.
        let rows = query(concat_summary!(
            "WHERE region = $1 AND deleted_at IS NULL AND service.scaling_id <= $2
                 AND (service.scaling_id, service.created_at, service.id) > ($2, $3, $4)
             ORDER BY service.scaling_id, service.created_at, service.id LIMIT $5"
        ))
        .bind(region)
        .bind(scaling.as_str())
        .bind(created_at)
        .bind(id)
        .bind(i64::from(max))
        .fetch_all(&mut tx)
        .await?;
        rows.iter().map(summary).collect()
    }

    /// Every service that proxies may have to know, with its slots.
    pub async fn service_routes(&self) -> Result<Vec<ServiceRoutes>, StoreError> {
        Ok(self.service_routes_changed(None).await?.rows)
    }

    /// The services that were changed, or had a slot changed, since `seen` was read: also those that are deleted
    /// now. Without `seen` all that are not deleted. In the order of their ids. One that cannot be read is left out,
    /// with a warning.
    pub async fn service_routes_changed(
        &self,
        seen: Option<RoutesSeen>,
    ) -> Result<ServiceRoutesChanged, StoreError> {
        let mut tx = self.read().await?;
        let newest = meta::number(&mut tx, "change").await?;
        let rows = match seen {
            None => query(concat_select!("WHERE deleted_at IS NULL ORDER BY service.id")),
            Some(RoutesSeen(number)) if number == newest => {
                return Ok(ServiceRoutesChanged { rows: Vec::new(), seen: RoutesSeen(newest) });
            }
            Some(RoutesSeen(number)) => {
                query(concat_select!("WHERE service.changed > $1 ORDER BY service.id")).bind(int(number))
            }
        };
        let rows = rows.fetch_all(&mut tx).await?;
        let mut slots = match seen {
            None => slot::list_by_service(&mut tx).await?,
            Some(_) => BTreeMap::new(),
        };
        let mut changed = Vec::with_capacity(rows.len());
        for row in &rows {
            let id = ServiceId::new(Columns { table: "service", row }.get::<String>("id")?);
            let slots = match seen {
                None => slots.remove(&id).unwrap_or(Ok(Vec::new())),
                Some(_) => slot::list(&mut tx, &id).await,
            };
            match slots.and_then(|slots| routes(row, slots)) {
                Ok(routes) => changed.push(routes),
                // The others are to be reached.
                Err(StoreError::Corrupt { table, column, reason }) => {
                    tracing::warn!(service = %id, table, column, reason, "the routes of a service cannot change");
                }
                Err(error) => return Err(error),
            }
        }
        Ok(ServiceRoutesChanged { rows: changed, seen: RoutesSeen(newest) })
    }

    /// Records which version of each service every live proxy serves.
    pub async fn service_routed_put(&self, versions: &[(ServiceId, u64)]) -> Result<(), StoreError> {
        let mut tx = self.write().await?;
        for (id, version) in versions {
            query("UPDATE service SET routed_version = $2 WHERE id = $1 AND routed_version < $2")
                .bind(id.as_str())
                .bind(int(*version))
                .execute(&mut tx)
                .await?;
            tx.changes(id.as_str());
        }
        tx.commit().await?;
        Ok(())
    }
}

/// What `created_at` and id of a page's services are above.
fn place(after: Option<&ServiceCursor>) -> (i64, &str) {
    after.map_or((-1, ""), |cursor| (int(cursor.created_at.0), cursor.id.as_str()))
}

fn routes(row: &Row, slots: Vec<Slot>) -> Result<ServiceRoutes, StoreError> {
    let routed_version = Columns { table: "service", row }.count("routed_version")?;
    Ok(ServiceRoutes { service: service(row)?, slots, routed_version })
}

pub(crate) fn service(row: &Row) -> Result<Service, StoreError> {
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
        scaling: columns.json_option("scaling")?,
        tags: columns.json("tags")?,
        active: columns.small_option("active")?,
        candidate: columns.small_option("candidate")?,
        previous,
        operation: columns.get::<Option<String>>("open_operation")?.map(OperationId::new),
        last_failure: columns.get("last_failure")?,
        wanted: columns.small("wanted")?,
        cap: columns.word("cap")?,
        route_version: columns.count("route_version")?,
        purge_at: columns.time_option("purge_at")?,
    })
}

fn summary(row: &Row) -> Result<ServiceSummary, StoreError> {
    let columns = Columns { table: "service", row };
    Ok(ServiceSummary {
        id: ServiceId::new(columns.get::<String>("id")?),
        region: columns.get("region")?,
        name: columns.get("name")?,
        url_label: columns.get("url_label")?,
        created_at: columns.wall("created_at")?,
        updated_at: columns.wall("updated_at")?,
        status: status_of(columns.word("state")?, columns.get("operation_open")?),
    })
}

pub(crate) async fn get(tx: &mut Connection, id: &ServiceId) -> Result<Option<Service>, StoreError> {
    let row = query(concat_select!("WHERE service.id = $1")).bind(id.as_str()).fetch_optional(tx).await?;
    row.as_ref().map(service).transpose()
}

async fn insert(tx: &mut Tx, service: &Service) -> Result<(), StoreError> {
    let insert = query(
        "INSERT INTO service (id, updated_at, deleted_at, state, config, tags, active, candidate, previous,
             previous_until, last_failure, route_version, purge_at, scaling_id, connection_id, wanted, cap, idle, scaling,
             region, name, url_label, created_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22,
             $23)",
    );
    bind(insert, service)
        .bind(&service.region)
        .bind(&service.name)
        .bind(&service.url_label)
        .bind(int(service.created_at.0))
        .execute(tx)
        .await?;
    tx.changes(service.id.as_str());
    Ok(())
}

/// Writes what may change. The open operation is not a column: it is the operation's row that says so.
pub(crate) async fn put(tx: &mut Tx, service: &Service) -> Result<(), StoreError> {
    let update = query(
        "UPDATE service SET updated_at = $2, deleted_at = $3, state = $4, config = $5, tags = $6, active = $7,
             candidate = $8, previous = $9, previous_until = $10, last_failure = $11, route_version = $12,
             purge_at = $13, scaling_id = $14, connection_id = $15, wanted = $16, cap = $17, idle = $18,
             scaling = $19
         WHERE id = $1",
    );
    let told: Option<String> = query_scalar("SELECT idle FROM service WHERE id = $1")
        .bind(service.id.as_str())
        .fetch_optional(tx)
        .await?;
    bind(update, service).execute(tx).await?;
    tx.changes(service.id.as_str());
    // Instances hear of it at once, not with the next revision.
    if told.is_some_and(|told| told != json(&service.idle())) {
        slot::renew(tx, &service.id).await?;
    }
    if service.deleted_at.is_some() {
        custom_domain::forget_all(tx, &service.id).await?;
    }
    Ok(())
}

/// The shared resources that it comes to name are not deleted. What it named before it may go on to name, deleted or
/// not: the row holds what it needs of them.
pub(crate) async fn check_resources(
    tx: &mut Tx,
    service: &Service,
    before: Option<&ServiceConfig>,
) -> Result<(), StoreError> {
    let config = &service.config;
    let scaling =
        Some(&config.scaling.arn).filter(|arn| before.is_none_or(|before| before.scaling.arn != **arn));
    let connection = config
        .connection_arn
        .as_ref()
        .filter(|arn| before.is_none_or(|before| before.connection_arn.as_ref() != Some(*arn)));
    if scaling.is_none() && connection.is_none() {
        return Ok(());
    }
    let row = query(
        "SELECT 1 AS deleted FROM resource WHERE region = $1 AND deleted_at IS NOT NULL
             AND ((kind = 'auto_scaling_configuration' AND id = $2) OR (kind = 'connection' AND id = $3)) LIMIT 1",
    )
    .bind(&service.region)
    .bind(scaling.map(|arn| id_of_arn(arn)))
    .bind(connection.map(|arn| id_of_arn(arn)))
    .fetch_optional(tx)
    .await?;
    if row.is_some() { Err(StoreError::Conflict(Conflict::ResourceDeleted)) } else { Ok(()) }
}

/// Its id and what may change, $1 to $19.
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
        .bind(id_of_arn(&service.config.scaling.arn))
        .bind(service.config.connection_arn.as_deref().map(id_of_arn))
        .bind(i64::from(service.wanted))
        .bind(word(&service.cap))
        .bind(json(&service.idle()))
        .bind(service.scaling.as_ref().map(json))
}

#[cfg(test)]
mod tests {
    use super::*;
    use apron_model::draw::Draw;
    use apron_model::fixture;
    use apron_model::operation::OperationKind;
    use apron_model::time::Timestamp;

    /// It may be large: one that cannot be read shows who reads it.
    #[tokio::test]
    async fn lists_do_not_read_configurations() {
        let both = crate::rows::both("summaries").await;
        for store in &both.stores {
            let mut draw = Draw::new(Timestamp(1), WallTime(1), 1, 7);
            let row = Service {
                id: draw.service_id(),
                created_at: WallTime(5),
                ..fixture::service("web", fixture::image_config("registry.test/web:1"))
            };
            let kind = OperationKind::CreateService;
            let operation = Operation::pending(draw.operation_id(), row.id.clone(), kind, WallTime(5));
            store.service_create(&row, &operation, 9).await.unwrap();
            let mut tx = store.write().await.unwrap();
            query("UPDATE service SET config = '{}'").execute(&mut tx).await.unwrap();
            tx.commit().await.unwrap();
            assert!(matches!(store.service_get(&row.id).await, Err(StoreError::Corrupt { .. })));
            let shown = ServiceSummary {
                id: row.id.clone(),
                region: row.region.clone(),
                name: row.name.clone(),
                url_label: row.url_label.clone(),
                created_at: row.created_at,
                updated_at: row.updated_at,
                status: Status::OperationInProgress,
            };
            let scaling = ResourceId::new(id_of_arn(&row.config.scaling.arn));
            let using = store.service_list_for_scaling(&row.region, &scaling, None, 9).await.unwrap();
            assert_eq!(using, std::slice::from_ref(&shown));
            assert_eq!(store.service_list(&row.region, None, 9).await.unwrap(), std::slice::from_ref(&shown));
            assert_eq!(store.service_summary_get(&row.id).await.unwrap(), Some(shown));
        }
    }
}
