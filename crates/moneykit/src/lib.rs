//! Rust SDK for the MoneyKit account-linking API, version 2023-02-18, and for every server that speaks it.
#![deny(missing_docs)]

pub mod models;
mod wire;
