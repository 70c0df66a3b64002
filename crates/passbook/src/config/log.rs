//! `[log]`: what is logged, and how it is written.

use super::{Settings, settings::Kind};

pub(super) const KEYS: &[(&str, Kind)] = &[("filter", Kind::Text), ("format", Kind::Text)];

/// How a line is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// For people.
    Text,
    /// For machines: one object a line.
    Json,
}

impl std::str::FromStr for Format {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err("the formats are text and json"),
        }
    }
}

/// See the module page.
#[derive(Debug)]
pub struct Log {
    /// A level, or targets with levels.
    pub filter: String,
    /// How a line is written.
    pub format: Format,
}

impl Log {
    pub(super) fn read(settings: &mut Settings) -> Self {
        let filter = settings.text("log.filter").unwrap_or_default();
        if tracing_subscriber::EnvFilter::try_new(&filter).is_err() {
            settings.problems.add(
                "log.filter",
                "is not a log filter",
                "give a level: error, warn, info, debug or trace",
            );
        }
        let format = settings.parsed("log.format", "is not a format", "give text or json").unwrap_or(Format::Text);
        Self { filter, format }
    }
}
