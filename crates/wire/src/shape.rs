//! What a body must look like, as data, and the check of a body against it.
//!
//! The generator writes one `Shape` per shape that an input reaches. The check runs on the parsed JSON before
//! the typed input exists, so that a missing member and a wrong enum value are named in AWS's words and not
//! in serde's. It tells two things apart, as AWS does: a value of the wrong type (`Problem::Type`, ends the
//! check, SerializationException) and a value that breaks a rule (`Violation`, collected, the service's
//! validation error).

use crate::Error;
use crate::json::MESSAGE_CHARS_MAX;
use regex_lite::Regex;
use serde_json::Value;
use std::fmt::Write as _;
use std::sync::OnceLock;

/// What is left in a message for "and so many more" behind the violations that fit.
const REST_CHARS: usize = 16;
/// A refused value is quoted up to this many characters.
const QUOTED_CHARS_MAX: usize = 100;

/// A shape of the API model with its rules.
#[derive(Debug)]
pub enum Shape {
    Boolean,
    /// Epoch seconds.
    Timestamp,
    Integer(Integer),
    Text(&'static Text),
    /// Base64 text; the bounds count the decoded bytes.
    Blob {
        bytes: Length,
        /// Never shown in a log.
        sensitive: bool,
    },
    List {
        member: &'static Shape,
        length: Length,
    },
    Map {
        key: &'static Text,
        value: &'static Text,
        length: Length,
    },
    Structure(&'static [Member]),
}

/// Bounds of a length, both included.
#[derive(Clone, Copy, Debug)]
pub struct Length {
    pub min: usize,
    pub max: Option<usize>,
}

/// A whole number: 32 bits, or 64 when `long`.
#[derive(Debug)]
pub struct Integer {
    pub long: bool,
    pub min: Option<i64>,
    pub max: Option<i64>,
}

/// A string and its rules. The length counts characters.
#[derive(Debug)]
pub struct Text {
    pub length: Length,
    pub pattern: Option<Pattern>,
    /// The values of an enum; empty when any text may stand.
    pub values: &'static [&'static str],
    /// Never quoted in a message, never shown in a log.
    pub sensitive: bool,
}

/// A member of a structure.
#[derive(Debug)]
pub struct Member {
    pub name: &'static str,
    pub required: bool,
    pub shape: &'static Shape,
}

/// A regular expression that a whole text must match. Matching takes time linear in the text.
#[derive(Debug)]
pub struct Pattern {
    /// As the API model writes it, for messages.
    source: &'static str,
    /// What the text must not begin with: the one look-ahead that the models use.
    not_prefix: Option<&'static str>,
    /// The same rule without the look-ahead.
    body: &'static str,
    compiled: OnceLock<Regex>,
}

impl Pattern {
    /// `body` must be a valid expression: the generator compiles each one before it writes it.
    pub const fn new(source: &'static str, not_prefix: Option<&'static str>, body: &'static str) -> Self {
        Pattern { source, not_prefix, body, compiled: OnceLock::new() }
    }

    fn matches(&self, text: &str) -> bool {
        if self.not_prefix.is_some_and(|prefix| text.starts_with(prefix)) {
            return false;
        }
        let regex = self.compiled.get_or_init(|| {
            Regex::new(&format!("^(?:{})$", self.body)).expect("the generator compiled this expression")
        });
        regex.is_match(text)
    }
}

/// One rule that one value breaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The path of the member as AWS writes it: `sourceConfiguration.imageRepository`, `tags.1.member.key`.
    pub path: String,
    /// The refused value, quoted and cut, or `null`.
    value: String,
    /// What would be right: "Member must not be null".
    pub rule: String,
}

/// Why a body is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Problem {
    /// A value has another type than the model says.
    Type { path: String, expected: &'static str },
    /// Values have the right types and break rules; never empty.
    Rules(Vec<Violation>),
}

impl Problem {
    /// The error for the caller: what the model calls an invalid request, or a SerializationException.
    pub fn into_error(self) -> Error {
        match self {
            Problem::Type { path, expected } if path.is_empty() => {
                Error::serialization(format!("The request body must be {expected}."))
            }
            Problem::Type { path, expected } => {
                Error::serialization(format!("The value at '{path}' must be {expected}."))
            }
            Problem::Rules(violations) => {
                let plural = if violations.len() == 1 { "error" } else { "errors" };
                let mut message = format!("{} validation {plural} detected: ", violations.len());
                for (i, v) in violations.iter().enumerate() {
                    let separator = if i == 0 { "" } else { "; " };
                    let one = format!(
                        "{separator}Value {} at '{}' failed to satisfy constraint: {}",
                        v.value, v.path, v.rule
                    );
                    // Whole ones only, and how many are not said.
                    let rest = violations.len() - i;
                    let said = message.chars().count() + one.chars().count();
                    if i > 0 && said + REST_CHARS > MESSAGE_CHARS_MAX {
                        let _ = write!(message, "; and {rest} more");
                        break;
                    }
                    message.push_str(&one);
                }
                // Every operation of both models may answer this error; a ValidationException none of them.
                Error::new("InvalidRequestException", 400, message)
            }
        }
    }
}

/// Checks a body against the shape of an operation's input. Members that the shape does not name are ignored,
/// and an explicit null is an absent member.
pub fn check(shape: &Shape, body: &Value) -> Result<(), Problem> {
    let mut check = Check { path: Vec::new(), violations: Vec::new() };
    match check.value(shape, body) {
        Err(wrong_type) => Err(wrong_type),
        Ok(()) if check.violations.is_empty() => Ok(()),
        Ok(()) => Err(Problem::Rules(check.violations)),
    }
}

/// The walk over one body.
struct Check {
    path: Vec<String>,
    violations: Vec<Violation>,
}

impl Check {
    /// `Err` is always `Problem::Type`.
    fn value(&mut self, shape: &Shape, value: &Value) -> Result<(), Problem> {
        match shape {
            Shape::Boolean => match value {
                Value::Bool(_) => Ok(()),
                _ => self.wrong_type("a boolean"),
            },
            Shape::Timestamp => match value {
                Value::Number(_) => Ok(()),
                _ => self.wrong_type("a number of seconds since 1970"),
            },
            Shape::Integer(rules) => self.integer(rules, value),
            Shape::Text(rules) => {
                let Value::String(text) = value else { return self.wrong_type("a string") };
                for rule in text_rules_broken(rules, text) {
                    self.violated(quote(text, rules.sensitive), rule);
                }
                Ok(())
            }
            Shape::Blob { bytes, .. } => {
                let Value::String(text) = value else { return self.wrong_type("a base64 string") };
                // The decoder refuses what is no base64; here the size alone is told from the text.
                let padding = text.bytes().rev().take(2).filter(|b| *b == b'=').count();
                for rule in length_rules_broken((text.len() / 4 * 3).saturating_sub(padding), *bytes) {
                    self.violated("java.nio.HeapByteBuffer".to_owned(), rule);
                }
                Ok(())
            }
            Shape::List { member, length } => self.list(member, *length, value),
            Shape::Map { key, value: values, length } => self.map(key, values, *length, value),
            Shape::Structure(members) => self.structure(members, value),
        }
    }

    fn integer(&mut self, rules: &Integer, value: &Value) -> Result<(), Problem> {
        let number = value.as_i64().filter(|n| rules.long || i32::try_from(*n).is_ok());
        let Some(number) = number else {
            return self.wrong_type(if rules.long { "a 64-bit integer" } else { "a 32-bit integer" });
        };
        if let Some(min) = rules.min.filter(|min| number < *min) {
            let rule = format!("Member must have value greater than or equal to {min}");
            self.violated(format!("'{number}'"), rule);
        }
        if let Some(max) = rules.max.filter(|max| number > *max) {
            let rule = format!("Member must have value less than or equal to {max}");
            self.violated(format!("'{number}'"), rule);
        }
        Ok(())
    }

    fn list(&mut self, member: &Shape, length: Length, value: &Value) -> Result<(), Problem> {
        let Value::Array(items) = value else { return self.wrong_type("a list") };
        for rule in length_rules_broken(items.len(), length) {
            self.violated(format!("'[{} items]'", items.len()), rule);
        }
        for (i, item) in items.iter().enumerate() {
            self.path.push(format!("{}.member", i + 1));
            if item.is_null() {
                self.violated("null".to_owned(), "Member must not be null".to_owned());
            } else {
                self.value(member, item)?;
            }
            self.path.pop();
        }
        Ok(())
    }

    fn map(&mut self, key: &Text, values: &Text, length: Length, value: &Value) -> Result<(), Problem> {
        let Value::Object(entries) = value else { return self.wrong_type("a map") };
        for rule in length_rules_broken(entries.len(), length) {
            self.violated(format!("'{{{} entries}}'", entries.len()), rule);
        }
        for (name, entry) in entries {
            let broken = text_rules_broken(key, name);
            if !broken.is_empty() {
                let rule = format!("Map keys must satisfy constraint: [{}]", broken.join(", "));
                self.violated(quote(name, key.sensitive), rule);
            }
            let Value::String(text) = entry else {
                if entry.is_null() {
                    self.violated("null".to_owned(), "Map value must not be null".to_owned());
                    continue;
                }
                return self.wrong_type("a map whose values are strings");
            };
            let broken = text_rules_broken(values, text);
            if !broken.is_empty() {
                let rule = format!("Map value must satisfy constraint: [{}]", broken.join(", "));
                self.violated(quote(text, values.sensitive), rule);
            }
        }
        Ok(())
    }

    fn structure(&mut self, members: &[Member], value: &Value) -> Result<(), Problem> {
        let Value::Object(given) = value else { return self.wrong_type("an object") };
        for member in members {
            self.path.push(lower_first(member.name));
            match given.get(member.name) {
                None | Some(Value::Null) if member.required => {
                    self.violated("null".to_owned(), "Member must not be null".to_owned());
                }
                None | Some(Value::Null) => {}
                Some(value) => self.value(member.shape, value)?,
            }
            self.path.pop();
        }
        Ok(())
    }

    fn violated(&mut self, value: String, rule: String) {
        self.violations.push(Violation { path: self.path.join("."), value, rule });
    }

    fn wrong_type(&self, expected: &'static str) -> Result<(), Problem> {
        Err(Problem::Type { path: self.path.join("."), expected })
    }
}

/// The rules of a string that `text` breaks, in AWS's words.
pub(crate) fn text_rules_broken(rules: &Text, text: &str) -> Vec<String> {
    let mut broken = length_rules_broken(text.chars().count(), rules.length);
    // A text that is too long is not matched: the message would say the same thing twice.
    if let Some(pattern) = rules.pattern.as_ref().filter(|p| broken.is_empty() && !p.matches(text)) {
        broken.push(format!("Member must satisfy regular expression pattern: {}", pattern.source));
    }
    if !rules.values.is_empty() && !rules.values.contains(&text) {
        broken.push(format!("Member must satisfy enum value set: [{}]", rules.values.join(", ")));
    }
    broken
}

fn length_rules_broken(length: usize, bounds: Length) -> Vec<String> {
    if length < bounds.min {
        return vec![format!("Member must have length greater than or equal to {}", bounds.min)];
    }
    match bounds.max {
        Some(max) if length > max => vec![format!("Member must have length less than or equal to {max}")],
        _ => Vec::new(),
    }
}

fn quote(text: &str, sensitive: bool) -> String {
    if sensitive {
        return "'***Sensitive***'".to_owned();
    }
    match text.char_indices().nth(QUOTED_CHARS_MAX) {
        Some((cut, _)) => format!("'{}...'", &text[..cut]),
        None => format!("'{text}'"),
    }
}

fn lower_first(name: &str) -> String {
    let mut chars = name.chars();
    match chars.next() {
        Some(first) => first.to_lowercase().chain(chars).collect(),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Call;
    use crate::apprunner::{
        CreateServiceRequest, ListServicesRequest, TagResourceRequest, UntagResourceRequest,
    };
    use crate::apron::{CreateUploadRequest, PutUploadPartRequest};
    use serde_json::json;

    /// The message that this body of the operation `C` is refused with; empty when it is accepted.
    fn refusal<C: Call>(body: Value) -> String {
        match check(C::shape(), &body) {
            Ok(()) => String::new(),
            Err(problem) => problem.into_error().message,
        }
    }

    fn image_service(name: &str, image: &str) -> Value {
        json!({"ServiceName": name, "SourceConfiguration": {"ImageRepository":
            {"ImageIdentifier": image, "ImageRepositoryType": "ECR_PUBLIC"}}})
    }

    #[test]
    fn names_of_every_allowed_length_pass() {
        for name in ["a", "api", "demo", "A-b_9", &"x".repeat(40)] {
            assert_eq!(refusal::<CreateServiceRequest>(image_service(name, "public.ecr.aws/a/b:c")), "");
        }
    }

    #[test]
    fn any_registry_passes() {
        for image in ["nginx", "127.0.0.1:5000/a/b:1", "ghcr.io/a/b@sha256:00", "[::1]:5000/x"] {
            assert_eq!(refusal::<CreateServiceRequest>(image_service("demo", image)), "");
        }
        assert!(refusal::<CreateServiceRequest>(image_service("demo", "a b")).contains("imageIdentifier"));
    }

    #[test]
    fn messages_are_those_of_aws() {
        assert_eq!(
            refusal::<CreateServiceRequest>(image_service("bad name!", "x")),
            "1 validation error detected: Value 'bad name!' at 'serviceName' failed to satisfy constraint: \
             Member must satisfy regular expression pattern: [A-Za-z0-9][A-Za-z0-9-_]{0,39}"
        );
        assert_eq!(
            refusal::<CreateServiceRequest>(image_service(&"x".repeat(41), "x")),
            format!(
                "1 validation error detected: Value '{}' at 'serviceName' failed to satisfy constraint: \
                 Member must have length less than or equal to 40",
                "x".repeat(41)
            )
        );
        assert_eq!(
            refusal::<CreateServiceRequest>(json!({"ServiceName": null})),
            "2 validation errors detected: Value null at 'serviceName' failed to satisfy constraint: Member must \
             not be null; Value null at 'sourceConfiguration' failed to satisfy constraint: Member must not be null"
        );
        assert_eq!(
            refusal::<ListServicesRequest>(json!({"MaxResults": 500})),
            "1 validation error detected: Value '500' at 'maxResults' failed to satisfy constraint: Member must \
             have value less than or equal to 20"
        );
        assert_eq!(
            refusal::<CreateUploadRequest>(json!({"Kind": "TAPE"})),
            "1 validation error detected: Value 'TAPE' at 'kind' failed to satisfy constraint: Member must satisfy \
             enum value set: [SOURCE, IMAGE]"
        );
    }

    #[test]
    fn lists_and_look_ahead() {
        let arn = "arn:aws:apprunner:us-east-1:123456789012:service/demo/0123456789abcdef0123456789abcdef";
        let tags = |key: &str| json!({"ResourceArn": arn, "Tags": [{"Key": "k", "Value": ""}, {"Key": key}]});
        assert_eq!(refusal::<TagResourceRequest>(tags("apron:x")), "");
        assert_eq!(
            refusal::<TagResourceRequest>(tags("aws:x")),
            "1 validation error detected: Value 'aws:x' at 'tags.2.member.key' failed to satisfy constraint: Member \
             must satisfy regular expression pattern: ^(?!aws:).+"
        );
        assert!(
            refusal::<UntagResourceRequest>(json!({"ResourceArn": arn, "TagKeys": [null]}))
                .contains("'tagKeys.1.member'")
        );
        assert!(
            refusal::<UntagResourceRequest>(json!({"ResourceArn": "arn:x", "TagKeys": []}))
                .contains("'resourceArn'")
        );
    }

    #[test]
    fn secrets_are_not_quoted() {
        let body = |variables: Value| {
            json!({"ServiceName": "demo", "SourceConfiguration": {"ImageRepository": {
                "ImageIdentifier": "x", "ImageRepositoryType": "ECR", "ImageConfiguration":
                    {"RuntimeEnvironmentVariables": variables, "StartCommand": "hush\nhush"}}}})
        };
        let message = refusal::<CreateServiceRequest>(body(json!({"K": "secret".repeat(10_000)})));
        assert!(message.starts_with("2 validation errors detected: "), "{message}");
        assert!(message.contains("Map value must satisfy constraint: [Member must have length less than"));
        assert!(!message.contains("secret") && !message.contains("hush"), "{message}");
        let message = refusal::<CreateServiceRequest>(body(json!({"": "v"})));
        assert!(message.contains("Map keys must satisfy constraint: [Member must have length greater than"));
    }

    #[test]
    fn a_wrong_type_is_a_serialization_error() {
        for (body, text) in [
            (json!([]), "The request body must be an object."),
            (json!({"ServiceName": 7}), "The value at 'serviceName' must be a string."),
            (
                json!({"ServiceName": "a", "SourceConfiguration": []}),
                "'sourceConfiguration' must be an object.",
            ),
            (json!({"Tags": {"a": "b"}}), "The value at 'tags' must be a list."),
            (json!({"HealthCheckConfiguration": {"Interval": "5"}}), "must be a 32-bit integer."),
            (
                json!({"HealthCheckConfiguration": {"Interval": 5_000_000_000u64}}),
                "must be a 32-bit integer.",
            ),
            (json!({"HealthCheckConfiguration": {"Interval": 1.5}}), "must be a 32-bit integer."),
        ] {
            let error = check(CreateServiceRequest::shape(), &body).unwrap_err().into_error();
            assert_eq!(error.code, "SerializationException", "{body}");
            assert!(error.message.contains(text), "{}", error.message);
        }
    }

    #[test]
    fn a_part_has_a_size_limit() {
        let part = |bytes: usize| {
            let data = "A".repeat(bytes.div_ceil(3) * 4);
            refusal::<PutUploadPartRequest>(
                json!({"UploadId": "0123456789abcdef0123456789abcdef", "Offset": 1u64 << 40, "Data": data}),
            )
        };
        assert_eq!(part(3 * 1024 * 1024), "");
        assert!(part(4 * 1024 * 1024 + 3).contains("less than or equal to 4194304"));
    }

    #[test]
    fn the_list_of_violations_is_bounded() {
        let tags: Vec<Value> = (0..5_000).map(|_| json!({"Key": ""})).collect();
        let body = json!({"ResourceArn": "arn:aws:a:b:123456789012:c", "Tags": tags});
        let message = refusal::<TagResourceRequest>(body);
        assert!(message.starts_with("5000 validation errors detected"));
        assert!(message.len() < 2_000, "{}", message.len());
    }
}
