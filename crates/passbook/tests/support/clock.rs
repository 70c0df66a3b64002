//! Real time, as the test decides it.

use std::sync::atomic::{AtomicI64, Ordering};

use jiff::Timestamp;
use passbook_core::time::Clock;

/// Where it starts: 2026-01-15T09:00:00Z.
pub const START: i64 = 1_768_467_600;

/// Stands still until moved.
pub struct TestClock(AtomicI64);

impl Default for TestClock {
    fn default() -> Self {
        Self(AtomicI64::new(START))
    }
}

impl TestClock {
    pub fn advance(&self, seconds: i64) {
        self.0.fetch_add(seconds, Ordering::SeqCst);
    }
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_second(self.0.load(Ordering::SeqCst)).expect("a sane instant")
    }
}
