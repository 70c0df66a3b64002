//! How much background work is waiting, for operators.

use jiff::SignedDuration;
use passbook_store::port::StoreError;

use super::Services;

/// Work that should have been done by now. That of disabled apps does not count: it waits until they are enabled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WaitingJobs {
    /// Unfinished jobs that are due, running ones included.
    pub due: u64,
    /// How long the oldest one that nobody has taken has been due; zero when there is none.
    pub oldest_waits: SignedDuration,
}

impl Services {
    /// Looks over all apps; costs one indexed count for each.
    ///
    /// # Errors
    /// When the store failed.
    pub async fn waiting_jobs(&self) -> Result<WaitingJobs, StoreError> {
        let now = self.store.now();
        let mut due = 0;
        for app in self.store.list_apps().await?.into_iter().filter(|app| !app.is_disabled(now)) {
            due += self.store.count_due_jobs(&app.id, now).await?;
        }
        let next_due = self.store.next_due_at().await?;
        let waits = next_due.map_or(SignedDuration::ZERO, |next| now.duration_since(next));
        Ok(WaitingJobs { due, oldest_waits: waits.max(SignedDuration::ZERO) })
    }
}
