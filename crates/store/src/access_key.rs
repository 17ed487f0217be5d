//! Access keys: who may call the API.

use crate::error::StoreError;
use crate::open::Store;
use crate::rows::{Columns, int, word};
use apron_model::time::WallTime;
use serde::{Deserialize, Serialize};
use std::fmt;

/// What the holder of a key may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rights {
    Root,
}

#[derive(Clone, PartialEq, Eq)]
pub struct AccessKey {
    pub id: String,
    /// Signatures are checked with it, so it cannot be kept as a hash only.
    pub secret: String,
    pub name: String,
    pub rights: Rights,
    pub created_at: WallTime,
}

impl fmt::Debug for AccessKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccessKey").field("id", &self.id).field("name", &self.name).finish_non_exhaustive()
    }
}

impl Store {
    pub async fn access_key_get(&self, id: &str) -> Result<Option<AccessKey>, StoreError> {
        let mut tx = self.read().await?;
        let row =
            sqlx::query("SELECT * FROM access_key WHERE id = $1").bind(id).fetch_optional(&mut *tx).await?;
        row.map(|row| {
            let columns = Columns { table: "access_key", row: &row };
            Ok(AccessKey {
                id: columns.get("id")?,
                secret: columns.get("secret")?,
                name: columns.get("name")?,
                rights: columns.word("rights")?,
                created_at: columns.wall("created_at")?,
            })
        })
        .transpose()
    }

    /// Makes the key exist as given.
    pub async fn access_key_put(&self, key: &AccessKey) -> Result<(), StoreError> {
        let mut tx = self.write().await?;
        sqlx::query(
            "INSERT INTO access_key (id, secret, name, rights, created_at) VALUES ($1, $2, $3, $4, $5)
             ON CONFLICT (id) DO UPDATE SET secret = excluded.secret, name = excluded.name, rights = excluded.rights",
        )
        .bind(&key.id)
        .bind(&key.secret)
        .bind(&key.name)
        .bind(word(&key.rights))
        .bind(int(key.created_at.0))
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(())
    }
}
