//! What belongs to an end user: links, and the transactions of several links at once.

use std::sync::Arc;

use passbook_core::{
    ids::{AccountId, LinkId},
    link::Link,
    transaction::Transaction,
};
use passbook_store::port::{Changes, Store, TransactionPage, TransactionWrites, UserTransactionFilter};

use crate::examples::*;

crate::on_every_store! {
    links_of_a_user_come_in_the_order_in_which_they_were_made,
    other_users_and_tenants_have_none_of_them,
    transactions_of_several_links_are_one_list_newest_first,
    filters_narrow_what_a_user_has,
    pages_of_a_user_are_the_whole_list,
    links_of_other_tenants_give_no_transactions,
}

const USER: &str = "user '\u{e9}";

async fn store_link(store: &dyn Store, bits: u128, seconds: i64) -> Link {
    let mut link = link(bits);
    link.customer_user_id = USER.to_owned();
    link.created_at = second(seconds);
    link.changed_at = second(seconds);
    store.commit(changes(insertion(link.clone()))).await.unwrap();
    link
}

async fn ids(store: &dyn Store, user: &str) -> Vec<LinkId> {
    store.list_user_links(&tenant(), user).await.unwrap().into_iter().map(|stored| stored.link.id).collect()
}

async fn add(store: &dyn Store, link: u128, transactions: Vec<Transaction>) {
    let writes = TransactionWrites {
        link_id: Some(LinkId::from_bits(link)),
        created: transactions,
        ..TransactionWrites::default()
    };
    store.commit(Changes { transactions: Some(writes), ..Changes::default() }).await.unwrap();
}

/// Two links: account 1 is the first one's, account 2 the second one's.
async fn two_links(store: &dyn Store) {
    store_link(store, 1, 0).await;
    store_link(store, 2, 1).await;
    let of_second = |bits, date| Transaction { account_id: AccountId::from_bits(2), ..transaction(bits, date) };
    add(store, 1, vec![transaction(1, "2024-05-01"), transaction(3, "2024-05-03"), transaction(5, "2024-05-05")]).await;
    add(store, 2, vec![of_second(2, "2024-05-02"), of_second(4, "2024-05-03"), of_second(6, "2024-05-06")]).await;
}

fn both() -> UserTransactionFilter {
    UserTransactionFilter {
        links: vec![LinkId::from_bits(1), LinkId::from_bits(2)],
        accounts: vec![AccountId::from_bits(1), AccountId::from_bits(2)],
        limit: 100,
        ..UserTransactionFilter::default()
    }
}

async fn list(store: &dyn Store, filter: UserTransactionFilter) -> TransactionPage {
    store.list_user_transactions(&tenant(), &filter).await.unwrap()
}

/// The bits that the ids of a page were made of.
fn bits(page: &TransactionPage) -> Vec<u128> {
    let bits = |id| (1..=6).find(|bits| transaction(*bits, "2024-05-01").id == id).expect("one of ours");
    page.items.iter().map(|row| bits(row.id.clone())).collect()
}

async fn links_of_a_user_come_in_the_order_in_which_they_were_made(store: Arc<dyn Store>) {
    let later = store_link(&*store, 1, 10).await;
    let first = store_link(&*store, 3, 5).await;
    let twin = store_link(&*store, 2, 5).await;
    let mut expected =
        vec![(first.created_at, first.id), (twin.created_at, twin.id), (later.created_at, later.id.clone())];
    expected.sort();
    let expected: Vec<_> = expected.into_iter().map(|(_, id)| id).collect();
    assert_eq!(ids(&*store, USER).await, expected);
    store.commit(changes(deletion(later.clone(), 1))).await.unwrap();
    assert_eq!(ids(&*store, USER).await, expected[..2]);
    let stored = store.list_user_links(&tenant(), USER).await.unwrap();
    assert_eq!((stored[0].version, stored[0].link.customer_user_id.as_str()), (1, USER));
}

async fn other_users_and_tenants_have_none_of_them(store: Arc<dyn Store>) {
    store_link(&*store, 1, 0).await;
    for user in ["", "user", "USER '\u{e9}", "user '\u{e9} ", "%", "user '_"] {
        assert!(ids(&*store, user).await.is_empty(), "{user:?}");
    }
    for stranger in strangers() {
        assert!(store.list_user_links(&stranger, USER).await.unwrap().is_empty());
    }
}

async fn transactions_of_several_links_are_one_list_newest_first(store: Arc<dyn Store>) {
    two_links(&*store).await;
    let page = list(&*store, both()).await;
    let of_one_day = if transaction(4, "2024-05-03").id > transaction(3, "2024-05-03").id { [4, 3] } else { [3, 4] };
    assert_eq!((page.total, bits(&page)), (6, [&[6, 5], &of_one_day[..], &[2, 1]].concat()));
    let alone = UserTransactionFilter { links: vec![LinkId::from_bits(2)], ..both() };
    assert_eq!(bits(&list(&*store, alone).await), [6, 4, 2]);
}

async fn filters_narrow_what_a_user_has(store: Arc<dyn Store>) {
    two_links(&*store).await;
    let of_first = UserTransactionFilter { accounts: vec![AccountId::from_bits(1)], ..both() };
    assert_eq!(bits(&list(&*store, of_first).await), [5, 3, 1]);
    let (start, end) = ("2024-05-02".parse().ok(), "2024-05-05".parse().ok());
    let some_days = UserTransactionFilter { start_date: start, end_date: end, ..both() };
    let page = list(&*store, some_days).await;
    assert_eq!((page.total, page.items.len()), (4, 4));
    for nothing in [
        UserTransactionFilter { links: Vec::new(), ..both() },
        UserTransactionFilter { accounts: Vec::new(), ..both() },
        UserTransactionFilter { start_date: end, end_date: start, ..both() },
    ] {
        let page = list(&*store, nothing).await;
        assert_eq!((page.total, page.items.len()), (0, 0));
    }
}

async fn pages_of_a_user_are_the_whole_list(store: Arc<dyn Store>) {
    two_links(&*store).await;
    let whole = bits(&list(&*store, both()).await);
    let mut walked = Vec::new();
    for offset in (0..10).step_by(2) {
        let page = list(&*store, UserTransactionFilter { offset, limit: 2, ..both() }).await;
        assert_eq!(page.total, 6, "also of a page behind the end");
        walked.extend(bits(&page));
    }
    assert_eq!(walked, whole);
}

async fn links_of_other_tenants_give_no_transactions(store: Arc<dyn Store>) {
    two_links(&*store).await;
    for stranger in strangers() {
        let page = store.list_user_transactions(&stranger, &both()).await.unwrap();
        assert_eq!((page.total, page.items.len()), (0, 0));
    }
}
