//! The account-linking domain of Passbook.
//!
//! Everything here is pure: values in, values out. There is no I/O, no `async`, no wall clock and no ambient
//! randomness; time arrives as an argument and identifiers are derived ([`ids::Derivation`]). The rules that decide
//! what a link may do live in [`link`]; what a bank told us arrives as a [`snapshot`] and is merged into stored data by
//! [`reconcile`].
#![deny(missing_docs)]

pub mod account;
pub mod account_numbers;
pub mod change_log;
pub mod delivery;
pub mod delivery_shares;
pub mod enrichment;
pub mod event;
pub mod failure;
pub mod identity;
pub mod ids;
pub mod institution;
pub mod investment;
pub mod job_shares;
pub mod link;
pub mod money;
pub mod numbers;
pub mod places;
pub mod product;
pub mod quota;
pub mod reconcile;
pub mod retention;
pub mod schedule;
pub mod secret;
pub mod session;
pub mod shares;
pub mod signing;
pub mod snapshot;
pub mod tenant;
pub mod time;
pub mod transaction;
