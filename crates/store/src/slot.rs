//! Slots: wished instances, what was last seen of them, and how far their output was read.

use crate::error::StoreError;
use crate::line;
use crate::open::Store;
use crate::rows::{Columns, Connection, Row, Tx, int, json};
use crate::sql::{query, query_scalar};
use crate::{operation as operation_row, revision, service};
use apron_model::draw::Draw;
use apron_model::ids::{Generation, InstanceId, ServiceId};
use apron_model::instance::Health;
use apron_model::operation::{self, Line, Mending};
use apron_model::reconcile::{FactChange, Leaving, Slot, SlotWish};
use apron_model::service::Service;
use apron_model::time::{Timestamp, WallTime};
use std::collections::{BTreeMap, BTreeSet};

/// Slots, and those whose rows cannot be read. Of the latter nothing is known but the id, so what they stand for is to
/// be left alone.
#[derive(Debug, Default)]
pub struct SlotsRead {
    pub slots: Vec<Slot>,
    pub unreadable: Vec<(InstanceId, StoreError)>,
}

impl SlotsRead {
    fn add(&mut self, row: &Row) {
        match slot(row) {
            Ok(slot) => self.slots.push(slot),
            Err(error) => {
                let id = Columns { table: "slot", row }.get::<String>("id").unwrap_or_default();
                self.unreadable.push((InstanceId::new(id), error));
            }
        }
    }
}

impl Store {
    /// The slots of a service that are not gone.
    pub async fn slot_list(&self, service: &ServiceId) -> Result<Vec<Slot>, StoreError> {
        list(&mut *self.read().await?, service).await
    }

    /// Every slot that is not gone, and of the others those whose containers a driver still has. What one row says
    /// wrongly keeps no other from being read.
    pub async fn slot_list_all(&self, present: &[InstanceId]) -> Result<SlotsRead, StoreError> {
        let mut tx = self.read().await?;
        let mut read = SlotsRead::default();
        let rows = query("SELECT * FROM slot WHERE gone_at IS NULL").fetch_all(&mut tx).await?;
        rows.iter().for_each(|row| read.add(row));
        let unreadable = read.unreadable.iter().map(|(id, _)| id);
        let known: BTreeSet<InstanceId> =
            read.slots.iter().map(|slot| &slot.id).chain(unreadable).cloned().collect();
        // Containers whose slots are gone are few, and soon none.
        for id in present.iter().filter(|id| !known.contains(id)) {
            let row =
                query("SELECT * FROM slot WHERE id = $1").bind(id.as_str()).fetch_optional(&mut tx).await?;
            row.iter().for_each(|row| read.add(row));
        }
        read.slots.sort_by(|one, other| one.id.cmp(&other.id));
        Ok(read)
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
            query("UPDATE slot SET fact = $2, fact_at = $3, ever_healthy = ever_healthy OR $4 WHERE id = $1")
                .bind(id.as_str())
                .bind(fact.as_ref().map(json))
                .bind(int(now.0))
                .bind(healthy)
                .execute(&mut tx)
                .await?;
            tx.changes(service.as_str());
            tell(&mut tx, service.as_str(), event, wall).await?;
        }
        tx.commit().await?;
        Ok(())
    }

    /// A drained slot may stop, and its owner is told. Changes nothing if the slot's wish is another by now.
    pub async fn slot_stop(&self, drained: &[Leaving], wall: WallTime) -> Result<(), StoreError> {
        let mut tx = self.write().await?;
        for Leaving { id, event } in drained {
            let row = query("SELECT service, wish FROM slot WHERE id = $1")
                .bind(id.as_str())
                .fetch_optional(&mut tx)
                .await?;
            let Some(row) = row else { continue };
            let columns = Columns { table: "slot", row: &row };
            match columns.json("wish") {
                Ok(SlotWish::Drain { .. }) => {
                    wish_put(&mut tx, id, SlotWish::Stop).await?;
                    tell(&mut tx, &columns.get::<String>("service")?, event, wall).await?;
                }
                // One that cannot be read is said by whoever lists it, and holds up no other.
                Ok(SlotWish::Run | SlotWish::Beside | SlotWish::Stop | SlotWish::Gone) | Err(_) => {}
            }
        }
        tx.commit().await?;
        Ok(())
    }

    /// Writes what is to become of the slots of a service between operations, as its rows are now; `scale` is how many
    /// its load needs, where that was just seen. True if that is anything.
    pub async fn slot_mend(
        &self,
        service: &ServiceId,
        scale: Option<u32>,
        draw: &mut Draw,
    ) -> Result<bool, StoreError> {
        // Mostly there is nothing to write; that is found without holding up the writer.
        if mending(&mut *self.read().await?, service, scale, &mut draw.clone()).await?.is_empty() {
            return Ok(false);
        }
        let mut tx = self.write().await?;
        let mending = mending(&mut tx, service, scale, draw).await?;
        if let Some(wanted) = mending.wanted {
            query("UPDATE service SET wanted = $2 WHERE id = $1")
                .bind(service.as_str())
                .bind(i64::from(wanted))
                .execute(&mut tx)
                .await?;
            tx.changes(service.as_str());
        }
        for (id, wish) in &mending.wishes {
            wish_put(&mut tx, id, *wish).await?;
        }
        for slot in &mending.slots {
            insert(&mut tx, slot).await?;
        }
        for event in &mending.events {
            tell(&mut tx, service.as_str(), &Some(event.clone()), draw.wall).await?;
        }
        tx.commit().await?;
        Ok(!mending.is_empty())
    }

    /// Nothing is left of these slots, none of which is wished to run, and their owners are told.
    pub async fn slot_gone(
        &self,
        gone: &[Leaving],
        now: Timestamp,
        wall: WallTime,
    ) -> Result<(), StoreError> {
        let mut tx = self.write().await?;
        for Leaving { id, event } in gone {
            let gone = query_scalar::<String>(
                "UPDATE slot SET wish = $2, gone_at = $3, fact = NULL, fact_at = $3
                 WHERE id = $1 AND gone_at IS NULL AND wish <> $4 AND wish <> $5 RETURNING service",
            )
            .bind(id.as_str())
            .bind(json(&SlotWish::Gone))
            .bind(int(now.0))
            .bind(json(&SlotWish::Run))
            .bind(json(&SlotWish::Beside));
            if let Some(service) = gone.fetch_optional(&mut tx).await? {
                tx.changes(&service);
                tell(&mut tx, &service, event, wall).await?;
            }
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
        let raised = query_scalar::<String>(
            "UPDATE slot SET epoch = $2, counter = $3 WHERE id = $1 RETURNING service",
        )
        .bind(id.as_str())
        .bind(int(generation.epoch))
        .bind(int(generation.counter));
        if let Some(service) = raised.fetch_optional(&mut tx).await? {
            tx.changes(&service);
        }
        tx.commit().await?;
        Ok(())
    }

    /// The service of an instance and from where its output is to be read on. None: no such slot.
    pub async fn slot_output_get(&self, id: &InstanceId) -> Result<Option<(ServiceId, u64)>, StoreError> {
        let mut tx = self.read().await?;
        let row = query("SELECT service, output_next FROM slot WHERE id = $1")
            .bind(id.as_str())
            .fetch_optional(&mut tx)
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
            query("UPDATE slot SET output_next = $2 WHERE id = $1")
                .bind(id.as_str())
                .bind(int(*next))
                .execute(&mut tx)
                .await?;
        }
        tx.commit().await?;
        Ok(())
    }
}

async fn mending(
    tx: &mut Connection,
    service: &ServiceId,
    scale: Option<u32>,
    draw: &mut Draw,
) -> Result<Mending, StoreError> {
    let Some(row) = service::get(tx, service).await? else { return Ok(Mending::default()) };
    let Some(active) = row.active else { return Ok(Mending::default()) };
    let Some(active) = revision::get(tx, service, active).await? else { return Ok(Mending::default()) };
    let step = match &row.operation {
        None => None,
        Some(id) => match operation_row::get(tx, id).await? {
            Some((open, _)) => Some(open.step),
            None => return Ok(Mending::default()),
        },
    };
    Ok(operation::mend(&row, &active, &list(tx, service).await?, step.as_ref(), scale, draw))
}

/// A line for the events of a service.
async fn tell(tx: &mut Tx, service: &str, event: &Option<String>, wall: WallTime) -> Result<(), StoreError> {
    match event {
        Some(text) => {
            line::append(tx, &ServiceId::new(service), None, wall, &Line::Event(text.clone())).await
        }
        None => Ok(()),
    }
}

fn slot(row: &Row) -> Result<Slot, StoreError> {
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

/// The instances of a service are to be told anew what they are: each gets its next generation.
pub(crate) async fn renew(tx: &mut Tx, service: &ServiceId) -> Result<(), StoreError> {
    query("UPDATE slot SET counter = counter + 1 WHERE service = $1 AND gone_at IS NULL")
        .bind(service.as_str())
        .execute(&mut *tx)
        .await?;
    tx.changes(service.as_str());
    Ok(())
}

pub(crate) async fn list(tx: &mut Connection, service: &ServiceId) -> Result<Vec<Slot>, StoreError> {
    let rows = query("SELECT * FROM slot WHERE service = $1 AND gone_at IS NULL ORDER BY revision, id")
        .bind(service.as_str())
        .fetch_all(tx)
        .await?;
    rows.iter().map(slot).collect()
}

/// All that are not gone, by their services. A service with one that cannot be read has the error.
pub(crate) async fn list_by_service(
    tx: &mut Connection,
) -> Result<BTreeMap<ServiceId, Result<Vec<Slot>, StoreError>>, StoreError> {
    let rows = query("SELECT * FROM slot WHERE gone_at IS NULL ORDER BY id").fetch_all(tx).await?;
    let mut slots = BTreeMap::new();
    for row in &rows {
        let service = ServiceId::new(Columns { table: "slot", row }.get::<String>("service")?);
        let of_service = slots.entry(service).or_insert_with(|| Ok(Vec::new()));
        match (of_service, slot(row)) {
            (Ok(list), Ok(one)) => list.push(one),
            (list @ Ok(_), Err(error)) => *list = Err(error),
            (Err(_), _) => {}
        }
    }
    Ok(slots)
}

/// What becomes of the instances of a service whose operation was given up, also of those whose wish is unreadable.
pub(crate) async fn leave_behind(tx: &mut Tx, service: &Service, draw: &Draw) -> Result<(), StoreError> {
    let rows = query("SELECT id, revision, wish FROM slot WHERE service = $1 AND gone_at IS NULL")
        .bind(service.id.as_str())
        .fetch_all(&mut *tx)
        .await?;
    for row in &rows {
        let columns = Columns { table: "slot", row };
        let id = InstanceId::new(columns.get::<String>("id")?);
        let wish = columns.json("wish").ok();
        if let Some(wish) = operation::left_behind(service, columns.small("revision")?, wish, draw) {
            wish_put(tx, &id, wish).await?;
        }
    }
    Ok(())
}

pub(crate) async fn insert(tx: &mut Tx, slot: &Slot) -> Result<(), StoreError> {
    query(
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
    .execute(&mut *tx)
    .await?;
    tx.changes(slot.service.as_str());
    Ok(())
}

pub(crate) async fn wish_put(tx: &mut Tx, id: &InstanceId, wish: SlotWish) -> Result<(), StoreError> {
    let put = query_scalar::<String>(
        "UPDATE slot SET wish = $2 WHERE id = $1 AND gone_at IS NULL RETURNING service",
    )
    .bind(id.as_str())
    .bind(json(&wish));
    if let Some(service) = put.fetch_optional(tx).await? {
        tx.changes(&service);
    }
    Ok(())
}
