//! `apron tag`: a service's tags, and so what AWS's API has no field for.

use super::client::Client;
use super::progress::{print, printable};
use super::show::table;
use anyhow::{Result, bail};
use apron_wire::apprunner::{ListTagsForResourceRequest, Tag, TagResourceRequest, UntagResourceRequest};
use std::collections::BTreeMap;
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
    if let Some(key) = contradicted(&set, &remove) {
        bail!("the tag '{key}' is to be both set and removed; give one of the two");
    }
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
        let present = read(client, resource_arn.clone()).await?;
        client.call(&UntagResourceRequest { resource_arn, tag_keys: remove.clone() }).await?;
        for key in remove.iter().filter(|key| !present.contains_key(*key)) {
            print(&format!("there was no tag '{}'", printable(key)));
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// A tag that would be set and taken away.
fn contradicted<'a>(set: &[(String, String)], remove: &'a [String]) -> Option<&'a String> {
    remove.iter().find(|key| set.iter().any(|(name, _)| name == *key))
}

pub(super) async fn read(client: &Client, resource_arn: String) -> Result<BTreeMap<String, String>> {
    let listed = client.call(&ListTagsForResourceRequest { resource_arn }).await?;
    let pair = |tag: Tag| Some((tag.key?, tag.value.unwrap_or_default()));
    Ok(listed.tags.unwrap_or_default().into_iter().filter_map(pair).collect())
}

async fn list(client: &Client, resource_arn: String) -> Result<ExitCode> {
    let tags = read(client, resource_arn).await?;
    let rows: Vec<[String; 2]> =
        tags.iter().map(|(key, value)| [key, value].map(|text| printable(text))).collect();
    if !rows.is_empty() {
        print(&table(&rows));
    }
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_set_or_removed() {
        let set = [pair("apron:idle=freeze").unwrap(), pair("team=a=b").unwrap()];
        let remove = ["site", "team"].map(str::to_owned);
        assert_eq!(contradicted(&set, &remove).map(String::as_str), Some("team"));
        assert_eq!(contradicted(&set, &remove[..1]), None);
    }
}
