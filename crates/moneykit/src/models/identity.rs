//! Account owners (`/links/{id}/identity`). Nothing is verified or normalised, and no `Debug` here shows a value.

use serde::{Deserialize, Serialize};

use super::{AccountBalances, AccountId, LinkCommon};
use crate::wire::{open_enum::open_enum, redact::debug_redacted};

open_enum! {
    /// What kind of phone a number belongs to.
    PhoneNumberType {
        /// Home.
        Home = "home",
        /// Work.
        Work = "work",
        /// Mobile.
        Mobile = "mobile",
        /// Anything else, or not known.
        Other = "other",
    }
}

/// The permissioned accounts of a link with their owners, as last fetched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdentityResponse {
    /// Accounts with their owners.
    pub accounts: Vec<AccountIdentity>,
    /// The link they belong to.
    pub link: LinkCommon,
}

/// One account with its owners.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountIdentity {
    /// Account id.
    pub account_id: AccountId,
    /// Dotted type such as `depository.checking`. An open string: test the prefix only.
    pub account_type: String,
    /// Display name.
    pub name: String,
    /// The user's name for it.
    #[serde(default)]
    pub nickname: Option<String>,
    /// Last four characters of the account number; not unique.
    #[serde(default)]
    pub account_mask: Option<String>,
    /// Cached balances.
    pub balances: AccountBalances,
    /// The caller's own id, for imported accounts.
    #[serde(default)]
    pub original_id: Option<String>,
    /// `true` when the institution reports the account closed.
    #[serde(default)]
    pub closed: Option<bool>,
    /// Owners.
    pub owners: Vec<Owner>,
}

debug_redacted!(AccountIdentity {
    show: [account_id, account_type, balances, closed, owners],
    hide: [name, nickname, account_mask, original_id]
});

/// A person or organisation that owns an account. Every list may be empty.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// Names.
    pub names: Vec<String>,
    /// Postal addresses.
    pub addresses: Vec<Address>,
    /// Phones.
    pub phone_numbers: Vec<PhoneNumber>,
    /// Email addresses.
    pub emails: Vec<Email>,
}

debug_redacted!(Owner { show: [], hide: [names, addresses, phone_numbers, emails] });

/// A postal address as the institution reports it.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Address {
    /// City.
    #[serde(default)]
    pub city: Option<String>,
    /// Country, in the institution's spelling.
    #[serde(default)]
    pub country: Option<String>,
    /// Postal code.
    #[serde(default)]
    pub postal_code: Option<String>,
    /// State or region.
    #[serde(default)]
    pub region: Option<String>,
    /// Street and house number.
    #[serde(default)]
    pub street: Option<String>,
    /// Whether the institution marks it primary.
    #[serde(default)]
    pub primary: Option<bool>,
}

debug_redacted!(Address { show: [primary], hide: [city, country, postal_code, region, street] });

/// A phone number, unformatted; extensions are possible.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PhoneNumber {
    /// The number.
    pub number: String,
    /// Whether the institution marks it primary.
    #[serde(default)]
    pub primary: Option<bool>,
    /// Kind of phone; `type` on the wire.
    #[serde(rename = "type")]
    pub phone_type: PhoneNumberType,
}

debug_redacted!(PhoneNumber { show: [primary, phone_type], hide: [number] });

/// An email address.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Email {
    /// The address.
    pub address: String,
    /// Whether the institution marks it primary.
    #[serde(default)]
    pub primary: Option<bool>,
}

debug_redacted!(Email { show: [primary], hide: [address] });
