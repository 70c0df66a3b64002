//! `passbook restore`: a verified backup into an empty data directory.

use std::path::Path;

use anyhow::{Context as _, bail};

use super::{OpenFailure, Stores, write_out};

/// Puts the backup in place and, when its master key is there, opens it once, which replays the deletion ledger.
///
/// # Errors
/// When anything is wrong with the backup or in the way; nothing is left in `data` then.
pub(super) async fn restore(
    from: &Path,
    data: &Path,
    deletions: Option<&Path>,
    without_deletions: bool,
    stores: &dyn Stores,
) -> anyhow::Result<()> {
    let files = stores.files(data);
    if deletions.is_none() && !without_deletions && !files.ledger.exists() {
        bail!(
            "name the deletion ledger of the lost store by --deletions, so that links deleted since the backup stay \
             deleted; if there is none any more, say --without-deletions"
        );
    }
    let allowed: Vec<&Path> = files.keys.as_deref().into_iter().chain([files.ledger.as_path()]).collect();
    refuse_occupied(data, &allowed)?;
    passbook_store::files::private_directory(data).context("the data directory cannot be used")?;
    let restored = stores.restore(from, data, deletions)?;
    let mut told = format!("Restored the backup of {} into {}.\n", restored.created_at, data.display());
    if restored.key_at_hand {
        let opened = stores.open(data).await.map_err(|failure| match failure {
            OpenFailure::InUse => anyhow::anyhow!("the restored store was opened by somebody else"),
            OpenFailure::Other(error) => error.context("the restored store does not open"),
        })?;
        opened.store.close().await;
        told.push_str("It opens, and every deletion in the ledger is in force.\n");
    } else {
        told.push_str(&format!(
            "Put the master key of version {} into {}; without it the store does not open.\n",
            restored.master_key_version,
            files.keys.map_or_else(|| "the configuration".to_owned(), |file| file.display().to_string())
        ));
    }
    write_out(&told)
}

/// Only the master keys and the ledger may be there already: both are kept apart from backups.
fn refuse_occupied(data: &Path, allowed: &[&Path]) -> anyhow::Result<()> {
    let entries = match std::fs::read_dir(data) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        entries => entries.with_context(|| format!("cannot look into {}", data.display()))?,
    };
    for entry in entries {
        let path = entry?.path();
        if !allowed.contains(&path.as_path()) {
            bail!("{} is not empty: {} is there", data.display(), path.display());
        }
    }
    Ok(())
}
