//! The sandbox clock of an application.

use std::time::Duration;

use jiff::Timestamp;
use passbook_core::time::{AppClock, ClockRefusal};
use passbook_store::port::{Changes, ClockWrite};

use super::{Actor, DECISIONS_MAX, Fault, Outcome, Services};

/// How long a clock change waits for the work that became due.
const PATIENCE: Duration = Duration::from_secs(10);

/// One change of a clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClockChange {
    /// Seconds forward.
    Advance(i64),
    /// Stand still here.
    Freeze(Timestamp),
    /// Run on.
    Unfreeze,
}

/// Why a clock was not changed.
#[derive(Debug, thiserror::Error)]
pub enum ClockError {
    /// A rule.
    #[error(transparent)]
    Refused(#[from] ClockRefusal),
    /// The store failed.
    #[error(transparent)]
    Fault(#[from] Fault),
}

/// What the clock shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClockReading {
    /// The application's instant.
    pub now: Timestamp,
    /// Stands still.
    pub frozen: bool,
    /// Unfinished jobs of the application that are due.
    pub pending_jobs: u64,
}

impl Services {
    /// What the application's clock shows now.
    ///
    /// # Errors
    /// A fault.
    pub async fn read_clock(&self, actor: &Actor) -> Result<ClockReading, Fault> {
        let clock = self.clocks.clock(&actor.tenant).await?;
        let real_now = self.clocks.real_now();
        Ok(ClockReading {
            now: clock.now(real_now),
            frozen: clock.is_frozen(),
            pending_jobs: self.store.count_due_jobs(&actor.tenant.app_id, real_now).await?,
        })
    }

    /// Changes the clock and waits until the work that became due is done, at most ten seconds.
    ///
    /// # Errors
    /// [`ClockError`]; the clock is unchanged then.
    pub async fn change_clock(&self, actor: &Actor, change: ClockChange) -> Result<ClockReading, ClockError> {
        let clock = self.store_clock(actor, change).await?;
        self.clocks.set(&actor.tenant.app_id, clock);
        let mut ended = self.job_ended.subscribe();
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            ended.borrow_and_update();
            let reading = self.read_clock(actor).await?;
            if reading.pending_jobs == 0 || tokio::time::Instant::now() >= deadline {
                return Ok(reading);
            }
            let look_again = (tokio::time::Instant::now() + Duration::from_millis(100)).min(deadline);
            let _ = tokio::time::timeout_at(look_again, ended.changed()).await;
        }
    }

    async fn store_clock(&self, actor: &Actor, change: ClockChange) -> Result<AppClock, ClockError> {
        let app_id = &actor.tenant.app_id;
        for _ in 0..DECISIONS_MAX {
            let app = self.store.lookup_app(app_id).await.map_err(Fault::from)?;
            let expected = app.map(|app| app.clock).unwrap_or_default();
            let real_now = self.clocks.real_now();
            let clock = match change {
                ClockChange::Advance(seconds) => expected.advance(seconds)?,
                ClockChange::Freeze(at) => {
                    let newest = self.store.newest_time(app_id).await.map_err(Fault::from)?;
                    AppClock::freeze(at, newest)?
                }
                ClockChange::Unfreeze => expected.unfreeze(real_now),
            };
            let write = ClockWrite { app_id: app_id.clone(), expected, clock, now: real_now };
            let audit = vec![self.audit(actor, "set_sandbox_clock", None)];
            let changes = Changes { clock: Some(write), audit, ..Changes::default() };
            if let Outcome::Committed = self.try_commit(changes).await? {
                return Ok(clock);
            }
        }
        Err(Fault::too_many_races().into())
    }
}
