//! `apron why-awake`: how the instances of a service stand on the idle ladder, and why.

use super::client::Client;
use super::progress::{print, printable};
use super::show::table;
use anyhow::Result;
use apron_wire::apron::{DescribeIdleRequest, IdleInstance, IdleRung};
use std::process::ExitCode;

pub(super) async fn why_awake(client: &Client, name: &str) -> Result<ExitCode> {
    let service_arn = client.named(name).await?.arn;
    let idle = client.call(&DescribeIdleRequest { service_arn }).await?;
    if idle.instances.is_empty() {
        print("It has no instances.");
        return Ok(ExitCode::SUCCESS);
    }
    let row = |one: &IdleInstance| {
        let id = one.instance_id.chars().take(8).collect::<String>();
        [printable(&id), word(one.rung).to_owned(), printable(&one.reason)]
    };
    print(&table(&idle.instances.iter().map(row).collect::<Vec<_>>()));
    Ok(ExitCode::SUCCESS)
}

pub(super) fn word(rung: IdleRung) -> &'static str {
    match rung {
        IdleRung::Active => "awake",
        IdleRung::Throttled => "throttled",
        IdleRung::Frozen => "frozen",
        IdleRung::Zero => "asleep",
    }
}
