//! Forgetting what nobody asks for any more, a bounded amount at a time.

use crate::error::StoreError;
use crate::open::Store;
use crate::rows::{Columns, Connection, int, word};
use crate::sql::{query, query_scalar};
use crate::usage;
use apron_model::build::{BuildSpec, SourceLocation};
use apron_model::ids::{Digest, InstanceId, ServiceId};
use apron_model::limits;
use apron_model::operation::{Asked, BuildFact, BuildWish, OperationStatus};
use apron_model::service::{ServiceConfig, Source};
use apron_model::source::UPLOAD_PREFIX;
use apron_model::time::{Timestamp, WallTime};
use serde::de::DeserializeOwned;
use std::collections::BTreeSet;
use tokio::time::{Instant, sleep};

/// Services that are forgotten at once; their logs are removed after them.
const PURGE_SERVICES_MAX: i64 = 1_000;
/// Of the writer's time forgetting has one part, and this many are others'.
const REST_SHARE: u32 = 9;

/// What was forgotten, so that others forget it too.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Purged {
    pub services: Vec<ServiceId>,
}

impl Store {
    /// Everything of the content store that a row names: images and uploaded sources of revisions, of services as
    /// they are configured, of operations that wait or may be repeated, and of builds that are not forgotten. What no
    /// row names may go.
    pub async fn content_list(&self) -> Result<BTreeSet<Digest>, StoreError> {
        content(&mut *self.read().await?).await
    }

    /// Forgets old gone slots that the driver does not know either, ended operations beyond the limit, finished
    /// builds that no kept revision came from, and deleted services whose time is over.
    ///
    /// What may go is found beside the writer, which is held for a few rows at a time: calls come between.
    pub async fn purge(&self, now: Timestamp, present: &[InstanceId]) -> Result<Purged, StoreError> {
        self.slots_purge(now, present).await?;
        self.operations_purge().await?;
        self.builds_purge().await?;
        let over = query_scalar::<String>("SELECT id FROM service WHERE purge_at <= $1 LIMIT $2")
            .bind(int(now.0))
            .bind(PURGE_SERVICES_MAX)
            .fetch_all(&mut *self.read().await?)
            .await?;
        let mut purged = Purged::default();
        for id in over {
            let forgotten = self.service_forget(&id).await;
            match forgotten {
                Ok(()) => purged.services.push(ServiceId::new(id)),
                // Those that are forgotten have to be told of; the others have their turn the next time.
                Err(_) if !purged.services.is_empty() => break,
                Err(error) => return Err(error),
            }
        }
        Ok(purged)
    }

    async fn slots_purge(&self, now: Timestamp, present: &[InstanceId]) -> Result<(), StoreError> {
        let old = int(now.0.saturating_sub(limits::GONE_SLOT_KEPT_MS));
        let present: BTreeSet<&str> = present.iter().map(InstanceId::as_str).collect();
        let (mut gone_at, mut id) = (i64::MIN, String::new());
        loop {
            let rows = query(
                "SELECT id, gone_at FROM slot WHERE gone_at < $1 AND (gone_at, id) > ($2, $3)
                 ORDER BY gone_at, id LIMIT $4",
            )
            .bind(old)
            .bind(gone_at)
            .bind(&id)
            .bind(limits::PURGE_ROWS_MAX as i64)
            .fetch_all(&mut *self.read().await?)
            .await?;
            let Some(last) = rows.last() else { return Ok(()) };
            let last = Columns { table: "slot", row: last };
            (gone_at, id) = (last.get("gone_at")?, last.get("id")?);
            let began = Instant::now();
            let mut tx = self.write().await?;
            for row in &rows {
                let id: &str = Columns { table: "slot", row }.get("id")?;
                if !present.contains(id) {
                    query("DELETE FROM slot WHERE id = $1").bind(id).execute(&mut tx).await?;
                }
            }
            tx.commit().await?;
            rest(began).await;
        }
    }

    async fn operations_purge(&self) -> Result<(), StoreError> {
        let kept = limits::OPERATIONS_KEPT as i64;
        let services =
            query_scalar::<String>("SELECT service FROM operation GROUP BY service HAVING COUNT(*) > $1")
                .bind(kept)
                .fetch_all(&mut *self.read().await?)
                .await?;
        for service in services {
            let oldest_kept = query_scalar::<i64>(
                "SELECT seq FROM operation WHERE service = $1 ORDER BY seq DESC LIMIT 1 OFFSET $2",
            )
            .bind(&service)
            .bind(kept - 1)
            .fetch_optional(&mut *self.read().await?)
            .await?;
            let Some(oldest_kept) = oldest_kept else { continue };
            self.operations_forget(&service, oldest_kept).await?;
        }
        Ok(())
    }

    /// Forgets the operations of a service that have ended and are older than this one.
    async fn operations_forget(&self, service: &str, before: i64) -> Result<(), StoreError> {
        loop {
            let began = Instant::now();
            let mut tx = self.write().await?;
            let deleted = query(
                "DELETE FROM operation WHERE seq IN (SELECT seq FROM operation
                     WHERE service = $1 AND seq < $2 AND ended_at IS NOT NULL ORDER BY seq LIMIT $3)",
            )
            .bind(service)
            .bind(before)
            .bind(limits::PURGE_ROWS_MAX as i64)
            .execute(&mut tx)
            .await?;
            tx.commit().await?;
            rest(began).await;
            if deleted.rows_affected() < limits::PURGE_ROWS_MAX as u64 {
                return Ok(());
            }
        }
    }

    /// Forgets what operations that ended before then asked for, where that is an upload, which is kept for its sake.
    pub async fn operation_uploads_forget(&self, before: WallTime) -> Result<(), StoreError> {
        let old = query_scalar::<String>("SELECT id FROM operation WHERE ended_at < $1 AND asked LIKE $2")
            .bind(int(before.0))
            .bind(format!("%{UPLOAD_PREFIX}%"))
            .fetch_all(&mut *self.read().await?)
            .await?;
        self.by_id("UPDATE operation SET asked = NULL WHERE id = $1", &old).await
    }

    async fn builds_purge(&self) -> Result<(), StoreError> {
        let unneeded = query_scalar::<String>(
            "SELECT id FROM build WHERE NOT EXISTS (
                 SELECT 1 FROM revision WHERE revision.service = build.service AND revision.build = build.id)
             AND NOT EXISTS (SELECT 1 FROM operation WHERE operation.id = build.operation AND ended_at IS NULL)",
        )
        .fetch_all(&mut *self.read().await?)
        .await?;
        // Nobody comes to need a build whose operation has ended.
        self.by_id("DELETE FROM build WHERE id = $1", &unneeded).await
    }

    /// Does this with each of these rows, a few in one transaction.
    async fn by_id(&self, sql: &'static str, ids: &[String]) -> Result<(), StoreError> {
        for some in ids.chunks(limits::PURGE_ROWS_MAX) {
            let began = Instant::now();
            let mut tx = self.write().await?;
            for id in some {
                query(sql).bind(id).execute(&mut tx).await?;
            }
            tx.commit().await?;
            rest(began).await;
        }
        Ok(())
    }

    /// Forgets a service with all that refers to it.
    async fn service_forget(&self, id: &str) -> Result<(), StoreError> {
        self.operations_forget(id, i64::MAX).await?;
        let mut tx = self.write().await?;
        usage::forget_service(&mut tx, id).await?;
        query("DELETE FROM service WHERE id = $1").bind(id).execute(&mut tx).await?;
        tx.commit().await?;
        Ok(())
    }
}

/// Leaves the writer and the disk to others for much longer than these rows took: nobody waits for them to be forgotten.
async fn rest(began: Instant) {
    sleep(began.elapsed() * REST_SHARE).await;
}

/// See `content_list`.
pub(crate) async fn content(tx: &mut Connection) -> Result<BTreeSet<Digest>, StoreError> {
    let mut named = BTreeSet::new();
    for row in query("SELECT image, config FROM revision").fetch_all(tx).await? {
        let columns = Columns { table: "revision", row: &row };
        named.extend(columns.get::<Option<String>>("image")?.map(Digest::new));
        name(&mut named, &columns, "config", uploaded)?;
    }
    let services = query("SELECT config FROM service WHERE deleted_at IS NULL");
    for row in services.fetch_all(tx).await? {
        name(&mut named, &Columns { table: "service", row: &row }, "config", uploaded)?;
    }
    // What may be asked for again: what waits for its turn, and all that is known and did not succeed.
    let asked = query("SELECT asked FROM operation WHERE asked LIKE '%sha256:%' AND status <> $1");
    let name_asked = |row| {
        name(&mut named, &Columns { table: "operation", row: &row }, "asked", |asked: Asked| {
            asked.repository_url().and_then(uploaded_at)
        })
    };
    asked.bind(word(&OperationStatus::Succeeded)).each(tx, name_asked).await?;
    for row in query("SELECT wish, fact FROM build").fetch_all(tx).await? {
        let columns = Columns { table: "build", row: &row };
        name(&mut named, &columns, "fact", |fact| match fact {
            BuildFact::Done(outcome) => Some(outcome.image),
            BuildFact::Unknown | BuildFact::Waits { .. } | BuildFact::Failed(_) => None,
        })?;
        name(&mut named, &columns, "wish", |wish| match wish {
            BuildWish::Source(BuildSpec { source: SourceLocation::Upload { digest }, .. }) => Some(digest),
            BuildWish::Source(_) | BuildWish::Image { .. } => None,
        })?;
    }
    Ok(named)
}

/// Adds what a column names. Of one that cannot be understood all digests that stand in its text are added: too much
/// is kept for a while rather than something that is needed removed, or nothing removed until the disk is full.
fn name<T: DeserializeOwned>(
    named: &mut BTreeSet<Digest>,
    columns: &Columns<'_>,
    column: &'static str,
    of: impl FnOnce(T) -> Option<Digest>,
) -> Result<(), StoreError> {
    match columns.json(column) {
        Ok(value) => named.extend(of(value)),
        Err(error) => {
            let text: &str = columns.get(column)?;
            tracing::warn!(%error, "every digest that its text names is kept");
            named.extend(digests(text));
        }
    }
    Ok(())
}

/// Every `sha256:<hex>` of a text.
fn digests(text: &str) -> impl Iterator<Item = Digest> {
    const HEX_DIGITS: usize = 64;
    const ALGORITHM: &str = "sha256:";
    text.match_indices(ALGORITHM).filter_map(|(at, _)| {
        let digest = text.get(at..at + ALGORITHM.len() + HEX_DIGITS)?;
        let is_hex = digest[ALGORITHM.len()..].bytes().all(|byte| byte.is_ascii_hexdigit());
        is_hex.then(|| Digest::new(digest))
    })
}

/// The uploaded source that a configuration names.
fn uploaded(config: ServiceConfig) -> Option<Digest> {
    match &config.source {
        Source::Code(code) => uploaded_at(&code.repository_url),
        Source::Image(_) => None,
    }
}

fn uploaded_at(repository_url: &str) -> Option<Digest> {
    repository_url.strip_prefix(UPLOAD_PREFIX).map(Digest::new)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rows::both;
    use apron_model::fixture;
    use apron_model::ids::OperationId;
    use apron_model::operation::{Operation, OperationKind};
    use apron_model::service::State;
    use apron_model::source::{CodeInput, ServiceInput, SourceInput};

    async fn count(store: &Store, table: &str) -> i64 {
        let sql = sqlx::AssertSqlSafe(format!("SELECT COUNT(*) FROM {table}"));
        query_scalar(sql).fetch_one(&mut store.read().await.unwrap()).await.unwrap()
    }

    async fn execute(store: &Store, sql: impl sqlx::SqlSafeStr) {
        let mut tx = store.write().await.unwrap();
        query(sql).execute(&mut tx).await.unwrap();
        tx.commit().await.unwrap();
    }

    /// More than one batch of everything goes, and nothing that is needed.
    #[tokio::test]
    async fn what_is_too_much_goes_and_the_rest_stays() {
        let both = both("purge").await;
        for store in &both.stores {
            let service = fixture::service("web", fixture::image_config("registry.test/web:1"));
            let open = Operation::pending(
                OperationId::new("open"),
                service.id.clone(),
                OperationKind::CreateService,
                WallTime(1),
            );
            store.service_create(&service, &open, 10).await.unwrap();
            // The open one is the oldest of all, and 20 builds are its own.
            execute(
                store,
                "INSERT INTO operation (id, service, kind, status, step, created_at, ended_at, updated_at)
                 WITH RECURSIVE series (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM series WHERE n < 449)
                 SELECT 'o' || n, service, kind, 'succeeded', step, 1, 2, 2 FROM operation, series",
            )
            .await;
            execute(
                store,
                "INSERT INTO build (id, service, operation, wish, wanted, failures, fact)
                 WITH RECURSIVE series (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM series WHERE n < 249)
                 SELECT 'b' || n, service, CASE WHEN n < 20 THEN 'open' ELSE 'o1' END, '{}', FALSE, 0, '{}'
                 FROM operation, series WHERE operation.id = 'open'",
            )
            .await;
            execute(
                store,
                "INSERT INTO revision (service, number, created_at, config, build)
                 SELECT id, 1, 1, config, 'b30' FROM service",
            )
            .await;
            execute(
                store,
                "INSERT INTO slot (id, service, revision, epoch, counter, wish, gone_at, fact_at, ever_healthy, created_at)
                 WITH RECURSIVE series (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM series WHERE n < 249)
                 SELECT 's' || n, 'no longer there', 1, 1, 1, '{}', CASE WHEN n < 240 THEN n % 3 ELSE 1000 END, 1, TRUE, 1
                 FROM series",
            )
            .await;
            let present = [InstanceId::new("s7"), InstanceId::new("s239")];
            let now = Timestamp(limits::GONE_SLOT_KEPT_MS + 500);
            assert_eq!(store.purge(now, &present).await.unwrap(), Purged::default());
            // The last 200, and the open one.
            assert_eq!(count(store, "operation").await, limits::OPERATIONS_KEPT as i64 + 1);
            let page = store.operation_list(&service.id, None, 1).await.unwrap();
            assert_eq!(page.operations[0].id.as_str(), "o449");
            assert_eq!(count(store, "build").await, 21);
            assert_eq!(count(store, "slot").await, 12);

            store
                .service_act(&service.id, |row| {
                    row.state = State::Deleted;
                    row.deleted_at = Some(WallTime(3));
                    row.purge_at = Some(Timestamp(4));
                    Ok::<_, ()>(())
                })
                .await
                .unwrap();
            assert_eq!(store.purge(Timestamp(4), &present).await.unwrap().services, [service.id]);
            for table in ["service", "operation", "build", "revision"] {
                assert_eq!(count(store, table).await, 0, "{table}");
            }
        }
    }

    /// What an operation asked for that failed may be asked for again, whatever came after it. A row that cannot be
    /// read hides nothing that others name, and what its text names is kept too.
    #[tokio::test]
    async fn content_is_named_by_what_may_be_repeated_and_by_rows_that_cannot_be_read() {
        let both = both("content").await;
        for store in &both.stores {
            let digest = |letter: &str| Digest::new(format!("sha256:{}", letter.repeat(64)));
            let asked = |letter: &str| {
                let code = CodeInput {
                    repository_url: format!("{UPLOAD_PREFIX}{}", digest(letter)),
                    branch: String::new(),
                    source_directory: None,
                    configuration: None,
                };
                let source = SourceInput { code: Some(code), ..SourceInput::default() };
                Asked::Update(Box::new(ServiceInput { source: Some(source), ..ServiceInput::default() }))
            };
            let named = async || store.content_list().await.unwrap().into_iter().collect::<Vec<_>>();
            let service = fixture::service("web", fixture::image_config("registry.test/web:1"));
            let id = OperationId::new("first");
            let kind = OperationKind::UpdateService;
            let mut first = Operation::pending(id, service.id.clone(), kind, WallTime(1));
            first.asked = Some(asked("a"));
            store.service_create(&service, &first, 10).await.unwrap();
            execute(store, "UPDATE operation SET status = 'failed', ended_at = 2").await;
            let later = format!(
                "INSERT INTO operation (id, service, kind, status, step, created_at, ended_at, updated_at, asked)
                 SELECT 'later', service, kind, 'succeeded', step, 1, 2, 2, '{}' FROM operation",
                crate::rows::json(&asked("b"))
            );
            execute(store, sqlx::AssertSqlSafe(later)).await;
            let shown =
                async || store.operation_get(&OperationId::new("first")).await.unwrap().unwrap().asked;
            store.operation_uploads_forget(WallTime(2)).await.unwrap();
            assert_eq!(named().await, [digest("a")]);
            assert_eq!(shown().await, Some(asked("a")));
            store.operation_uploads_forget(WallTime(3)).await.unwrap();
            assert_eq!((named().await, shown().await), (vec![], None));

            for (letter, damage) in [
                (
                    "c",
                    "INSERT INTO revision (service, number, created_at, config) SELECT id, 1, 1, '$' FROM service",
                ),
                (
                    "d",
                    "INSERT INTO build (id, service, operation, wish, wanted, failures, fact)
                     SELECT 'b', id, 'first', '{}', FALSE, 0, '$' FROM service",
                ),
                ("e", "UPDATE operation SET asked = '$' WHERE id = 'first'"),
                ("f", "UPDATE service SET config = '$'"),
            ] {
                let text = format!(r#"{{"half":"{UPLOAD_PREFIX}{}, sha256:ab"}}"#, digest(letter));
                execute(store, sqlx::AssertSqlSafe(damage.replace('$', &text))).await;
                assert!(named().await.contains(&digest(letter)), "{letter}");
            }
            assert_eq!(named().await, ["c", "d", "e", "f"].map(digest));
        }
    }

    /// Every change to a service or a slot of it is read once, whoever made it.
    #[tokio::test]
    async fn what_changed_is_read_on_from_where_it_was_read() {
        let both = both("changed").await;
        for store in &both.stores {
            let none = store.service_routes_changed(None).await.unwrap();
            assert!(none.rows.is_empty());
            let mut seen = none.seen;
            let mut services = Vec::new();
            for name in ["one", "two"] {
                let mut service = fixture::service(name, fixture::image_config("registry.test/web:1"));
                service.id = ServiceId::new(name);
                service.url_label = name.to_owned();
                let id = OperationId::new(name);
                let kind = OperationKind::CreateService;
                let open = Operation::pending(id, service.id.clone(), kind, WallTime(1));
                store.service_create(&service, &open, 10).await.unwrap();
                services.push(service);
            }
            let slot = fixture::slot(&services[1], 1, 1);
            let mut changed = async |expect: &[&str]| {
                let read = store.service_routes_changed(Some(seen)).await.unwrap();
                seen = read.seen;
                let ids: Vec<_> = read.rows.iter().map(|row| row.service.id.as_str().to_owned()).collect();
                assert_eq!(ids, expect);
                assert!(store.service_routes_changed(Some(seen)).await.unwrap().rows.is_empty());
                read.rows
            };
            changed(&["one", "two"]).await;
            store.service_routed_put(&[(services[0].id.clone(), 9)]).await.unwrap();
            assert_eq!(changed(&["one"]).await[0].routed_version, 9);
            let mut tx = store.write().await.unwrap();
            crate::slot::insert(&mut tx, &slot).await.unwrap();
            tx.commit().await.unwrap();
            assert_eq!(changed(&["two"]).await[0].slots, std::slice::from_ref(&slot));
            let change = apron_model::reconcile::change(&slot, Some(fixture::healthy(&slot)));
            store.slot_facts_put(&[change], Timestamp(2), WallTime(2)).await.unwrap();
            assert!(changed(&["two"]).await[0].slots[0].fact.is_some());
            // Dropped without commit it is no change.
            let mut tx = store.write().await.unwrap();
            crate::slot::wish_put(&mut tx, &slot.id, apron_model::reconcile::SlotWish::Stop).await.unwrap();
            drop(tx);
            changed(&[]).await;
            let mut tx = store.write().await.unwrap();
            crate::slot::wish_put(&mut tx, &slot.id, apron_model::reconcile::SlotWish::Stop).await.unwrap();
            tx.commit().await.unwrap();
            changed(&["two"]).await;
            let gone = apron_model::reconcile::gone(&slot, Timestamp(3));
            store.slot_gone(&[gone], Timestamp(3), WallTime(3)).await.unwrap();
            assert_eq!(changed(&["two"]).await[0].slots, []);
            store
                .service_act(&services[1].id, |row| {
                    row.state = State::Deleted;
                    row.deleted_at = Some(WallTime(3));
                    row.purge_at = Some(Timestamp(4));
                    Ok::<_, ()>(())
                })
                .await
                .unwrap();
            assert!(changed(&["two"]).await[0].service.deleted_at.is_some());
            // The row with the highest number is gone, and the next change is found all the same.
            store.purge(Timestamp(4), &[]).await.unwrap();
            store.service_routed_put(&[(services[0].id.clone(), 10)]).await.unwrap();
            changed(&["one"]).await;
        }
    }
}
