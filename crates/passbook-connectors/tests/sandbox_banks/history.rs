//! Transactions as time passes.

use std::collections::{BTreeMap, HashSet};

use jiff::{SignedDuration, Timestamp, ToSpan, civil::Date, tz::Offset};
use passbook_core::{
    snapshot::{BankTransaction, BankTransactions},
    transaction::Direction,
};
use proptest::prelude::*;
use rust_decimal::Decimal;

use crate::world::{Link, Visitor, at, noon};

const BANKS: [&str; 5] =
    ["credentials_bank", "instant_bank", "oauth_bank", "credentials_bank_ca", "credentials_bank_gb"];

/// The banks that ask for a user name.
const CREDENTIALS_BANKS: [&str; 3] = ["credentials_bank", "credentials_bank_ca", "credentials_bank_gb"];

/// Account and upstream key to item.
type Items = BTreeMap<(String, String), BankTransaction>;

fn by_key(items: Vec<BankTransaction>, pending: bool) -> Items {
    items
        .into_iter()
        .filter(|item| item.details.pending == pending)
        .map(|item| ((item.account_key.clone(), item.upstream_key.clone().unwrap()), item))
        .collect()
}

fn signed(item: &BankTransaction) -> Decimal {
    match item.details.direction {
        Direction::Credit => item.details.amount,
        Direction::Debit => -item.details.amount,
    }
}

fn date_of(instant: Timestamp) -> Date {
    Offset::UTC.to_datetime(instant).date()
}

/// The first date that this user's bank shows, and for how many days something may be pending.
fn history(username: &str, today: Date) -> (Date, i64) {
    match username {
        "user_history" | "user_many" => (today.saturating_sub(24.months()), 3),
        _ => (today.saturating_sub(90.days()), 7),
    }
}

/// What holds at every instant.
fn check(username: &str, snapshot: &BankTransactions, now: Timestamp) {
    let today = date_of(now);
    let (start, pending_days) = history(username, today);
    assert_eq!(snapshot.complete_since, Some(start));
    assert!(snapshot.withdrawn.is_empty());
    let mut keys = HashSet::new();
    for item in &snapshot.items {
        let details = &item.details;
        assert!(keys.insert((&item.account_key, item.upstream_key.as_ref().unwrap())), "{item:?}");
        assert!(item.replaces.is_none());
        assert!(details.amount > Decimal::ZERO && details.amount.scale() == 2, "{item:?}");
        assert!(details.date >= start && details.date <= today, "{item:?}");
        assert!(details.datetime.is_none_or(|datetime| datetime <= now), "{item:?}");
        assert!(!details.description.as_ref().unwrap().is_empty());
        assert!(!details.raw_description.as_ref().unwrap().is_empty());
        if details.pending {
            assert!(details.date >= today.saturating_sub(pending_days.days()), "{item:?}");
        }
    }
}

/// What holds between two instants: posted items stay as they are; pending ones post under another key.
fn check_passage(earlier: BankTransactions, later: BankTransactions) {
    let start = later.complete_since.unwrap();
    let was_pending = by_key(earlier.items.clone(), true);
    let (posted, now_posted) = (by_key(earlier.items, false), by_key(later.items.clone(), false));
    for (key, item) in posted.iter().filter(|(_, item)| item.details.date >= start) {
        assert_eq!(now_posted.get(key).map(|later| &later.details), Some(&item.details), "{key:?}");
    }
    let still_pending = by_key(later.items, true);
    for ((account, key), item) in was_pending {
        assert!(!now_posted.contains_key(&(account.clone(), key.clone())), "a pending key was posted");
        let waits = still_pending.get(&(account.clone(), key.clone()));
        if let Some(waits) = waits {
            assert_eq!(waits.details, item.details);
        } else if start <= item.details.date {
            let twin = now_posted.iter().any(|((owner, _), posted)| {
                *owner == account
                    && posted.details.amount == item.details.amount
                    && posted.details.raw_description == item.details.raw_description
                    && posted.details.datetime == item.details.datetime
            });
            assert!(twin, "{key} neither waits nor posted");
        }
    }
}

async fn link(bank: &'static str, username: &'static str, customer: u32) -> Link {
    Visitor::new(bank, username).customer(format!("customer-{customer}")).sign_in().await
}

fn run<F: Future<Output = ()>>(test: F) {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(test);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn posted_items_never_change_while_the_clock_runs(
        bank in prop::sample::select(&CREDENTIALS_BANKS[..]),
        username in prop::sample::select(&["user_good", "user_history"][..]),
        customer in 0..10_000_u32,
        // 1975 to 2095.
        start in 157_766_400..3_944_678_400_i64,
        steps in prop::collection::vec(prop_oneof![0..200_000_i64, 0..40_000_000_i64], 1..4),
    ) {
        run(async {
            let link = link(bank, username, customer).await;
            let mut now = Timestamp::from_second(start).unwrap();
            let mut earlier = link.transactions(now).await;
            check(username, &earlier, now);
            for step in steps {
                now += SignedDuration::from_secs(step);
                let later = link.transactions(now).await;
                check(username, &later, now);
                check_passage(earlier, later.clone());
                earlier = later;
            }
        });
    }

    #[test]
    fn a_balance_is_an_earlier_balance_plus_what_posted_since(
        bank in prop::sample::select(&CREDENTIALS_BANKS[..]),
        // Up to 23 months or 80 days, so that everything between is in the later window.
        (username, step) in prop_oneof![
            (Just("user_many"), 0..60_000_000_i64),
            (Just("user_history"), 0..60_000_000_i64),
            (Just("user_good"), 0..6_900_000_i64),
        ],
        customer in 0..10_000_u32,
        start in 157_766_400..3_944_678_400_i64,
    ) {
        run(async {
            let link = link(bank, username, customer).await;
            let earlier = Timestamp::from_second(start).unwrap();
            let later = earlier + SignedDuration::from_secs(step);
            let (before, after) = (link.accounts(earlier).await, link.accounts(later).await);
            let known = by_key(link.transactions(earlier).await.items, false);
            let posted = by_key(link.transactions(later).await.items, false);
            // Investments move with their prices too; they have tests of their own.
            let accounts = before.iter().zip(&after).filter(|(before, _)| !before.account_type.is_investment());
            for (before, after) in accounts {
                let moved: Decimal = posted
                    .iter()
                    .filter(|(key, item)| key.0 == before.upstream_key && !known.contains_key(*key)
                        && item.details.date >= date_of(earlier))
                    .map(|(_, item)| signed(item))
                    .sum();
                let moved = if before.account_type.is_liability() { -moved } else { moved };
                let (before_current, after_current) = (before.balances.current, after.balances.current);
                assert_eq!(after_current.unwrap() - before_current.unwrap(), moved, "{}", before.upstream_key);
            }
        });
    }
}

#[tokio::test]
async fn the_same_instant_gives_the_same_items() {
    for username in ["user_good", "user_history", "user_many"] {
        let (first, second) =
            (link("credentials_bank", username, 1).await, link("credentials_bank", username, 1).await);
        let (first, second) = (first.transactions(noon()).await, second.transactions(noon()).await);
        assert_eq!(format!("{first:?}"), format!("{second:?}"));
    }
}

#[tokio::test]
async fn everything_about_most_users_fits_on_one_page() {
    for bank in BANKS {
        for customer in 0..2 {
            let link = link(bank, "user_good", customer).await;
            // A year and two months, every hour of the day, so that each day of each month is once the first and once
            // the last of the 90 days.
            let mut now = at("2024-01-01T00:00:00Z");
            for _ in 0..430 {
                let count = link.transactions(now).await.items.len();
                assert!((25..=45).contains(&count), "{bank} customer {customer} at {now}: {count}");
                now += SignedDuration::from_hours(25);
            }
        }
    }
}

#[tokio::test]
async fn every_account_of_most_users_has_transactions() {
    for bank in BANKS {
        let items = link(bank, "user_good", 1).await.transactions(noon()).await.items;
        let accounts: HashSet<&str> = items.iter().map(|item| item.account_key.as_str()).collect();
        assert_eq!(accounts, HashSet::from(["checking", "savings", "credit_card"]), "{bank}");
    }
}

#[tokio::test]
async fn a_month_of_a_long_history_has_twenty_to_thirty_transactions() {
    for bank in CREDENTIALS_BANKS {
        let mut total = 0;
        for customer in 0..50 {
            let items = link(bank, "user_history", customer).await.transactions(noon()).await.items;
            let per_month = items.len() / 24;
            assert!((20..=32).contains(&per_month), "{bank} customer {customer}: {per_month}");
            total += items.len();
        }
        let average = total / 50 / 24;
        assert!((20..=30).contains(&average), "{bank}: {average}");
    }
}

#[tokio::test]
async fn something_is_always_pending_and_days_bring_news() {
    for (username, days) in [("user_good", 6), ("user_history", 2)] {
        let link = link("credentials_bank", username, 1).await;
        let mut now = at("2024-01-31T00:00:00Z");
        let mut stale = 0;
        let mut earlier = HashSet::new();
        for step in 0..(8 * 120) {
            now += SignedDuration::from_hours(3);
            let items = link.transactions(now).await.items;
            assert!(items.iter().any(|item| item.details.pending), "{username}: nothing is pending at {now}");
            if step % (8 * days) == 0 {
                let keys: HashSet<_> = items.into_iter().map(|item| (item.account_key, item.upstream_key)).collect();
                stale += usize::from(keys.is_subset(&earlier));
                earlier = keys;
            }
        }
        assert_eq!(stale, 0, "{days} days always bring {username} something new");
    }
}

#[tokio::test]
async fn only_card_purchases_have_an_instant() {
    let items = link("credentials_bank", "user_history", 1).await.transactions(noon()).await.items;
    let (timed, dated): (Vec<_>, Vec<_>) = items.iter().partition(|item| item.details.datetime.is_some());
    assert!(!timed.is_empty() && !dated.is_empty());
    for item in timed {
        assert_eq!((item.account_key.as_str(), item.details.direction), ("credit_card", Direction::Debit));
    }
    let untimed_card: HashSet<Direction> =
        dated.iter().filter(|item| item.account_key == "credit_card").map(|item| item.details.direction).collect();
    assert_eq!(untimed_card, HashSet::from([Direction::Credit]), "payments and refunds");
}

#[tokio::test]
async fn the_ends_of_time_do_not_panic() {
    let link = link("credentials_bank", "user_many", 1).await;
    for now in [Timestamp::MIN, Timestamp::UNIX_EPOCH, at("9000-01-01T00:00:00Z"), Timestamp::MAX] {
        assert!(!link.accounts(now).await.is_empty());
        check("user_many", &link.transactions(now).await, now);
    }
}
