//! Operator commands, with the real binary: on a store that nobody has, and on one that a server has.
#![cfg(unix)]

mod apps_and_clients;
mod backups;
mod control;
mod doctor;
mod master_keys;
mod server;
mod webhooks;
