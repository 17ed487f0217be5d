//! Which operation of which API a request means.

use crate::shape::Shape;
use crate::{Error, apprunner, apron};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, Method};

/// Names the operation: `AppRunner.CreateService`.
pub const X_AMZ_TARGET: HeaderName = HeaderName::from_static("x-amz-target");

/// An operation of one of our APIs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Target {
    AppRunner(apprunner::Operation),
    Apron(apron::Operation),
}

impl Target {
    /// The service name that a signature for this call must carry.
    pub fn signing_name(self) -> &'static str {
        match self {
            Target::AppRunner(_) => apprunner::SIGNING_NAME,
            Target::Apron(_) => apron::SIGNING_NAME,
        }
    }

    /// The operation's name, e.g. `CreateService`.
    pub fn operation_name(self) -> &'static str {
        match self {
            Target::AppRunner(operation) => operation.name(),
            Target::Apron(operation) => operation.name(),
        }
    }

    /// What its input must look like.
    pub fn input_shape(self) -> &'static Shape {
        match self {
            Target::AppRunner(operation) => operation.input_shape(),
            Target::Apron(operation) => operation.input_shape(),
        }
    }

    /// Whether the call changes nothing. Both models name operations by their verbs, and these are the verbs that
    /// only read.
    pub fn only_reads(self) -> bool {
        READING.iter().any(|verb| self.operation_name().starts_with(verb))
    }
}

const READING: [&str; 3] = ["Describe", "Get", "List"];

/// Reads method, path and headers.
///
/// # Errors
/// `UnknownOperationException` when this is no call of ours, `SerializationException` when the body is said
/// to be something else than AWS JSON.
pub fn detect(method: &Method, path: &str, headers: &HeaderMap) -> Result<Target, Error> {
    if method != Method::POST || path != "/" {
        return Err(Error::unknown_operation("AWS JSON calls are POST requests to \"/\"."));
    }
    let Some(target) = headers.get(X_AMZ_TARGET) else {
        return Err(Error::unknown_operation("The request has no X-Amz-Target header."));
    };
    let target = target.to_str().unwrap_or_default();
    let Some((service, name)) = target.split_once('.') else {
        return Err(Error::unknown_operation(
            "The X-Amz-Target header must be a service and an operation, such as AppRunner.ListServices.",
        ));
    };
    let operation = match service {
        apprunner::TARGET_PREFIX => apprunner::Operation::parse(name).map(Target::AppRunner),
        apron::TARGET_PREFIX => apron::Operation::parse(name).map(Target::Apron),
        _ => None,
    };
    let Some(operation) = operation else {
        // A header value is bounded by the server's limit on headers, and is printable.
        return Err(Error::unknown_operation(format!("There is no operation {target} here.")));
    };
    let content_type = headers.get(CONTENT_TYPE).map(|v| v.to_str().unwrap_or_default());
    let media_type =
        content_type.map(|v| v.split(';').next().unwrap_or_default().trim().to_ascii_lowercase());
    match media_type.as_deref() {
        Some("application/x-amz-json-1.0" | "application/x-amz-json-1.1") => Ok(operation),
        _ => Err(Error::serialization("The Content-Type must be application/x-amz-json-1.0.")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn detected(target: &str, content_type: &str) -> Result<Target, String> {
        let mut headers = HeaderMap::new();
        headers.insert(X_AMZ_TARGET, target.parse().unwrap());
        headers.insert(CONTENT_TYPE, content_type.parse().unwrap());
        detect(&Method::POST, "/", &headers).map_err(|e| e.code.into_owned())
    }

    #[test]
    fn operations_of_both_services_are_found() {
        let json = "application/x-amz-json-1.0";
        let create = Target::AppRunner(apprunner::Operation::CreateService);
        assert_eq!(detected("AppRunner.CreateService", json), Ok(create));
        assert_eq!((create.signing_name(), create.operation_name()), ("apprunner", "CreateService"));
        assert_eq!(detected("Apron.GetLogs", json), Ok(Target::Apron(apron::Operation::GetLogs)));
        assert_eq!(
            detected("Apron.GetLogs", "Application/X-Amz-JSON-1.1; charset=utf-8").map(|_| ()),
            Ok(())
        );
        for operation in apprunner::Operation::ALL {
            let target = format!("AppRunner.{}", operation.name());
            assert_eq!(detected(&target, json), Ok(Target::AppRunner(*operation)));
        }
    }

    /// An operation with another verb does not pass here until somebody has decided what it does.
    #[test]
    fn every_verb_is_known_to_read_or_to_change() {
        const CHANGING: [&str; 16] = [
            "Abort",
            "Associate",
            "Cancel",
            "Complete",
            "Create",
            "Delete",
            "Disassociate",
            "Pause",
            "Put",
            "Resume",
            "Retry",
            "Rollback",
            "Start",
            "Tag",
            "Untag",
            "Update",
        ];
        let ours = apron::Operation::ALL.iter().copied().map(Target::Apron);
        let all = apprunner::Operation::ALL.iter().copied().map(Target::AppRunner).chain(ours);
        for target in all {
            let changes = CHANGING.iter().any(|verb| target.operation_name().starts_with(verb));
            assert_ne!(target.only_reads(), changes, "{}", target.operation_name());
        }
        assert!(Target::AppRunner(apprunner::Operation::ListTagsForResource).only_reads());
        assert!(!Target::AppRunner(apprunner::Operation::TagResource).only_reads());
    }

    #[test]
    fn everything_else_is_refused() {
        let json = "application/x-amz-json-1.0";
        let unknown = || Err("UnknownOperationException".to_owned());
        assert_eq!(detected("AppRunner.GetLogs", json), unknown());
        assert_eq!(detected("Apron.CreateService", json), unknown());
        assert_eq!(detected("DynamoDB_20120810.GetItem", json), unknown());
        assert_eq!(detected("", json), unknown());
        assert_eq!(detected("AppRunner.CreateService", "text/xml"), Err("SerializationException".to_owned()));
        assert_eq!(detect(&Method::GET, "/", &HeaderMap::new()).unwrap_err().status, 400);
        assert!(detect(&Method::POST, "/x", &HeaderMap::new()).is_err());
        assert!(detect(&Method::POST, "/", &HeaderMap::new()).unwrap_err().message.contains("X-Amz-Target"));
    }
}
