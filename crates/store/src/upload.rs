//! Uploads that are open: how far each has come. The row is the truth about its file: what the file has beyond
//! `size` does not count, so that a part which was cut short is simply sent again.

use crate::error::StoreError;
use crate::open::Store;
use crate::rows::{Columns, int, word};
use apron_model::time::Timestamp;
use serde::{Deserialize, Serialize};
use sqlx::sqlite::SqliteRow;

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

/// What came of opening an upload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UploadOpened {
    Yes {
        /// Uploads that had expired and are closed now; their files may go.
        expired: Vec<String>,
    },
    /// As many as may be are open already.
    TooMany,
}

impl Store {
    /// Opens an upload, unless `open_max` of them are in use. Those not used since `expired_before` give way.
    pub async fn upload_create(
        &self,
        upload: &Upload,
        open_max: usize,
        expired_before: Timestamp,
    ) -> Result<UploadOpened, StoreError> {
        let mut tx = self.write().await?;
        let expired: Vec<String> = sqlx::query_scalar("DELETE FROM upload WHERE used_at < $1 RETURNING id")
            .bind(int(expired_before.0))
            .fetch_all(&mut *tx)
            .await?;
        let open: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM upload").fetch_one(&mut *tx).await?;
        if open >= int(open_max as u64) {
            return Ok(UploadOpened::TooMany);
        }
        sqlx::query("INSERT INTO upload (id, kind, size, used_at) VALUES ($1, $2, $3, $4)")
            .bind(&upload.id)
            .bind(word(&upload.kind))
            .bind(int(upload.size))
            .bind(int(upload.used_at.0))
            .execute(&mut *tx)
            .await?;
        tx.commit().await?;
        Ok(UploadOpened::Yes { expired })
    }

    pub async fn upload_get(&self, id: &str) -> Result<Option<Upload>, StoreError> {
        let mut tx = self.read().await?;
        let row = sqlx::query("SELECT * FROM upload WHERE id = $1").bind(id).fetch_optional(&mut *tx).await?;
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
        let done = sqlx::query("UPDATE upload SET size = $3, used_at = $4 WHERE id = $1 AND size = $2")
            .bind(id)
            .bind(int(from))
            .bind(int(to))
            .bind(int(now.0))
            .execute(&mut *tx)
            .await?;
        tx.commit().await?;
        Ok(done.rows_affected() == 1)
    }

    /// Closes an upload and hands it to the caller, who alone may use its file from now on.
    pub async fn upload_take(&self, id: &str) -> Result<Option<Upload>, StoreError> {
        let mut tx = self.write().await?;
        let row = sqlx::query("DELETE FROM upload WHERE id = $1 RETURNING *")
            .bind(id)
            .fetch_optional(&mut *tx)
            .await?;
        let taken = row.as_ref().map(upload).transpose()?;
        tx.commit().await?;
        Ok(taken)
    }
}

fn upload(row: &SqliteRow) -> Result<Upload, StoreError> {
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
    use crate::rows::test_directory;

    fn new(id: &str, at: u64) -> Upload {
        Upload { id: id.into(), kind: UploadKind::Source, size: 0, used_at: Timestamp(at) }
    }

    #[tokio::test]
    async fn uploads_grow_in_order_and_are_taken_once() {
        let directory = test_directory("upload");
        let store = Store::open(&directory.path().join("a.db")).await.unwrap();
        let opened = store.upload_create(&new("a", 10), 2, Timestamp(0)).await.unwrap();
        assert_eq!(opened, UploadOpened::Yes { expired: vec![] });
        assert!(store.upload_grow("a", 0, 7, Timestamp(11)).await.unwrap());
        assert!(!store.upload_grow("a", 0, 9, Timestamp(12)).await.unwrap(), "it is 7 long by now");
        assert!(!store.upload_grow("b", 0, 1, Timestamp(12)).await.unwrap());
        let expect = Upload { size: 7, used_at: Timestamp(11), ..new("a", 0) };
        assert_eq!(store.upload_get("a").await.unwrap(), Some(expect.clone()));
        assert_eq!(store.upload_take("a").await.unwrap(), Some(expect));
        assert_eq!(store.upload_take("a").await.unwrap(), None);
    }

    #[tokio::test]
    async fn few_are_open_and_idle_ones_give_way() {
        let directory = test_directory("upload");
        let store = Store::open(&directory.path().join("a.db")).await.unwrap();
        for (id, at) in [("a", 10), ("b", 20)] {
            store.upload_create(&new(id, at), 2, Timestamp(0)).await.unwrap();
        }
        let full = store.upload_create(&new("c", 30), 2, Timestamp(10)).await.unwrap();
        assert_eq!(full, UploadOpened::TooMany);
        let opened = store.upload_create(&new("c", 30), 2, Timestamp(11)).await.unwrap();
        assert_eq!(opened, UploadOpened::Yes { expired: vec!["a".into()] });
        assert!(store.upload_get("b").await.unwrap().is_some());
    }
}
