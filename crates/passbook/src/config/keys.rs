//! `[keys]`: the master keys.

use std::path::PathBuf;

use passbook_store::sealing::MasterKey;

use super::{Settings, settings::Kind};

pub(super) const KEYS: &[(&str, Kind)] = &[("master_key", Kind::Secret)];

/// See the module page.
#[derive(Debug)]
pub struct Keys {
    /// Every version that was given, the newest last.
    pub master_keys: Vec<MasterKey>,
    /// The file they came from, if they came from one.
    pub master_key_file: Option<PathBuf>,
}

impl Keys {
    pub(super) fn read(settings: &mut Settings) -> Self {
        let master_key_file = settings.text("keys.master_key_file").map(PathBuf::from);
        let complaints = settings.problems.list().len();
        let Some(secret) = settings.secret("keys.master_key") else {
            if settings.problems.list().len() == complaints {
                let remedy = "name the file with keys.master_key_file; docs/operating.md says how to make one";
                settings.problems.add("keys.master_key_file", "is missing", remedy);
            }
            return Self { master_keys: Vec::new(), master_key_file };
        };
        let text = std::str::from_utf8(secret.expose()).unwrap_or_default();
        let master_keys = MasterKey::parse_all(text).unwrap_or_else(|error| {
            settings.problems.add("keys.master_key", "holds no master key", error.to_string());
            Vec::new()
        });
        Self { master_keys, master_key_file }
    }
}
