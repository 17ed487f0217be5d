//! CreateAccessKey, ListAccessKeys and DeleteAccessKey: who may call the API. Only keys with all rights come here.

use crate::api::apprunner::view::seconds;
use crate::api::call::Context;
use crate::api::failure;
use apron_model::access::{self, KEY_RANDOM_BYTES, ROOT_KEY_NAME, Rights};
use apron_model::limits;
use apron_store::{AccessKey, Conflict, StoreError};
use apron_wire::Error;
use apron_wire::apron::{
    AccessKeyRights, AccessKeySummary, CreateAccessKeyRequest, CreateAccessKeyResponse,
    DeleteAccessKeyRequest, DeleteAccessKeyResponse, ListAccessKeysRequest, ListAccessKeysResponse,
};

pub(super) async fn create(
    context: Context<'_>,
    input: CreateAccessKeyRequest,
) -> Result<CreateAccessKeyResponse, Error> {
    // Not from a draw: all its names follow from one seed, and the id would tell of the secret.
    let mut random = [0; KEY_RANDOM_BYTES];
    for piece in random.chunks_mut(16) {
        piece.copy_from_slice(&context.platform.clock.seed().to_le_bytes()[..piece.len()]);
    }
    let (id, secret) = access::new_key(&random);
    let rights = match input.rights {
        AccessKeyRights::Admin => Rights::Admin,
        AccessKeyRights::ReadOnly => Rights::ReadOnly,
    };
    let key = AccessKey { id, secret, name: input.name, rights, created_at: context.platform.clock.wall() };
    match context.platform.store.access_key_create(&key, limits::ACCESS_KEYS_MAX).await {
        Ok(true) => Ok(CreateAccessKeyResponse {
            created_at: seconds(key.created_at),
            access_key_id: key.id,
            secret_access_key: key.secret,
            name: key.name,
            rights: input.rights,
        }),
        Ok(false) => Err(failure::quota(format!(
            "The platform has {} access keys, which is as many as it may have. Delete one first.",
            limits::ACCESS_KEYS_MAX
        ))),
        Err(StoreError::Conflict(Conflict::NameTaken)) => Err(failure::invalid(format!(
            "An access key with the provided name already exists: {}",
            key.name
        ))),
        Err(error) => Err(failure::store(error)),
    }
}

pub(super) async fn list(
    context: Context<'_>,
    _: ListAccessKeysRequest,
) -> Result<ListAccessKeysResponse, Error> {
    let keys = context.platform.store.access_key_list().await.map_err(failure::store)?;
    Ok(ListAccessKeysResponse { access_keys: keys.into_iter().map(summary).collect() })
}

pub(super) async fn delete(
    context: Context<'_>,
    input: DeleteAccessKeyRequest,
) -> Result<DeleteAccessKeyResponse, Error> {
    let store = &context.platform.store;
    let found = store.access_key_get(&input.access_key_id).await.map_err(failure::store)?;
    if found.is_some_and(|key| key.name == ROOT_KEY_NAME) {
        return Err(failure::invalid(format!(
            "The key {} belongs to the platform's owner and cannot be deleted: it is made again at each start from \
             the file 'credentials' in the data directory. Change that file to change the key.",
            input.access_key_id
        )));
    }
    let deleted = store.access_key_delete(&input.access_key_id).await.map_err(failure::store)?;
    // Also of one that is gone already: who deleted it may not have come as far as this.
    if let Some(connections) = context.connections {
        connections.key_deleted(&input.access_key_id);
    }
    let missing = || failure::not_found(format!("There is no access key {}.", input.access_key_id));
    Ok(DeleteAccessKeyResponse { access_key: summary(deleted.ok_or_else(missing)?) })
}

fn summary(key: AccessKey) -> AccessKeySummary {
    AccessKeySummary {
        access_key_id: key.id,
        name: key.name,
        rights: match key.rights {
            Rights::Admin => AccessKeyRights::Admin,
            Rights::ReadOnly => AccessKeyRights::ReadOnly,
        },
        created_at: seconds(key.created_at),
    }
}
