//! Housekeeping: forgets deleted services, their logs, and old rows; removes uploads that nobody goes on with and
//! content that no row and no name needs. What may take the disk long is done beside the runtime's threads.

use crate::api::uploads;
use crate::clock::Clock;
use apron_compute::driver::Driver;
use apron_images::content::Content;
use apron_model::limits;
use apron_model::time::{Timestamp, WallTime};
use apron_store::Store;
use apron_telemetry::Logs;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};

/// Deleted shared resources that are forgotten at once; more of them wait for the next time.
const RESOURCES_MAX: u32 = 1_000;
const PURGE_EVERY: Duration = Duration::from_secs(10 * 60);
/// How often the store's log is copied to its file. More often costs more: a page that is written again and again is
/// copied each time, and commits wait for the disk behind it.
const CHECKPOINT_EVERY: Duration = Duration::from_secs(1);

pub(crate) struct Housekeeping<D> {
    pub(crate) store: Store,
    pub(crate) driver: Arc<D>,
    pub(crate) logs: Logs,
    pub(crate) content: Content,
    pub(crate) clock: Arc<dyn Clock>,
}

impl<D: Driver> Housekeeping<D> {
    pub(crate) async fn run(self, mut shutdown: watch::Receiver<bool>) {
        let mut purge = interval(PURGE_EVERY);
        purge.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = purge.tick() => {
                    self.purge().await;
                    expire_uploads(&self.store, &self.content, self.clock.now()).await;
                    sweep(&self.store, &self.content, Duration::from_millis(limits::CONTENT_YOUNG_MS)).await;
                }
                _ = shutdown.changed() => return,
            }
        }
    }

    pub(crate) async fn purge(&self) {
        match self.store.resource_purge(self.clock.now(), RESOURCES_MAX).await {
            Ok(_) => {}
            Err(error) => {
                tracing::warn!(error = %crate::chain(&error), "deleted resources are not forgotten")
            }
        }
        let before = WallTime(self.clock.wall().0.saturating_sub(limits::UPLOAD_ASKED_KEPT_MS));
        if let Err(error) = self.store.operation_uploads_forget(before).await {
            tracing::warn!(error = %crate::chain(&error), "old operations hold on to their uploads");
        }
        if let Err(error) = self.store.usage_fold(self.clock.wall()).await {
            tracing::warn!(error = %crate::chain(&error), "usage of old days is not folded");
        }
        // Without the driver's word no row may go that a container could still need.
        let Ok(observed) = self.driver.list().await else { return };
        let present: Vec<_> = observed.into_iter().map(|one| one.id).collect();
        match self.store.purge(self.clock.now(), &present).await {
            Ok(purged) => {
                for service in purged.services {
                    let (logs, id) = (self.logs.clone(), service.clone());
                    if let Some(Err(error)) = blocking(move || logs.remove_service(&id)).await {
                        tracing::warn!(%service, error = %crate::chain(&error), "logs are not removed");
                    }
                    if let Err(error) = self.driver.forget_service(&service).await {
                        tracing::warn!(%service, error = %crate::chain(&error), "its caches are not removed");
                    }
                }
            }
            Err(error) => tracing::warn!(error = %crate::chain(&error), "old rows are not forgotten"),
        }
    }
}

/// Keeps the store's log short, so that no call waits behind a commit that has to.
pub(crate) async fn checkpoint(store: Store, mut shutdown: watch::Receiver<bool>) {
    let mut tick = interval(CHECKPOINT_EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut said = String::new();
    loop {
        tokio::select! {
            _ = tick.tick() => match store.checkpoint().await {
                Ok(_) => said.clear(),
                // The writer does it when it must. The same reason again is no news.
                Err(error) => {
                    let reason = crate::chain(&error);
                    if reason != said {
                        tracing::warn!(error = %reason, "the store's log is not copied to its file");
                        said = reason;
                    }
                }
            },
            _ = shutdown.changed() => return,
        }
    }
}

/// Closes uploads that received nothing for too long, and removes their files.
pub(crate) async fn expire_uploads(store: &Store, content: &Content, now: Timestamp) {
    let before = Timestamp(now.0.saturating_sub(limits::UPLOAD_IDLE_MS_MAX));
    match store.upload_expire(before).await {
        Ok(expired) => {
            let content = content.clone();
            blocking(move || expired.iter().for_each(|id| uploads::discard(&content, id))).await;
        }
        Err(error) => tracing::warn!(error = %crate::chain(&error), "old uploads are not closed"),
    }
}

/// Removes what neither a row nor a name needs and what is older than this. Where the rows
/// cannot be read at all, nothing is removed.
pub(crate) async fn sweep(store: &Store, content: &Content, older_than: Duration) {
    let keep = match store.content_list().await {
        Ok(keep) => keep,
        Err(error) => {
            tracing::warn!(error = %crate::chain(&error), "what content is needed cannot be read");
            return;
        }
    };
    let content = content.clone();
    match blocking(move || content.sweep(&keep, older_than)).await {
        Some(Ok(swept)) if swept.blobs > 0 => {
            tracing::info!(blobs = swept.blobs, bytes = swept.bytes, "content that nobody needs is removed");
        }
        Some(Ok(_)) | None => {}
        Some(Err(error)) => tracing::warn!(error = %crate::chain(&error), "content is not swept"),
    }
}

/// Runs what waits for the disk on a thread that may. None when it broke off.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    let done = tokio::task::spawn_blocking(work).await;
    done.inspect_err(|error| tracing::error!(%error, "housekeeping broke off")).ok()
}
