//! `apron revisions`: what a service has been, and what one of its revisions was made of.

use super::client::Client;
use super::progress::{print, printable};
use super::show::{table, time};
use anyhow::{Result, bail};
use apron_wire::apron::{
    DescribeRevisionRequest, DescribeRevisionResponse, ListRevisionsRequest, RevisionSummary,
};
use std::process::ExitCode;

/// Pages of a list; a server that goes on for ever is not one of ours.
const PAGES_MAX: usize = 1_000;

pub(super) async fn list(client: &Client, name: &str) -> Result<ExitCode> {
    let found = client.named(name).await?;
    let mut input = ListRevisionsRequest::new(found.arn);
    let mut rows = vec![["REVISION", "STATE", "CREATED", "IMAGE", "COMMIT"].map(str::to_owned)];
    for _ in 0..PAGES_MAX {
        let page = client.call(&input).await?;
        rows.extend(page.revisions.iter().map(row));
        if page.next_token.is_none() {
            print(&table(&rows));
            return Ok(ExitCode::SUCCESS);
        }
        input.next_token = page.next_token;
    }
    bail!("the list of revisions has more than {PAGES_MAX} pages")
}

fn row(revision: &RevisionSummary) -> [String; 5] {
    let short = |text: &Option<String>| -> String {
        text.as_deref().unwrap_or_default().trim_start_matches("sha256:").chars().take(12).collect()
    };
    [
        revision.number.to_string(),
        revision.state.to_string(),
        time(revision.created_at),
        short(&revision.image),
        short(&revision.commit),
    ]
}

pub(super) async fn show(client: &Client, name: &str, number: i32) -> Result<ExitCode> {
    let found = client.named(name).await?;
    let revision = client.call(&DescribeRevisionRequest { service_arn: found.arn, revision: number }).await?;
    let facts = facts(&revision).into_iter().map(|(label, value)| [label.to_owned(), printable(&value)]);
    print(&table(&facts.collect::<Vec<_>>()));
    Ok(ExitCode::SUCCESS)
}

/// What there is to say, in order. Of variables the names alone: a terminal is no place for values.
fn facts(revision: &DescribeRevisionResponse) -> Vec<(&'static str, String)> {
    let config = &revision.configuration;
    let mut facts = vec![
        ("revision", revision.number.to_string()),
        ("state", revision.state.to_string()),
        ("created", time(revision.created_at)),
    ];
    let mut fact = |label, value: Option<String>| facts.extend(value.map(|value| (label, value)));
    fact("image", revision.image.clone());
    fact("commit", revision.commit.clone());
    if let Some(code) = &config.code_repository {
        fact("repository", Some(code.repository_url.clone()));
        fact("branch", Some(code.branch.clone()));
        fact("directory", Some(code.source_directory.clone()));
    }
    fact("reference", config.image_repository.as_ref().map(|image| image.image_identifier.clone()));
    fact("command", config.start_command.clone());
    fact("port", config.port.map(|port| port.to_string()));
    let names: Option<Vec<&str>> = config
        .runtime_environment_variables
        .as_ref()
        .filter(|variables| !variables.is_empty())
        .map(|variables| variables.keys().map(String::as_str).collect());
    fact("variables", names.map(|names| names.join(", ")));
    fact("size", Some(format!("{} CPU units, {} MiB", config.cpu, config.memory)));
    let check = &config.health_check;
    let path = check.path.as_deref().map(|path| format!(" {path}")).unwrap_or_default();
    let grace = match check.grace_seconds {
        0 => String::new(),
        seconds => format!(", from {seconds} s on"),
    };
    let (interval, timeout) = (check.interval, check.timeout);
    let protocol = &check.protocol;
    fact("health", Some(format!("{protocol}{path} every {interval} s, {timeout} s to answer{grace}")));
    let scaling = &config.auto_scaling;
    fact(
        "instances",
        Some(format!(
            "{} to {}, {} requests at once for each",
            scaling.min_size, scaling.max_size, scaling.max_concurrency
        )),
    );
    facts
}
