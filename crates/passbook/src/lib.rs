//! The Passbook server: services (use cases), the API, the workers, `passbook dev` and `passbook serve`.
//!
//! The way through: [`api`] route → [`api::caller::Caller`] → one call of [`services`] → one store transaction → an
//! answer in the contract's words ([`views`]). Background work takes the same services from the other side
//! ([`workers`]). [`server`] starts and stops them. The composition root (`stores.rs`, `composition.rs`) alone names a store
//! and the connectors.

#![deny(clippy::print_stdout, clippy::print_stderr)]

pub mod api;
pub mod api_client;
pub mod clocks;
pub mod commands;
pub mod config;
pub mod csv_profile;
pub mod dev;
pub mod directory;
pub mod export_command;
pub mod hosts;
pub mod http_server;
pub mod import_command;
pub mod instance;
pub mod keys;
pub mod log;
pub mod memory;
pub mod metrics;
pub mod network;
pub mod opened_store;
pub mod operator;
pub mod outbound;
pub mod output;
pub mod readiness;
pub mod seed;
pub mod serve;
pub mod server;
pub mod services;
pub mod signals;
pub mod signing;
pub mod supervision;
pub mod system;
pub mod views;
pub mod workers;
