//! `apron audit`: who called the API, with what, and what came of it.

use super::client::Client;
use super::progress::{is_read, printable};
use super::show::time;
use anyhow::Result;
use apron_wire::apron::{GetAuditLogRequest, LogLine};
use serde::Deserialize;
use serde_json::Value;
use std::process::ExitCode;

const LINES_PER_CALL: i32 = 1_000;
/// The longest poll that the API offers.
const POLL_S: i32 = 20;

pub(super) async fn run(client: &Client, follow: bool) -> Result<ExitCode> {
    let mut input = GetAuditLogRequest { max_lines: Some(LINES_PER_CALL), ..Default::default() };
    loop {
        // Who follows stays over a restart of the platform.
        let page = if follow { client.ask(&input).await? } else { client.call(&input).await? };
        if !page.lines.iter().all(|line| is_read(&shown(line))) {
            return Ok(ExitCode::SUCCESS);
        }
        let quiet = page.lines.is_empty();
        if quiet && !follow {
            return Ok(ExitCode::SUCCESS);
        }
        // Only at the end of what there is does waiting make sense.
        input.wait_seconds = quiet.then_some(POLL_S);
        input.from = Some(page.next);
    }
}

/// What a line's text holds; the platform leaves out what it does not know.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Call {
    message: Option<String>,
    key_id: Option<String>,
    key_name: Option<String>,
    source_address: Option<String>,
    region: Option<String>,
    service: Option<String>,
    operation: Option<String>,
    status: Option<u16>,
    error: Option<String>,
    parameters: Option<Value>,
}

fn shown(line: &LogLine) -> String {
    let at = time(line.timestamp);
    // A line about lines that are gone is no JSON; it is for people as it is.
    let call = serde_json::from_str(&line.text)
        .unwrap_or_else(|_| Call { message: Some(line.text.clone()), ..Call::default() });
    if let Some(message) = call.message {
        return printable(&format!("{at} {message}"));
    }
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    let mut words = vec![
        at,
        or_dash(call.key_name.or(call.key_id)),
        or_dash(call.source_address),
        or_dash(call.region),
        format!("{}:{}", or_dash(call.service), or_dash(call.operation)),
        call.status.map_or_else(|| "no-answer".to_owned(), |status| status.to_string()),
    ];
    words.extend(call.error);
    words.extend(call.parameters.map(|parameters| match parameters {
        Value::String(cut) => format!("{cut}..."),
        whole => whole.to_string(),
    }));
    printable(&words.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_for_people() {
        let shown = |text: &str| {
            let line = LogLine { timestamp: 0.0, source: "AKID".into(), text: text.into() };
            shown(&line).split_once(' ').unwrap().1.to_owned()
        };
        let line = shown(
            r#"{"requestId": "r", "keyId": "AKID", "keyName": "ci", "sourceAddress": "::1", "region": "eu-west-1",
                "service": "apprunner", "operation": "PauseService", "status": 400, "error": "AccessDeniedException",
                "parameters": {"ServiceArn": "a"}}"#,
        );
        let expect =
            "ci ::1 eu-west-1 apprunner:PauseService 400 AccessDeniedException {\"ServiceArn\":\"a\"}";
        assert!(line.ends_with(expect), "{line}");
        let line = shown(r#"{"keyId": "AK\u001b[2JID", "operation": "X", "parameters": "{\"A\":"}"#);
        assert!(line.ends_with("AKID - - -:X no-answer {\"A\":..."), "{line}");
        assert!(shown(r#"{"message": "3 calls"}"#).ends_with("3 calls"));
        assert!(shown("(7 earlier lines are no longer kept)").ends_with("kept)"));
    }
}
