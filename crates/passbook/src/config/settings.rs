//! The settings by name, before any section understands them: three layers over each other, and strict about names.

use std::{collections::BTreeMap, fs, net::IpAddr, ops::RangeInclusive, path::Path, str::FromStr};

use toml::{Table, Value};

use super::{Problems, REFERENCE};
use crate::network::Network;

/// Prefix of the variables that hold settings; behind it come section, two underscores and key.
const VARIABLE_PREFIX: &str = "PASSBOOK_";

/// What a setting holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    Number,
    Flag,
    /// Texts; separated by commas in the environment.
    List,
    /// Text that is never shown; `<key>_file` names a file with it instead.
    Secret,
}

/// A setting that exists.
#[derive(Debug, Clone, Copy)]
pub(super) struct Known {
    pub section: &'static str,
    pub key: &'static str,
    pub kind: Kind,
}

/// Every setting there is; each section lists its own.
pub(super) fn known() -> impl Iterator<Item = Known> {
    let sections: [(&'static str, &'static [(&'static str, Kind)]); 9] = [
        ("server", super::server::KEYS),
        ("store", super::store::KEYS),
        ("keys", super::keys::KEYS),
        ("workers", super::workers::KEYS),
        ("refresh", super::refresh::KEYS),
        ("webhooks", super::webhooks::KEYS),
        ("limits", super::limits::KEYS),
        ("sandbox", super::sandbox::KEYS),
        ("log", super::log::KEYS),
    ];
    sections
        .into_iter()
        .flat_map(|(section, keys)| keys.iter().map(move |(key, kind)| Known { section, key, kind: *kind }))
}

/// The layer that a value came from; later ones go before earlier ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// The reference.
    Default,
    /// The operator's file.
    File,
    /// A variable.
    Environment,
}

/// See the module page.
pub struct Settings {
    values: BTreeMap<String, (Value, Source)>,
    /// What was found wrong so far.
    pub(super) problems: Problems,
}

/// Whether an environment variable of this name is meant as a setting.
pub(super) fn is_setting_variable(name: &str) -> bool {
    name.strip_prefix(VARIABLE_PREFIX).is_some_and(|rest| rest.contains("__"))
}

impl Settings {
    /// Reads the file and lays it between the reference and `environment`.
    ///
    /// # Errors
    /// When the file cannot be read or is not TOML; everything else is found later, together.
    pub fn load(file: &Path, environment: BTreeMap<String, String>) -> Result<Self, Problems> {
        let text = fs::read_to_string(file).map_err(|error| {
            let mut problems = Problems::default();
            problems.add(file.display().to_string(), format!("cannot be read ({error})"), "name a file with --config");
            problems
        })?;
        let mut settings = Self::from_text(&text, environment)?;
        let holds_secret = known().any(|known| {
            let found = settings.values.get(&format!("{}.{}", known.section, known.key));
            known.kind == Kind::Secret && found.is_some_and(|(_, source)| *source == Source::File)
        });
        if holds_secret && super::secret::is_world_readable(file) {
            let remedy = "take the secret out of it, or let only its owner and group read it (chmod 640)";
            settings.problems.add(file.display().to_string(), "holds a secret and everybody may read it", remedy);
        }
        Ok(settings)
    }

    /// As [`Settings::load`], from text.
    ///
    /// # Errors
    /// When the text is not TOML.
    pub fn from_text(text: &str, environment: BTreeMap<String, String>) -> Result<Self, Problems> {
        let mut settings = Self { values: BTreeMap::new(), problems: Problems::default() };
        settings.lay(parse(REFERENCE)?, Source::Default);
        settings.lay(parse(text)?, Source::File);
        settings.lay_environment(environment);
        Ok(settings)
    }

    fn lay(&mut self, table: Table, source: Source) {
        for (section, content) in table {
            let Value::Table(keys) = content else {
                let remedy = "put it into its section: [server], [store], [keys], [workers], [refresh], [webhooks], [limits], [sandbox] or [log]";
                self.problems.add(section, "stands outside of a section", remedy);
                continue;
            };
            if !known().any(|known| known.section == section) {
                let remedy =
                    "the sections are server, store, keys, workers, refresh, webhooks, limits, sandbox and log";
                self.problems.add(section, "is not a section", remedy);
                continue;
            }
            for (key, value) in keys {
                self.take(&section, &key, value, source);
            }
        }
    }

    fn take(&mut self, section: &str, key: &str, value: Value, source: Source) {
        let name = format!("{section}.{key}");
        match kind_of(section, key) {
            None => {
                let remedy = format!("the settings of [{section}] are {}", keys_of(section));
                self.problems.add(name, "is not a setting", remedy);
            }
            Some(kind) if !fits(&value, kind) => {
                self.problems.add(name, format!("is not {}", form_of(kind)), "see the reference for its form");
            }
            Some(_) => {
                self.values.insert(name, (value, source));
            }
        }
    }

    fn lay_environment(&mut self, environment: BTreeMap<String, String>) {
        for (variable, text) in environment {
            let Some((section, key)) =
                variable.strip_prefix(VARIABLE_PREFIX).and_then(|rest| rest.split_once("__")).map(lower)
            else {
                continue;
            };
            let value = match kind_of(&section, &key) {
                None => {
                    self.problems.add(variable, "is not a setting", "write PASSBOOK_<SECTION>__<KEY>, or unset it");
                    continue;
                }
                Some(Kind::Text | Kind::Secret) => Some(Value::String(text)),
                Some(Kind::Number) => text.trim().parse().ok().map(Value::Integer),
                Some(Kind::Flag) => text.trim().parse().ok().map(Value::Boolean),
                Some(Kind::List) => {
                    let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
                    Some(Value::Array(items.map(|item| Value::String(item.to_owned())).collect()))
                }
            };
            match value {
                Some(value) => self.take(&section, &key, value, Source::Environment),
                None => self.problems.add(variable, "does not have the form of its setting", "see the reference"),
            }
        }
    }

    /// A text; `None` when it is not given or empty.
    pub(super) fn text(&self, name: &str) -> Option<String> {
        self.sourced_text(name).map(|(text, _)| text)
    }

    pub(super) fn sourced_text(&self, name: &str) -> Option<(String, Source)> {
        let (value, source) = self.values.get(name)?;
        value.as_str().filter(|text| !text.is_empty()).map(|text| (text.to_owned(), *source))
    }

    /// A text that means something; complains when it does not.
    pub(super) fn parsed<T: FromStr>(&mut self, name: &str, what: &str, remedy: &str) -> Option<T> {
        let parsed = self.text(name)?.parse().ok();
        if parsed.is_none() {
            self.problems.add(name, what, remedy);
        }
        parsed
    }

    /// A number within bounds. Out of bounds it complains and gives the lower bound, which nobody will use.
    pub(super) fn number(&mut self, name: &str, bounds: RangeInclusive<u32>) -> u32 {
        let given = self.values.get(name).and_then(|(value, _)| value.as_integer());
        let Some(number) = given.and_then(|given| u32::try_from(given).ok()).filter(|given| bounds.contains(given))
        else {
            let (least, most) = (bounds.start(), bounds.end());
            if !self.problems.concern(name) {
                self.problems.add(name, "is out of bounds", format!("give a number from {least} to {most}"));
            }
            return *least;
        };
        number
    }

    /// A yes or no.
    pub(super) fn flag(&self, name: &str) -> bool {
        self.values.get(name).and_then(|(value, _)| value.as_bool()).unwrap_or_default()
    }

    /// The items of a list.
    pub(super) fn list(&self, name: &str) -> Vec<String> {
        let items = self.values.get(name).and_then(|(value, _)| value.as_array()).into_iter().flatten();
        items.filter_map(Value::as_str).map(str::to_owned).collect()
    }

    /// Networks, none of which may be everything; `wrong` and `remedy` say why not.
    pub(super) fn networks(&mut self, name: &str, wrong: &str, remedy: &str) -> Vec<Network> {
        let mut networks = Vec::new();
        for text in self.list(name) {
            match text.parse::<Network>() {
                Ok(network) if network.is_everything() => self.problems.add(name, wrong, remedy),
                Ok(network) => networks.push(network),
                Err(_) => {
                    let remedy = "write it as 10.0.0.0/24 or as one address";
                    self.problems.add(name, format!("{text:?} is not a network"), remedy);
                }
            }
        }
        networks
    }

    /// What `passbook config show` prints: every setting in force, where it came from, and no secret.
    #[must_use]
    pub fn show(&self) -> String {
        let mut text = String::new();
        let mut open = "";
        for known in known() {
            if known.section != open {
                text.push_str(&format!("{}[{}]\n", if open.is_empty() { "" } else { "\n" }, known.section));
                open = known.section;
            }
            let keys = [known.key.to_owned(), format!("{}_file", known.key)];
            for key in &keys[..if known.kind == Kind::Secret { 2 } else { 1 }] {
                let Some((value, source)) = self.values.get(&format!("{}.{key}", known.section)) else { continue };
                let is_secret = known.kind == Kind::Secret && key == known.key;
                let value = if is_secret { "\"[redacted]\"".to_owned() } else { value.to_string() };
                let source = match source {
                    Source::Default => "",
                    Source::File => "  # file",
                    Source::Environment => "  # environment",
                };
                text.push_str(&format!("{key} = {value}{source}\n"));
            }
        }
        text
    }

    /// The problems with the names and forms of settings.
    #[must_use]
    pub fn problems(&self) -> &Problems {
        &self.problems
    }
}

fn parse(text: &str) -> Result<Table, Problems> {
    text.parse().map_err(|error: toml::de::Error| {
        // The error's own text quotes the line, which may hold a secret.
        let line = error.span().map_or(1, |span| text[..span.start.min(text.len())].matches('\n').count() + 1);
        let mut problems = Problems::default();
        problems.add(format!("line {line}"), "is not TOML", error.message().lines().next().unwrap_or_default());
        problems
    })
}

fn lower((section, key): (&str, &str)) -> (String, String) {
    (section.to_ascii_lowercase(), key.to_ascii_lowercase())
}

/// The kind of a setting, or of the file of a secret.
fn kind_of(section: &str, key: &str) -> Option<Kind> {
    let find = |key: &str| known().find(|known| known.section == section && known.key == key).map(|known| known.kind);
    let of_secret =
        || key.strip_suffix("_file").and_then(find).filter(|kind| *kind == Kind::Secret).map(|_| Kind::Text);
    find(key).or_else(of_secret)
}

fn keys_of(section: &str) -> String {
    let keys = known().filter(|known| known.section == section).map(|known| match known.kind {
        Kind::Secret => format!("{0}, {0}_file", known.key),
        _ => known.key.to_owned(),
    });
    keys.collect::<Vec<_>>().join(", ")
}

fn fits(value: &Value, kind: Kind) -> bool {
    match kind {
        Kind::Text | Kind::Secret => value.is_str(),
        Kind::Number => value.is_integer(),
        Kind::Flag => value.is_bool(),
        Kind::List => value.as_array().is_some_and(|items| items.iter().all(Value::is_str)),
    }
}

fn form_of(kind: Kind) -> &'static str {
    match kind {
        Kind::Text | Kind::Secret => "a text",
        Kind::Number => "a whole number",
        Kind::Flag => "true or false",
        Kind::List => "a list of texts",
    }
}

/// Whether an address stands for this machine alone.
pub(super) fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || bare.parse::<IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback())
}
