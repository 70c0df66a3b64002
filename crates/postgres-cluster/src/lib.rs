//! Throw-away PostgreSQL clusters for tests and experiments.
//!
//! A [`Cluster`] is made by the server binaries of this machine in a temporary directory, with page checksums and with
//! everything on that keeps acknowledged writes. It listens on a socket in its directory and on a free port of the
//! loopback, with TLS if it is given a certificate. It ends with its owner, however that ends: a watcher holds a pipe to
//! the owner, stops the server when the pipe closes, and removes the directory.
//!
//! Tests call [`shared()`]: one cluster for every process of a test run, or one of their own, or none on a machine
//! without server binaries. A test that stops its cluster or needs other settings takes [`binaries_for_tests`].
#![deny(missing_docs)]

mod binaries;
mod cluster;
mod shared;
mod watcher;

pub use self::{
    binaries::Binaries,
    cluster::{Certificate, Cluster, Place, Stop},
    shared::{REQUIRED, URL, binaries_for_tests, shared},
};
