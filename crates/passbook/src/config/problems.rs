//! What is wrong with a configuration: everything at once.

use std::fmt;

/// One problem. Never holds a value, which might be a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The setting, as `section.key`; or the file, a variable.
    pub setting: String,
    /// What is wrong.
    pub what: String,
    /// How to put it right.
    pub remedy: String,
}

/// All problems of one configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Problems(Vec<Problem>);

impl Problems {
    /// Adds one.
    pub fn add(&mut self, setting: impl Into<String>, what: impl Into<String>, remedy: impl Into<String>) {
        self.0.push(Problem { setting: setting.into(), what: what.into(), remedy: remedy.into() });
    }

    /// In the order in which they were found.
    #[must_use]
    pub fn list(&self) -> &[Problem] {
        &self.0
    }

    /// Whether something was wrong with this very setting, so that nobody complains about it again.
    pub(super) fn concern(&self, setting: &str) -> bool {
        self.0.iter().any(|problem| problem.setting == setting)
    }

    pub(super) fn into_result(self) -> Result<(), Self> {
        if self.0.is_empty() { Ok(()) } else { Err(self) }
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "the configuration has {} problem(s)", self.0.len())?;
        for Problem { setting, what, remedy } in &self.0 {
            write!(formatter, "\n  {setting}: {what}\n    {remedy}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}
