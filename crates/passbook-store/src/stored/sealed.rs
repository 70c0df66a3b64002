//! Opening what is sealed in a row.

use passbook_core::{ids::LinkId, secret::SecretBytes, tenant::Tenant};

use super::{
    prepare::link_place,
    values::{inconsistent, malformed_json},
};
use crate::{
    port::StoreError,
    sealing::{Keys, SealingKey},
};

const TABLE: &str = "links";

/// A row that has a key version but no key, or the other way round.
#[derive(Debug, thiserror::Error)]
#[error("a sealed value without its key")]
pub(crate) struct KeyMissing;

/// The data key of a link, wrapped under `key_version`.
pub(crate) fn unwrap_data_key(
    keys: &Keys,
    tenant: &Tenant,
    id: &LinkId,
    key_version: i64,
    wrapped: &[u8],
) -> Result<SealingKey, StoreError> {
    let wrong = |error| inconsistent(TABLE, "wrapped_key", id.as_str(), error);
    // A version out of range is one that nobody has.
    let version = u32::try_from(key_version).unwrap_or(0);
    keys.unwrap_data_key(&tenant.app_id, id, version, wrapped).map_err(wrong)
}

/// One sealed column of a link.
pub(crate) fn open_field(
    key: &SealingKey,
    tenant: &Tenant,
    id: &LinkId,
    column: &'static str,
    sealed: &[u8],
) -> Result<SecretBytes, StoreError> {
    key.open(link_place(&tenant.app_id, id, column), sealed)
        .map_err(|error| inconsistent(TABLE, column, id.as_str(), error))
}

/// Secrets of a link from their opened JSON; none from an absent column.
pub(crate) fn secret_from_json<T: serde::de::DeserializeOwned + Default>(
    json: Option<SecretBytes>,
    column: &'static str,
    id: &LinkId,
) -> Result<T, StoreError> {
    match json {
        None => Ok(T::default()),
        Some(json) => {
            serde_json::from_slice(json.expose()).map_err(|error| malformed_json(TABLE, column, id.as_str(), &error))
        }
    }
}
