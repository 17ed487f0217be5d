//! What who asks for it is told of the time that a request took.

use super::Exchange;
use apron_activity::channel::{NOT_REACHED, STAGES, Stages};
use http::HeaderValue;
use std::time::Duration;

impl Exchange {
    /// Where its time went so far, as Server-Timing says such things (milliseconds): in line, for a connection, until the
    /// answer began; and of a start that it waited for when each stage was reached.
    pub(crate) fn trace(&self, start: Option<Stages>) -> HeaderValue {
        let ms = |time: Duration| time.as_secs_f64() * 1e3;
        let mut text = String::new();
        // Who was not in line has waited for no start.
        let start = start.filter(|_| self.seen.queued.is_some()).unwrap_or([NOT_REACHED; STAGES.len()]);
        for (name, reached) in STAGES.iter().zip(start).filter(|(_, ms)| *ms != NOT_REACHED) {
            text.push_str(&format!("start-{name};dur={reached}, "));
        }
        for (name, time) in [("line", self.seen.queued), ("connect", self.seen.connected)] {
            text.extend(time.map(|time| format!("{name};dur={:.3}, ", ms(time))));
        }
        text.push_str(&format!("first-byte;dur={:.3}", ms(self.seen.begun.elapsed())));
        // Names of ours and numbers are always a valid value.
        HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static(""))
    }
}
