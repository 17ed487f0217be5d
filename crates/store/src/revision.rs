//! Revisions: immutable but for whether a deployment of them has succeeded.

use crate::error::StoreError;
use crate::open::Store;
use crate::rows::{Columns, Connection, Row, Tx, int, json};
use crate::sql::query;
use apron_model::ids::{BuildId, Digest, RevisionNumber, ServiceId};
use apron_model::service::{Revision, ServiceConfig};

impl Store {
    pub async fn revision_get(
        &self,
        service: &ServiceId,
        number: RevisionNumber,
    ) -> Result<Option<Revision>, StoreError> {
        get(&mut *self.read().await?, service, number).await
    }

    /// All kept revisions of a service, newest first.
    pub async fn revision_list(&self, service: &ServiceId) -> Result<Vec<Revision>, StoreError> {
        list(&mut *self.read().await?, service).await
    }
}

pub(crate) async fn get(
    tx: &mut Connection,
    service: &ServiceId,
    number: RevisionNumber,
) -> Result<Option<Revision>, StoreError> {
    let row = query("SELECT * FROM revision WHERE service = $1 AND number = $2")
        .bind(service.as_str())
        .bind(i64::from(number))
        .fetch_optional(tx)
        .await?;
    row.as_ref().map(revision).transpose()
}

pub(crate) async fn list(tx: &mut Connection, service: &ServiceId) -> Result<Vec<Revision>, StoreError> {
    let rows = query("SELECT * FROM revision WHERE service = $1 ORDER BY number DESC")
        .bind(service.as_str())
        .fetch_all(tx)
        .await?;
    rows.iter().map(revision).collect()
}

fn revision(row: &Row) -> Result<Revision, StoreError> {
    let columns = Columns { table: "revision", row };
    Ok(Revision {
        number: columns.small("number")?,
        service: ServiceId::new(columns.get::<String>("service")?),
        created_at: columns.wall("created_at")?,
        config: columns.json("config")?,
        build: columns.get::<Option<String>>("build")?.map(BuildId::new),
        image: columns.get::<Option<String>>("image")?.map(Digest::new),
        commit: columns.get("commit_id")?,
        run: columns.json_option("run")?,
        served: columns.get("served")?,
    })
}

pub(crate) async fn put(tx: &mut Tx, revision: &Revision) -> Result<(), StoreError> {
    query(
        "INSERT INTO revision (service, number, created_at, config, build, image, commit_id, run, served)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
    )
    .bind(revision.service.as_str())
    .bind(i64::from(revision.number))
    .bind(int(revision.created_at.0))
    .bind(json(&revision.config))
    .bind(revision.build.as_ref().map(BuildId::as_str))
    .bind(revision.image.as_ref().map(Digest::as_str))
    .bind(revision.commit.as_deref())
    .bind(revision.run.as_ref().map(json))
    .bind(revision.served)
    .execute(tx)
    .await?;
    Ok(())
}

pub(crate) async fn served(
    tx: &mut Tx,
    service: &ServiceId,
    number: RevisionNumber,
) -> Result<(), StoreError> {
    query("UPDATE revision SET served = TRUE WHERE service = $1 AND number = $2")
        .bind(service.as_str())
        .bind(i64::from(number))
        .execute(tx)
        .await?;
    Ok(())
}

pub(crate) async fn config_put(
    tx: &mut Tx,
    service: &ServiceId,
    number: RevisionNumber,
    config: &ServiceConfig,
) -> Result<(), StoreError> {
    query("UPDATE revision SET config = $3 WHERE service = $1 AND number = $2")
        .bind(service.as_str())
        .bind(i64::from(number))
        .bind(json(config))
        .execute(tx)
        .await?;
    Ok(())
}

pub(crate) async fn forget(
    tx: &mut Tx,
    service: &ServiceId,
    number: RevisionNumber,
) -> Result<(), StoreError> {
    query("DELETE FROM revision WHERE service = $1 AND number = $2")
        .bind(service.as_str())
        .bind(i64::from(number))
        .execute(tx)
        .await?;
    Ok(())
}
