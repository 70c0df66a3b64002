//! Who is calling: application, environment and what they may do.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::ids::AppId;

/// Sandbox or live. Decided by the client's credentials; objects of one are invisible to the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Environment {
    /// Simulated banks, a movable clock.
    Sandbox,
    /// Real connectors.
    Live,
}

impl Environment {
    /// The stored and logged form.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sandbox => "sandbox",
            Self::Live => "live",
        }
    }
}

impl FromStr for Environment {
    type Err = UnknownWord;

    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        match text {
            "sandbox" => Ok(Self::Sandbox),
            "live" => Ok(Self::Live),
            other => Err(UnknownWord(other.to_owned())),
        }
    }
}

/// The owner of every link: each finder of the store takes one, so an unscoped query cannot be written.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Tenant {
    /// The application.
    pub app_id: AppId,
    /// Its environment.
    pub environment: Environment,
}

/// A group of operations a client may call: the contract's tags in snake case, plus `sandbox`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scope {
    /// Token introspection.
    AccessToken,
    /// Institution directory.
    Institutions,
    /// Link sessions and token exchange.
    LinkSession,
    /// Links.
    Links,
    /// Refreshes.
    Products,
    /// Accounts.
    Accounts,
    /// Account numbers.
    AccountNumbers,
    /// Owners.
    Identity,
    /// Transactions.
    Transactions,
    /// Investments.
    Investments,
    /// Per-user listings.
    Users,
    /// Webhook tests.
    Webhooks,
    /// The sandbox control calls.
    Sandbox,
}

impl Scope {
    /// Every scope, in the order in which they are listed to clients.
    pub const ALL: [Self; 13] = [
        Self::AccessToken,
        Self::Institutions,
        Self::LinkSession,
        Self::Links,
        Self::Products,
        Self::Accounts,
        Self::AccountNumbers,
        Self::Identity,
        Self::Transactions,
        Self::Investments,
        Self::Users,
        Self::Webhooks,
        Self::Sandbox,
    ];

    /// The name in a scope string.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AccessToken => "access_token",
            Self::Institutions => "institutions",
            Self::LinkSession => "link_session",
            Self::Links => "links",
            Self::Products => "products",
            Self::Accounts => "accounts",
            Self::AccountNumbers => "account_numbers",
            Self::Identity => "identity",
            Self::Transactions => "transactions",
            Self::Investments => "investments",
            Self::Users => "users",
            Self::Webhooks => "webhooks",
            Self::Sandbox => "sandbox",
        }
    }
}

/// A set of scopes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ScopeSet(u16);

impl ScopeSet {
    /// Everything.
    #[must_use]
    pub const fn all() -> Self {
        Self((1 << Scope::ALL.len()) - 1)
    }

    /// Reads a space-separated list; the empty string means everything in `allowed`.
    ///
    /// # Errors
    /// [`UnknownWord`] for a scope that does not exist or that `allowed` does not hold.
    pub fn requested(text: &str, allowed: Self) -> Result<Self, UnknownWord> {
        let mut set = Self(0);
        for word in text.split_ascii_whitespace() {
            let scope = Scope::ALL.into_iter().find(|scope| scope.as_str() == word && allowed.contains(*scope));
            set.0 |= 1 << scope.ok_or_else(|| UnknownWord(word.to_owned()))? as u16;
        }
        Ok(if set.0 == 0 { allowed } else { set })
    }

    /// Whether `scope` is in the set.
    #[must_use]
    pub const fn contains(self, scope: Scope) -> bool {
        self.0 & (1 << scope as u16) != 0
    }

    /// The mask as stored; bit `n` is the `n`-th scope of [`Scope::ALL`].
    #[must_use]
    pub const fn bits(self) -> u16 {
        self.0
    }

    /// Reads a stored mask; unknown bits are dropped.
    #[must_use]
    pub const fn from_bits(bits: u16) -> Self {
        Self(bits & Self::all().0)
    }
}

impl fmt::Display for ScopeSet {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words: Vec<_> = Scope::ALL.into_iter().filter(|scope| self.contains(*scope)).map(Scope::as_str).collect();
        formatter.write_str(&words.join(" "))
    }
}

/// A word that is not in a closed list.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown value {0:?}")]
pub struct UnknownWord(pub String);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_empty_scope_means_everything_allowed() {
        let allowed = ScopeSet::requested("links accounts", ScopeSet::all()).unwrap();
        assert_eq!(ScopeSet::requested("", allowed).unwrap(), allowed);
        assert_eq!(allowed.to_string(), "links accounts");
        assert!(!allowed.contains(Scope::AccountNumbers));
    }

    #[test]
    fn a_scope_beyond_the_allowed_ones_is_refused() {
        let allowed = ScopeSet::requested("links", ScopeSet::all()).unwrap();
        assert_eq!(ScopeSet::requested("links accounts", allowed), Err(UnknownWord("accounts".into())));
        assert!(ScopeSet::requested("everything", ScopeSet::all()).is_err());
    }
}
