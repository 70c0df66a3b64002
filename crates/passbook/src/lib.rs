//! The Passbook server: services (use cases), the API, the workers, and `passbook dev`.
//!
//! The way through: [`api`] route → [`api::caller::Caller`] → one call of [`services`] → one store transaction → an
//! answer in the contract's words ([`views`]). Background work takes the same services from the other side
//! ([`workers`]). `main.rs` is the composition root and alone names a store and the connectors.

pub mod api;
pub mod clocks;
pub mod commands;
pub mod dev;
pub mod directory;
pub mod http_server;
pub mod import_command;
pub mod keys;
pub mod metrics;
pub mod operator;
pub mod seed;
pub mod services;
pub mod system;
pub mod views;
pub mod workers;
