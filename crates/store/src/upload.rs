//! Uploads that are open: how far each has come. The row is the truth about its file: what the file has beyond
//! `size` does not count, so that a part which was cut short is simply sent again.

use crate::error::StoreError;
use crate::open::Store;
use crate::rows::{Columns, Row, int, word};
use crate::sql::{query, query_scalar};
use apron_model::time::Timestamp;
use serde::{Deserialize, Serialize};

/// What an upload becomes when it is complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UploadKind {
    /// A gzip-compressed tar of a source directory.
    Source,
    /// An OCI or docker archive.
    Image,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upload {
    /// 32 lower-case hex digits.
    pub id: String,
    pub kind: UploadKind,
    /// Bytes that have arrived.
    pub size: u64,
    /// When the last of them did.
    pub used_at: Timestamp,
}

impl Store {
    /// Opens an upload. False when `open_max` of them are open already.
    pub async fn upload_create(&self, upload: &Upload, open_max: usize) -> Result<bool, StoreError> {
        let mut tx = self.write().await?;
        let open: i64 = query_scalar("SELECT COUNT(*) FROM upload").fetch_one(&mut tx).await?;
        if open >= int(open_max as u64) {
            return Ok(false);
        }
        query("INSERT INTO upload (id, kind, size, used_at) VALUES ($1, $2, $3, $4)")
            .bind(&upload.id)
            .bind(word(&upload.kind))
            .bind(int(upload.size))
            .bind(int(upload.used_at.0))
            .execute(&mut tx)
            .await?;
        tx.commit().await?;
        Ok(true)
    }

    /// Closes the uploads that were not used since `before`; their files may go.
    pub async fn upload_expire(&self, before: Timestamp) -> Result<Vec<String>, StoreError> {
        let mut tx = self.write().await?;
        let expired = query_scalar("DELETE FROM upload WHERE used_at < $1 RETURNING id")
            .bind(int(before.0))
            .fetch_all(&mut tx)
            .await?;
        tx.commit().await?;
        Ok(expired)
    }

    /// Bytes that have arrived of all open uploads.
    pub async fn upload_bytes(&self) -> Result<u64, StoreError> {
        let mut tx = self.read().await?;
        let bytes: i64 = query_scalar("SELECT CAST(COALESCE(SUM(size), 0) AS BIGINT) FROM upload")
            .fetch_one(&mut tx)
            .await?;
        Ok(u64::try_from(bytes).unwrap_or(0))
    }

    pub async fn upload_get(&self, id: &str) -> Result<Option<Upload>, StoreError> {
        let mut tx = self.read().await?;
        let row = query("SELECT * FROM upload WHERE id = $1").bind(id).fetch_optional(&mut tx).await?;
        row.as_ref().map(upload).transpose()
    }

    /// Records that an upload has grown from one size to another. False when it is not there or not of size
    /// `from`: somebody else was faster, and the caller's bytes do not count.
    pub async fn upload_grow(
        &self,
        id: &str,
        from: u64,
        to: u64,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let mut tx = self.write().await?;
        let done = query("UPDATE upload SET size = $3, used_at = $4 WHERE id = $1 AND size = $2")
            .bind(id)
            .bind(int(from))
            .bind(int(to))
            .bind(int(now.0))
            .execute(&mut tx)
            .await?;
        tx.commit().await?;
        Ok(done.rows_affected() == 1)
    }

    /// Closes an upload and hands it to the caller, who alone may use its file from now on.
    pub async fn upload_take(&self, id: &str) -> Result<Option<Upload>, StoreError> {
        let mut tx = self.write().await?;
        let row =
            query("DELETE FROM upload WHERE id = $1 RETURNING *").bind(id).fetch_optional(&mut tx).await?;
        let taken = row.as_ref().map(upload).transpose()?;
        tx.commit().await?;
        Ok(taken)
    }
}

fn upload(row: &Row) -> Result<Upload, StoreError> {
    let columns = Columns { table: "upload", row };
    Ok(Upload {
        id: columns.get("id")?,
        kind: columns.word("kind")?,
        size: columns.count("size")?,
        used_at: columns.time("used_at")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rows::both;

    fn new(id: &str, at: u64) -> Upload {
        Upload { id: id.into(), kind: UploadKind::Source, size: 0, used_at: Timestamp(at) }
    }

    #[tokio::test]
    async fn uploads_grow_in_order_and_are_taken_once() {
        for store in both("upload").await.stores.iter() {
            assert!(store.upload_create(&new("a", 10), 2).await.unwrap());
            assert!(store.upload_grow("a", 0, 7, Timestamp(11)).await.unwrap());
            assert!(!store.upload_grow("a", 0, 9, Timestamp(12)).await.unwrap(), "it is 7 long by now");
            assert!(!store.upload_grow("b", 0, 1, Timestamp(12)).await.unwrap());
            let expect = Upload { size: 7, used_at: Timestamp(11), ..new("a", 0) };
            assert_eq!(store.upload_get("a").await.unwrap(), Some(expect.clone()));
            assert_eq!(store.upload_take("a").await.unwrap(), Some(expect));
            assert_eq!(store.upload_take("a").await.unwrap(), None);
        }
    }

    #[tokio::test]
    async fn few_are_open_and_idle_ones_expire() {
        for store in both("upload").await.stores.iter() {
            for (id, at) in [("a", 10), ("b", 20)] {
                assert!(store.upload_create(&new(id, at), 2).await.unwrap());
            }
            assert!(!store.upload_create(&new("c", 30), 2).await.unwrap());
            store.upload_grow("b", 0, 7, Timestamp(20)).await.unwrap();
            assert_eq!(store.upload_bytes().await.unwrap(), 7);
            assert_eq!(store.upload_expire(Timestamp(11)).await.unwrap(), ["a"]);
            assert!(store.upload_create(&new("c", 30), 2).await.unwrap());
            assert!(store.upload_get("b").await.unwrap().is_some());
        }
    }
}
