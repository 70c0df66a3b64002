//! What `passbook serve` is told: the commented defaults, the operator's file over them, the environment over both.
//!
//! `default.toml` is the reference and the only place of a default. Unknown settings are refused, and **all** problems
//! are reported at once, each with its setting, what is wrong and how to put it right. `hazards` refuses combinations
//! that are each fine and unsafe together. Secrets sit in types that are never printed; a message never repeats a value
//! that could be one. Nothing else in the server reads the environment.

mod hazards;
mod keys;
mod limits;
mod log;
mod problems;
mod refresh;
mod sandbox;
mod secret;
mod server;
mod settings;
mod store;
mod webhooks;
mod workers;

use std::{collections::BTreeMap, path::Path};

pub use self::{
    keys::Keys,
    limits::Limits,
    log::{Format, Log},
    problems::{Problem, Problems},
    refresh::Refresh,
    sandbox::Sandbox,
    server::{Role, Server, Tls},
    settings::Settings,
    store::{Place, Store},
    webhooks::Webhooks,
    workers::Workers,
};

/// The reference: every setting with its default.
pub const REFERENCE: &str = include_str!("default.toml");

/// Everything the server is told.
#[derive(Debug)]
pub struct Config {
    /// Listening, proxies, roles, stopping.
    pub server: Server,
    /// Where data is.
    pub store: Store,
    /// Master keys.
    pub keys: Keys,
    /// Background work.
    pub workers: Workers,
    /// Links that update on their own.
    pub refresh: Refresh,
    /// Where events are sent.
    pub webhooks: Webhooks,
    /// Request limits.
    pub limits: Limits,
    /// The sandbox control calls.
    pub sandbox: Sandbox,
    /// The log.
    pub log: Log,
    /// What is allowed and should be thought about; logged at the start.
    pub warnings: Vec<String>,
}

impl Config {
    /// Reads the file and the environment. `role` is the command line's, which goes before both.
    ///
    /// # Errors
    /// All problems at once.
    pub fn load(file: &Path, role: Option<Role>) -> Result<Self, Problems> {
        Self::resolve(Settings::load(file, environment())?, role)
    }

    /// Reads settings from text, for tests and for the reference itself.
    ///
    /// # Errors
    /// All problems at once.
    pub fn from_text(text: &str, environment: BTreeMap<String, String>) -> Result<Self, Problems> {
        Self::resolve(Settings::from_text(text, environment)?, None)
    }

    fn resolve(mut settings: Settings, role: Option<Role>) -> Result<Self, Problems> {
        let mut config = Self {
            server: Server::read(&mut settings),
            store: Store::read(&mut settings),
            keys: Keys::read(&mut settings),
            workers: Workers::read(&mut settings),
            refresh: Refresh::read(&mut settings),
            webhooks: Webhooks::read(&mut settings),
            limits: Limits::read(&mut settings),
            sandbox: Sandbox::read(&mut settings),
            log: Log::read(&mut settings),
            warnings: Vec::new(),
        };
        config.server.role = role.unwrap_or(config.server.role);
        hazards::judge(&config, &mut settings.problems);
        settings.problems.into_result()?;
        config.warnings = hazards::warnings(&config);
        Ok(config)
    }
}

/// The part of the environment that holds settings.
#[must_use]
pub fn environment() -> BTreeMap<String, String> {
    #[expect(clippy::disallowed_methods, reason = "this is the one place that reads the environment")]
    let all = std::env::vars_os();
    let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
        // A value that is no text is passed on as one that no setting accepts, so that it is reported and not ignored.
        let name = name.into_string().ok()?;
        Some((name, value.to_string_lossy().into_owned()))
    };
    all.filter_map(text).filter(|(name, _)| settings::is_setting_variable(name)).collect()
}

#[cfg(test)]
mod tests;
