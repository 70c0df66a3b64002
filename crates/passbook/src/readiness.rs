//! Whether this process should get requests, and if not, why not.
//!
//! Health is another question: a process that is not ready is well, and restarting it would help nobody. The exception
//! is a process of which a vital part has ended: it is neither, and ends after its drain (`supervision`).

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use jiff::SignedDuration;
use passbook_store::port::Store;
use serde::Serialize;

use crate::{opened_store::Skew, supervision::Supervisor};

/// A wall clock that is further from the store's time is wrong: tokens would end too early or too late.
const SKEW_MAX: SignedDuration = SignedDuration::from_secs(30);
/// A store that takes longer for nothing does not answer.
const PING_PATIENCE: Duration = Duration::from_secs(2);

/// Why not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// Start-up is not complete.
    Starting,
    /// The process was told to stop.
    Draining,
    /// The store does not answer.
    StoreUnavailable,
    /// Damaged data was met since the start.
    StoreDamaged,
    /// This machine's clock is wrong.
    ClockSkew,
    /// A vital part of the process has ended, and the process is about to end.
    PartEnded,
}

impl Reason {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Starting, Self::Draining, Self::StoreUnavailable, Self::StoreDamaged, Self::ClockSkew, Self::PartEnded];

    /// Its word in answers and metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Draining => "draining",
            Self::StoreUnavailable => "store_unavailable",
            Self::StoreDamaged => "store_damaged",
            Self::ClockSkew => "clock_skew",
            Self::PartEnded => "part_ended",
        }
    }
}

impl Serialize for Reason {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// See the module page.
pub struct Readiness {
    started: AtomicBool,
    draining: AtomicBool,
    skew: Skew,
    parts: Supervisor,
}

impl Readiness {
    /// Of a process that is starting, whose vital parts `parts` watches over.
    #[must_use]
    pub fn starting(skew: Skew, parts: Supervisor) -> Self {
        Self { started: AtomicBool::new(false), draining: AtomicBool::new(false), skew, parts }
    }

    /// Vital parts that have ended; none in a process that is well.
    #[must_use]
    pub fn ended_parts(&self) -> Vec<&'static str> {
        self.parts.ended()
    }

    /// What watches over the vital parts.
    #[cfg(feature = "fault-hooks")]
    #[must_use]
    pub fn supervisor(&self) -> &Supervisor {
        &self.parts
    }

    /// Start-up is complete.
    pub fn set_started(&self) {
        self.started.store(true, Ordering::Release);
    }

    /// The process was told to stop; there is no way back.
    pub fn set_draining(&self) {
        self.draining.store(true, Ordering::Release);
    }

    /// Whether the process was told to stop.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }

    /// How far the wall clock is ahead of the store's time.
    #[must_use]
    pub fn skew(&self) -> SignedDuration {
        (self.skew)()
    }

    /// Every reason against sending requests here; none when it is ready.
    pub async fn reasons(&self, store: &dyn Store) -> Vec<Reason> {
        let answers = matches!(tokio::time::timeout(PING_PATIENCE, store.ping()).await, Ok(Ok(())));
        let found = [
            (!self.started.load(Ordering::Acquire), Reason::Starting),
            (self.is_draining(), Reason::Draining),
            (!answers, Reason::StoreUnavailable),
            (store.met_damage().is_some(), Reason::StoreDamaged),
            (is_wrong_clock(self.skew()), Reason::ClockSkew),
            (!self.parts.all_alive(), Reason::PartEnded),
        ];
        found.into_iter().filter(|(applies, _)| *applies).map(|(_, reason)| reason).collect()
    }
}

fn is_wrong_clock(skew: SignedDuration) -> bool {
    skew.abs() > SKEW_MAX
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_may_be_off_by_half_a_minute() {
        for (seconds, is_wrong) in [(0, false), (30, false), (-30, false), (31, true), (-31, true)] {
            assert_eq!(is_wrong_clock(SignedDuration::from_secs(seconds)), is_wrong, "{seconds}");
        }
    }
}
