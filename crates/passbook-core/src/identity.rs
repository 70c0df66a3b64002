//! Account owners, as the institution reports them. Nothing is verified or normalised.

use serde::{Deserialize, Serialize};

/// One owner of an account.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// Full names.
    pub names: Vec<String>,
    /// Postal addresses.
    pub addresses: Vec<Address>,
    /// Phone numbers.
    pub phone_numbers: Vec<PhoneNumber>,
    /// E-mail addresses.
    pub emails: Vec<Email>,
}

impl std::fmt::Debug for Owner {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Owner[personal data]")
    }
}

/// A postal address.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Address {
    /// City.
    pub city: Option<String>,
    /// Country, as the bank writes it.
    pub country: Option<String>,
    /// Postal code.
    pub postal_code: Option<String>,
    /// State, province or county.
    pub region: Option<String>,
    /// Street and number.
    pub street: Option<String>,
    /// Marked primary by the bank.
    pub primary: Option<bool>,
}

/// A phone number in the bank's own form.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PhoneNumber {
    /// Unformatted; extensions are possible.
    pub number: String,
    /// Marked primary by the bank.
    #[serde(default)]
    pub primary: Option<bool>,
    /// Kind of phone.
    #[serde(rename = "type")]
    pub kind: PhoneKind,
}

/// Kind of phone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PhoneKind {
    /// Home.
    Home,
    /// Work.
    Work,
    /// Mobile.
    Mobile,
    /// Anything else.
    Other,
}

/// An e-mail address.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Email {
    /// The address.
    pub address: String,
    /// Marked primary by the bank.
    #[serde(default)]
    pub primary: Option<bool>,
}
