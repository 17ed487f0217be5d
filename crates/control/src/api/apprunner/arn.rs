//! ARNs: `arn:aws:apprunner:REGION:ACCOUNT:` and what they name, such as `service/NAME/ID`.

use crate::api::call::Context;
use crate::api::failure;
use apron_model::ids::{ResourceId, ServiceId};
use apron_model::resource::{Kind, Resource, Selector};
use apron_model::service::Service;
use apron_store::ServiceSummary;
use apron_wire::Error;

pub(in crate::api) fn service(context: Context<'_>, service: &Service) -> String {
    service_parts(context, &service.region, &service.name, &service.id)
}

pub(super) fn summary(context: Context<'_>, row: &ServiceSummary) -> String {
    service_parts(context, &row.region, &row.name, &row.id)
}

pub(super) fn service_parts(context: Context<'_>, region: &str, name: &str, id: &ServiceId) -> String {
    let account = &context.platform.names.account;
    format!("arn:aws:apprunner:{region}:{account}:service/{name}/{id}")
}

pub(super) fn resource(context: Context<'_>, resource: &Resource) -> String {
    let account = &context.platform.names.account;
    let Resource { region, name, revision, id, .. } = resource;
    let kind = resource.kind();
    let revision = if kind.has_revision() { format!("/{revision}") } else { String::new() };
    format!("arn:aws:apprunner:{region}:{account}:{}/{name}{revision}/{id}", kind.arn_word())
}

/// What an ARN names, and where.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Arn {
    pub(super) region: String,
    pub(super) account: String,
    pub(super) named: Named,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Named {
    Service { name: String, id: ServiceId },
    Resource(Selector),
}

impl Arn {
    /// It is of this region and account: others are name spaces that nothing here is found in.
    pub(super) fn is_of(&self, context: Context<'_>) -> bool {
        self.region == context.region && self.account == context.platform.names.account
    }
}

/// Reads any ARN of App Runner. Configurations may be named without their id, and without their revision.
pub(super) fn parse(arn: &str) -> Option<Arn> {
    let parts: Vec<&str> = arn.splitn(6, ':').collect();
    let ["arn", partition, "apprunner", region, account, resource] = parts[..] else { return None };
    if !partition.starts_with("aws") {
        return None;
    }
    let (word, rest) = resource.split_once('/')?;
    let rest: Vec<&str> = rest.split('/').collect();
    if rest.iter().any(|part| part.is_empty()) {
        return None;
    }
    let named = if word == "service" {
        let [name, id] = rest[..] else { return None };
        Named::Service { name: name.to_owned(), id: ServiceId::new(hex_id(id)?) }
    } else {
        let kind = Kind::ALL.into_iter().find(|kind| kind.arn_word() == word)?;
        let (name, revision, id) = match (kind.has_revision(), &rest[..]) {
            (true, [name]) if kind.is_revised() => (name, None, None),
            (true, [name, revision]) if kind.is_revised() => (name, Some(*revision), None),
            (true, [name, revision, id]) => (name, Some(*revision), Some(*id)),
            (false, [name, id]) => (name, None, Some(*id)),
            _ => return None,
        };
        Named::Resource(Selector {
            kind,
            name: (*name).to_owned(),
            revision: revision.map(|number| number.parse()).transpose().ok()?,
            id: match id {
                Some(id) => Some(ResourceId::new(hex_id(id)?)),
                None => None,
            },
        })
    };
    Some(Arn { region: region.to_owned(), account: account.to_owned(), named })
}

/// 32 lower-case hex digits.
fn hex_id(id: &str) -> Option<&str> {
    let hex = id.len() == 32 && id.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    hex.then_some(id)
}

/// The ARN of a service, in parts.
///
/// # Errors
/// `InvalidRequestException` for what is not the ARN of a service.
pub(super) fn parse_service(arn: &str) -> Result<(Arn, String, ServiceId), Error> {
    match parse(arn) {
        Some(Arn { region, account, named: Named::Service { name, id } }) => {
            let named = Named::Service { name: name.clone(), id: id.clone() };
            Ok((Arn { region, account, named }, name, id))
        }
        _ => Err(refused(arn, "a service", "service/NAME/ID")),
    }
}

/// The ARN of a shared resource of this kind, in parts.
///
/// # Errors
/// `InvalidRequestException` for what is not one.
pub(super) fn parse_resource(kind: Kind, arn: &str) -> Result<(Arn, Selector), Error> {
    match parse(arn) {
        Some(Arn { region, account, named: Named::Resource(selector) }) if selector.kind == kind => {
            let named = Named::Resource(selector.clone());
            Ok((Arn { region, account, named }, selector))
        }
        _ => {
            let form = if kind.has_revision() { "NAME/REVISION/ID" } else { "NAME/ID" };
            let article = if kind.words().starts_with(['a', 'o']) { "an" } else { "a" };
            Err(refused(arn, &format!("{article} {}", kind.words()), &format!("{}/{form}", kind.arn_word())))
        }
    }
}

fn refused(arn: &str, what: &str, form: &str) -> Error {
    failure::invalid(format!(
        "'{}' is not the ARN of {what}: arn:aws:apprunner:REGION:ACCOUNT:{form} is expected.",
        arn.escape_debug()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arns_of_services() {
        let id = "0".repeat(32);
        let arn = format!("arn:aws:apprunner:eu-west-1:123456789012:service/web/{id}");
        let (parsed, name, parsed_id) = parse_service(&arn).unwrap();
        assert_eq!(
            (parsed.region.as_str(), parsed.account.as_str(), name.as_str()),
            ("eu-west-1", "123456789012", "web")
        );
        assert_eq!(parsed_id.as_str(), id);
        for wrong in [
            "",
            "web",
            "arn:aws:s3:::service/web/0",
            "arn:aws:apprunner:r:1:service/web",
            &format!("arn:aws:apprunner:r:1:connection/web/{id}"),
            &format!("arn:aws:apprunner:r:1:service/web/{}", "g".repeat(32)),
            &format!("{arn}/more"),
        ] {
            assert_eq!(parse_service(wrong).unwrap_err().code, "InvalidRequestException", "{wrong}");
        }
    }

    #[test]
    fn arns_of_shared_resources_may_be_shorter() {
        let id = "1".repeat(32);
        let arn = |rest: &str| format!("arn:aws:apprunner:r:123456789012:{rest}");
        let scaling =
            |rest: &str| parse_resource(Kind::AutoScalingConfiguration, &arn(rest)).map(|(_, named)| named);
        let whole = scaling(&format!("autoscalingconfiguration/high/3/{id}")).unwrap();
        assert_eq!((whole.name.as_str(), whole.revision), ("high", Some(3)));
        assert_eq!(whole.id, Some(ResourceId::new(id.clone())));
        assert_eq!(scaling("autoscalingconfiguration/high/3").unwrap().id, None);
        assert_eq!(scaling("autoscalingconfiguration/high").unwrap().revision, None);
        for wrong in [
            "autoscalingconfiguration/high/x".to_owned(),
            "autoscalingconfiguration".to_owned(),
            "autoscalingconfiguration//3".to_owned(),
            format!("autoscalingconfiguration/high/3/{id}/4"),
            format!("connection/high/{id}"),
        ] {
            assert_eq!(scaling(&wrong).unwrap_err().code, "InvalidRequestException", "{wrong}");
        }
        let connector = |rest: &str| parse_resource(Kind::VpcConnector, &arn(rest)).map(|(_, named)| named);
        assert_eq!(connector(&format!("vpcconnector/in/1/{id}")).unwrap().revision, Some(1));
        for part in ["vpcconnector/in", "vpcconnector/in/1"] {
            assert!(connector(part).unwrap_err().message.contains("vpcconnector/NAME/REVISION/ID"), "{part}");
        }
        let connection = parse_resource(Kind::Connection, &arn(&format!("connection/git/{id}"))).unwrap().1;
        assert_eq!((connection.revision, connection.id), (None, Some(ResourceId::new(id))));
        let refused = parse_resource(Kind::Connection, &arn("connection/git")).unwrap_err();
        assert!(
            refused.message.contains("a connection: arn:aws:apprunner:REGION:ACCOUNT:connection/NAME/ID")
        );
    }
}
