//! Stores of a given size.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use jiff::Timestamp;
use passbook::{dev, instance::Instance, seed, system::SystemClock, views};
use passbook_store::sqlite::{OpenOptions, SqliteStore, load_or_create_master_keys};

use super::{Bench, SEED};
use crate::server::Server;

/// When the seeded links were made; a real instant in the past, so that no clock rule is in the way.
pub const MADE_AT: &str = "2026-01-01T00:00:00Z";

/// Makes the store of this name with so many links, unless it exists, and gives the ids of its links.
///
/// The server makes the store; the links are then written straight into it, sealed and rendered as a sign-in does,
/// because a million sign-ins would take longer than everything that is measured.
pub async fn prepare(bench: &Bench, name: &str, links: u64) -> Result<Vec<String>> {
    let plan = bench.plan(name);
    let list = bench.path(&format!("{name}.ids"));
    if let Ok(text) = std::fs::read_to_string(&list) {
        return Ok(text.lines().map(ToOwned::to_owned).collect());
    }
    std::fs::create_dir_all(&plan.data)?;
    Server::start(&plan).await?.stop().await?;
    let ids = fill(&plan.data, links).await?;
    std::fs::write(&list, ids.join("\n"))?;
    Ok(ids)
}

/// Opens the store of a server that does not run.
pub fn open(data: &Path) -> Result<Arc<SqliteStore>> {
    let path = data.join("passbook.db");
    let deletion_ledger = data.join("deletions.ledger");
    Ok(Arc::new(SqliteStore::open(OpenOptions {
        master_keys: load_or_create_master_keys(&data.join("master.key"), &path, &deletion_ledger)?,
        path,
        deletion_ledger,
        clock: Arc::new(SystemClock),
        renderer: views::RENDERER,
        render_stub: &views::link_view,
    })?))
}

async fn fill(data: &Path, links: u64) -> Result<Vec<String>> {
    let store = open(data)?;
    let derivation = Instance::open_dev(store.as_ref(), SEED).await?.derivation;
    let tenant = dev::tenant(&derivation);
    let now: Timestamp = MADE_AT.parse().context("a timestamp")?;
    let changes = (1..=links).map(|n| seed::link_changes(&derivation, &tenant, n, now));
    let loaded = store.bulk_load(changes).await?;
    ensure!(loaded == links, "{loaded} of {links} links were stored");
    Ok((1..=links).map(|n| seed::link_id(&derivation, &tenant, n).to_string()).collect())
}
