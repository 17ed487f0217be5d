//! Uploads: a file in parts, each of which fits into one call, so that sources and images of any size go through
//! the same API as all else.
//!
//! The row of an upload counts the bytes that have arrived; its file lies among the content store's temporary
//! ones. Completing takes the row away first, so that one caller alone works on the file. A source archive is
//! stored as it is: it comes from outside and is only ever unpacked in a build container. What nobody goes on
//! with expires with the next upload that is opened.

use crate::api::call::Context;
use crate::api::failure;
use apron_images::archive::{self, ArchiveError};
use apron_images::content::{Content, ContentError};
use apron_model::ids::Digest;
use apron_model::limits;
use apron_model::time::Timestamp;
use apron_store::{Upload, UploadKind, UploadOpened};
use apron_wire::Error;
use apron_wire::apron::{
    AbortUploadRequest, AbortUploadResponse, CompleteUploadRequest, CompleteUploadResponse,
    CreateUploadRequest, CreateUploadResponse, ImportedImage, PutUploadPartRequest, PutUploadPartResponse,
    UploadKind as WireKind,
};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// How a gzip file begins.
const GZIP: [u8; 3] = [0x1f, 0x8b, 0x08];

pub(super) async fn create(
    context: Context<'_>,
    input: CreateUploadRequest,
) -> Result<CreateUploadResponse, Error> {
    let mut draw = context.platform.draw();
    let upload = Upload {
        id: draw.hex(),
        kind: match input.kind {
            WireKind::Source => UploadKind::Source,
            WireKind::Image => UploadKind::Image,
        },
        size: 0,
        used_at: draw.now,
    };
    let expired_before = Timestamp(draw.now.0.saturating_sub(limits::UPLOAD_IDLE_MS_MAX));
    let store = &context.platform.store;
    let opened = store
        .upload_create(&upload, limits::UPLOADS_OPEN_MAX, expired_before)
        .await
        .map_err(failure::store)?;
    let content = &context.platform.content;
    match opened {
        UploadOpened::TooMany => Err(failure::quota(format!(
            "{} uploads are open, which is the limit. Complete or abort one of them; one that nobody goes on with \
             expires after {} minutes.",
            limits::UPLOADS_OPEN_MAX,
            limits::UPLOAD_IDLE_MS_MAX / 60_000
        ))),
        UploadOpened::Yes { expired } => {
            for id in expired {
                remove(&path(content, &id)?);
            }
            let part_size_max = i32::try_from(limits::UPLOAD_PART_BYTES_MAX).unwrap_or(i32::MAX);
            Ok(CreateUploadResponse { upload_id: upload.id, part_size_max })
        }
    }
}

pub(super) async fn put_part(
    context: Context<'_>,
    input: PutUploadPartRequest,
) -> Result<PutUploadPartResponse, Error> {
    let PutUploadPartRequest { upload_id, offset, data } = input;
    let store = &context.platform.store;
    let upload =
        store.upload_get(&upload_id).await.map_err(failure::store)?.ok_or_else(|| gone(&upload_id))?;
    let offset = u64::try_from(offset).unwrap_or(u64::MAX);
    if offset != upload.size {
        return Err(failure::invalid(format!(
            "Offset is {offset}, and {} bytes have arrived: the next part begins there.",
            upload.size
        )));
    }
    let length = data.0.len();
    let size = offset.saturating_add(length as u64);
    if length > limits::UPLOAD_PART_BYTES_MAX || size > limits::UPLOAD_BYTES_MAX {
        return Err(failure::invalid(format!(
            "The upload is too large: a part has at most {} bytes, all of it at most {}.",
            limits::UPLOAD_PART_BYTES_MAX,
            limits::UPLOAD_BYTES_MAX
        )));
    }
    let path = path(&context.platform.content, &upload_id)?;
    blocking(move || write_part(&path, offset, &data.0)).await?;
    let grown = store.upload_grow(&upload_id, offset, size, context.platform.clock.now()).await;
    if !grown.map_err(failure::store)? {
        return Err(failure::invalid_state("Another part of this upload arrived, or it ended, meanwhile."));
    }
    Ok(PutUploadPartResponse { size: i64::try_from(size).unwrap_or(i64::MAX) })
}

pub(super) async fn complete(
    context: Context<'_>,
    input: CompleteUploadRequest,
) -> Result<CompleteUploadResponse, Error> {
    let id = input.upload_id;
    let taken = context.platform.store.upload_take(&id).await.map_err(failure::store)?;
    let upload = taken.ok_or_else(|| gone(&id))?;
    let content = context.platform.content.clone();
    blocking(move || {
        let file = Temporary(path(&content, &id)?);
        if upload.size == 0 {
            return Err(failure::invalid("The upload is empty."));
        }
        match upload.kind {
            UploadKind::Source => store_source(&content, &file.0, upload.size),
            UploadKind::Image => import(&content, &file.0, upload.size),
        }
    })
    .await
}

pub(super) async fn abort(
    context: Context<'_>,
    input: AbortUploadRequest,
) -> Result<AbortUploadResponse, Error> {
    let id = input.upload_id;
    context.platform.store.upload_take(&id).await.map_err(failure::store)?.ok_or_else(|| gone(&id))?;
    remove(&path(&context.platform.content, &id)?);
    Ok(AbortUploadResponse {})
}

fn store_source(content: &Content, path: &Path, size: u64) -> Result<CompleteUploadResponse, Error> {
    let read = |error| disk("read", &error);
    let mut file = File::open(path).map_err(read)?.take(size);
    let mut head = [0; GZIP.len()];
    if file.read_exact(&mut head).is_err() || head != GZIP {
        return Err(failure::invalid("The uploaded source is not a gzip-compressed tar archive."));
    }
    let mut blob = content.writer().map_err(stored)?;
    let copied = io::copy(&mut head.as_slice(), &mut blob).and_then(|_| io::copy(&mut file, &mut blob));
    copied.map_err(|error| disk("written", &error))?;
    let (digest, bytes) = blob.finish(None).map_err(stored)?;
    if bytes != size {
        return Err(failure::internal("A part of the upload was lost. Upload it again."));
    }
    Ok(CompleteUploadResponse { repository_url: Some(format!("apron:source/{digest}")), images: None })
}

fn import(content: &Content, path: &Path, size: u64) -> Result<CompleteUploadResponse, Error> {
    // Bytes of a part that was cut short do not count.
    let file = OpenOptions::new().write(true).open(path);
    file.and_then(|file| file.set_len(size)).map_err(|error| disk("written", &error))?;
    let imported = archive::import(content, path).map_err(|error| match error {
        ArchiveError::Unreadable { source, .. } => disk("read", &source),
        ArchiveError::Unwritable { source, .. } => disk("written", &source),
        ArchiveError::NotAnArchive { reason, .. } => failure::invalid(format!(
            "The upload is not an image archive: {reason}; expected an OCI layout or the output of 'docker save'."
        )),
        ArchiveError::OtherPlatform { offered, .. } => failure::invalid(format!(
            "The archive holds an image for {offered}; this machine runs linux/{}.",
            apron_images::manifest::host_architecture()
        )),
        ArchiveError::Content(error) => stored(error),
    })?;
    let image = |(name, digest): (String, _)| ImportedImage { name, digest: ToString::to_string(&digest) };
    Ok(CompleteUploadResponse {
        repository_url: None,
        images: Some(imported.into_iter().map(image).collect()),
    })
}

fn write_part(path: &Path, offset: u64, data: &[u8]) -> Result<(), Error> {
    let file = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(path);
    file.and_then(|file| file.write_all_at(data, offset)).map_err(|error| disk("written", &error))
}

/// Beside the content store's own temporary files: what a crash leaves there is removed after a day. The store
/// says where blobs lie, three levels below its directory.
fn path(content: &Content, id: &str) -> Result<PathBuf, Error> {
    let blob = content.blob_path(&Digest::new(format!("sha256:{}", "0".repeat(64)))).map_err(stored)?;
    let directory =
        blob.ancestors().nth(3).ok_or_else(|| failure::internal("The content store has no place."))?;
    // The id is 32 hex digits, as the decoder has checked.
    Ok(directory.join(format!("tmp/upload-{id}")))
}

/// A file that goes when the work on it has ended, however it ended.
struct Temporary(PathBuf);

impl Drop for Temporary {
    fn drop(&mut self) {
        remove(&self.0);
    }
}

fn remove(path: &Path) {
    match fs::remove_file(path) {
        // Nothing had arrived.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => tracing::warn!(%error, path = %path.display(), "an upload's file cannot be removed"),
        Ok(()) => {}
    }
}

fn gone(id: &str) -> Error {
    failure::not_found(format!("There is no open upload {id}; it was completed, aborted or has expired."))
}

fn disk(done: &str, error: &io::Error) -> Error {
    tracing::error!(%error, "an upload cannot be {done}");
    if error.kind() == io::ErrorKind::StorageFull {
        return failure::internal("The disk under the platform's content store is full.");
    }
    failure::internal(format!("The upload cannot be {done} on the platform's disk."))
}

fn stored(error: ContentError) -> Error {
    match error {
        ContentError::DiskFull(_) => {
            failure::internal("The disk under the platform's content store is full.")
        }
        error if error.permanent() => failure::invalid(format!("The upload cannot be used: {error}.")),
        error => {
            tracing::error!(error = crate::chain(&error), "the content store refused an upload");
            failure::internal("The platform's content store failed.")
        }
    }
}

/// Runs work that waits for the disk away from the event loop.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(_) => Err(failure::internal("The upload could not be worked on.")),
    }
}
