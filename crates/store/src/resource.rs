//! Shared resources: one table for all kinds, a row for each revision.

use crate::error::{Conflict, StoreError};
use crate::open::Store;
use crate::rows::{Columns, Connection, Row, Statement, Tx, int, json, word};
use crate::service;
use crate::sql::query;
use apron_model::ids::{ResourceId, ServiceId};
use apron_model::resource::{BUILT_IN_ID, BUILT_IN_NAME, Body, Kind, Known, Resource, Siblings, built_in};
use apron_model::service::{Status, status};
use apron_model::time::Timestamp;
use std::fmt;

/// Selects resources with what other rows say of them; one text that is known at compile time. Whether a service uses
/// an auto scaling configuration is asked as the least id from this one on that a service uses, which one index alone
/// answers: where most services use the same, PostgreSQL may look for `= resource.id` among all services.
macro_rules! concat_select {
    ($($rest:literal),+) => {
        concat!(
            "SELECT resource.*,
                 resource.deleted_at IS NULL AND NOT EXISTS (
                     SELECT 1 FROM resource AS newer
                     WHERE newer.kind = resource.kind AND newer.region = resource.region
                         AND newer.name = resource.name AND newer.revision > resource.revision
                         AND newer.deleted_at IS NULL) AS latest,
                 (resource.kind = 'auto_scaling_configuration' AND COALESCE((
                     SELECT service.scaling_id FROM service WHERE service.region = resource.region
                         AND service.scaling_id >= resource.id AND service.deleted_at IS NULL
                     ORDER BY service.scaling_id LIMIT 1) = resource.id, FALSE))
                 OR (resource.kind = 'connection' AND (
                     SELECT service.id FROM service WHERE service.region = resource.region
                         AND service.connection_id = resource.id AND service.deleted_at IS NULL
                     LIMIT 1) IS NOT NULL) AS in_use,
                 resource.kind = 'auto_scaling_configuration' AND EXISTS (
                     SELECT 1 FROM region WHERE region.name = resource.region
                         AND region.default_scaling = resource.id) AS is_default
             FROM resource ",
            $($rest),+
        )
    };
}

/// Selects a page. What narrows the list is said a second time, without a way out: a condition that may not apply
/// leads a database along no index.
macro_rules! concat_page {
    ($narrowed:literal) => {
        concat_select!(
            "WHERE resource.kind = $1 AND resource.region = $2 AND resource.deleted_at IS NULL
                 AND (resource.name, resource.revision) > ($3, $4)
                 AND ($5 IS NULL OR resource.name = $5)
                 AND ($6 IS NULL OR resource.service = $6)
                 AND ($7 IS NULL OR resource.vpc_endpoint = $7) ",
            $narrowed,
            " AND ($8 = 0 OR NOT EXISTS (
                     SELECT 1 FROM resource AS newer
                     WHERE newer.kind = resource.kind AND newer.region = resource.region
                         AND newer.name = resource.name AND newer.revision > resource.revision
                         AND newer.deleted_at IS NULL))
             ORDER BY resource.name, resource.revision LIMIT $9"
        )
    };
}

/// Which resources of a kind a list shows; none that is deleted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResourceFilter {
    pub name: Option<String>,
    /// Of each name the highest revision alone.
    pub latest_only: bool,
    pub service: Option<ServiceId>,
    pub vpc_endpoint: Option<String>,
}

/// Where a page ended: its last row's name and revision, by which lists are ordered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResourceCursor {
    pub name: String,
    pub revision: u32,
}

/// What a connection signs in with.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct ConnectionSecret {
    pub access_token: Option<String>,
    pub ssh_key: Option<String>,
    pub webhook_secret: Option<String>,
}

impl fmt::Debug for ConnectionSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectionSecret").finish_non_exhaustive()
    }
}

/// What a decision about one name writes.
#[derive(Debug, Default)]
pub struct ResourceWrites {
    /// New rows and changed ones.
    pub resources: Vec<Resource>,
    /// The default auto scaling configuration of the region.
    pub default_scaling: Option<ResourceId>,
    /// Of a connection: what was handed over now; what is absent stays.
    pub secret: Option<(ResourceId, ConnectionSecret)>,
}

impl Store {
    /// Every revision of a name.
    pub async fn resource_siblings(
        &self,
        kind: Kind,
        region: &str,
        name: &str,
    ) -> Result<Siblings, StoreError> {
        let mut tx = self.read().await?;
        let mut siblings = siblings(&mut tx, kind, region, name).await?;
        // A region in which nothing was changed yet has no row; what it has is known all the same.
        if name == BUILT_IN_NAME && !is_region(&mut tx, region).await? {
            siblings.known.extend(as_built(region).filter(|known| known.resource.kind() == kind));
        }
        Ok(siblings)
    }

    /// The resource of this id that is not deleted.
    pub async fn resource_get(
        &self,
        kind: Kind,
        region: &str,
        id: &ResourceId,
    ) -> Result<Option<Known>, StoreError> {
        let row = query(concat_select!("WHERE kind = $1 AND region = $2 AND id = $3 AND deleted_at IS NULL"))
            .bind(word(&kind))
            .bind(region)
            .bind(id.as_str())
            .fetch_optional(&mut *self.read().await?)
            .await?;
        row.as_ref().map(known).transpose()
    }

    /// What new services of a region use.
    pub async fn scaling_default_get(&self, region: &str) -> Result<Option<Known>, StoreError> {
        let mut tx = self.read().await?;
        let row = query(concat_select!(
            "WHERE kind = 'auto_scaling_configuration' AND region = $1
                 AND id = (SELECT default_scaling FROM region WHERE name = $1)"
        ))
        .bind(region)
        .fetch_optional(&mut tx)
        .await?;
        match &row {
            Some(row) => known(row).map(Some),
            None if is_region(&mut tx, region).await? => Ok(None),
            None => Ok(as_built(region).find(|known| known.is_default)),
        }
    }

    /// A page of the resources of a kind, by name and revision.
    pub async fn resource_list(
        &self,
        kind: Kind,
        region: &str,
        filter: &ResourceFilter,
        after: Option<&ResourceCursor>,
        max: u32,
    ) -> Result<Vec<Known>, StoreError> {
        let (name, mut revision) = after.map_or(("", 0), |cursor| (cursor.name.as_str(), cursor.revision));
        if filter.latest_only && after.is_some() {
            // Its name was shown; a revision that came since would show it again.
            revision = u32::MAX;
        }
        let mut tx = self.read().await?;
        let page = match filter {
            ResourceFilter { service: Some(_), .. } => concat_page!("AND resource.service = $6"),
            ResourceFilter { vpc_endpoint: Some(_), .. } => concat_page!("AND resource.vpc_endpoint = $7"),
            ResourceFilter { name: Some(_), .. } => concat_page!("AND resource.name = $5"),
            ResourceFilter { .. } => concat_page!(""),
        };
        let rows = query(page)
            .bind(word(&kind))
            .bind(region)
            .bind(name)
            .bind(i64::from(revision))
            .bind(filter.name.as_deref())
            .bind(filter.service.as_ref().map(ServiceId::as_str))
            .bind(filter.vpc_endpoint.as_deref())
            .bind(i64::from(filter.latest_only))
            .bind(i64::from(max))
            .fetch_all(&mut tx)
            .await?;
        if rows.is_empty() && !is_region(&mut tx, region).await? {
            let shown = |known: &Known| {
                let resource = &known.resource;
                resource.kind() == kind
                    && (resource.name.as_str(), resource.revision) > (name, revision)
                    && filter.name.as_ref().is_none_or(|name| *name == resource.name)
            };
            return Ok(as_built(region).filter(shown).collect());
        }
        rows.iter().map(known).collect()
    }

    /// Reads every revision of a name and lets `act` decide, in one transaction, what to write. Its error leaves
    /// everything as it was.
    ///
    /// Fails with `Conflict::ResourceNeeded` when it deletes what a service that does not name it now may come back
    /// to: by a rollback of the operation that is open, or by one that waits.
    pub async fn resource_act<T, E>(
        &self,
        kind: Kind,
        region: &str,
        name: &str,
        act: impl FnOnce(&Siblings) -> Result<(ResourceWrites, T), E> + Send,
    ) -> Result<Result<T, E>, StoreError> {
        let mut tx = self.write().await?;
        region_ensure(&mut tx, region).await?;
        let before = siblings(&mut tx, kind, region, name).await?;
        let (writes, answer) = match act(&before) {
            Ok(decided) => decided,
            Err(refusal) => return Ok(Err(refusal)),
        };
        for resource in &writes.resources {
            if !resource.is_active() && is_needed(&mut tx, resource).await? {
                return Err(StoreError::Conflict(Conflict::ResourceNeeded));
            }
            if let (Body::VpcIngressConnection(ingress), true) = (&resource.body, resource.is_active())
                && is_leaving(&mut tx, &ingress.service).await?
            {
                let service = service::get(&mut tx, &ingress.service).await?;
                let status = service.map_or(Status::Deleted, |service| status(&service));
                return Err(StoreError::Conflict(Conflict::ServiceLeaves(status)));
            }
            put(&mut tx, resource).await?;
            if kind == Kind::Connection && !resource.is_active() {
                secret_forget(&mut tx, &resource.id).await?;
            }
        }
        if let Some(id) = &writes.default_scaling {
            query("UPDATE region SET default_scaling = $2 WHERE name = $1")
                .bind(region)
                .bind(id.as_str())
                .execute(&mut tx)
                .await?;
        }
        if let Some((id, secret)) = &writes.secret {
            secret_put(&mut tx, id, secret).await?;
        }
        tx.commit().await?;
        Ok(Ok(answer))
    }

    /// Forgets deleted resources whose time is over, so many at once; says how many that were.
    pub async fn resource_purge(&self, now: Timestamp, max: u32) -> Result<u64, StoreError> {
        let mut tx = self.write().await?;
        let gone = query(
            "DELETE FROM resource WHERE (kind, region, id) IN (
                 SELECT kind, region, id FROM resource WHERE purge_at <= $1 LIMIT $2)",
        )
        .bind(int(now.0))
        .bind(i64::from(max))
        .execute(&mut tx)
        .await?;
        tx.commit().await?;
        Ok(gone.rows_affected())
    }

    /// What a connection signs in with; nothing before it was completed.
    pub async fn connection_secret_get(&self, id: &ResourceId) -> Result<ConnectionSecret, StoreError> {
        let row = query("SELECT * FROM connection_secret WHERE id = $1")
            .bind(id.as_str())
            .fetch_optional(&mut *self.read().await?)
            .await?;
        let Some(row) = row else { return Ok(ConnectionSecret::default()) };
        let columns = Columns { table: "connection_secret", row: &row };
        Ok(ConnectionSecret {
            access_token: columns.get("access_token")?,
            ssh_key: columns.get("ssh_key")?,
            webhook_secret: columns.get("webhook_secret")?,
        })
    }
}

async fn is_region(tx: &mut Connection, region: &str) -> Result<bool, StoreError> {
    let row = query("SELECT name FROM region WHERE name = $1").bind(region).fetch_optional(tx).await?;
    Ok(row.is_some())
}

/// What a region has from the beginning, as its rows would show it.
fn as_built(region: &str) -> impl Iterator<Item = Known> {
    built_in(region).into_iter().map(|resource| {
        let is_default = resource.kind() == Kind::AutoScalingConfiguration;
        Known { resource, latest: true, in_use: false, is_default }
    })
}

/// Gives a region what every region has, with the first change in it.
pub(crate) async fn region_ensure(tx: &mut Tx, region: &str) -> Result<(), StoreError> {
    if is_region(tx, region).await? {
        return Ok(());
    }
    query("INSERT INTO region (name, default_scaling) VALUES ($1, $2)")
        .bind(region)
        .bind(BUILT_IN_ID)
        .execute(&mut *tx)
        .await?;
    for resource in built_in(region) {
        put(tx, &resource).await?;
    }
    Ok(())
}

async fn siblings(tx: &mut Connection, kind: Kind, region: &str, name: &str) -> Result<Siblings, StoreError> {
    let rows = query(concat_select!(
        "WHERE resource.kind = $1 AND resource.region = $2 AND resource.name = $3
         ORDER BY resource.revision, resource.created_at, resource.id"
    ))
    .bind(word(&kind))
    .bind(region)
    .bind(name)
    .fetch_all(&mut *tx)
    .await?;
    let names = query(
        "SELECT COUNT(DISTINCT name) AS names FROM resource
         WHERE kind = $1 AND region = $2 AND deleted_at IS NULL",
    )
    .bind(word(&kind))
    .bind(region)
    .fetch_one(&mut *tx)
    .await?;
    Ok(Siblings {
        known: rows.iter().map(known).collect::<Result<_, _>>()?,
        names: Columns { table: "resource", row: &names }.count("names")?,
    })
}

fn known(row: &Row) -> Result<Known, StoreError> {
    let columns = Columns { table: "resource", row };
    let resource = Resource {
        id: ResourceId::new(columns.get::<String>("id")?),
        region: columns.get("region")?,
        name: columns.get("name")?,
        revision: columns.small("revision")?,
        created_at: columns.wall("created_at")?,
        deleted_at: columns.wall_option("deleted_at")?,
        purge_at: columns.time_option("purge_at")?,
        tags: columns.json("tags")?,
        body: columns.json("body")?,
    };
    Ok(Known {
        resource,
        latest: columns.get("latest")?,
        in_use: columns.get("in_use")?,
        is_default: columns.get("is_default")?,
    })
}

/// The service is deleted, or is going to be.
async fn is_leaving(tx: &mut Tx, service: &ServiceId) -> Result<bool, StoreError> {
    let row = query(
        "SELECT 1 AS stays FROM service WHERE id = $1 AND deleted_at IS NULL AND NOT EXISTS (
             SELECT 1 FROM operation
             WHERE operation.service = service.id AND kind = 'delete_service' AND ended_at IS NULL)",
    )
    .bind(service.as_str())
    .fetch_optional(tx)
    .await?;
    Ok(row.is_none())
}

/// The service has a VPC ingress connection.
pub(crate) async fn has_ingress(tx: &mut Tx, service: &ServiceId) -> Result<bool, StoreError> {
    let row = query("SELECT 1 AS has FROM resource WHERE service = $1 AND deleted_at IS NULL")
        .bind(service.as_str())
        .fetch_optional(tx)
        .await?;
    Ok(row.is_some())
}

/// An active revision, or an operation that has not ended, names it. Asked for a deletion alone: rows are searched.
async fn is_needed(tx: &mut Tx, resource: &Resource) -> Result<bool, StoreError> {
    let kind = resource.kind();
    if !matches!(kind, Kind::AutoScalingConfiguration | Kind::Connection) {
        return Ok(false);
    }
    let row = query(
        "SELECT 1 AS needed FROM service
         JOIN revision ON revision.service = service.id AND revision.number = service.active
         WHERE service.region = $1 AND service.deleted_at IS NULL AND revision.config LIKE $2
         UNION ALL
         SELECT 1 AS needed FROM service
         JOIN operation ON operation.service = service.id AND operation.ended_at IS NULL
         WHERE service.region = $1 AND service.deleted_at IS NULL AND operation.asked LIKE $2
         LIMIT 1",
    )
    .bind(&resource.region)
    // As the ARN ends; an underscore stands for any character, and what it matches beside itself has another id.
    .bind(format!("%:{}/{}/%{}\"%", kind.arn_word(), resource.name, resource.id))
    .fetch_optional(tx)
    .await?;
    Ok(row.is_some())
}

/// Makes the row be as given; what names it never changes.
async fn put(tx: &mut Tx, resource: &Resource) -> Result<(), StoreError> {
    let insert = query(
        "INSERT INTO resource (kind, region, id, name, revision, created_at, deleted_at, purge_at, tags, body,
             service, vpc_endpoint)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
         ON CONFLICT (kind, region, id) DO UPDATE SET deleted_at = excluded.deleted_at,
             purge_at = excluded.purge_at, tags = excluded.tags, body = excluded.body,
             vpc_endpoint = excluded.vpc_endpoint",
    );
    bind(insert, resource).execute(tx).await?;
    Ok(())
}

fn bind<'q>(query: Statement<'q>, resource: &'q Resource) -> Statement<'q> {
    let ingress = match &resource.body {
        Body::VpcIngressConnection(ingress) => Some(ingress),
        Body::AutoScalingConfiguration(_)
        | Body::ObservabilityConfiguration { .. }
        | Body::Connection(_)
        | Body::VpcConnector(_) => None,
    };
    query
        .bind(word(&resource.kind()))
        .bind(&resource.region)
        .bind(resource.id.as_str())
        .bind(&resource.name)
        .bind(i64::from(resource.revision))
        .bind(int(resource.created_at.0))
        .bind(resource.deleted_at.map(|at| int(at.0)))
        .bind(resource.purge_at.map(|at| int(at.0)))
        .bind(json(&resource.tags))
        .bind(json(&resource.body))
        .bind(ingress.map(|ingress| ingress.service.as_str()))
        .bind(ingress.map(|ingress| ingress.vpc_endpoint_id.as_str()))
}

async fn secret_put(tx: &mut Tx, id: &ResourceId, secret: &ConnectionSecret) -> Result<(), StoreError> {
    query(
        "INSERT INTO connection_secret (id, access_token, ssh_key, webhook_secret) VALUES ($1, $2, $3, $4)
         ON CONFLICT (id) DO UPDATE SET
             access_token = COALESCE(excluded.access_token, connection_secret.access_token),
             ssh_key = COALESCE(excluded.ssh_key, connection_secret.ssh_key),
             webhook_secret = COALESCE(excluded.webhook_secret, connection_secret.webhook_secret)",
    )
    .bind(id.as_str())
    .bind(secret.access_token.as_deref())
    .bind(secret.ssh_key.as_deref())
    .bind(secret.webhook_secret.as_deref())
    .execute(tx)
    .await?;
    Ok(())
}

async fn secret_forget(tx: &mut Tx, id: &ResourceId) -> Result<(), StoreError> {
    query("DELETE FROM connection_secret WHERE id = $1").bind(id.as_str()).execute(tx).await?;
    Ok(())
}
