//! How values are written on the wire: the conventions that plain serde derives do not know.
//!
//! Each file is one convention of the contract and is used through `#[serde(with = "...")]` or a macro.

pub(crate) mod decimal;
pub(crate) mod open_enum;
pub(crate) mod redact;
pub(crate) mod timestamp;

use serde::{Deserialize, Deserializer};

/// Reads `null` like an absent field: both become the default value.
pub(crate) fn null_as_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}
