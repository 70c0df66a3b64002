//! `passbook migrate`: the schema, looked at or brought up to date.

use std::path::Path;

use anyhow::bail;
use serde_json::json;

use super::{OpenFailure, Schema, Stores, write_out};

/// Brings the schema up to date, or with `check` only says whether it is; `false` when it is not.
///
/// # Errors
/// When the store cannot be opened, a server has it, or a newer release wrote it.
pub(super) async fn migrate(data: &Path, check: bool, as_json: bool, stores: &dyn Stores) -> anyhow::Result<bool> {
    let before = schema(data, stores).await?;
    let Some(found) = before.found else { bail!("there is no store in {}", data.display()) };
    if found > before.known {
        bail!(
            "the store has schema version {found}, this release knows versions up to {}; use the newer release",
            before.known
        );
    }
    if !check && found < before.known {
        // Opening a store migrates it.
        stores.open(data).await.map_err(told)?.store.close().await;
    }
    let after = schema(data, stores).await?;
    let is_current = after.found == Some(after.known);
    let reached = after.found.unwrap_or_default();
    write_out(&match as_json {
        true => format!("{}\n", json!({"from": found, "now": reached, "release": after.known})),
        false if found == reached && is_current => format!("The schema is up to date at version {reached}.\n"),
        false if is_current => format!("The schema went from version {found} to {reached}.\n"),
        false => format!("The schema has version {reached}; this release has {}.\n", after.known),
    })?;
    Ok(is_current)
}

async fn schema(data: &Path, stores: &dyn Stores) -> anyhow::Result<Schema> {
    stores.schema(data).await.map_err(told)
}

fn told(failure: OpenFailure) -> anyhow::Error {
    match failure {
        OpenFailure::InUse => anyhow::anyhow!(
            "the store is in use by a server, which has brought its schema up to date when it started; stop it to \
             migrate with another release"
        ),
        OpenFailure::Other(error) => error,
    }
}
