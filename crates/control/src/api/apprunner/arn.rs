//! ARNs of services: `arn:aws:apprunner:REGION:ACCOUNT:service/NAME/ID`.

use crate::api::call::Context;
use crate::api::failure;
use apron_model::ids::ServiceId;
use apron_model::service::Service;
use apron_wire::Error;

pub(super) fn service(context: Context<'_>, service: &Service) -> String {
    let account = &context.platform.names.account;
    format!("arn:aws:apprunner:{}:{account}:service/{}/{}", service.region, service.name, service.id)
}

/// What an ARN names.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ServiceArn<'a> {
    pub(super) region: &'a str,
    pub(super) account: &'a str,
    pub(super) name: &'a str,
    pub(super) id: ServiceId,
}

/// # Errors
/// `InvalidRequestException` for what is not the ARN of a service.
pub(super) fn parse(arn: &str) -> Result<ServiceArn<'_>, Error> {
    let refused = || {
        failure::invalid(format!(
            "'{}' is not the ARN of a service: arn:aws:apprunner:REGION:ACCOUNT:service/NAME/ID is expected.",
            arn.escape_debug()
        ))
    };
    let parts: Vec<&str> = arn.splitn(6, ':').collect();
    let ["arn", partition, "apprunner", region, account, resource] = parts[..] else { return Err(refused()) };
    let resource: Vec<&str> = resource.split('/').collect();
    let ["service", name, id] = resource[..] else { return Err(refused()) };
    let hex = id.len() == 32 && id.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    if !partition.starts_with("aws") || !hex || name.is_empty() {
        return Err(refused());
    }
    Ok(ServiceArn { region, account, name, id: ServiceId::new(id) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arns_of_services() {
        let id = "0".repeat(32);
        let arn = format!("arn:aws:apprunner:eu-west-1:123456789012:service/web/{id}");
        let parsed = parse(&arn).unwrap();
        assert_eq!((parsed.region, parsed.account, parsed.name), ("eu-west-1", "123456789012", "web"));
        assert_eq!(parsed.id.as_str(), id);
        for wrong in [
            "",
            "web",
            "arn:aws:s3:::service/web/0",
            "arn:aws:apprunner:r:1:service/web",
            &format!("arn:aws:apprunner:r:1:connection/web/{id}"),
            &format!("arn:aws:apprunner:r:1:service/web/{}", "g".repeat(32)),
            &format!("{arn}/more"),
        ] {
            assert_eq!(parse(wrong).unwrap_err().code, "InvalidRequestException", "{wrong}");
        }
    }
}
