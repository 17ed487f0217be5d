//! What a line of the audit log says.

use super::bounds::Bound;
use apron_model::limits;
use apron_model::time::WallTime;
use apron_telemetry::Line;
use apron_wire::apron::Operation;
use apron_wire::{Target, parameters};
use serde::Serialize;
use serde_json::Value;
use std::borrow::Cow;
use std::net::IpAddr;

/// What is read of a call that changes nothing is no more than is kept of it.
const OTHER_BODY_BYTES_MAX: usize = limits::AUDIT_PARAMETERS_BYTES_MAX;
/// Who speaks in lines that are about no single call.
const OURSELVES: &str = "apron";

/// What is known of a call.
#[derive(Default)]
pub(super) struct Call {
    /// When it was over.
    pub(super) at: WallTime,
    pub(super) request_id: String,
    pub(super) source: Option<IpAddr>,
    /// As it was presented.
    pub(super) key_id: Option<String>,
    pub(super) target: Option<Target>,
    /// What a header named and nobody knows.
    pub(super) unknown_target: Option<String>,
    /// Once the signature is verified.
    pub(super) verified: Option<Verified>,
    /// It was one too many of its key.
    pub(super) is_throttled: bool,
    pub(super) status: Option<u16>,
    pub(super) error: Option<Cow<'static, str>>,
    /// As they are shown.
    pub(super) parameters: Option<Value>,
}

pub(super) struct Verified {
    pub(super) key_name: String,
    pub(super) region: String,
}

/// A call's line as it is kept; members that nothing is known of are absent.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Written<'a> {
    request_id: &'a str,
    key_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    source_address: Option<IpAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    region: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    service: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    operation: Option<&'a str>,
    /// Absent when the caller went away before the answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parameters: Option<&'a Value>,
}

impl Call {
    /// Takes the parameters without what is sensitive; too long ones as the beginning of their text.
    pub(super) fn read(&mut self, body: &[u8]) {
        let Some(target) = self.target else { return };
        if target.only_reads() && body.len() > OTHER_BODY_BYTES_MAX {
            return;
        }
        self.parameters = parameters::shown(target.input_shape(), body).map(|value| {
            let text = value.to_string();
            match text.len() > limits::AUDIT_PARAMETERS_BYTES_MAX {
                true => text[..text.floor_char_boundary(limits::AUDIT_PARAMETERS_BYTES_MAX)].into(),
                false => value,
            }
        });
    }

    pub(super) fn is_refused(&self) -> bool {
        self.status.is_some_and(|status| (400..500).contains(&status) || status == 503)
    }

    /// Among whose lines this one counts.
    pub(super) fn bound(&self) -> Bound {
        let Some(verified) = &self.verified else { return Bound::OfStrangers };
        let key_name = || verified.key_name.clone();
        let reads_the_log = self.target == Some(Target::Apron(Operation::GetAuditLog));
        match self.is_throttled {
            true => Bound::OfThrottled(key_name()),
            false if reads_the_log && self.status == Some(200) => match self.goes_on() {
                true => Bound::OfReadingOn(key_name()),
                false => Bound::OfReading(key_name()),
            },
            false => Bound::None,
        }
    }

    /// Whether it reads a log from a cursor on; also where so much was sent that nobody looked.
    fn goes_on(&self) -> bool {
        self.parameters.as_ref().is_none_or(|parameters| !parameters["From"].is_null())
    }

    /// None for a call that presents no key.
    pub(super) fn line(&self) -> Option<Line> {
        let key_id = self.key_id.as_deref()?;
        let verified = self.verified.as_ref();
        let written = Written {
            request_id: &self.request_id,
            key_id,
            key_name: verified.map(|verified| verified.key_name.as_str()),
            source_address: self.source,
            region: verified.map(|verified| verified.region.as_str()),
            service: self.target.map(Target::signing_name),
            operation: self.target.map(Target::operation_name).or(self.unknown_target.as_deref()),
            status: self.status,
            error: self.error.as_deref(),
            // Whoever is refused gives us nothing to read.
            parameters: self.parameters.as_ref().filter(|_| !self.is_refused()),
        };
        // Texts, numbers and JSON always have a JSON form.
        let text = serde_json::to_string(&written).unwrap_or_default();
        Some(Line { at: self.at, source: key_id.to_owned(), text })
    }
}

/// A line of our own.
pub(super) fn remark(at: WallTime, message: String) -> Line {
    #[derive(Serialize)]
    struct Remark {
        message: String,
    }
    let text = serde_json::to_string(&Remark { message }).unwrap_or_default();
    Line { at, source: OURSELVES.to_owned(), text }
}
