//! Builds: the wish for an image, and the digest or the reason that answers it.

use crate::error::StoreError;
use crate::open::Store;
use crate::rows::{Columns, Connection, Row, Tx, json};
use crate::sql::query;
use apron_model::ids::{BuildId, OperationId, ServiceId};
use apron_model::operation::{Build, BuildFact};

impl Store {
    pub async fn build_get(&self, id: &BuildId) -> Result<Option<Build>, StoreError> {
        get(&mut *self.read().await?, id).await
    }

    /// Builds that somebody waits for, first come first. A row that cannot be read holds up its own operation only, whose deadline
    /// ends it.
    pub async fn build_list_wanted(&self) -> Result<Vec<Build>, StoreError> {
        let mut tx = self.read().await?;
        let rows = query(
            "SELECT build.* FROM build LEFT JOIN operation ON operation.id = build.operation
             WHERE build.wanted ORDER BY operation.seq, build.id",
        )
        .fetch_all(&mut tx)
        .await?;
        Ok(rows.iter().filter_map(|row| readable(build(row))).collect())
    }

    /// Records how a try ended, if the build is still wanted.
    pub async fn build_fact_put(&self, id: &BuildId, fact: &BuildFact) -> Result<(), StoreError> {
        let mut tx = self.write().await?;
        fact_put(&mut tx, id, fact).await?;
        tx.commit().await?;
        Ok(())
    }
}

/// Answers with the build's service, if the build is still wanted.
pub(crate) async fn fact_put(tx: &mut Tx, id: &BuildId, fact: &BuildFact) -> Result<(), StoreError> {
    let failed = matches!(fact, BuildFact::Failed(_));
    let put = query("UPDATE build SET fact = $2, failures = failures + $3 WHERE id = $1 AND wanted");
    put.bind(id.as_str()).bind(json(fact)).bind(i64::from(failed)).execute(tx).await?;
    Ok(())
}

fn readable(build: Result<Build, StoreError>) -> Option<Build> {
    build
        .inspect_err(|error| tracing::error!(%error, "the row of a build cannot be read and is passed over"))
        .ok()
}

fn build(row: &Row) -> Result<Build, StoreError> {
    let columns = Columns { table: "build", row };
    Ok(Build {
        id: BuildId::new(columns.get::<String>("id")?),
        service: ServiceId::new(columns.get::<String>("service")?),
        operation: OperationId::new(columns.get::<String>("operation")?),
        wish: columns.json("wish")?,
        wanted: columns.get("wanted")?,
        failures: columns.small("failures")?,
        fact: columns.json("fact")?,
    })
}

pub(crate) async fn get(tx: &mut Connection, id: &BuildId) -> Result<Option<Build>, StoreError> {
    let row = query("SELECT * FROM build WHERE id = $1").bind(id.as_str()).fetch_optional(tx).await?;
    row.as_ref().map(build).transpose()
}

pub(crate) async fn put(tx: &mut Tx, build: &Build) -> Result<(), StoreError> {
    query(
        "INSERT INTO build (id, service, operation, wish, wanted, failures, fact)
         VALUES ($1, $2, $3, $4, $5, $6, $7)
         ON CONFLICT (id) DO UPDATE SET wanted = excluded.wanted",
    )
    .bind(build.id.as_str())
    .bind(build.service.as_str())
    .bind(build.operation.as_str())
    .bind(json(&build.wish))
    .bind(build.wanted)
    .bind(i64::from(build.failures))
    .bind(json(&build.fact))
    .execute(tx)
    .await?;
    Ok(())
}
