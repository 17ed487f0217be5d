//! What services used, added up by day, from what meters hand on.
//!
//! With the sums stands the number of the batch that was added last, so that each is added once, whatever is asked again.

use crate::error::StoreError;
use crate::meta;
use crate::open::Store;
use crate::rows::{Columns, Connection, Tx, int};
use crate::sql::{query, query_scalar};
use apron_model::ids::{BuildId, InstanceId, ServiceId};
use apron_model::limits;
use apron_model::meter::{Handed, Row, Taken};
use apron_model::operation::BuildFact;
use apron_model::price::Usage;
use apron_model::time::WallTime;
use std::ops::RangeInclusive;

/// Adds these rows to those that are there; one text that is known at compile time.
macro_rules! concat_add {
    ($($rows:expr),+) => {
        concat!(
            "INSERT INTO usage (service, instance, day, active_unit_ms, provisioned_mib_ms, asleep_mib_ms, short_unit_ms, build_ms) ",
            $($rows),+,
            " ON CONFLICT (service, instance, day) DO UPDATE SET
                active_unit_ms = usage.active_unit_ms + excluded.active_unit_ms,
                provisioned_mib_ms = usage.provisioned_mib_ms + excluded.provisioned_mib_ms,
                asleep_mib_ms = usage.asleep_mib_ms + excluded.asleep_mib_ms,
                short_unit_ms = usage.short_unit_ms + excluded.short_unit_ms,
                build_ms = usage.build_ms + excluded.build_ms"
        )
    };
}

/// The sums of rows, by the names of their columns.
macro_rules! sums {
    () => {
        "CAST(SUM(active_unit_ms) AS BIGINT) AS active_unit_ms,
         CAST(SUM(provisioned_mib_ms) AS BIGINT) AS provisioned_mib_ms,
         CAST(SUM(asleep_mib_ms) AS BIGINT) AS asleep_mib_ms,
         CAST(SUM(short_unit_ms) AS BIGINT) AS short_unit_ms,
         CAST(SUM(build_ms) AS BIGINT) AS build_ms"
    };
}

/// Adds rows to those of all instances, under this service.
macro_rules! concat_fold {
    ($service:literal, $rows:literal) => {
        concat_add!(
            "SELECT ",
            $service,
            ", '', day, ",
            sums!(),
            " FROM usage ",
            $rows,
            " GROUP BY service, day"
        )
    };
}

/// Of whom rows are whose service is forgotten: this, and the region.
pub const FORGOTTEN: &str = "deleted:";

/// What one service, or one instance of it, used on a day.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsageRow {
    /// Begins with `FORGOTTEN`: of services that are.
    pub service: ServiceId,
    /// Empty: all instances.
    pub instance: InstanceId,
    /// Days since 1970, UTC.
    pub day: u32,
    pub usage: Usage,
    /// Milliseconds of building.
    pub build_ms: u64,
}

impl Store {
    /// The batch that was added last.
    pub async fn usage_taken(&self) -> Result<Option<Taken>, StoreError> {
        taken(&mut *self.read().await?).await
    }

    /// Adds a batch, unless that was done.
    pub async fn usage_add(&self, handed: &Handed) -> Result<(), StoreError> {
        let mut tx = self.write().await?;
        let before = taken(&mut tx).await?;
        if before.is_some_and(|t| t.meter == handed.meter && t.number >= handed.batch.number) {
            return Ok(());
        }
        for Row { service, instance, day, usage } in &handed.batch.rows {
            add(&mut tx, (service.as_str(), instance.as_str(), *day), *usage, 0).await?;
        }
        meta::put(&mut tx, "meter", &format!("{} {}", handed.batch.number, handed.meter)).await?;
        tx.commit().await?;
        Ok(())
    }

    /// Records how a try of a build ended, if the build is still wanted, and, in any case, how long it built.
    pub async fn build_end(
        &self,
        id: &BuildId,
        fact: &BuildFact,
        build_ms: u64,
        now: WallTime,
    ) -> Result<(), StoreError> {
        let mut tx = self.write().await?;
        crate::build::fact_put(&mut tx, id, fact).await?;
        add_build(&mut tx, id, build_ms, now).await?;
        tx.commit().await?;
        Ok(())
    }

    /// Records how long a build took that nobody wants any more.
    pub async fn build_called_off(
        &self,
        id: &BuildId,
        build_ms: u64,
        now: WallTime,
    ) -> Result<(), StoreError> {
        let mut tx = self.write().await?;
        add_build(&mut tx, id, build_ms, now).await?;
        tx.commit().await?;
        Ok(())
    }

    /// Of a service, on which days its instances used what. Those that are counted as one have no id.
    pub async fn usage_of(
        &self,
        service: &ServiceId,
        days: RangeInclusive<u32>,
    ) -> Result<Vec<UsageRow>, StoreError> {
        let rows =
            query("SELECT * FROM usage WHERE service = $1 AND day BETWEEN $2 AND $3 ORDER BY day, instance")
                .bind(service.as_str())
                .bind(i64::from(*days.start()))
                .bind(i64::from(*days.end()))
                .fetch_all(&mut *self.read().await?)
                .await?;
        rows.iter().map(|row| read(&Columns { table: "usage", row })).collect()
    }

    /// What each service of a region used in these days together, in the order of their ids, behind this one. `day` is the first.
    pub async fn usage_list(
        &self,
        region: &str,
        days: RangeInclusive<u32>,
        after: Option<&ServiceId>,
        limit: u32,
    ) -> Result<Vec<UsageRow>, StoreError> {
        let rows = query(concat!(
            "SELECT usage.service, '' AS instance, MIN(day) AS day, ",
            sums!(),
            " FROM usage LEFT JOIN service ON service.id = usage.service
             WHERE day BETWEEN $1 AND $2 AND usage.service > $3
                 AND (service.region = $4 OR usage.service = $5)
             GROUP BY usage.service ORDER BY usage.service LIMIT $6",
        ))
        .bind(i64::from(*days.start()))
        .bind(i64::from(*days.end()))
        .bind(after.map_or("", ServiceId::as_str))
        .bind(region)
        .bind(format!("{FORGOTTEN}{region}"))
        .bind(i64::from(limit))
        .fetch_all(&mut *self.read().await?)
        .await?;
        rows.iter().map(|row| read(&Columns { table: "usage", row })).collect()
    }

    /// Counts the instances of old days as one, and forgets days that are older still: a day at a time, so that others come
    /// between.
    pub async fn usage_fold(&self, now: WallTime) -> Result<(), StoreError> {
        let before = |kept: u32| i64::from(now.day().saturating_sub(kept));
        let oldest = "SELECT MIN(day) FROM usage WHERE day < $1";
        while let Some(day) = self.usage_day(oldest, before(limits::USAGE_DAYS_KEPT)).await? {
            let mut tx = self.write().await?;
            query("DELETE FROM usage WHERE day = $1").bind(day).execute(&mut tx).await?;
            tx.commit().await?;
        }
        let oldest = "SELECT MIN(day) FROM usage WHERE day < $1 AND instance <> ''";
        while let Some(day) = self.usage_day(oldest, before(limits::USAGE_INSTANCE_DAYS_KEPT)).await? {
            let mut tx = self.write().await?;
            query(concat_fold!("service", "WHERE day = $1 AND instance <> ''"))
                .bind(day)
                .execute(&mut tx)
                .await?;
            query("DELETE FROM usage WHERE day = $1 AND instance <> ''").bind(day).execute(&mut tx).await?;
            tx.commit().await?;
        }
        Ok(())
    }

    async fn usage_day(&self, oldest: &'static str, before: i64) -> Result<Option<i64>, StoreError> {
        let day = query_scalar::<Option<i64>>(oldest).bind(before);
        Ok(day.fetch_one(&mut *self.read().await?).await?)
    }
}

/// What a service used that is being forgotten stays in the sums of its region.
pub(crate) async fn forget_service(tx: &mut Tx, service: &str) -> Result<(), StoreError> {
    query(concat_fold!("'deleted:' || (SELECT region FROM service WHERE id = $1)", "WHERE service = $1"))
        .bind(service)
        .execute(tx)
        .await?;
    query("DELETE FROM usage WHERE service = $1").bind(service).execute(tx).await?;
    Ok(())
}

async fn add_build(tx: &mut Tx, id: &BuildId, build_ms: u64, now: WallTime) -> Result<(), StoreError> {
    let service = query_scalar::<String>("SELECT service FROM build WHERE id = $1").bind(id.as_str());
    match service.fetch_optional(&mut *tx).await? {
        Some(service) if build_ms > 0 => add(tx, (&service, "", now.day()), Usage::default(), build_ms).await,
        _ => Ok(()),
    }
}

async fn add(
    tx: &mut Tx,
    (service, instance, day): (&str, &str, u32),
    usage: Usage,
    build_ms: u64,
) -> Result<(), StoreError> {
    let Usage { active_unit_ms, provisioned_mib_ms, asleep_mib_ms, short_unit_ms } = usage;
    query(concat_add!("VALUES ($1, $2, $3, $4, $5, $6, $7, $8)"))
        .bind(service)
        .bind(instance)
        .bind(i64::from(day))
        .bind(int(active_unit_ms))
        .bind(int(provisioned_mib_ms))
        .bind(int(asleep_mib_ms))
        .bind(int(short_unit_ms))
        .bind(int(build_ms))
        .execute(tx)
        .await?;
    Ok(())
}

fn read(columns: &Columns<'_>) -> Result<UsageRow, StoreError> {
    Ok(UsageRow {
        service: ServiceId::new(columns.get::<String>("service")?),
        instance: InstanceId::new(columns.get::<String>("instance")?),
        day: columns.small("day")?,
        usage: Usage {
            active_unit_ms: columns.count("active_unit_ms")?,
            provisioned_mib_ms: columns.count("provisioned_mib_ms")?,
            asleep_mib_ms: columns.count("asleep_mib_ms")?,
            short_unit_ms: columns.count("short_unit_ms")?,
        },
        build_ms: columns.count("build_ms")?,
    })
}

async fn taken(connection: &mut Connection) -> Result<Option<Taken>, StoreError> {
    let Some(text) = meta::text(connection, "meter").await? else { return Ok(None) };
    let parts = text.split_once(' ').and_then(|(number, meter)| Some((number.parse().ok()?, meter)));
    let (number, meter) = parts.ok_or_else(|| StoreError::Corrupt {
        table: "meta",
        column: "meter",
        reason: format!("no number and meter: '{text}'"),
    })?;
    Ok(Some(Taken { meter: meter.to_owned(), number }))
}
