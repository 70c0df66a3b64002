//! The deletion ledger of this process: every deletion is in it, synced, before it is acknowledged.
//!
//! A line that could not be written is kept and tried again with the next one and now and then; after a restart,
//! opening the store adds what the ledger lacks.

use std::sync::{Arc, Mutex, PoisonError};

use super::failure::unavailable;
use crate::{
    port::StoreError,
    stored::ledger::{DeletionLedger, LedgerEntry},
};

/// The deletion is in force but not in the ledger.
#[derive(Debug, thiserror::Error)]
#[error("the deletion ledger cannot be written")]
struct LedgerFailed;

/// The ledger and what it lacks.
pub(super) struct Deletions(Mutex<State>);

struct State {
    ledger: DeletionLedger,
    unrecorded: Vec<LedgerEntry>,
}

impl Deletions {
    pub(super) fn new(ledger: DeletionLedger) -> Arc<Self> {
        Arc::new(Self(Mutex::new(State { ledger, unrecorded: Vec::new() })))
    }

    /// Appends committed deletions and whatever else is missing.
    pub(super) async fn record(self: &Arc<Self>, entries: Vec<LedgerEntry>) -> Result<(), StoreError> {
        let deletions = Arc::clone(self);
        tokio::task::spawn_blocking(move || deletions.append(entries)).await.map_err(unavailable)?
    }

    /// Tries again what could not be written.
    pub(super) async fn catch_up(self: &Arc<Self>) -> Result<(), StoreError> {
        let is_behind = !self.0.lock().unwrap_or_else(PoisonError::into_inner).unrecorded.is_empty();
        if is_behind { self.record(Vec::new()).await } else { Ok(()) }
    }

    fn append(&self, entries: Vec<LedgerEntry>) -> Result<(), StoreError> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let State { ledger, unrecorded } = &mut *state;
        unrecorded.extend(entries);
        if unrecorded.is_empty() {
            return Ok(());
        }
        ledger.append(unrecorded).map_err(|error| {
            tracing::error!(error = %error, "the deletion ledger cannot be written");
            // Not `Unavailable`, which says that nothing changed: the link is gone already.
            StoreError::OutcomeUnknown(Box::new(LedgerFailed))
        })?;
        unrecorded.clear();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use jiff::Timestamp;
    use passbook_core::ids::LinkId;

    use super::*;

    #[tokio::test]
    async fn what_could_not_be_written_is_written_later() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ledger");
        File::create(&path).unwrap();
        // A handle that cannot write, as on a failing disk.
        let deletions = Deletions::new(DeletionLedger::over(File::open(&path).unwrap()));
        let entry = LedgerEntry { at: Timestamp::UNIX_EPOCH, link_id: LinkId::from_bits(1) };
        let refused = deletions.record(vec![entry.clone()]).await;
        assert!(matches!(refused, Err(StoreError::OutcomeUnknown(_))));
        deletions.0.lock().unwrap().ledger = DeletionLedger::open(&path).unwrap().0;
        deletions.catch_up().await.unwrap();
        assert_eq!(DeletionLedger::open(&path).unwrap().1, [entry]);
    }
}
