//! Transactions: round trips, order, filters, pages, changes.

use std::sync::Arc;

use passbook_core::{
    enrichment::{Enrichment, Kind, Named},
    ids::{AccountId, LinkId, TransactionId},
    transaction::{Direction, Transaction, TransactionDetails},
};
use passbook_store::port::{Changes, CommitError, Guard, Store, TransactionFilter, TransactionPage, TransactionWrites};

use crate::examples::*;

crate::on_every_store! {
    a_transaction_comes_back_as_it_was_stored,
    transactions_are_listed_newest_first,
    filters_narrow_items_and_total,
    pages_together_are_the_whole_list,
    no_account_means_no_transaction,
    reconciliation_gets_pending_and_recent_ones,
    a_pending_transaction_is_replaced_by_its_posted_one,
    keys_may_move_between_transactions,
    a_key_is_unique_within_its_account,
    an_unknown_transaction_cannot_be_updated,
    an_unknown_link_takes_no_transactions,
}

fn created(transactions: Vec<Transaction>) -> Changes {
    written(TransactionWrites { created: transactions, ..TransactionWrites::default() })
}

fn written(writes: TransactionWrites) -> Changes {
    let writes = TransactionWrites { link_id: Some(LinkId::from_bits(1)), ..writes };
    Changes { transactions: Some(writes), ..Changes::default() }
}

async fn list(store: &Arc<dyn Store>, filter: TransactionFilter) -> TransactionPage {
    store.list_transactions(&tenant(), &LinkId::from_bits(1), &filter).await.unwrap()
}

fn everything() -> TransactionFilter {
    TransactionFilter { limit: 1000, ..TransactionFilter::default() }
}

async fn a_transaction_comes_back_as_it_was_stored(store: Arc<dyn Store>) {
    stored_link(&*store, 1).await;
    let full = Transaction {
        id: TransactionId::from_bits(1),
        account_id: AccountId::from_bits(9),
        upstream_key: "FIT|2024\u{e9}'\"".into(),
        details: TransactionDetails {
            amount: "1234567890123456.123456789".parse().unwrap(),
            direction: Direction::Credit,
            currency: "JPY".into(),
            date: "2024-02-29".parse().unwrap(),
            datetime: Some(at("2024-02-29T23:59:59.999999Z")),
            description: Some(String::new()),
            raw_description: Some("RAW  \u{1f600}".into()),
            pending: true,
        },
        original_id: Some("theirs".into()),
        pending_id: Some(TransactionId::from_bits(77)),
        enrichment: Some(Enrichment {
            kind: Kind::find("food_and_drink", Some("coffee")).unwrap(),
            confidence: 100,
            merchant: Some(Named { name: "Caf\u{e9}".into(), confidence: 95 }),
            processor: None,
            corrected: true,
        }),
    };
    let mut bare = transaction(2, "1969-12-31");
    bare.details.description = None;
    bare.details.datetime = Some(at("1969-12-31T23:59:59.000001Z"));
    store.commit(created(vec![full.clone(), bare.clone()])).await.unwrap();
    assert_eq!(list(&store, everything()).await.items, [full.clone(), bare]);
    let scale = list(&store, everything()).await.items[0].details.amount.to_string();
    assert_eq!(scale, full.details.amount.to_string(), "the digits as given");
}

async fn transactions_are_listed_newest_first(store: Arc<dyn Store>) {
    stored_link(&*store, 1).await;
    let timed = |bits, date, time: &str| {
        let mut transaction = transaction(bits, date);
        transaction.details.datetime = Some(at(time));
        transaction
    };
    let expected = [
        transaction(1, "2024-05-03"),
        timed(2, "2024-05-02", "2024-05-02T10:00:00Z"),
        timed(4, "2024-05-02", "2024-05-02T09:00:00Z"),
        timed(3, "2024-05-02", "2024-05-02T09:00:00Z"),
        transaction(6, "2024-05-02"),
        transaction(5, "2024-05-02"),
        timed(7, "2024-05-01", "2024-05-01T23:00:00Z"),
    ];
    let mut shuffled = expected.to_vec();
    shuffled.sort_by_key(|transaction| transaction.upstream_key.clone());
    store.commit(created(shuffled)).await.unwrap();
    let page = list(&store, everything()).await;
    assert_eq!((page.items.as_slice(), page.total), (&expected[..], 7));
}

async fn filters_narrow_items_and_total(store: Arc<dyn Store>) {
    stored_link(&*store, 1).await;
    let mut other_account = transaction(4, "2024-05-02");
    other_account.account_id = AccountId::from_bits(2);
    let days =
        [transaction(1, "2024-05-01"), transaction(2, "2024-05-02"), transaction(3, "2024-05-03"), other_account];
    store.commit(created(days.to_vec())).await.unwrap();
    let ids = |page: TransactionPage| {
        assert_eq!(page.total as usize, page.items.len());
        let mut ids: Vec<_> = page.items.into_iter().map(|transaction| transaction.id).collect();
        ids.sort();
        ids
    };
    let expect = |bits: &[u128]| bits.iter().map(|bits| TransactionId::from_bits(*bits)).collect::<Vec<_>>();
    let date = |text: &str| Some(text.parse().unwrap());
    let from = TransactionFilter { start_date: date("2024-05-02"), ..everything() };
    assert_eq!(ids(list(&store, from.clone()).await), expect(&[2, 3, 4]));
    let until = TransactionFilter { end_date: date("2024-05-02"), ..everything() };
    assert_eq!(ids(list(&store, until.clone()).await), expect(&[1, 2, 4]));
    let one_day = TransactionFilter { end_date: until.end_date, ..from };
    assert_eq!(ids(list(&store, one_day.clone()).await), expect(&[2, 4]));
    let of_account = TransactionFilter { accounts: Some(vec![AccountId::from_bits(2)]), ..one_day };
    assert_eq!(ids(list(&store, of_account).await), expect(&[4]));
    let both = Some(vec![AccountId::from_bits(1), AccountId::from_bits(2)]);
    assert_eq!(ids(list(&store, TransactionFilter { accounts: both, ..everything() }).await), expect(&[1, 2, 3, 4]));
}

async fn pages_together_are_the_whole_list(store: Arc<dyn Store>) {
    stored_link(&*store, 1).await;
    store.commit(created((0..25).map(|bits| transaction(bits, "2024-05-01")).collect())).await.unwrap();
    let whole = list(&store, everything()).await.items;
    let mut pages = Vec::new();
    for offset in (0..30).step_by(10) {
        let page = list(&store, TransactionFilter { offset, limit: 10, ..TransactionFilter::default() }).await;
        assert_eq!(page.total, 25);
        pages.extend(page.items);
    }
    assert_eq!(pages, whole);
    let beyond = list(&store, TransactionFilter { offset: u64::MAX, ..everything() }).await;
    assert_eq!((beyond.total, beyond.items.len()), (25, 0));
}

async fn no_account_means_no_transaction(store: Arc<dyn Store>) {
    stored_link(&*store, 1).await;
    store.commit(created(vec![transaction(1, "2024-05-01")])).await.unwrap();
    let page = list(&store, TransactionFilter { accounts: Some(Vec::new()), ..everything() }).await;
    assert_eq!((page.total, page.items.len()), (0, 0));
}

async fn reconciliation_gets_pending_and_recent_ones(store: Arc<dyn Store>) {
    stored_link(&*store, 1).await;
    let mut old_pending = transaction(1, "2020-01-01");
    old_pending.details.pending = true;
    let rest = [transaction(2, "2020-01-02"), transaction(3, "2024-05-01"), transaction(4, "2024-05-02")];
    store.commit(created([vec![old_pending], rest.to_vec()].concat())).await.unwrap();
    let link = LinkId::from_bits(1);
    let load = async |since: Option<&str>| {
        let since = since.map(|date| date.parse().unwrap());
        let mut ids: Vec<_> = store
            .load_transactions(&tenant(), &link, since)
            .await
            .unwrap()
            .into_iter()
            .map(|transaction| transaction.upstream_key)
            .collect();
        ids.sort();
        ids
    };
    assert_eq!(load(None).await, ["key-1", "key-2", "key-3", "key-4"]);
    assert_eq!(load(Some("2024-05-01")).await, ["key-1", "key-3", "key-4"]);
    assert_eq!(load(Some("2024-05-03")).await, ["key-1"]);
}

async fn a_pending_transaction_is_replaced_by_its_posted_one(store: Arc<dyn Store>) {
    stored_link(&*store, 1).await;
    let mut pending = transaction(1, "2024-05-01");
    pending.details.pending = true;
    store.commit(created(vec![pending.clone()])).await.unwrap();
    // Under a new id, and under the same upstream key.
    let mut posted = transaction(2, "2024-05-03");
    posted.upstream_key = pending.upstream_key.clone();
    let writes =
        TransactionWrites { created: vec![posted.clone()], removed: vec![pending.id], ..TransactionWrites::default() };
    store.commit(written(writes)).await.unwrap();
    assert_eq!(list(&store, everything()).await.items, [posted.clone()]);
    // Changed in place.
    posted.details.description = Some("Coffee house".into());
    posted.details.amount = "8".parse().unwrap();
    let writes = TransactionWrites { updated: vec![posted.clone()], ..TransactionWrites::default() };
    store.commit(written(writes)).await.unwrap();
    assert_eq!(list(&store, everything()).await.items, [posted]);
}

async fn keys_may_move_between_transactions(store: Arc<dyn Store>) {
    stored_link(&*store, 1).await;
    let (mut one, mut two) = (transaction(1, "2024-05-01"), transaction(2, "2024-05-02"));
    store.commit(created(vec![one.clone(), two.clone()])).await.unwrap();
    std::mem::swap(&mut one.upstream_key, &mut two.upstream_key);
    let writes = TransactionWrites { updated: vec![one.clone(), two.clone()], ..TransactionWrites::default() };
    store.commit(written(writes)).await.unwrap();
    assert_eq!(list(&store, everything()).await.items, [two, one]);
}

async fn a_key_is_unique_within_its_account(store: Arc<dyn Store>) {
    stored_link(&*store, 1).await;
    store.commit(created(vec![transaction(1, "2024-05-01")])).await.unwrap();
    let mut twin = transaction(2, "2024-05-01");
    twin.upstream_key = "key-1".into();
    let refused = store.commit(created(vec![twin.clone()])).await;
    assert!(matches!(refused, Err(CommitError::Conflict(Guard::Link))));
    twin.account_id = AccountId::from_bits(2);
    store.commit(created(vec![twin])).await.unwrap();
}

async fn an_unknown_transaction_cannot_be_updated(store: Arc<dyn Store>) {
    stored_link(&*store, 1).await;
    let writes = TransactionWrites { updated: vec![transaction(1, "2024-05-01")], ..TransactionWrites::default() };
    assert!(matches!(store.commit(written(writes)).await, Err(CommitError::Conflict(Guard::Link))));
}

async fn an_unknown_link_takes_no_transactions(store: Arc<dyn Store>) {
    let refused = store.commit(created(vec![transaction(1, "2024-05-01")])).await;
    assert!(matches!(refused, Err(CommitError::Conflict(Guard::Link))));
}
