//! `[limits]`: request limits.

use super::{Settings, settings::Kind};
use crate::api::limits::OwnLimit;

pub(super) const KEYS: &[(&str, Kind)] =
    &[("enabled", Kind::Flag), ("factor", Kind::Number), ("per_minute", Kind::List)];

/// See the module page.
#[derive(Debug)]
pub struct Limits {
    /// Whether there are any.
    pub enabled: bool,
    /// How many times the contract's limits.
    pub factor: u32,
    /// Limits instead of the contract's.
    pub own: Vec<OwnLimit>,
}

impl Limits {
    pub(super) fn read(settings: &mut Settings) -> Self {
        let mut own = Vec::new();
        for text in settings.list("limits.per_minute") {
            match text.parse() {
                Ok(limit) => own.push(limit),
                Err(()) => {
                    let remedy = "write OPERATION:app=N, OPERATION:link=N or create_link_session:user=N with an \
                                  operation that has such a limit; docs/request-limits.md lists them";
                    settings.problems.add("limits.per_minute", "holds something that is no limit", remedy);
                }
            }
        }
        Self { enabled: settings.flag("limits.enabled"), factor: settings.number("limits.factor", 1..=1_000_000), own }
    }
}
