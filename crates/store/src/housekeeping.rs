//! Forgetting what nobody asks for any more, a bounded amount at a time.

use crate::error::StoreError;
use crate::open::Store;
use crate::rows::{Columns, int};
use apron_model::build::{BuildSpec, SourceLocation};
use apron_model::ids::{Digest, InstanceId, ServiceId};
use apron_model::limits;
use apron_model::operation::{BuildFact, BuildWish};
use apron_model::service::{ServiceConfig, Source};
use apron_model::source::UPLOAD_PREFIX;
use apron_model::time::Timestamp;
use std::collections::BTreeSet;

/// What was forgotten, so that others forget it too.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Purged {
    pub services: Vec<ServiceId>,
}

impl Store {
    /// Everything of the content store that a row names: images and uploaded sources of revisions, of services as
    /// they are configured, and of builds that are not forgotten. What no row names may go.
    pub async fn content_list(&self) -> Result<BTreeSet<Digest>, StoreError> {
        let mut tx = self.read().await?;
        let mut named = BTreeSet::new();
        for row in sqlx::query("SELECT image, config FROM revision").fetch_all(&mut *tx).await? {
            let columns = Columns { table: "revision", row: &row };
            named.extend(columns.get::<Option<String>>("image")?.map(Digest::new));
            named.extend(uploaded(&columns.json("config")?));
        }
        let services = sqlx::query("SELECT config FROM service WHERE deleted_at IS NULL");
        for row in services.fetch_all(&mut *tx).await? {
            named.extend(uploaded(&Columns { table: "service", row: &row }.json("config")?));
        }
        for row in sqlx::query("SELECT wish, fact FROM build").fetch_all(&mut *tx).await? {
            let columns = Columns { table: "build", row: &row };
            if let BuildFact::Done(outcome) = columns.json("fact")? {
                named.insert(outcome.image);
            }
            // A wish that cannot be read is followed by nobody.
            if let Ok(BuildWish::Source(BuildSpec { source: SourceLocation::Upload { digest }, .. })) =
                columns.json("wish")
            {
                named.insert(digest);
            }
        }
        Ok(named)
    }

    /// Forgets deleted services whose time is over, old gone slots that the driver does not know either, ended
    /// operations beyond the limit, and finished builds that no kept revision came from.
    pub async fn purge(&self, now: Timestamp, present: &[InstanceId]) -> Result<Purged, StoreError> {
        let mut tx = self.write().await?;
        let rows = sqlx::query("DELETE FROM service WHERE purge_at <= $1 RETURNING id")
            .bind(int(now.0))
            .fetch_all(&mut *tx)
            .await?;
        let services = rows
            .iter()
            .map(|row| Columns { table: "service", row }.get::<String>("id").map(ServiceId::new))
            .collect::<Result<Vec<_>, _>>()?;
        let old = int(now.0.saturating_sub(limits::GONE_SLOT_KEPT_MS));
        let present = crate::rows::json(&present);
        sqlx::query("DELETE FROM slot WHERE gone_at < $1 AND id NOT IN (SELECT value FROM json_each($2))")
            .bind(old)
            .bind(present)
            .execute(&mut *tx)
            .await?;
        sqlx::query(
            "DELETE FROM operation WHERE seq IN (
                 SELECT seq FROM (SELECT seq, ended_at,
                     row_number() OVER (PARTITION BY service ORDER BY seq DESC) AS place FROM operation) AS numbered
                 WHERE ended_at IS NOT NULL AND place > $1)",
        )
        .bind(limits::OPERATIONS_KEPT as i64)
        .execute(&mut *tx)
        .await?;
        sqlx::query(
            "DELETE FROM build WHERE NOT EXISTS (SELECT 1 FROM revision WHERE revision.build = build.id)
             AND NOT EXISTS (SELECT 1 FROM operation WHERE operation.id = build.operation AND ended_at IS NULL)",
        )
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(Purged { services })
    }
}

/// The uploaded source that a configuration names.
fn uploaded(config: &ServiceConfig) -> Option<Digest> {
    match &config.source {
        Source::Code(code) => code.repository_url.strip_prefix(UPLOAD_PREFIX).map(Digest::new),
        Source::Image(_) => None,
    }
}
