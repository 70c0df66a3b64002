//! The simulated banks: what each looks like in the directory, how one signs in, and what its numbers start with.
//!
//! The number ranges have the right form and valid check digits but stand for nobody: no payment may be sent to them.

use passbook_core::{
    institution::{Country, Institution},
    product::Product,
};

/// How a bank lets its customers in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SignInKind {
    /// User name and password, then whatever the test user needs.
    Credentials,
    /// Nothing to do.
    Instant,
    /// The bank's own site.
    Redirect,
}

/// A simulated bank.
#[derive(Debug)]
pub(super) struct Bank {
    pub(super) id: &'static str,
    alias: &'static str,
    name: &'static str,
    domain: &'static str,
    color: &'static str,
    color_dark: &'static str,
    pub(super) country: Country,
    pub(super) sign_in: SignInKind,
    pub(super) number_range: NumberRange,
}

/// Where a bank's payment numbers come from, by the scheme of its country.
#[derive(Debug, Clone, Copy)]
pub(super) enum NumberRange {
    /// First six digits of the routing numbers: Federal Reserve routing symbol and half of the institution identifier.
    Ach { routing_prefix: &'static str },
    /// Institution number.
    Eft { institution_number: &'static str },
    /// First four digits of the sort codes, and the BIC, whose first four letters are the IBAN's bank code.
    Bacs { sort_code_prefix: &'static str, bic: &'static str },
}

/// Every bank, in directory order.
pub(super) const BANKS: [Bank; 5] = [
    Bank {
        id: "credentials_bank",
        alias: "sandbox.credentials",
        name: "Credentials Bank",
        domain: "credentials-bank.example",
        color: "#1d4ed8",
        color_dark: "#60a5fa",
        country: Country::Us,
        sign_in: SignInKind::Credentials,
        number_range: NumberRange::Ach { routing_prefix: "091097" },
    },
    Bank {
        id: "instant_bank",
        alias: "sandbox.instant",
        name: "Instant Bank",
        domain: "instant-bank.example",
        color: "#047857",
        color_dark: "#34d399",
        country: Country::Us,
        sign_in: SignInKind::Instant,
        number_range: NumberRange::Ach { routing_prefix: "111996" },
    },
    Bank {
        id: "oauth_bank",
        alias: "sandbox.oauth",
        name: "OAuth Bank",
        domain: "oauth-bank.example",
        color: "#7e22ce",
        color_dark: "#c084fc",
        country: Country::Us,
        sign_in: SignInKind::Redirect,
        number_range: NumberRange::Ach { routing_prefix: "322998" },
    },
    Bank {
        id: "credentials_bank_ca",
        alias: "sandbox.credentials_ca",
        name: "Credentials Bank Canada",
        domain: "ca.credentials-bank.example",
        color: "#b91c1c",
        color_dark: "#f87171",
        country: Country::Ca,
        sign_in: SignInKind::Credentials,
        number_range: NumberRange::Eft { institution_number: "770" },
    },
    Bank {
        id: "credentials_bank_gb",
        alias: "sandbox.credentials_gb",
        name: "Credentials Bank UK",
        domain: "uk.credentials-bank.example",
        color: "#0f766e",
        color_dark: "#2dd4bf",
        country: Country::Gb,
        sign_in: SignInKind::Credentials,
        number_range: NumberRange::Bacs { sort_code_prefix: "0498", bic: "CRDBGB2L" },
    },
];

impl Bank {
    /// The bank with this institution id.
    pub(super) fn find(id: &str) -> Option<&'static Self> {
        BANKS.iter().find(|bank| bank.id == id)
    }

    /// The currency of all its accounts.
    pub(super) fn currency(&self) -> &'static str {
        match self.country {
            Country::Us => "USD",
            Country::Ca => "CAD",
            Country::Gb => "GBP",
        }
    }

    /// Its entry in the directory.
    pub(super) fn institution(&self) -> Institution {
        Institution {
            id: self.id.to_owned(),
            aliases: vec![self.alias.to_owned()],
            name: self.name.to_owned(),
            country: self.country,
            domain: Some(self.domain.to_owned()),
            color: Some(self.color.to_owned()),
            color_dark: Some(self.color_dark.to_owned()),
            is_featured: true,
            connector: super::NAME.to_owned(),
            products: [
                Product::Accounts,
                Product::AccountNumbers,
                Product::Identity,
                Product::Transactions,
                Product::Investments,
            ]
            .into_iter()
            .collect(),
        }
    }
}
