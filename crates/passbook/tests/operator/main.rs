//! Operator commands, with the real binary: on a store that nobody has, and on one that a server has.
#![cfg(unix)]

mod apps_and_clients;
mod control;
mod server;
