//! Access keys: who may call the API.

use crate::error::StoreError;
use crate::open::Store;
use crate::rows::{Columns, Connection, Row, int, word};
use crate::sql::{query, query_scalar};
use apron_model::access::Rights;
use apron_model::time::WallTime;
use std::fmt;

#[derive(Clone, PartialEq, Eq)]
pub struct AccessKey {
    pub id: String,
    /// Signatures are checked with it, so it cannot be kept as a hash only.
    pub secret: String,
    /// No two keys have the same.
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
        let row = query("SELECT * FROM access_key WHERE id = $1").bind(id).fetch_optional(&mut tx).await?;
        row.as_ref().map(access_key).transpose()
    }

    /// Every key, oldest first; creation bounds their number.
    pub async fn access_key_list(&self) -> Result<Vec<AccessKey>, StoreError> {
        let mut tx = self.read().await?;
        let rows = query("SELECT * FROM access_key ORDER BY created_at, id").fetch_all(&mut tx).await?;
        rows.iter().map(access_key).collect()
    }

    /// Adds a key. False when there are `keys_max` of them already.
    ///
    /// # Errors
    /// `Conflict::NameTaken` when another key has its name.
    pub async fn access_key_create(&self, key: &AccessKey, keys_max: usize) -> Result<bool, StoreError> {
        let mut tx = self.write().await?;
        let keys: i64 = query_scalar("SELECT COUNT(*) FROM access_key").fetch_one(&mut tx).await?;
        if keys >= int(keys_max as u64) {
            return Ok(false);
        }
        insert(&mut tx, key).await?;
        tx.commit().await?;
        Ok(true)
    }

    /// Makes the key exist as given; another one of its name goes. One that is there keeps its age.
    pub async fn access_key_put(&self, key: &AccessKey) -> Result<(), StoreError> {
        let mut tx = self.write().await?;
        query("DELETE FROM access_key WHERE name = $1 AND id <> $2")
            .bind(&key.name)
            .bind(&key.id)
            .execute(&mut tx)
            .await?;
        let changed = query("UPDATE access_key SET secret = $2, name = $3, rights = $4 WHERE id = $1")
            .bind(&key.id)
            .bind(&key.secret)
            .bind(&key.name)
            .bind(word(&key.rights))
            .execute(&mut tx)
            .await?;
        if changed.rows_affected() == 0 {
            insert(&mut tx, key).await?;
        }
        tx.commit().await?;
        Ok(())
    }

    /// Forgets a key: from now on nobody has it. None when there is none of this id.
    pub async fn access_key_delete(&self, id: &str) -> Result<Option<AccessKey>, StoreError> {
        let mut tx = self.write().await?;
        let row = query("DELETE FROM access_key WHERE id = $1 RETURNING *")
            .bind(id)
            .fetch_optional(&mut tx)
            .await?;
        let deleted = row.as_ref().map(access_key).transpose()?;
        tx.commit().await?;
        Ok(deleted)
    }
}

async fn insert(connection: &mut Connection, key: &AccessKey) -> Result<(), StoreError> {
    query("INSERT INTO access_key (id, secret, name, rights, created_at) VALUES ($1, $2, $3, $4, $5)")
        .bind(&key.id)
        .bind(&key.secret)
        .bind(&key.name)
        .bind(word(&key.rights))
        .bind(int(key.created_at.0))
        .execute(connection)
        .await?;
    Ok(())
}

fn access_key(row: &Row) -> Result<AccessKey, StoreError> {
    let columns = Columns { table: "access_key", row };
    Ok(AccessKey {
        id: columns.get("id")?,
        secret: columns.get("secret")?,
        name: columns.get("name")?,
        rights: columns.word("rights")?,
        created_at: columns.wall("created_at")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Conflict;
    use crate::rows::both;

    fn key(id: &str, name: &str, at: u64) -> AccessKey {
        AccessKey {
            id: id.to_owned(),
            secret: format!("secret of {id}"),
            name: name.to_owned(),
            rights: Rights::ReadOnly,
            created_at: WallTime(at),
        }
    }

    #[tokio::test]
    async fn keys_come_and_go_with_names_of_their_own() {
        for store in both("key").await.stores.iter() {
            let root = AccessKey { rights: Rights::Admin, ..key("A", "root", 1) };
            store.access_key_put(&root).await.unwrap();
            assert!(store.access_key_create(&key("B", "ci", 2), 3).await.unwrap());
            let taken = store.access_key_create(&key("C", "ci", 3), 3).await;
            assert!(matches!(taken, Err(StoreError::Conflict(Conflict::NameTaken))), "{taken:?}");
            let taken = store.access_key_create(&key("A", "other", 3), 3).await;
            assert!(matches!(taken, Err(StoreError::Conflict(Conflict::Exists))), "{taken:?}");
            assert!(store.access_key_create(&key("C", "c", 3), 3).await.unwrap());
            assert!(!store.access_key_create(&key("D", "d", 4), 3).await.unwrap(), "there are three");
            let all = store.access_key_list().await.unwrap();
            assert_eq!(all, [root, key("B", "ci", 2), key("C", "c", 3)]);

            assert_eq!(store.access_key_delete("B").await.unwrap(), Some(key("B", "ci", 2)));
            assert_eq!(store.access_key_delete("B").await.unwrap(), None);
            assert_eq!(store.access_key_get("B").await.unwrap(), None);
            assert!(store.access_key_create(&key("E", "ci", 5), 3).await.unwrap(), "name and place are free");
        }
    }

    #[tokio::test]
    async fn a_new_root_key_takes_the_place_of_the_old_one() {
        for store in both("key").await.stores.iter() {
            store.access_key_put(&key("A", "root", 1)).await.unwrap();
            store.access_key_create(&key("B", "ci", 2), 9).await.unwrap();
            store.access_key_put(&key("C", "root", 3)).await.unwrap();
            assert_eq!(store.access_key_list().await.unwrap(), [key("B", "ci", 2), key("C", "root", 3)]);
            // Somebody wrote a key of this platform into its credentials file.
            store.access_key_put(&key("B", "root", 4)).await.unwrap();
            assert_eq!(store.access_key_list().await.unwrap(), [key("B", "root", 2)]);
        }
    }
}
