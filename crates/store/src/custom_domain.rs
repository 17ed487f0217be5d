//! Custom domains: which host names belong to which service.

use crate::error::{Conflict, StoreError};
use crate::open::Store;
use crate::rows::{Columns, Row, Tx, int};
use crate::service;
use crate::sql::query;
use apron_model::custom_domain::CustomDomain;
use apron_model::ids::ServiceId;
use apron_model::service::Service;

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

    /// Reads the service and how many domains it has and lets `make` decide, in one transaction, on one more. None when
    /// there is no such service.
    ///
    /// Fails with `Conflict::HostTaken` when a host name of it belongs to a service already.
    pub async fn custom_domain_add<E>(
        &self,
        id: &ServiceId,
        make: impl FnOnce(&Service, u64) -> Result<CustomDomain, E> + Send,
    ) -> Result<Option<Result<CustomDomain, E>>, StoreError> {
        let mut tx = self.write().await?;
        let Some(service) = service::get(&mut tx, id).await? else { return Ok(None) };
        let row = query("SELECT COUNT(*) AS held FROM custom_domain WHERE service = $1")
            .bind(id.as_str())
            .fetch_one(&mut tx)
            .await?;
        let held = Columns { table: "custom_domain", row: &row }.count("held")?;
        let domain = match make(&service, held) {
            Ok(domain) => domain,
            Err(refusal) => return Ok(Some(Err(refusal))),
        };
        insert(&mut tx, &domain).await?;
        tx.commit().await?;
        Ok(Some(Ok(domain)))
    }

    /// Forgets a domain if `admit`, which sees the service and the domain if it has it, returns it, in one transaction.
    /// None when there is no such service.
    pub async fn custom_domain_remove<E>(
        &self,
        id: &ServiceId,
        domain: &str,
        admit: impl FnOnce(&Service, Option<CustomDomain>) -> Result<CustomDomain, E> + Send,
    ) -> Result<Option<Result<CustomDomain, E>>, StoreError> {
        let mut tx = self.write().await?;
        let Some(service) = service::get(&mut tx, id).await? else { return Ok(None) };
        let row = query("DELETE FROM custom_domain WHERE service = $1 AND domain = $2 RETURNING *")
            .bind(id.as_str())
            .bind(domain)
            .fetch_optional(&mut tx)
            .await?;
        let admitted = admit(&service, row.as_ref().map(custom_domain).transpose()?);
        if admitted.is_ok() {
            tx.commit().await?;
        }
        Ok(Some(admitted))
    }
}

async fn insert(tx: &mut Tx, domain: &CustomDomain) -> Result<(), StoreError> {
    // Where it is there already its hosts are, which say more.
    query(
        "INSERT INTO custom_domain (service, domain, www, token, created_at) VALUES ($1, $2, $3, $4, $5)
         ON CONFLICT DO NOTHING",
    )
    .bind(domain.service.as_str())
    .bind(&domain.domain)
    .bind(domain.www)
    .bind(&domain.token)
    .bind(int(domain.created_at.0))
    .execute(tx)
    .await?;
    for host in domain.hosts() {
        let www = host != domain.domain;
        let insert = query(
            "INSERT INTO custom_domain_host (host, service, domain) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
        );
        let inserted =
            insert.bind(host).bind(domain.service.as_str()).bind(&domain.domain).execute(tx).await?;
        if inserted.rows_affected() == 0 {
            return Err(StoreError::Conflict(Conflict::HostTaken { www }));
        }
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
