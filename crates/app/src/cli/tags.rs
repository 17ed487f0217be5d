//! `apron tag`: a service's tags, and so what AWS's API has no field for.

use super::client::Client;
use super::progress::{print, printable};
use super::show::table;
use anyhow::Result;
use apron_wire::apprunner::{ListTagsForResourceRequest, Tag, TagResourceRequest, UntagResourceRequest};
use std::process::ExitCode;

#[derive(clap::Args)]
pub(super) struct Arguments {
    name: String,
    /// Tags to set; without any and without --remove those that there are are listed
    #[arg(value_name = "KEY=VALUE", value_parser = pair)]
    set: Vec<(String, String)>,
    /// Tag to take away; may be repeated
    #[arg(long, value_name = "KEY")]
    remove: Vec<String>,
}

fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err(format!("'{text}' is no tag: expected KEY=VALUE, such as apron:idle=zero")),
    }
}

pub(super) async fn run(client: &Client, arguments: Arguments) -> Result<ExitCode> {
    let Arguments { name, set, remove } = arguments;
    let resource_arn = client.named(&name).await?.arn;
    if set.is_empty() && remove.is_empty() {
        return list(client, resource_arn).await;
    }
    // A wrong one leaves all as they were; so it goes first.
    if !set.is_empty() {
        let tags = set.into_iter().map(|(key, value)| Tag { key: Some(key), value: Some(value) }).collect();
        client.call(&TagResourceRequest { resource_arn: resource_arn.clone(), tags }).await?;
    }
    if !remove.is_empty() {
        client.call(&UntagResourceRequest { resource_arn, tag_keys: remove }).await?;
    }
    Ok(ExitCode::SUCCESS)
}

async fn list(client: &Client, resource_arn: String) -> Result<ExitCode> {
    let listed = client.call(&ListTagsForResourceRequest { resource_arn }).await?;
    let row = |tag: Tag| {
        let text = |part: Option<String>| printable(&part.unwrap_or_default());
        [text(tag.key), text(tag.value)]
    };
    let rows: Vec<[String; 2]> = listed.tags.unwrap_or_default().into_iter().map(row).collect();
    if !rows.is_empty() {
        print(&table(&rows));
    }
    Ok(ExitCode::SUCCESS)
}
