//! `apron ls`, `status` and `env`: what there is, for people and for shells.

use super::client::{Client, now_s};
use super::progress::{print, printable};
use super::{idle, tags};
use anyhow::Result;
use apron_model::extension;
use apron_model::routes;
use apron_model::time::WallTime;
use apron_wire::apron::{
    DescribeRevisionRequest, DescribeStatusRequest, DescribeStatusResponse, IdleRung, InstanceHealth,
    InstancePhase, InstanceStatus, RevisionAutoScaling, RevisionState, RevisionStatus, Waterfall,
};
use std::collections::BTreeMap;
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
    // The rest can be told without it.
    let scaling = scaling(client, &found.arn, &status).await.unwrap_or_default();
    let is_known = status.provisioned_instances.is_some();
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
    fact("scaling", scaling);
    print(&table(&facts));
    for revision in &status.revisions {
        print(&revision_line(revision));
        for instance in &revision.instances {
            print(&format!("  {}", instance_line(instance, is_known)));
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The numbers by which the service scales. None: it has no revision yet.
async fn scaling(client: &Client, arn: &str, status: &DescribeStatusResponse) -> Result<Option<String>> {
    let of = |state| status.revisions.iter().find(|revision| revision.state == state);
    let Some(serves) = of(RevisionState::Active).or_else(|| of(RevisionState::Candidate)) else {
        return Ok(None);
    };
    let asked = DescribeRevisionRequest { service_arn: arn.to_owned(), revision: serves.number };
    let config = client.call(&asked).await?.configuration.auto_scaling;
    let tags = tags::read(client, arn.to_owned()).await?;
    Ok(Some(scaling_line(&config, &tags, WallTime(now_s().saturating_mul(1_000)))))
}

fn scaling_line(config: &RevisionAutoScaling, tags: &BTreeMap<String, String>, now: WallTime) -> String {
    let said = extension::scale(tags);
    let RevisionAutoScaling { min_size, max_size, max_concurrency, .. } = config;
    let mut line = format!("MinSize {min_size}, MaxSize {max_size}, MaxConcurrency {max_concurrency}");
    let by_clock = said.least.and_then(|schedule| schedule.answer(now).least);
    for (tag, number) in [
        ("apron:max-size", said.max_size),
        ("apron:concurrency-hard", said.concurrency_hard),
        ("apron:min-size-schedule at present", by_clock),
    ] {
        line.extend(number.map(|number| format!(", {tag} {number}")));
    }
    line
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

/// What an instance does, in one word. `is_known`: the node has said how far instances sleep.
fn state(instance: &InstanceStatus, is_known: bool) -> &'static str {
    match (instance.phase, instance.health, instance.rung) {
        (InstancePhase::Creating, ..) => "creating",
        (InstancePhase::Exited, ..) => "exited",
        (InstancePhase::Failed, ..) => "failed",
        (InstancePhase::Stopping, ..) => "stopping",
        // Whatever its last process was.
        (InstancePhase::Running, _, Some(rung @ IdleRung::Zero)) => idle::word(rung),
        (InstancePhase::Running, InstanceHealth::Unhealthy, _) => "unhealthy",
        (InstancePhase::Running, InstanceHealth::Starting, _) => "starting",
        (InstancePhase::Running, InstanceHealth::Healthy, Some(rung)) => idle::word(rung),
        // Of one that is started for a request the node names no rung.
        (InstancePhase::Running, InstanceHealth::Healthy, None) if is_known => "starting",
        (InstancePhase::Running, InstanceHealth::Healthy, None) => "running",
    }
}

fn instance_line(instance: &InstanceStatus, is_known: bool) -> String {
    let id: String = instance.instance_id.chars().take(8).collect();
    let mut line = format!("{id} {}", state(instance, is_known));
    if let Some(address) = &instance.address {
        line.push_str(&format!("  {address}"));
    }
    if instance.restarts > 0 {
        line.push_str(&format!("  {} restarts", instance.restarts));
    }
    let waterfall = waterfall(&instance.waterfall);
    if !waterfall.is_empty() {
        line.push_str(&format!("  (last start, ms after it was asked for: {waterfall})"));
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
    let reached = stages.iter().filter_map(|(name, ms)| ms.map(|ms| format!("{name} {ms}")));
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
    fn an_instance_has_one_state() {
        use InstanceHealth::{Healthy, Starting, Unhealthy};
        use InstancePhase::{Creating, Exited, Running};
        let known = |phase, health, rung| {
            let instance = InstanceStatus {
                instance_id: "0123456789abcdef".to_owned(),
                phase,
                health,
                reason: None,
                address: None,
                restarts: 0,
                rung,
                waterfall: Waterfall { queued_ms: Some(1), healthy_ms: Some(44), ..Waterfall::default() },
            };
            [true, false].map(|is_known| state(&instance, is_known))
        };
        assert_eq!(known(Creating, Starting, None), ["creating"; 2]);
        assert_eq!(known(Exited, Healthy, Some(IdleRung::Active)), ["exited"; 2]);
        assert_eq!(known(Running, Starting, Some(IdleRung::Active)), ["starting"; 2]);
        assert_eq!(known(Running, Unhealthy, Some(IdleRung::Active)), ["unhealthy"; 2]);
        for (rung, word) in [
            (IdleRung::Active, "awake"),
            (IdleRung::Throttled, "throttled"),
            (IdleRung::Frozen, "frozen"),
            (IdleRung::Zero, "asleep"),
        ] {
            assert_eq!(known(Running, Healthy, Some(rung)), [word; 2]);
        }
        assert_eq!(known(Running, Healthy, None), ["starting", "running"]);
    }

    #[test]
    fn a_waterfall_is_of_moments() {
        let reached = Waterfall { queued_ms: Some(1), healthy_ms: Some(44), ..Waterfall::default() };
        assert_eq!(waterfall(&reached), "queued 1, healthy 44");
        assert_eq!(waterfall(&Waterfall::default()), "");
    }

    #[test]
    fn scaling_is_told_with_the_tags_that_change_it() {
        let config = RevisionAutoScaling {
            auto_scaling_configuration_arn: String::new(),
            max_concurrency: 100,
            min_size: 1,
            max_size: 25,
        };
        let mut tags = BTreeMap::new();
        let now = WallTime(1_767_225_600_000);
        let plain = "MinSize 1, MaxSize 25, MaxConcurrency 100";
        assert_eq!(scaling_line(&config, &tags, now), plain);
        for (key, value) in [("apron:max-size", "40"), ("apron:min-size-schedule", "0 0 * * * = 3")] {
            tags.insert(key.to_owned(), value.to_owned());
        }
        let all = format!("{plain}, apron:max-size 40, apron:min-size-schedule at present 3");
        assert_eq!(scaling_line(&config, &tags, now), all);
    }

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
