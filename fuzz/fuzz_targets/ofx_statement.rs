//! Reads arbitrary bytes as a statement file, as of each country that changes how a file is read.
//!
//! `cargo +nightly fuzz run ofx_statement fuzz/corpus/ofx_statement crates/passbook-connectors/tests/fixtures/ofx`
//! starts from the fixtures. Beside panics it looks for what no file may bring about: a transaction of an account that
//! is not in the snapshot, a key twice, and an account number where only fingerprints belong.

#![no_main]

use std::collections::HashSet;

use libfuzzer_sys::fuzz_target;
use passbook_connectors::{
    ofx::OfxConnector,
    port::{Connector, StatementReading},
};
use passbook_core::institution::Country;

/// Marks what went through it, so that a key which did not can be told.
fn fingerprint(text: &str) -> String {
    let hash = text
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
    format!("fingerprint-{hash:016x}")
}

fuzz_target!(|file: &[u8]| {
    for country in [None, Some(Country::Ca)] {
        let reading = StatementReading { fingerprint: &fingerprint, country };
        let Ok(statement) = OfxConnector.read_statement(file, &reading) else { continue };
        let accounts: HashSet<&str> = statement.accounts.iter().map(|account| account.upstream_key.as_str()).collect();
        assert_eq!(accounts.len(), statement.accounts.len(), "an account twice");
        assert!(accounts.iter().all(|key| key.starts_with("fingerprint-")), "an account key that is not a fingerprint");
        let mut keys = HashSet::new();
        for item in &statement.transactions.items {
            assert!(accounts.contains(item.account_key.as_str()), "a transaction of an unknown account");
            assert!(!item.details.amount.is_sign_negative(), "a negative amount");
            if let Some(key) = &item.upstream_key {
                assert!(keys.insert((&item.account_key, key)), "a transaction key twice");
            }
        }
    }
});
