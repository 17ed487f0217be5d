//! Uploads: a file in parts, each of which fits into one call, so that sources and images of any size go through
//! the same API as all else.
//!
//! The row of an upload counts the bytes that have arrived; its file lies among the content store's temporary
//! ones. Both go when all of it is stored; where completing is refused, or fails, the upload is as it was, to be aborted
//! or completed again. A source archive is stored as it is: it comes from outside and is only ever unpacked in a build
//! container. Housekeeping removes what nobody goes on with.
//!
//! One call at a time works on an upload: two parts for one place would mix in the file. Who finds it claimed is
//! refused and may ask again. Completing goes on when its caller has gone, who may have asked for something that takes
//! minutes; it ends when control does.

use crate::Platform;
use crate::api::call::Context;
use crate::api::failure;
use apron_images::archive::{self, ArchiveError};
use apron_images::content::{Content, ContentError};
use apron_images::helper::Helper;
use apron_images::process::Cancel;
use apron_model::ids::Digest;
use apron_model::limits;
use apron_store::{Upload, UploadKind};
use apron_wire::Error;
use apron_wire::apron::{
    AbortUploadRequest, AbortUploadResponse, CompleteUploadRequest, CompleteUploadResponse,
    CreateUploadRequest, CreateUploadResponse, ImportedImage, PutUploadPartRequest, PutUploadPartResponse,
    UploadKind as WireKind,
};
use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::oneshot;
use tokio::task::JoinSet;

/// How a gzip file begins.
const GZIP: [u8; 3] = [0x1f, 0x8b, 0x08];

/// Uploads that are worked on now. One process serves the API, so memory is the place for it. Dropping it ends the work.
#[derive(Debug, Default)]
pub(crate) struct Uploads {
    claimed: Claimed,
    /// Each holds a claim.
    work: Mutex<JoinSet<()>>,
}

type Claimed = Arc<Mutex<BTreeSet<String>>>;

/// Ends when it is dropped. Whoever works on the file holds it, also when the caller has gone meanwhile.
struct Claim {
    claimed: Claimed,
    id: String,
}

impl Uploads {
    fn claim(&self, id: &str) -> Result<Claim, Error> {
        let mut claimed = self.claimed.lock().unwrap_or_else(PoisonError::into_inner);
        if !claimed.insert(id.to_owned()) {
            return Err(failure::invalid_state(
                "Another call is working on this upload. Try again after it.",
            ));
        }
        Ok(Claim { claimed: Arc::clone(&self.claimed), id: id.to_owned() })
    }

    /// Does work that holds a claim to its end, whether or not somebody waits for it.
    async fn finish<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, Error>> + Send + 'static,
    ) -> Result<T, Error> {
        let (answer, answered) = oneshot::channel();
        {
            let mut tasks = self.work.lock().unwrap_or_else(PoisonError::into_inner);
            while tasks.try_join_next().is_some() {}
            tasks.spawn(async move {
                // Whoever has gone needs no answer.
                let _ = answer.send(work.await);
            });
        }
        answered.await.unwrap_or_else(|_| Err(broke_off()))
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.claimed.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.id);
    }
}

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
    let store = &context.platform.store;
    if !store.upload_create(&upload, limits::UPLOADS_OPEN_MAX).await.map_err(failure::store)? {
        return Err(failure::quota(format!(
            "{} uploads are open, which is the limit. Complete or abort one of them; one that nobody goes on with \
             expires after {} minutes.",
            limits::UPLOADS_OPEN_MAX,
            limits::UPLOAD_IDLE_MS_MAX / 60_000
        )));
    }
    let part_size_max = i32::try_from(limits::UPLOAD_PART_BYTES_MAX).unwrap_or(i32::MAX);
    Ok(CreateUploadResponse { upload_id: upload.id, part_size_max })
}

pub(super) async fn put_part(
    context: Context<'_>,
    input: PutUploadPartRequest,
) -> Result<PutUploadPartResponse, Error> {
    let PutUploadPartRequest { upload_id, offset, data } = input;
    let store = &context.platform.store;
    let claim = context.platform.uploads.claim(&upload_id)?;
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
    let open = store.upload_bytes().await.map_err(failure::store)?;
    if open.saturating_add(length as u64) > limits::UPLOADS_BYTES_MAX {
        return Err(failure::quota(format!(
            "The open uploads hold {open} bytes; together they may have {}. Complete or abort one of them.",
            limits::UPLOADS_BYTES_MAX
        )));
    }
    let path = path(&context.platform.content, &upload_id)?;
    let content = context.platform.content.clone();
    let written = blocking(move || {
        content.check_room(length as u64).map_err(stored)?;
        write_part(&path, offset, &data.0).map(|()| claim)
    });
    let _claim = written.await?;
    let grown = store.upload_grow(&upload_id, offset, size, context.platform.clock.now()).await;
    if !grown.map_err(failure::store)? {
        return Err(gone(&upload_id));
    }
    Ok(PutUploadPartResponse { size: i64::try_from(size).unwrap_or(i64::MAX) })
}

pub(super) async fn complete(
    context: Context<'_>,
    input: CompleteUploadRequest,
) -> Result<CompleteUploadResponse, Error> {
    let id = input.upload_id;
    let claim = context.platform.uploads.claim(&id)?;
    let Platform { store, content, clock, .. } = context.platform;
    let upload = store.upload_get(&id).await.map_err(failure::store)?.ok_or_else(|| gone(&id))?;
    if upload.size == 0 {
        return Err(failure::invalid("The upload is empty."));
    }
    // It is in use: its time to expire begins anew.
    let used = store.upload_grow(&id, upload.size, upload.size, clock.now()).await;
    if !used.map_err(failure::store)? {
        return Err(gone(&id));
    }
    let file = path(content, &id)?;
    let (store, content) = (store.clone(), content.clone());
    let work = async move {
        let cancel = Cancel::new();
        let _ended_with_control = cancel.on_drop();
        let into = content.clone();
        let stored = blocking(move || {
            let answer = match upload.kind {
                UploadKind::Source => store_source(&into, &file, upload.size),
                UploadKind::Image => import(&into, &file, upload.size, &cancel),
            };
            answer.map(|answer| (answer, claim))
        });
        let (answer, claim) = stored.await?;
        // What has expired meanwhile is stored all the same.
        store.upload_take(&id).await.map_err(failure::store)?;
        blocking(move || {
            let _claim = claim;
            discard(&content, &id);
            Ok(answer)
        })
        .await
    };
    context.platform.uploads.finish(work).await
}

pub(super) async fn abort(
    context: Context<'_>,
    input: AbortUploadRequest,
) -> Result<AbortUploadResponse, Error> {
    let id = input.upload_id;
    let claim = context.platform.uploads.claim(&id)?;
    context.platform.store.upload_take(&id).await.map_err(failure::store)?.ok_or_else(|| gone(&id))?;
    let content = context.platform.content.clone();
    blocking(move || {
        let _claim = claim;
        discard(&content, &id);
        Ok(AbortUploadResponse {})
    })
    .await
}

/// Removes the file of an upload whose row has gone.
pub(crate) fn discard(content: &Content, id: &str) {
    match path(content, id) {
        Ok(path) => remove(&path),
        Err(error) => tracing::warn!(%error, upload = id, "an upload's file cannot be named"),
    }
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
    copied.map_err(|error| stored(content.written(error)))?;
    let (digest, bytes) = blob.finish(None).map_err(stored)?;
    if bytes != size {
        return Err(failure::internal("A part of the upload was lost. Upload it again."));
    }
    Ok(CompleteUploadResponse { repository_url: Some(format!("apron:source/{digest}")), images: None })
}

fn import(
    content: &Content,
    path: &Path,
    size: u64,
    cancel: &Cancel,
) -> Result<CompleteUploadResponse, Error> {
    // Bytes of a part that was cut short do not count.
    let file = OpenOptions::new().write(true).open(path);
    file.and_then(|file| file.set_len(size)).map_err(|error| disk("written", &error))?;
    let imported = archive::import(content, path, &Helper::this_program(), cancel);
    let imported = imported.map_err(|error| match error {
        ArchiveError::Unreadable { source, .. } => disk("read", &source),
        ArchiveError::Unwritable { source, .. } => disk("written", &source),
        ArchiveError::NotAnArchive { reason, .. } => failure::invalid(format!(
            "The upload is not an image archive: {reason}; expected an OCI layout or the output of 'docker save'."
        )),
        ArchiveError::Failed { reason, .. } => {
            tracing::error!(reason, "an image archive cannot be read");
            failure::internal("The archive could not be read. Upload it again.")
        }
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
        ContentError::NoRoom(shortage) => {
            tracing::error!(%shortage, "an upload was refused for want of room");
            failure::internal(format!("There is too little room for the upload: {shortage}."))
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
        Err(_) => Err(broke_off()),
    }
}

fn broke_off() -> Error {
    failure::internal("The upload could not be worked on.")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::tests::{Directory, image, platform};
    use crate::reconcile::housekeeping;
    use apron_model::time::Timestamp;
    use apron_wire::Blob;
    use std::io::Write;
    use std::time::Duration;

    fn context(platform: &Platform) -> Context<'_> {
        Context { platform, region: "us-east-1", connections: None }
    }

    async fn open(platform: &Platform) -> String {
        create(context(platform), CreateUploadRequest { kind: WireKind::Source }).await.unwrap().upload_id
    }

    fn part(id: &str, offset: i64, data: Vec<u8>) -> PutUploadPartRequest {
        PutUploadPartRequest { upload_id: id.to_owned(), offset, data: Blob::from(data) }
    }

    /// Many parts for one place at the same time: one of them is there afterwards, and whole.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn parts_do_not_mix() {
        let directory = Directory::new();
        let platform = platform(&directory).await;
        let context = context(&platform);
        for _ in 0..5 {
            let id = open(&platform).await;
            let length = limits::UPLOAD_PART_BYTES_MAX;
            let all = (0..6u8).map(|n| put_part(context, part(&id, 0, vec![n; length])));
            let done = futures_util::future::join_all(all).await;
            let won: Vec<usize> = (0..6).filter(|n| done[*n].is_ok()).collect();
            assert_eq!(won.len(), 1, "{done:?}");
            let file = fs::read(path(&platform.content, &id).unwrap()).unwrap();
            assert!(file.len() == length && file.iter().all(|byte| usize::from(*byte) == won[0]));
            abort(context, AbortUploadRequest { upload_id: id }).await.unwrap();
        }
    }

    /// A caller that went away leaves its part being written: who comes meanwhile is refused.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_claim_outlives_its_caller_and_ends_with_its_work() {
        let uploads = Uploads::default();
        let claim = uploads.claim("a").unwrap();
        assert_eq!(uploads.claim("a").err().unwrap().code, "InvalidStateException");
        assert!(uploads.claim("b").is_ok());
        drop(claim);
        assert!(uploads.claim("a").is_ok());
    }

    /// Nothing of a refused call has happened.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn what_is_no_archive_stays_until_it_is_aborted() {
        let directory = Directory::new();
        let platform = platform(&directory).await;
        let context = context(&platform);
        let id = open(&platform).await;
        let complete_it = || complete(context, CompleteUploadRequest { upload_id: id.clone() });
        assert_eq!(complete_it().await.unwrap_err().message, "The upload is empty.");
        put_part(context, part(&id, 0, b"no archive".to_vec())).await.unwrap();
        for _ in 0..2 {
            let refused = complete_it().await.unwrap_err();
            assert_eq!(refused.code, "InvalidRequestException");
            assert!(refused.message.contains("not a gzip-compressed tar"), "{refused}");
        }
        let file = path(&platform.content, &id).unwrap();
        assert_eq!(platform.store.upload_get(&id).await.unwrap().unwrap().size, 10);
        assert_eq!(fs::read(&file).unwrap(), b"no archive");
        abort(context, AbortUploadRequest { upload_id: id.clone() }).await.unwrap();
        assert!(!file.exists());

        let id = open(&platform).await;
        put_part(context, part(&id, 0, [GZIP.as_slice(), b"and so on"].concat())).await.unwrap();
        let done = complete(context, CompleteUploadRequest { upload_id: id.clone() }).await.unwrap();
        assert!(done.repository_url.unwrap().starts_with("apron:source/sha256:"));
        assert!(!path(&platform.content, &id).unwrap().exists());
        assert_eq!(platform.store.upload_get(&id).await.unwrap(), None);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn work_without_a_caller_ends_with_control() {
        let uploads = Arc::new(Uploads::default());
        let claim = uploads.claim("a").unwrap();
        let (begun, begins) = oneshot::channel();
        let caller = tokio::spawn({
            let uploads = uploads.clone();
            async move {
                let work = async move {
                    let _claim = claim;
                    let _ = begun.send(());
                    std::future::pending::<Result<(), Error>>().await
                };
                uploads.finish(work).await
            }
        });
        begins.await.unwrap();
        caller.abort();
        assert!(caller.await.unwrap_err().is_cancelled());
        let claimed = uploads.claimed.clone();
        assert!(claimed.lock().unwrap().contains("a"));
        drop(uploads);
        let ended = async {
            while !claimed.lock().unwrap().is_empty() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), ended).await.unwrap();
    }

    /// The file is a pipe here, so that the work waits until the caller has gone.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn what_completes_without_its_caller_is_over_as_well() {
        let directory = Directory::new();
        let platform = Arc::new(platform(&directory).await);
        let id = open(&platform).await;
        let bytes = [GZIP.as_slice(), b"and so on"].concat();
        put_part(context(&platform), part(&id, 0, bytes.clone())).await.unwrap();
        let file = path(&platform.content, &id).unwrap();
        fs::remove_file(&file).unwrap();
        nix::unistd::mkfifo(&file, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let caller = tokio::spawn({
            let (platform, upload_id) = (platform.clone(), id.clone());
            async move { complete(context(&platform), CompleteUploadRequest { upload_id }).await }
        });
        let wait = || tokio::time::sleep(Duration::from_millis(5));
        // Until the work has opened it, nobody can write to it.
        let opened = async {
            loop {
                match OpenOptions::new().write(true).custom_flags(nix::libc::O_NONBLOCK).open(&file) {
                    Ok(pipe) => break pipe,
                    Err(_) => wait().await,
                }
            }
        };
        let mut pipe = tokio::time::timeout(Duration::from_secs(20), opened).await.unwrap();
        caller.abort();
        assert!(caller.await.unwrap_err().is_cancelled());
        assert!(platform.uploads.claim(&id).is_err());
        pipe.write_all(&bytes).unwrap();
        drop(pipe);
        let ended = async {
            while platform.uploads.claim(&id).is_err() {
                wait().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), ended).await.unwrap();
        assert_eq!(platform.store.upload_get(&id).await.unwrap(), None);
        assert!(!file.exists());
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn idle_uploads_expire_by_themselves() {
        let directory = Directory::new();
        let platform = platform(&directory).await;
        let id = open(&platform).await;
        put_part(context(&platform), part(&id, 0, vec![1; 10])).await.unwrap();
        let file = path(&platform.content, &id).unwrap();
        let now = platform.clock.now();
        housekeeping::expire_uploads(&platform.store, &platform.content, now).await;
        assert!(file.exists());
        let later = Timestamp(now.0 + limits::UPLOAD_IDLE_MS_MAX + 1000);
        housekeeping::expire_uploads(&platform.store, &platform.content, later).await;
        assert!(!file.exists());
        let gone = put_part(context(&platform), part(&id, 10, vec![1])).await.unwrap_err();
        assert_eq!(gone.code, "ResourceNotFoundException");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn content_that_nothing_names_is_swept() {
        let directory = Directory::new();
        let platform = platform(&directory).await;
        let content = &platform.content;
        let kept = image(content, "kept:1");
        let forgotten = image(content, "forgotten:1");
        content.name_remove("forgotten:1").unwrap();
        let source = |text: &str| content.put(text.as_bytes()).unwrap();
        let (used, unused) = (source("used"), source("unused"));
        let config = apron_model::fixture::code_config(true);
        let mut service = apron_model::fixture::service("web", config);
        let apron_model::service::Source::Code(code) = &mut service.config.source else { panic!("code") };
        code.repository_url = format!("{}{used}", apron_model::source::UPLOAD_PREFIX);
        let operation = apron_model::operation::Operation::pending(
            platform.draw().operation_id(),
            service.id.clone(),
            apron_model::operation::OperationKind::CreateService,
            platform.clock.wall(),
        );
        platform.store.service_create(&service, &operation, 1).await.unwrap();
        housekeeping::sweep(&platform.store, content, Duration::from_secs(3600)).await;
        assert!(content.has(&unused) && content.has(&forgotten), "young content is left alone");
        housekeeping::sweep(&platform.store, content, Duration::ZERO).await;
        let left = [&kept, &used, &forgotten, &unused].map(|digest| content.has(digest));
        assert_eq!(left, [true, true, false, false]);
    }
}
