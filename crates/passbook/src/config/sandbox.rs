//! `[sandbox]`: the control calls of the sandbox.

use super::{Settings, settings::Kind};

pub(super) const KEYS: &[(&str, Kind)] = &[("enabled", Kind::Flag)];

/// See the module page.
#[derive(Debug)]
pub struct Sandbox {
    /// Whether the calls exist.
    pub enabled: bool,
}

impl Sandbox {
    pub(super) fn read(settings: &mut Settings) -> Self {
        Self { enabled: settings.flag("sandbox.enabled") }
    }
}
