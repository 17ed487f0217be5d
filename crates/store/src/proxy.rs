//! Proxies that were given a table. A row stays until its process is known to be dead, over restarts of
//! control: an old instance must not stop under a proxy that control has forgotten.

use crate::error::StoreError;
use crate::open::Store;
use crate::rows::{Columns, int};
use crate::sql::query;

/// A process of one boot of the machine; pid and start time together are never used twice in a boot.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ProxyProcess {
    pub pid: u32,
    /// Clock ticks after boot, as /proc tells.
    pub start_time: u64,
    pub boot: String,
}

impl Store {
    pub async fn proxy_list(&self) -> Result<Vec<ProxyProcess>, StoreError> {
        let mut tx = self.read().await?;
        let rows = query("SELECT * FROM proxy ORDER BY pid, start_time").fetch_all(&mut tx).await?;
        rows.iter()
            .map(|row| {
                let columns = Columns { table: "proxy", row };
                Ok(ProxyProcess {
                    pid: columns.small("pid")?,
                    start_time: columns.count("start_time")?,
                    boot: columns.get("boot")?,
                })
            })
            .collect()
    }

    pub async fn proxy_put(&self, proxy: &ProxyProcess) -> Result<(), StoreError> {
        let mut tx = self.write().await?;
        query("INSERT INTO proxy (pid, start_time, boot) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING")
            .bind(i64::from(proxy.pid))
            .bind(int(proxy.start_time))
            .bind(&proxy.boot)
            .execute(&mut tx)
            .await?;
        tx.commit().await?;
        Ok(())
    }

    pub async fn proxy_forget(&self, proxy: &ProxyProcess) -> Result<(), StoreError> {
        let mut tx = self.write().await?;
        query("DELETE FROM proxy WHERE pid = $1 AND start_time = $2 AND boot = $3")
            .bind(i64::from(proxy.pid))
            .bind(int(proxy.start_time))
            .bind(&proxy.boot)
            .execute(&mut tx)
            .await?;
        tx.commit().await?;
        Ok(())
    }
}
