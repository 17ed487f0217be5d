//! Custom domains: which host names belong to which service.

use crate::error::StoreError;
use crate::open::Store;
use crate::rows::{Columns, Row, Tx, int};
use crate::sql::query;
use apron_model::custom_domain::CustomDomain;
use apron_model::ids::ServiceId;

impl Store {
    /// A page of a service's domains, by name.
    pub async fn custom_domain_list(
        &self,
        service: &ServiceId,
        after: Option<&str>,
        max: u32,
    ) -> Result<Vec<CustomDomain>, StoreError> {
        let rows =
            query("SELECT * FROM custom_domain WHERE service = $1 AND domain > $2 ORDER BY domain LIMIT $3")
                .bind(service.as_str())
                .bind(after.unwrap_or_default())
                .bind(i64::from(max))
                .fetch_all(&mut *self.read().await?)
                .await?;
        rows.iter().map(custom_domain).collect()
    }

    /// Reads how many domains the service has and lets `make` decide, in one transaction, on one more.
    ///
    /// Fails with `Conflict::Exists` when a host name of it belongs to a service already.
    pub async fn custom_domain_add<E>(
        &self,
        service: &ServiceId,
        make: impl FnOnce(u64) -> Result<CustomDomain, E> + Send,
    ) -> Result<Result<CustomDomain, E>, StoreError> {
        let mut tx = self.write().await?;
        let row = query("SELECT COUNT(*) AS held FROM custom_domain WHERE service = $1")
            .bind(service.as_str())
            .fetch_one(&mut tx)
            .await?;
        let domain = match make(Columns { table: "custom_domain", row: &row }.count("held")?) {
            Ok(domain) => domain,
            Err(refusal) => return Ok(Err(refusal)),
        };
        insert(&mut tx, &domain).await?;
        tx.commit().await?;
        Ok(Ok(domain))
    }

    /// Forgets a domain and returns it; none when the service does not have it.
    pub async fn custom_domain_remove(
        &self,
        service: &ServiceId,
        domain: &str,
    ) -> Result<Option<CustomDomain>, StoreError> {
        let mut tx = self.write().await?;
        let row = query("DELETE FROM custom_domain WHERE service = $1 AND domain = $2 RETURNING *")
            .bind(service.as_str())
            .bind(domain)
            .fetch_optional(&mut tx)
            .await?;
        tx.commit().await?;
        row.as_ref().map(custom_domain).transpose()
    }
}

async fn insert(tx: &mut Tx, domain: &CustomDomain) -> Result<(), StoreError> {
    query("INSERT INTO custom_domain (service, domain, www, token, created_at) VALUES ($1, $2, $3, $4, $5)")
        .bind(domain.service.as_str())
        .bind(&domain.domain)
        .bind(domain.www)
        .bind(&domain.token)
        .bind(int(domain.created_at.0))
        .execute(tx)
        .await?;
    for host in domain.hosts() {
        query("INSERT INTO custom_domain_host (host, service, domain) VALUES ($1, $2, $3)")
            .bind(host)
            .bind(domain.service.as_str())
            .bind(&domain.domain)
            .execute(tx)
            .await?;
    }
    Ok(())
}

/// The host names of a deleted service are free again.
pub(crate) async fn forget_all(tx: &mut Tx, service: &ServiceId) -> Result<(), StoreError> {
    query("DELETE FROM custom_domain WHERE service = $1").bind(service.as_str()).execute(tx).await?;
    Ok(())
}

fn custom_domain(row: &Row) -> Result<CustomDomain, StoreError> {
    let columns = Columns { table: "custom_domain", row };
    Ok(CustomDomain {
        service: ServiceId::new(columns.get::<String>("service")?),
        domain: columns.get("domain")?,
        www: columns.get("www")?,
        token: columns.get("token")?,
        created_at: columns.wall("created_at")?,
    })
}
