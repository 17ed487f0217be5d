//! `apron image import`, `ls` and `rm`: what the platform has by a name.

use super::client::Client;
use super::progress::{Progress, print, printable};
use super::show::{bytes, table, time};
use super::upload;
use anyhow::{Context, Result, bail};
use apron_wire::apron::{DeleteImageRequest, ListImagesRequest, UploadKind};
use std::fs::File;
use std::path::Path;
use std::process::ExitCode;

pub(super) async fn import(client: &Client, path: &Path) -> Result<ExitCode> {
    let mut file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    let metadata = file.metadata().with_context(|| format!("cannot read {}", path.display()))?;
    if !metadata.is_file() {
        bail!("{} is not a file; give an OCI or docker archive", path.display());
    }
    let total = bytes(metadata.len());
    let progress = Progress::new("importing");
    let sent = |sent: u64| progress.message(format!("uploading {} of {total}", bytes(sent)));
    let imported = upload::upload(client, UploadKind::Image, &mut file, sent)
        .await
        .with_context(|| format!("cannot import {}", path.display()))?;
    drop(progress);
    for image in imported.images.unwrap_or_default() {
        print(&format!("{}  {}", image.name, image.digest));
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn list(client: &Client) -> Result<ExitCode> {
    let mut rows = vec![["NAME", "DIGEST", "SIZE", "ORIGIN", "UPDATED"].map(str::to_owned)];
    for image in client.call(&ListImagesRequest {}).await?.images {
        rows.push([
            printable(&image.name),
            image.digest.trim_start_matches("sha256:").chars().take(12).collect(),
            bytes(u64::try_from(image.bytes).unwrap_or(0)),
            image.origin.to_string(),
            time(image.updated_at),
        ]);
    }
    print(&table(&rows));
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn remove(client: &Client, name: &str) -> Result<ExitCode> {
    client.call(&DeleteImageRequest { name: name.to_owned() }).await?;
    print(&format!("{name} is removed"));
    Ok(ExitCode::SUCCESS)
}
