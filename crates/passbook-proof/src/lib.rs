//! Experiments on the built server.
//!
//! Everything here works from outside: a real process, real sockets, a real disk. [`torture`] looks for writes that were
//! acknowledged and then lost; [`mod@bench`] measures the server against a yardstick that does nothing but answer.
//!
//! An experiment prints one JSON line ([`record::Proof`]) and fails if it did less than it was asked to: a run that
//! injected nothing proves nothing.

pub mod api;
pub mod bench;
#[path = "../../passbook/tests/support/canaries.rs"]
pub mod canaries;
pub mod crawl;
pub mod database;
pub mod deployment;
pub mod histogram;
pub mod http;
pub mod load;
pub mod metrics;
pub mod open_loop;
pub mod process;
pub mod proxy;
pub mod receivers;
pub mod record;
pub mod rng;
pub mod server;
pub mod statement;
pub mod torture;
pub mod yardstick;
