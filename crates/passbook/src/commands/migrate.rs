//! `passbook migrate`: the schema, looked at or brought up to date.

use std::path::Path;

use anyhow::bail;
use serde_json::json;

use super::{OpenFailure, Schema, Stores, write_out};

/// Brings the schema up to date, making it where there is none, or with `check` only says whether it is; `false` when
/// it is not.
///
/// # Errors
/// When the store cannot be opened or made, a server has it, or a newer release wrote it.
pub(super) async fn migrate(data: &Path, check: bool, as_json: bool, stores: &dyn Stores) -> anyhow::Result<bool> {
    let before = schema(data, stores).await?;
    match before.found {
        Some(found) if found > before.known => bail!(
            "the store has schema version {found}, this release knows versions up to {}; use the newer release",
            before.known
        ),
        _ if check => {}
        None => stores.create(data).await.map_err(told)?.store.close().await,
        // Opening a store migrates it.
        Some(found) if found < before.known => stores.open(data).await.map_err(told)?.store.close().await,
        Some(_) => {}
    }
    let after = schema(data, stores).await?;
    write_out(&match as_json {
        true => format!("{}\n", json!({"from": before.found, "now": after.found, "release": after.known})),
        false => outcome(before.found, &after),
    })?;
    Ok(after.found == Some(after.known))
}

fn outcome(before: Option<i32>, after: &Schema) -> String {
    let known = after.known;
    match (before, after.found) {
        (_, None) => format!("There is no store yet; this release makes one with schema version {known}.\n"),
        (None, Some(reached)) => format!("The schema went from nothing to version {reached}.\n"),
        (Some(found), Some(reached)) if found == reached && reached == known => {
            format!("The schema is up to date at version {reached}.\n")
        }
        (Some(found), Some(reached)) if reached == known => {
            format!("The schema went from version {found} to {reached}.\n")
        }
        (_, Some(reached)) => format!("The schema has version {reached}; this release has {known}.\n"),
    }
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
