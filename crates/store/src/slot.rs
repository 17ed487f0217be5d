//! Slots: wished instances, what was last seen of them, and how far their output was read.

use crate::error::StoreError;
use crate::line;
use crate::open::Store;
use crate::rows::{Columns, int, json};
use apron_model::ids::{Generation, InstanceId, ServiceId};
use apron_model::instance::Health;
use apron_model::operation::Line;
use apron_model::reconcile::{FactChange, Slot, SlotWish};
use apron_model::time::{Timestamp, WallTime};
use sqlx::sqlite::SqliteRow;
use sqlx::{Sqlite, Transaction};

impl Store {
    /// The slots of a service that are not gone.
    pub async fn slot_list(&self, service: &ServiceId) -> Result<Vec<Slot>, StoreError> {
        list(&mut *self.read().await?, service).await
    }

    /// Every slot that is not gone, and of the others those whose containers a driver still has.
    pub async fn slot_list_all(&self, present: &[InstanceId]) -> Result<Vec<Slot>, StoreError> {
        let mut tx = self.read().await?;
        let rows = sqlx::query(
            "SELECT * FROM slot WHERE gone_at IS NULL OR id IN (SELECT value FROM json_each($1)) ORDER BY id",
        )
        .bind(json(&present))
        .fetch_all(&mut *tx)
        .await?;
        rows.iter().map(slot).collect()
    }

    /// Records what was seen of slots, and what their owners are told of it.
    pub async fn slot_facts_put(
        &self,
        changes: &[FactChange],
        now: Timestamp,
        wall: WallTime,
    ) -> Result<(), StoreError> {
        let mut tx = self.write().await?;
        for FactChange { id, service, fact, event } in changes {
            let healthy = fact.as_ref().is_some_and(|fact| fact.health == Health::Healthy);
            sqlx::query(
                "UPDATE slot SET fact = $2, fact_at = $3, ever_healthy = ever_healthy OR $4 WHERE id = $1",
            )
            .bind(id.as_str())
            .bind(fact.as_ref().map(json))
            .bind(int(now.0))
            .bind(healthy)
            .execute(&mut *tx)
            .await?;
            if let Some(event) = event {
                line::append(&mut tx, service, None, wall, &Line::Event(event.clone())).await?;
            }
        }
        tx.commit().await?;
        Ok(())
    }

    /// A drained slot may stop. Changes nothing if the slot's wish is another by now.
    pub async fn slot_stop(&self, ids: &[InstanceId]) -> Result<(), StoreError> {
        let mut tx = self.write().await?;
        for id in ids {
            let stop = json(&SlotWish::Stop);
            sqlx::query("UPDATE slot SET wish = $2 WHERE id = $1 AND json_type(wish, '$.drain') IS NOT NULL")
                .bind(id.as_str())
                .bind(stop)
                .execute(&mut *tx)
                .await?;
        }
        tx.commit().await?;
        Ok(())
    }

    /// Nothing is left of these slots, none of which is wished to run.
    pub async fn slot_gone(&self, ids: &[InstanceId], now: Timestamp) -> Result<(), StoreError> {
        let mut tx = self.write().await?;
        for id in ids {
            sqlx::query("UPDATE slot SET wish = $2, gone_at = $3, fact = NULL, fact_at = $3 WHERE id = $1 AND wish <> $4")
                .bind(id.as_str())
                .bind(json(&SlotWish::Gone))
                .bind(int(now.0))
                .bind(json(&SlotWish::Run))
                .execute(&mut *tx)
                .await?;
        }
        tx.commit().await?;
        Ok(())
    }

    pub async fn slot_generation_put(
        &self,
        id: &InstanceId,
        generation: Generation,
    ) -> Result<(), StoreError> {
        let mut tx = self.write().await?;
        sqlx::query("UPDATE slot SET epoch = $2, counter = $3 WHERE id = $1")
            .bind(id.as_str())
            .bind(int(generation.epoch))
            .bind(int(generation.counter))
            .execute(&mut *tx)
            .await?;
        tx.commit().await?;
        Ok(())
    }

    /// The service of an instance and from where its output is to be read on. None: no such slot.
    pub async fn slot_output_get(&self, id: &InstanceId) -> Result<Option<(ServiceId, u64)>, StoreError> {
        let mut tx = self.read().await?;
        let row = sqlx::query("SELECT service, output_next FROM slot WHERE id = $1")
            .bind(id.as_str())
            .fetch_optional(&mut *tx)
            .await?;
        row.map(|row| {
            let columns = Columns { table: "slot", row: &row };
            Ok((ServiceId::new(columns.get::<String>("service")?), columns.count("output_next")?))
        })
        .transpose()
    }

    /// Records from where to read on.
    pub async fn slot_output_put(&self, offsets: &[(InstanceId, u64)]) -> Result<(), StoreError> {
        let mut tx = self.write().await?;
        for (id, next) in offsets {
            sqlx::query("UPDATE slot SET output_next = $2 WHERE id = $1")
                .bind(id.as_str())
                .bind(int(*next))
                .execute(&mut *tx)
                .await?;
        }
        tx.commit().await?;
        Ok(())
    }
}

fn slot(row: &SqliteRow) -> Result<Slot, StoreError> {
    let columns = Columns { table: "slot", row };
    Ok(Slot {
        id: InstanceId::new(columns.get::<String>("id")?),
        service: ServiceId::new(columns.get::<String>("service")?),
        revision: columns.small("revision")?,
        generation: Generation { epoch: columns.count("epoch")?, counter: columns.count("counter")? },
        wish: columns.json("wish")?,
        fact: columns.json_option("fact")?,
        fact_at: columns.time("fact_at")?,
        ever_healthy: columns.get("ever_healthy")?,
        created_at: columns.time("created_at")?,
    })
}

pub(crate) async fn list(
    tx: &mut sqlx::SqliteConnection,
    service: &ServiceId,
) -> Result<Vec<Slot>, StoreError> {
    let rows = sqlx::query("SELECT * FROM slot WHERE service = $1 AND gone_at IS NULL ORDER BY revision, id")
        .bind(service.as_str())
        .fetch_all(tx)
        .await?;
    rows.iter().map(slot).collect()
}

/// All that are not gone, of every service.
pub(crate) async fn list_present(tx: &mut sqlx::SqliteConnection) -> Result<Vec<Slot>, StoreError> {
    let rows = sqlx::query("SELECT * FROM slot WHERE gone_at IS NULL ORDER BY id").fetch_all(tx).await?;
    rows.iter().map(slot).collect()
}

pub(crate) async fn insert(tx: &mut Transaction<'static, Sqlite>, slot: &Slot) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO slot (id, service, revision, epoch, counter, wish, fact, fact_at, ever_healthy, created_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
    )
    .bind(slot.id.as_str())
    .bind(slot.service.as_str())
    .bind(i64::from(slot.revision))
    .bind(int(slot.generation.epoch))
    .bind(int(slot.generation.counter))
    .bind(json(&slot.wish))
    .bind(slot.fact.as_ref().map(json))
    .bind(int(slot.fact_at.0))
    .bind(slot.ever_healthy)
    .bind(int(slot.created_at.0))
    .execute(&mut **tx)
    .await?;
    Ok(())
}

pub(crate) async fn wish_put(
    tx: &mut Transaction<'static, Sqlite>,
    id: &InstanceId,
    wish: SlotWish,
) -> Result<(), StoreError> {
    sqlx::query("UPDATE slot SET wish = $2 WHERE id = $1 AND gone_at IS NULL")
        .bind(id.as_str())
        .bind(json(&wish))
        .execute(&mut **tx)
        .await?;
    Ok(())
}
