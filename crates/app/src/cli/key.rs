//! `apron key create`, `ls` and `rm`: who may call the platform.

use super::client::Client;
use super::progress::{print, printable};
use super::show::{table, time};
use anyhow::{Result, bail};
use apron_wire::apron::{
    AccessKeyRights, AccessKeySummary, CreateAccessKeyRequest, DeleteAccessKeyRequest, ListAccessKeysRequest,
};
use std::process::ExitCode;

pub(super) async fn create(client: &Client, name: String, read_only: bool) -> Result<ExitCode> {
    let rights = if read_only { AccessKeyRights::ReadOnly } else { AccessKeyRights::Admin };
    let key = client.call(&CreateAccessKeyRequest { name, rights }).await?;
    print(&format!(
        "# Rights: {}. The secret is shown this once; add these lines to ~/.aws/credentials, and let\n\
         # AWS_ENDPOINT_URL_APPRUNNER and AWS_ENDPOINT_URL_APRON name this platform, as 'apron env' prints them.\n\
         [{}]\naws_access_key_id = {}\naws_secret_access_key = {}",
        word(key.rights),
        key.name,
        key.access_key_id,
        key.secret_access_key
    ));
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn list(client: &Client) -> Result<ExitCode> {
    let mut rows = vec![["NAME", "ID", "RIGHTS", "CREATED"].map(str::to_owned)];
    for key in keys(client).await? {
        let rights = word(key.rights).to_owned();
        rows.push([printable(&key.name), printable(&key.access_key_id), rights, time(key.created_at)]);
    }
    print(&table(&rows));
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn remove(client: &Client, id_or_name: &str) -> Result<ExitCode> {
    let keys = keys(client).await?;
    let by_id = keys.iter().find(|key| key.access_key_id == id_or_name);
    let Some(key) = by_id.or_else(|| keys.iter().find(|key| key.name == id_or_name)) else {
        let names: Vec<String> = keys.iter().map(|key| printable(&key.name)).collect();
        bail!("there is no access key '{id_or_name}'; there are: {}", names.join(", "));
    };
    client.call(&DeleteAccessKeyRequest { access_key_id: key.access_key_id.clone() }).await?;
    print(&format!("{} ({}) is deleted", printable(&key.name), printable(&key.access_key_id)));
    Ok(ExitCode::SUCCESS)
}

async fn keys(client: &Client) -> Result<Vec<AccessKeySummary>> {
    Ok(client.call(&ListAccessKeysRequest {}).await?.access_keys)
}

fn word(rights: AccessKeyRights) -> &'static str {
    match rights {
        AccessKeyRights::Admin => "admin",
        AccessKeyRights::ReadOnly => "read-only",
    }
}
