//! ListImages and DeleteImage: what the content store has by a name.
//!
//! Deleting forgets the name alone. Revisions hold their images by digest, so what runs or may be gone back to
//! stays, and housekeeping removes the rest.

use crate::api::apprunner::view::seconds;
use crate::api::call::Context;
use crate::api::failure;
use apron_images::content::{Content, ContentError, Name, NameSource};
use apron_wire::Error;
use apron_wire::apron::{
    DeleteImageRequest, DeleteImageResponse, ImageOrigin, ImageSummary, ListImagesRequest, ListImagesResponse,
};

pub(super) async fn list(context: Context<'_>, _: ListImagesRequest) -> Result<ListImagesResponse, Error> {
    let names = blocking(context, |content| content.name_list()).await?;
    Ok(ListImagesResponse { images: names.into_iter().map(summary).collect() })
}

pub(super) async fn delete(
    context: Context<'_>,
    input: DeleteImageRequest,
) -> Result<DeleteImageResponse, Error> {
    let name = input.name.clone();
    let removed = blocking(context, move |content| content.name_remove(&name)).await?;
    let digest = removed
        .ok_or_else(|| failure::not_found(format!("There is no image by the name '{}'.", input.name)))?;
    Ok(DeleteImageResponse { digest: digest.to_string() })
}

fn summary(name: Name) -> ImageSummary {
    ImageSummary {
        name: name.name,
        digest: name.digest.to_string(),
        origin: match name.source {
            NameSource::Imported => ImageOrigin::Imported,
            NameSource::Base => ImageOrigin::Base,
        },
        bytes: i64::try_from(name.bytes).unwrap_or(i64::MAX),
        updated_at: seconds(name.set_at),
    }
}

/// Asks the content store on a thread that may wait for the disk.
async fn blocking<T: Send + 'static>(
    context: Context<'_>,
    ask: impl FnOnce(&Content) -> Result<T, ContentError> + Send + 'static,
) -> Result<T, Error> {
    let content = context.platform.content.clone();
    let asked = tokio::task::spawn_blocking(move || ask(&content)).await;
    asked.map_err(|_| failure::internal("The content store could not be asked."))?.map_err(|error| {
        tracing::error!(error = crate::chain(&error), "the names of images cannot be read or written");
        failure::internal("The names of images cannot be read or written.")
    })
}
