//! Custom domains: associated, shown with the records that would validate them, and taken away again. They wait
//! for certificates, which are not obtained for foreign names yet.

use super::resource::Missing;
use super::vpc_ingress_connection::dns_targets;
use super::{arn, find, gone, lookup};
use crate::api::call::Context;
use crate::api::{failure, page};
use apron_model::custom_domain::{self, CustomDomain};
use apron_model::service::{Service, State, status};
use apron_store::{Conflict, StoreError};
use apron_wire::Error;
use apron_wire::apprunner as wire;

/// Marks tokens of this list.
const TOKEN: &str = "d";

pub(super) async fn associate(
    context: Context<'_>,
    input: wire::AssociateCustomDomainRequest,
) -> Result<wire::AssociateCustomDomainResponse, Error> {
    let service = find(context, &input.service_arn, Missing::Invalid).await?;
    let mut draw = context.platform.draw();
    let quotas = context.platform.quotas;
    let apps_domain = &context.platform.names.apps_domain;
    let added = context.platform.store.custom_domain_add(&service.id, |service, held| {
        check_running(service, &input.service_arn, Missing::Invalid)?;
        let www = input.enable_www_subdomain;
        let (domain, www) = custom_domain::associate(&input.domain_name, www, held, &quotas, apps_domain)
            .map_err(|error| failure::invalid(error.to_string()))?;
        let (service, token, created_at) = (service.id.clone(), draw.hex(), draw.wall);
        Ok::<_, Error>(CustomDomain { service, domain, www, token, created_at })
    });
    let added = added.await.map_err(|error| match error {
        StoreError::Conflict(Conflict::HostTaken { www }) => failure::invalid(format!(
            "The domain {}{} is associated with a service already.",
            if www { "www." } else { "" },
            input.domain_name.to_ascii_lowercase()
        )),
        error => failure::store(error),
    })?;
    let added = added.ok_or_else(|| gone(&input.service_arn, Missing::Invalid))??;
    Ok(wire::AssociateCustomDomainResponse {
        dns_target: context.platform.names.service_host(&service),
        service_arn: arn::service(context, &service),
        custom_domain: shown(context, &added, wire::CustomDomainAssociationStatus::Creating),
        vpc_dns_targets: dns_targets(context, &service.id).await?,
    })
}

pub(super) async fn describe(
    context: Context<'_>,
    input: wire::DescribeCustomDomainsRequest,
) -> Result<wire::DescribeCustomDomainsResponse, Error> {
    let service = lookup(context, &input.service_arn).await?;
    // The name has dots, as the parts of a token are told apart by.
    let domain = |token: String| {
        let [hex] = page::parse(TOKEN, &token)?;
        page::unhex(&hex).ok_or_else(page::refused)
    };
    let after = input.next_token.map(domain).transpose()?;
    let size = page::size(input.max_results);
    let store = &context.platform.store;
    let rows =
        store.custom_domain_list(&service.id, after.as_deref(), size + 1).await.map_err(failure::store)?;
    let (rows, next_token) = page::cut(rows, size, |last| page::token(TOKEN, &[&page::hex(&last.domain)]));
    let pending = wire::CustomDomainAssociationStatus::PendingCertificateDnsValidation;
    Ok(wire::DescribeCustomDomainsResponse {
        dns_target: context.platform.names.service_host(&service),
        service_arn: arn::service(context, &service),
        custom_domains: rows.iter().map(|row| shown(context, row, pending)).collect(),
        vpc_dns_targets: dns_targets(context, &service.id).await?,
        next_token,
    })
}

pub(super) async fn disassociate(
    context: Context<'_>,
    input: wire::DisassociateCustomDomainRequest,
) -> Result<wire::DisassociateCustomDomainResponse, Error> {
    let service = lookup(context, &input.service_arn).await?;
    let domain = input.domain_name.to_ascii_lowercase();
    let removed = context.platform.store.custom_domain_remove(&service.id, &domain, |service, held| {
        check_running(service, &input.service_arn, Missing::NotFound)?;
        held.ok_or_else(|| {
            let name = &service.name;
            failure::not_found(format!("The domain {domain} is not associated with the service {name}."))
        })
    });
    let removed = removed.await.map_err(failure::store)?;
    let removed = removed.ok_or_else(|| gone(&input.service_arn, Missing::NotFound))??;
    Ok(wire::DisassociateCustomDomainResponse {
        dns_target: context.platform.names.service_host(&service),
        service_arn: arn::service(context, &service),
        custom_domain: shown(context, &removed, wire::CustomDomainAssociationStatus::Deleting),
        vpc_dns_targets: dns_targets(context, &service.id).await?,
    })
}

/// Domains change while the service runs and nothing is done to it; one that is deleted is not found.
fn check_running(service: &Service, arn: &str, missing: Missing) -> Result<(), Error> {
    if service.deleted_at.is_some() {
        return Err(gone(arn, missing));
    }
    if service.state == State::Running && service.operation.is_none() {
        return Ok(());
    }
    Err(failure::invalid_state(format!(
        "Custom domains of a service cannot be changed in the current state: {}.",
        status(service).as_str()
    )))
}

fn shown(
    context: Context<'_>,
    domain: &CustomDomain,
    status: wire::CustomDomainAssociationStatus,
) -> wire::CustomDomain {
    let records = domain.records(&context.platform.names.apps_domain);
    let records = records.into_iter().map(|record| wire::CertificateValidationRecord {
        name: Some(record.name),
        r#type: Some("CNAME".to_owned()),
        value: Some(record.value),
        status: Some(wire::CertificateValidationRecordStatus::PendingValidation),
    });
    wire::CustomDomain {
        domain_name: domain.domain.clone(),
        enable_www_subdomain: domain.www,
        certificate_validation_records: Some(records.collect()),
        status,
    }
}
