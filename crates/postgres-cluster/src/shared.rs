//! What tests start clusters with, and the cluster that they share.

use std::sync::OnceLock;

use crate::{Binaries, Cluster, Place};

/// Environment variable with the URL of a running cluster whose role may make databases. With it, all processes of a
/// test run share that cluster.
pub const URL: &str = "PASSBOOK_TEST_POSTGRES";
/// Environment variable: with `1`, a missing cluster fails the test instead of skipping it.
pub const REQUIRED: &str = "PASSBOOK_TEST_POSTGRES_REQUIRED";

/// The URL of the database `postgres` of a cluster for tests: the one that the environment names, else one of this
/// process. `None`, with a line that says so, on a machine without server binaries.
///
/// # Panics
/// When a cluster cannot be started, or there are no binaries and [`REQUIRED`] says that there must be.
#[must_use]
pub fn shared() -> Option<String> {
    static OWN: OnceLock<Option<Cluster>> = OnceLock::new();
    if let Some(url) = std::env::var_os(URL) {
        return Some(url.into_string().unwrap_or_else(|_| panic!("{URL} is not text")));
    }
    let own = OWN.get_or_init(|| {
        let binaries = binaries_for_tests()?;
        Some(Cluster::start(&binaries, Place::Memory, &[]).expect("a throw-away cluster starts"))
    });
    own.as_ref().map(|cluster| cluster.url("postgres"))
}

/// The server's programs, for a test that needs a cluster of its own. `None`, with a line that says so, on a machine
/// without them.
///
/// # Panics
/// When there are none and [`REQUIRED`] says that there must be.
#[must_use]
pub fn binaries_for_tests() -> Option<Binaries> {
    let found = Binaries::find();
    if found.is_none() {
        assert!(
            std::env::var_os(REQUIRED).is_none_or(|value| value != "1"),
            "no PostgreSQL server binaries were found"
        );
        println!("SKIPPED: no PostgreSQL server binaries were found on this machine");
    }
    found
}
