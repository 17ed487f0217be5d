//! Single values of the platform: the epoch of generations and the engine's clock.

use crate::error::StoreError;
use crate::open::Store;
use crate::rows::{Connection, Tx};
use crate::sql::{query, query_scalar};
use apron_model::limits::EPOCH_STEP_MAX;
use apron_model::time::Timestamp;

/// Engine time is the boot clock plus `offset_ms`, for the boot it was made in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineClockRow {
    pub boot: String,
    pub offset_ms: u64,
    /// No engine time later than this was ever given out; the next boot begins here.
    pub reserved_until: Timestamp,
}

impl Store {
    /// The epoch that generations carry, or zero before the first start.
    pub async fn epoch_get(&self) -> Result<u64, StoreError> {
        number(&mut *self.read().await?, "epoch").await
    }

    /// Begins an epoch above the stored one and above `seen`, and returns it.
    ///
    /// Fails with `EpochTooFar`, and keeps the stored one, when `seen` is more than `EPOCH_STEP_MAX` above it.
    pub async fn epoch_raise(&self, seen: u64) -> Result<u64, StoreError> {
        let mut tx = self.write().await?;
        let stored = number(&mut tx, "epoch").await?;
        if seen.saturating_sub(stored) > EPOCH_STEP_MAX {
            return Err(StoreError::EpochTooFar { seen, stored });
        }
        // Generations are also kept in columns, whose numbers have a sign.
        let epoch = stored.max(seen).checked_add(1).filter(|epoch| i64::try_from(*epoch).is_ok());
        let epoch = epoch.ok_or_else(|| StoreError::Corrupt {
            table: "meta",
            column: "epoch",
            reason: format!("no epoch is left above {stored}"),
        })?;
        put(&mut tx, "epoch", &epoch.to_string()).await?;
        tx.commit().await?;
        Ok(epoch)
    }

    pub async fn engine_clock_get(&self) -> Result<Option<EngineClockRow>, StoreError> {
        let mut tx = self.read().await?;
        let Some(boot) = text(&mut tx, "clock_boot").await? else { return Ok(None) };
        Ok(Some(EngineClockRow {
            boot,
            offset_ms: number(&mut tx, "clock_offset_ms").await?,
            reserved_until: Timestamp(number(&mut tx, "clock_reserved_until").await?),
        }))
    }

    pub async fn engine_clock_put(&self, row: &EngineClockRow) -> Result<(), StoreError> {
        let mut tx = self.write().await?;
        put(&mut tx, "clock_boot", &row.boot).await?;
        put(&mut tx, "clock_offset_ms", &row.offset_ms.to_string()).await?;
        put(&mut tx, "clock_reserved_until", &row.reserved_until.0.to_string()).await?;
        tx.commit().await?;
        Ok(())
    }
}

pub(crate) async fn text(tx: &mut Connection, key: &str) -> Result<Option<String>, StoreError> {
    Ok(query_scalar("SELECT value FROM meta WHERE key = $1").bind(key).fetch_optional(tx).await?)
}

pub(crate) async fn number(tx: &mut Connection, key: &'static str) -> Result<u64, StoreError> {
    match text(tx, key).await? {
        None => Ok(0),
        Some(text) => text.parse().map_err(|error| StoreError::Corrupt {
            table: "meta",
            column: key,
            reason: format!("{error}: '{text}'"),
        }),
    }
}

pub(crate) async fn put(tx: &mut Tx, key: &str, value: &str) -> Result<(), StoreError> {
    query("INSERT INTO meta (key, value) VALUES ($1, $2) ON CONFLICT (key) DO UPDATE SET value = excluded.value")
        .bind(key)
        .bind(value)
        .execute(tx)
        .await?;
    Ok(())
}
