//! A call's parameters as they may stand in a log: what the API's model names and does not call sensitive.

use crate::json;
use crate::shape::{Member, Shape};
use serde_json::{Map, Value};

/// Stands in the place of what must not be shown, as in AWS's own trails.
pub const HIDDEN: &str = "HIDDEN_DUE_TO_SECURITY_REASONS";

/// The parameters of a body as JSON. Values that the model marks as sensitive are replaced by `HIDDEN`, and so are
/// those of another type than it says, since nobody can tell what they are, and names and passwords in URLs; members
/// that it does not name are left out. None when the body is no JSON that the API would read.
pub fn shown(shape: &Shape, body: &[u8]) -> Option<Value> {
    let mut value = json::read(body).ok()?;
    hide(shape, &mut value);
    Some(value)
}

fn hide(shape: &Shape, value: &mut Value) {
    match (shape, &mut *value) {
        (_, Value::Null) | (Shape::Boolean, Value::Bool(_)) => {}
        (Shape::Integer(_) | Shape::Timestamp, Value::Number(_)) => {}
        (Shape::Text(rules), Value::String(text)) if !rules.sensitive => hide_credentials(text),
        (Shape::Blob { sensitive: false, .. }, Value::String(_)) => {}
        (Shape::List { member, .. }, Value::Array(items)) => {
            items.iter_mut().for_each(|item| hide(member, item));
        }
        // The names of variables stay, as AWS shows them; what they hold does not.
        (Shape::Map { value: rules, .. }, Value::Object(entries)) => {
            let hidden = entries.values_mut().filter(|entry| rules.sensitive || !entry.is_string());
            hidden.for_each(|entry| *entry = HIDDEN.into());
        }
        (Shape::Structure(members), Value::Object(given)) => structure(members, given),
        _ => *value = HIDDEN.into(),
    }
}

/// What stands before the host of a URL is a name and a password, whatever the member is called.
fn hide_credentials(text: &mut String) {
    let Some(begin) = text.find("://").map(|at| at + 3) else { return };
    let authority = text[begin..].split(['/', '?', '#']).next().unwrap_or_default();
    if let Some(at) = authority.rfind('@') {
        text.replace_range(begin..begin + at, HIDDEN);
    }
}

fn structure(members: &[Member], given: &mut Map<String, Value>) {
    given.retain(|name, value| {
        let member = members.iter().find(|member| member.name == name);
        member.inspect(|member| hide(member.shape, value)).is_some()
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{apprunner, apron};
    use serde_json::json;

    fn shown_of(target: crate::Target, body: Value) -> Value {
        shown(target.input_shape(), body.to_string().as_bytes()).unwrap()
    }

    #[test]
    fn values_of_sensitive_shapes_are_hidden_and_the_rest_stays() {
        let create = crate::Target::AppRunner(apprunner::Operation::CreateService);
        let body = json!({"ServiceName": "web", "Unknown": "secret", "Tags": [{"Key": "a", "Value": "b"}],
            "SourceConfiguration": {"AutoDeploymentsEnabled": true,
                "ImageRepository": {"ImageIdentifier": "x:1", "ImageRepositoryType": "ECR", "ImageConfiguration": {
                    "Port": "80", "StartCommand": "secret", "RuntimeEnvironmentVariables": {"A": "secret", "B": 7},
                    "RuntimeEnvironmentSecrets": {"C": "secret"}}},
                "CodeRepository": {"CodeConfiguration": {"CodeConfigurationValues": {"BuildCommand": "secret"}}}},
            "HealthCheckConfiguration": {"Interval": 5, "Timeout": "secret"}});
        assert_eq!(
            shown_of(create, body),
            json!({"ServiceName": "web", "Tags": [{"Key": "a", "Value": "b"}],
                "SourceConfiguration": {"AutoDeploymentsEnabled": true,
                    "ImageRepository": {"ImageIdentifier": "x:1", "ImageRepositoryType": "ECR",
                        "ImageConfiguration": {"Port": "80", "StartCommand": HIDDEN,
                            "RuntimeEnvironmentVariables": {"A": HIDDEN, "B": HIDDEN},
                            "RuntimeEnvironmentSecrets": {"C": HIDDEN}}},
                    "CodeRepository": {"CodeConfiguration": {"CodeConfigurationValues": {"BuildCommand": HIDDEN}}}},
                "HealthCheckConfiguration": {"Interval": 5, "Timeout": HIDDEN}})
        );
        let put = crate::Target::Apron(apron::Operation::PutUploadPart);
        let body = json!({"UploadId": "0", "Offset": 7, "Data": "c2VjcmV0"});
        assert_eq!(shown_of(put, body), json!({"UploadId": "0", "Offset": 7, "Data": HIDDEN}));
    }

    #[test]
    fn credentials_in_a_url_are_hidden() {
        for (url, expect) in [
            ("https://a:b@c@git.test/x", "https://HIDDEN_DUE_TO_SECURITY_REASONS@git.test/x"),
            ("https://git.test/a@b", "https://git.test/a@b"),
            ("git.test", "git.test"),
            ("://@", "://HIDDEN_DUE_TO_SECURITY_REASONS@"),
        ] {
            let mut text = url.to_owned();
            hide_credentials(&mut text);
            assert_eq!(text, expect);
        }
    }

    #[test]
    fn what_is_no_input_shows_nothing() {
        let list = crate::Target::AppRunner(apprunner::Operation::ListServices).input_shape();
        assert_eq!(shown(list, b""), Some(json!({})));
        assert_eq!(shown(list, b"\"secret\""), Some(json!(HIDDEN)));
        assert_eq!(shown(list, b"{\"a\": "), None);
        assert_eq!(shown(list, "[".repeat(100_000).as_bytes()), None);
    }
}
