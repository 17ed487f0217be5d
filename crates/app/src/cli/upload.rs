//! Sends a file to the platform in parts, each of which fits into one call.

use super::client::Client;
use anyhow::{Context, Result, bail};
use apron_wire::Blob;
use apron_wire::apron::{
    AbortUploadRequest, CompleteUploadRequest, CompleteUploadResponse, CreateUploadRequest,
    PutUploadPartRequest, UploadKind,
};
use std::fs::File;
use std::io::Read;

/// Uploads `file` from where it stands to its end. `sent` is told the bytes that have arrived.
pub(crate) async fn upload(
    client: &Client,
    kind: UploadKind,
    file: &mut File,
    mut sent: impl FnMut(u64),
) -> Result<CompleteUploadResponse> {
    let upload = client.call(&CreateUploadRequest { kind }).await?;
    let finished = async {
        parts(client, &upload.upload_id, upload.part_size_max, file, &mut sent).await?;
        client.call_patiently(&CompleteUploadRequest { upload_id: upload.upload_id.clone() }).await
    };
    let finished = finished.await;
    if finished.is_err() {
        // It would expire by itself; what failed is the error to tell.
        let _ = client.call(&AbortUploadRequest { upload_id: upload.upload_id }).await;
    }
    finished
}

async fn parts(
    client: &Client,
    upload_id: &str,
    part_bytes_max: i32,
    file: &mut File,
    sent: &mut impl FnMut(u64),
) -> Result<()> {
    let part_bytes =
        usize::try_from(part_bytes_max).unwrap_or(0).min(apron_model::limits::UPLOAD_PART_BYTES_MAX);
    if part_bytes == 0 {
        bail!("the platform takes no upload parts");
    }
    let mut offset = 0u64;
    loop {
        let mut data = Vec::with_capacity(part_bytes);
        file.by_ref()
            .take(part_bytes as u64)
            .read_to_end(&mut data)
            .context("cannot read what is uploaded")?;
        if data.is_empty() {
            return Ok(());
        }
        let length = data.len() as u64;
        let part = PutUploadPartRequest {
            upload_id: upload_id.to_owned(),
            offset: i64::try_from(offset)?,
            data: Blob::from(data),
        };
        let answer = client.call(&part).await?;
        offset += length;
        if answer.size != i64::try_from(offset)? {
            bail!("the platform has {} bytes of the upload where {offset} were sent", answer.size);
        }
        sent(offset);
    }
}
