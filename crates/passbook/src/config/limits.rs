//! `[limits]`: request limits.

use super::{Settings, settings::Kind};

pub(super) const KEYS: &[(&str, Kind)] = &[("enabled", Kind::Flag), ("factor", Kind::Number)];

/// See the module page.
#[derive(Debug)]
pub struct Limits {
    /// Whether there are any.
    pub enabled: bool,
    /// How many times the contract's limits.
    pub factor: u32,
}

impl Limits {
    pub(super) fn read(settings: &mut Settings) -> Self {
        Self { enabled: settings.flag("limits.enabled"), factor: settings.number("limits.factor", 1..=1_000_000) }
    }
}
