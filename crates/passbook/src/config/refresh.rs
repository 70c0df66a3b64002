//! `[refresh]`: how links update on their own.

use passbook_core::schedule::{Schedule, TIMES_PER_DAY_MAX};

use super::{Settings, settings::Kind};

pub(super) const KEYS: &[(&str, Kind)] = &[("times_per_day", Kind::Number), ("per_institution", Kind::Number)];

/// See the module page.
#[derive(Debug)]
pub struct Refresh {
    /// How often; `None` for never.
    pub schedule: Option<Schedule>,
    /// Links of one institution that a process updates at once.
    pub per_institution: usize,
}

impl Refresh {
    pub(super) fn read(settings: &mut Settings) -> Self {
        Self {
            schedule: Schedule::new(settings.number("refresh.times_per_day", 0..=TIMES_PER_DAY_MAX)),
            per_institution: settings.number("refresh.per_institution", 1..=1_000) as usize,
        }
    }
}
