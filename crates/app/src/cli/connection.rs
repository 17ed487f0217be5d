//! `apron connection create`, `complete`, `ls` and `rm`: what private repositories are fetched with.

use super::client::Client;
use super::progress::{print, printable};
use super::show::{table, time};
use anyhow::{Context, Result, bail};
use apron_wire::apprunner::{
    ConnectionSummary, CreateConnectionRequest, DeleteConnectionRequest, ListConnectionsRequest, ProviderType,
};
use apron_wire::apron::CompleteConnectionRequest;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// A key or a token; more is the wrong file.
const SECRET_BYTES_MAX: u64 = 16 * 1024;
const PAGES_MAX: usize = 100;

#[derive(clap::Subcommand)]
pub(super) enum Command {
    /// Make a connection, to be completed with what it signs in with
    Create {
        name: String,
        /// GITHUB, BITBUCKET, GITLAB or GIT
        #[arg(long, default_value = "GIT", value_parser = provider)]
        provider: ProviderType,
    },
    /// Hand over what a connection signs in with, which makes it AVAILABLE
    Complete(Complete),
    /// List connections
    Ls,
    /// Delete a connection that no service uses
    Rm { name: String },
}

#[derive(clap::Args)]
#[command(group = clap::ArgGroup::new("secret").required(true).multiple(true))]
pub(super) struct Complete {
    name: String,
    /// A file with a token, or with user:token, for HTTPS
    #[arg(long, value_name = "FILE", group = "secret")]
    token_file: Option<PathBuf>,
    /// A file with a private key for SSH
    #[arg(long, value_name = "FILE", group = "secret")]
    ssh_key: Option<PathBuf>,
    /// A file with the secret that webhooks are signed with
    #[arg(long, value_name = "FILE", group = "secret")]
    webhook_secret_file: Option<PathBuf>,
}

fn provider(text: &str) -> Result<ProviderType, String> {
    ProviderType::parse(&text.to_ascii_uppercase())
        .ok_or_else(|| "it is one of GITHUB, BITBUCKET, GITLAB and GIT".to_owned())
}

pub(super) async fn run(client: &Client, command: Command) -> Result<ExitCode> {
    match command {
        Command::Create { name, provider } => {
            let request =
                CreateConnectionRequest { connection_name: name, provider_type: provider, tags: None };
            let made = client.call(&request).await?.connection;
            print(&made.connection_arn.unwrap_or_default());
        }
        Command::Complete(arguments) => {
            let connection_arn = find(client, &arguments.name).await?;
            let read = |path: &Option<PathBuf>| path.as_deref().map(secret).transpose();
            let request = CompleteConnectionRequest {
                connection_arn,
                access_token: read(&arguments.token_file)?,
                ssh_key: read(&arguments.ssh_key)?,
                webhook_secret: read(&arguments.webhook_secret_file)?,
            };
            let completed = client.call(&request).await?;
            print(&format!("{} is {}", arguments.name, completed.status));
        }
        Command::Ls => {
            let mut rows = vec![["NAME", "PROVIDER", "STATUS", "CREATED"].map(str::to_owned)];
            for connection in list(client, None).await? {
                rows.push([
                    printable(&connection.connection_name.unwrap_or_default()),
                    connection.provider_type.map(|provider| provider.to_string()).unwrap_or_default(),
                    connection.status.map(|status| status.to_string()).unwrap_or_default(),
                    connection.created_at.map(time).unwrap_or_default(),
                ]);
            }
            print(&table(&rows));
        }
        Command::Rm { name } => {
            let connection_arn = find(client, &name).await?;
            client.call(&DeleteConnectionRequest { connection_arn }).await?;
            print(&format!("{name} is deleted"));
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn find(client: &Client, name: &str) -> Result<String> {
    let found = list(client, Some(name)).await?.into_iter().next();
    let arn = found.and_then(|connection| connection.connection_arn);
    arn.with_context(|| {
        format!("there is no connection named {name}; apron connection ls lists those that are")
    })
}

async fn list(client: &Client, name: Option<&str>) -> Result<Vec<ConnectionSummary>> {
    let mut request =
        ListConnectionsRequest { connection_name: name.map(str::to_owned), ..Default::default() };
    let mut all = Vec::new();
    for _ in 0..PAGES_MAX {
        let page = client.call(&request).await?;
        all.extend(page.connection_summary_list);
        match page.next_token {
            None => return Ok(all),
            next => request.next_token = next,
        }
    }
    bail!("the list of connections does not end")
}

fn secret(path: &Path) -> Result<String> {
    let mut text = String::new();
    let cannot = || format!("cannot read {}", path.display());
    let file = std::fs::File::open(path).with_context(cannot)?;
    file.take(SECRET_BYTES_MAX + 1).read_to_string(&mut text).with_context(cannot)?;
    if text.len() as u64 > SECRET_BYTES_MAX {
        bail!("{} is larger than a key or a token: {SECRET_BYTES_MAX} bytes are taken", path.display());
    }
    Ok(text)
}
