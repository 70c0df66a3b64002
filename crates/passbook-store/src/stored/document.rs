//! The stored form of the link aggregate: JSON that starts with its format number.
//!
//! A newer format is read if it can be and never written over; release N reads N and writes N - 1 while a roll-out
//! lasts. One document of every format is checked in and must always load.

use jiff::Timestamp;
use passbook_core::link::Link;
use serde::{Deserialize, Serialize};

use super::values::malformed_json;
use crate::port::StoreError;

/// The format this release writes.
pub(crate) const DOCUMENT_FORMAT: u32 = 1;

/// A newer release wrote the document; it may be read but not replaced.
#[derive(Debug, thiserror::Error)]
#[error("written by a newer release in format {0}")]
pub(crate) struct NewerFormat(pub i64);

#[derive(Serialize)]
struct Written<'a> {
    format: u32,
    link: &'a Link,
}

#[derive(Deserialize)]
struct Read {
    #[expect(dead_code, reason = "one format so far; the column of the same name guards writes")]
    format: u32,
    link: Link,
}

/// Serialises a link.
pub(crate) fn write_document(link: &Link) -> Vec<u8> {
    serde_json::to_vec(&Written { format: DOCUMENT_FORMAT, link })
        .expect("a link has string keys only, and its types serialise without failing")
}

/// Reads a stored document of `link_id`.
pub(crate) fn read_document(link_id: &str, bytes: &[u8]) -> Result<Link, StoreError> {
    serde_json::from_slice::<Read>(bytes)
        .map(|document| document.link)
        .map_err(|error| malformed_json("links", "document", link_id, &error))
}

/// The newest application time that the aggregate holds.
pub(crate) fn newest_instant(link: &Link) -> Timestamp {
    let of_products =
        link.products.values().flat_map(|record| [record.refreshed_at, record.last_attempted_at, record.accepted_at]);
    [Some(link.changed_at), link.first_data_at, link.connected_at, link.deleted_at]
        .into_iter()
        .chain(of_products)
        .flatten()
        .fold(link.created_at, Timestamp::max)
}

#[cfg(test)]
mod tests {
    use passbook_core::{
        account::{Account, AccountType, Balances},
        ids::{AccountId, AppId, JobId, LinkId},
        link::{Counters, LinkErrorCode, LinkInstitution, LinkState},
        product::{Product, ProductErrorCode, ProductFault, ProductRecord, ProductSet, ProductSettings},
        tenant::{Environment, Tenant},
    };
    use proptest::{collection::vec, option, prelude::*};
    use rust_decimal::Decimal;

    use super::*;

    /// Never edited: documents like it are in stores out there.
    const FORMAT_1: &[u8] = include_bytes!("../../tests/fixtures/document-format-1.json");

    #[test]
    fn a_document_of_format_1_loads() {
        let link = read_document("fixture", FORMAT_1).unwrap();
        assert_eq!(link.id.as_str(), "mk_23456789ABCDEFGHJKLMNP");
        assert_eq!(link.tenant.environment, Environment::Sandbox);
        assert_eq!(link.customer_user_id, "user \u{e9}");
        assert_eq!(link.institution.id, "credentials_bank");
        assert_eq!((link.state, link.error), (LinkState::Error, Some(LinkErrorCode::AuthExpired)));
        assert_eq!(link.tags, ["b", "a"]);
        assert_eq!(link.granted(), Product::ALL.into_iter().collect());
        let numbers = &link.products[&Product::AccountNumbers];
        assert_eq!(numbers.error.as_ref().map(|fault| fault.code), Some(ProductErrorCode::AuthExpired));
        assert!(numbers.settings.as_ref().is_some_and(|settings| settings.prefetch));
        assert_eq!(link.accounts.len(), 2);
        assert_eq!(link.accounts[0].balances.available, "1234.50".parse().ok());
        assert!(link.accounts[1].closed);
        assert_eq!(link.first_data_at, "2024-05-01T00:00:02.000001Z".parse().ok());
        assert_eq!((link.counters.events, link.counters.accounts, link.counters.transactions), (4, 2, 31));
        assert_eq!(link.counters.changes, 31, "the migration logged what there was");
        assert!(link.withdrawn.contains("0a1b"));
    }

    #[test]
    fn a_document_starts_with_its_format() {
        let link = read_document("fixture", FORMAT_1).unwrap();
        assert!(write_document(&link).starts_with(b"{\"format\":1,"));
    }

    fn instants() -> impl Strategy<Value = Timestamp> {
        (0_i64..250_000_000_000, 0_i32..1_000_000_000)
            .prop_map(|(second, nanosecond)| Timestamp::new(second, nanosecond).unwrap())
    }

    fn accounts() -> impl Strategy<Value = Account> {
        let money = || option::of((any::<i64>(), 0_u32..10).prop_map(|(number, scale)| Decimal::new(number, scale)));
        let balances = (option::of("[A-Z]{3}"), money(), money(), money(), option::of(instants()));
        let texts = (any::<u128>(), ".*", ".*", ".*", option::of(".*"), option::of(".*"), option::of(".*"));
        (texts, balances, any::<bool>(), any::<bool>()).prop_map(|(texts, balances, closed, permitted)| Account {
            id: AccountId::from_bits(texts.0),
            upstream_key: texts.1,
            account_type: AccountType(texts.2),
            name: texts.3,
            nickname: texts.4,
            mask: texts.5,
            original_id: texts.6,
            balances: Balances {
                currency: balances.0,
                available: balances.1,
                current: balances.2,
                limit: balances.3,
                balance_date: balances.4,
            },
            closed,
            permitted,
        })
    }

    fn records() -> impl Strategy<Value = ProductRecord> {
        let settings = (any::<bool>(), any::<bool>(), any::<bool>(), option::of(".*")).prop_map(
            |(required, require_permission, prefetch, reason)| ProductSettings {
                required,
                require_permission,
                prefetch,
                reason,
            },
        );
        let times = (option::of(instants()), option::of(instants()), option::of(instants()));
        (option::of(settings), times, option::of(".*"), option::of(".*"), option::of(any::<u128>())).prop_map(
            |(settings, times, fault, unavailable, job)| ProductRecord {
                settings,
                refreshed_at: times.0,
                last_attempted_at: times.1,
                accepted_at: times.2,
                error: fault.map(|message| ProductFault { code: ProductErrorCode::Timeout, message }),
                unavailable,
                running_job: job.map(JobId::from_bits),
            },
        )
    }

    fn links() -> impl Strategy<Value = Link> {
        let texts = (".*", ".*", option::of(".*"), vec(".*", 0..4), vec("[0-9a-f]{8}", 0..4));
        let times = (instants(), option::of(instants()), option::of(instants()), option::of(instants()));
        let products = vec((0_usize..6, records()), 0..6);
        (any::<(u128, u128, u8, u64)>(), texts, times, products, vec(accounts(), 0..4)).prop_map(
            |(numbers, texts, times, products, accounts)| Link {
                id: LinkId::from_bits(numbers.0),
                tenant: Tenant { app_id: AppId::from_bits(numbers.1), environment: Environment::Live },
                customer_user_id: texts.0,
                institution: LinkInstitution { id: texts.1.clone(), name: texts.1, color: texts.2.clone() },
                connector: "sandbox".into(),
                state: LinkState::Error,
                error: Some(LinkErrorCode::UserSetupRequired),
                tags: texts.3,
                webhook: texts.2,
                offered: ProductSet::from_bits(numbers.2),
                products: products.into_iter().map(|(index, record)| (Product::ALL[index], record)).collect(),
                accounts,
                created_at: times.0,
                first_data_at: times.1,
                connected_at: times.2,
                deleted_at: times.3,
                changed_at: times.0,
                generation: numbers.3 / 2,
                imported: numbers.3 % 2 == 0,
                counters: Counters { events: numbers.3, accounts: 1, transactions: 2, changes: numbers.3 / 3 },
                withdrawn: texts.4.into_iter().collect(),
                recorded: Vec::new(),
            },
        )
    }

    proptest! {
        #[test]
        fn every_link_comes_back_from_its_document(link in links()) {
            prop_assert_eq!(read_document("any", &write_document(&link)).unwrap(), link);
        }
    }
}
