//! `[workers]`: background work.

use jiff::SignedDuration;

use super::{Settings, settings::Kind};

pub(super) const KEYS: &[(&str, Kind)] = &[("lease_seconds", Kind::Number)];

/// See the module page.
#[derive(Debug)]
pub struct Workers {
    /// How long a process may keep a job without a sign of life.
    pub lease: SignedDuration,
}

impl Workers {
    pub(super) fn read(settings: &mut Settings) -> Self {
        Self { lease: SignedDuration::from_secs(settings.number("workers.lease_seconds", 2..=3_600).into()) }
    }
}
