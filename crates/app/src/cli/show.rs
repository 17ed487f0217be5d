//! `apron ls`, `status` and `env`: what there is, for people and for shells.

use super::client::Client;
use super::progress::{print, printable};
use anyhow::Result;
use apron_model::routes;
use apron_wire::apron::{DescribeStatusRequest, InstanceStatus, RevisionStatus, Waterfall};
use std::process::ExitCode;

pub(super) async fn list(client: &Client) -> Result<ExitCode> {
    let platform = client.platform().await?;
    let url = |host: String| routes::shown_url(&host, &platform.apps_endpoint);
    let mut rows = vec![["NAME", "STATUS", "URL", "UPDATED"].map(str::to_owned)];
    for service in client.services().await? {
        rows.push([
            service.service_name.unwrap_or_default(),
            service.status.map(|status| status.to_string()).unwrap_or_default(),
            service.service_url.map(url).unwrap_or_default(),
            service.updated_at.map(time).unwrap_or_default(),
        ]);
    }
    print(&table(&rows));
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn status(client: &Client, name: &str) -> Result<ExitCode> {
    let found = client.named(name).await?;
    let status = client.call(&DescribeStatusRequest { service_arn: found.arn.clone() }).await?;
    let mut facts =
        vec![["name".to_owned(), name.to_owned()], ["status".to_owned(), status.status.to_string()]];
    let mut fact = |label: &str, value: Option<String>| {
        facts.extend(value.map(|value| [label.to_owned(), printable(&value)]));
    };
    fact("url", status.url);
    fact("arn", Some(found.arn));
    fact(
        "operation",
        status.operation.as_ref().map(|open| format!("{} {}: {}", open.r#type, open.status, open.step)),
    );
    fact("failure", status.reason);
    if let (Some(provisioned), Some(active)) = (status.provisioned_instances, status.active_instances) {
        fact("instances", Some(format!("{provisioned} provisioned, {active} active")));
    }
    print(&table(&facts));
    for revision in &status.revisions {
        print(&revision_line(revision));
        for instance in &revision.instances {
            print(&format!("  {}", instance_line(instance)));
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn revision_line(revision: &RevisionStatus) -> String {
    let mut line = format!("revision {} {}", revision.number, revision.state);
    for (label, value) in [("image", &revision.image), ("commit", &revision.commit)] {
        if let Some(value) = value {
            let short: String = value.trim_start_matches("sha256:").chars().take(12).collect();
            line.push_str(&format!("  {label} {short}"));
        }
    }
    line
}

fn instance_line(instance: &InstanceStatus) -> String {
    let id: String = instance.instance_id.chars().take(8).collect();
    let mut line = format!("{id} {} {}", instance.phase, instance.health);
    if let Some(rung) = instance.rung {
        line.push_str(&format!(" {}", super::idle::word(rung)));
    }
    if let Some(address) = &instance.address {
        line.push_str(&format!("  {address}"));
    }
    if instance.restarts > 0 {
        line.push_str(&format!("  {} restarts", instance.restarts));
    }
    let waterfall = waterfall(&instance.waterfall);
    if !waterfall.is_empty() {
        line.push_str(&format!("  ({waterfall})"));
    }
    if let Some(reason) = &instance.reason {
        line.push_str(&format!("  {}", printable(reason)));
    }
    line
}

/// The stages of the latest start that were reached, in milliseconds from its beginning.
fn waterfall(waterfall: &Waterfall) -> String {
    let stages = [
        ("queued", waterfall.queued_ms),
        ("namespace", waterfall.namespace_ms),
        ("mount", waterfall.mount_ms),
        ("exec", waterfall.exec_ms),
        ("listening", waterfall.listening_ms),
        ("healthy", waterfall.healthy_ms),
        ("first byte", waterfall.first_byte_ms),
    ];
    let reached = stages.iter().filter_map(|(name, ms)| ms.map(|ms| format!("{name} {ms} ms")));
    reached.collect::<Vec<_>>().join(", ")
}

pub(super) async fn environment(client: &Client) -> Result<ExitCode> {
    let region = client.region().await?.to_owned();
    let settings = client.settings();
    for (name, value) in [
        ("AWS_ACCESS_KEY_ID", settings.key.id.as_str()),
        ("AWS_SECRET_ACCESS_KEY", settings.key.secret.as_str()),
        // SDKs read the first, the AWS CLI of version 1 and botocore only the second.
        ("AWS_REGION", &region),
        ("AWS_DEFAULT_REGION", &region),
        ("AWS_ENDPOINT_URL_APPRUNNER", &settings.endpoint),
        // For those who gave their CLI specs/apron.json by `aws configure add-model`.
        ("AWS_ENDPOINT_URL_APRON", &settings.endpoint),
    ] {
        print(&format!("export {name}={}", quoted(value)));
    }
    Ok(ExitCode::SUCCESS)
}

/// One word of a shell.
fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/:.+-_=".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// Seconds since 1970 as `2026-11-21T09:00:00Z`.
pub(super) fn time(epoch_seconds: f64) -> String {
    let ms = apron_wire::time::wall_ms(epoch_seconds);
    match i64::try_from(ms / 1000).ok().and_then(|s| jiff::Timestamp::from_second(s).ok()) {
        Some(at) => at.to_string(),
        None => "-".to_owned(),
    }
}

/// A size for people.
pub(super) fn bytes(count: u64) -> String {
    match count {
        0..1_024 => format!("{count} B"),
        1_024..1_048_576 => format!("{:.1} KiB", count as f64 / 1_024.0),
        1_048_576..1_073_741_824 => format!("{:.1} MiB", count as f64 / 1_048_576.0),
        _ => format!("{:.1} GiB", count as f64 / 1_073_741_824.0),
    }
}

/// Columns as wide as their longest cell.
pub(super) fn table<const N: usize>(rows: &[[String; N]]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; N] = std::array::from_fn(width);
    let line = |row: &[String; N]| {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_for_shells_and_columns_for_people() {
        assert_eq!(quoted("http://127.0.0.1:7070"), "http://127.0.0.1:7070");
        assert_eq!(quoted("a'b c"), r"'a'\''b c'");
        assert_eq!(quoted(""), "''");
        let rows = [["A".to_owned(), "B".to_owned()], ["long".to_owned(), "x".to_owned()]];
        assert_eq!(table(&rows), "A     B\nlong  x");
        assert_eq!(time(1_767_225_600.9), "2026-01-01T00:00:00Z");
    }
}
