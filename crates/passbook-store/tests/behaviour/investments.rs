//! Holdings and investment transactions.

use std::sync::Arc;

use passbook_core::{
    ids::{AccountId, InvestmentTransactionId, LinkId, SecurityId},
    investment::{
        Holding, HoldingAmount, InvestmentKind, InvestmentTransaction, InvestmentTransactionDetails, Portfolio,
        Security, SecurityDetails, SecurityKind,
    },
    reconcile::InvestmentChanges,
};
use passbook_store::port::{Changes, CommitError, Guard, InvestmentWrites, Store, TransactionFilter};

use crate::examples::*;

crate::on_every_store! {
    a_portfolio_is_replaced_whole,
    transactions_are_listed_newest_first_and_paged,
    transactions_change_in_place_and_go,
    a_key_names_one_transaction_of_an_account,
    other_tenants_see_nothing,
    a_deleted_link_has_no_investments,
}

fn portfolio(quantity: &str) -> Portfolio {
    let details = SecurityDetails {
        upstream_key: "fund".into(),
        name: "A \u{e9} fund".into(),
        kind: SecurityKind::Fund,
        currency: "USD".into(),
        ticker: None,
        isin: Some("US0378331005".into()),
        sedol: None,
        close_price: Some("12.345".parse().unwrap()),
        close_date: Some("2024-05-01".parse().unwrap()),
    };
    let amount = HoldingAmount {
        quantity: quantity.parse().unwrap(),
        price: None,
        price_datetime: Some(second(1)),
        value: None,
        cost_basis: Some("1".parse().unwrap()),
    };
    Portfolio {
        securities: vec![Security { id: SecurityId::from_bits(1), details }],
        holdings: vec![Holding { account_id: AccountId::from_bits(1), security_id: SecurityId::from_bits(1), amount }],
    }
}

fn row(bits: u128, date: &str) -> InvestmentTransaction {
    InvestmentTransaction {
        id: InvestmentTransactionId::from_bits(bits),
        account_id: AccountId::from_bits(bits % 2 + 1),
        upstream_key: format!("key-{bits}"),
        security_id: bits.is_multiple_of(3).then(|| SecurityId::from_bits(1)),
        details: InvestmentTransactionDetails {
            amount: "-12.50".parse().unwrap(),
            date: date.parse().unwrap(),
            datetime: bits.is_multiple_of(2).then(|| second(i64::try_from(bits).unwrap())),
            description: format!("number {bits}"),
            kind: InvestmentKind::Cash,
            subtype: Some("dividend".into()),
            fees: None,
            forex_rate: None,
            price: None,
            quantity: Some("0.0001".parse().unwrap()),
        },
    }
}

fn written(changes: InvestmentChanges) -> Changes {
    Changes { investments: Some(InvestmentWrites { link_id: LinkId::from_bits(1), changes }), ..Changes::default() }
}

async fn created(store: &Arc<dyn Store>) -> Vec<InvestmentTransaction> {
    stored_link(&**store, 1).await;
    let dates = ["2024-05-03", "2024-05-01", "2024-05-03", "2024-05-02", "2024-05-03", "2024-04-30"];
    let rows: Vec<_> = (1..).zip(dates).map(|(bits, date)| row(bits, date)).collect();
    let changes = InvestmentChanges { portfolio: portfolio("1"), created: rows.clone(), ..Default::default() };
    store.commit(written(changes)).await.unwrap();
    rows
}

async fn listed(store: &Arc<dyn Store>, filter: TransactionFilter) -> (u64, Vec<u128>) {
    let page = store.list_investment_transactions(&tenant(), &LinkId::from_bits(1), &filter).await.unwrap();
    let number = |row: &InvestmentTransaction| row.details.description["number ".len()..].parse().unwrap();
    (page.total, page.items.iter().map(number).collect())
}

fn all() -> TransactionFilter {
    TransactionFilter { limit: 100, ..TransactionFilter::default() }
}

async fn a_portfolio_is_replaced_whole(store: Arc<dyn Store>) {
    let link = LinkId::from_bits(1);
    stored_link(&*store, 1).await;
    assert_eq!(store.lookup_portfolio(&tenant(), &link).await.unwrap(), None);
    for quantity in ["1", "2.5000"] {
        let changes = InvestmentChanges { portfolio: portfolio(quantity), ..Default::default() };
        store.commit(written(changes)).await.unwrap();
        assert_eq!(store.lookup_portfolio(&tenant(), &link).await.unwrap(), Some(portfolio(quantity)));
    }
    let nobody = InvestmentWrites { link_id: LinkId::from_bits(9), changes: InvestmentChanges::default() };
    let refused = store.commit(Changes { investments: Some(nobody), ..Changes::default() }).await;
    assert!(matches!(refused, Err(CommitError::Conflict(Guard::Link))), "{refused:?}");
}

async fn transactions_are_listed_newest_first_and_paged(store: Arc<dyn Store>) {
    let rows = created(&store).await;
    // Date, then instant with absent ones last, then id, all descending.
    assert_eq!(listed(&store, all()).await, (6, vec![5, 3, 1, 4, 2, 6]));
    assert_eq!(listed(&store, TransactionFilter { offset: 2, limit: 2, ..all() }).await, (6, vec![1, 4]));
    assert_eq!(listed(&store, TransactionFilter { offset: 9, ..all() }).await, (6, vec![]));
    let (start_date, end_date) = (Some("2024-05-01".parse().unwrap()), Some("2024-05-02".parse().unwrap()));
    assert_eq!(listed(&store, TransactionFilter { start_date, end_date, ..all() }).await, (2, vec![4, 2]));
    let accounts = Some(vec![AccountId::from_bits(1)]);
    assert_eq!(listed(&store, TransactionFilter { accounts, ..all() }).await, (3, vec![4, 2, 6]));
    assert_eq!(listed(&store, TransactionFilter { accounts: Some(vec![]), ..all() }).await.1, Vec::<u128>::new());
    let since = Some("2024-05-02".parse().unwrap());
    let loaded = store.load_investment_transactions(&tenant(), &LinkId::from_bits(1), since).await.unwrap();
    assert_eq!(loaded.len(), 4);
    assert!(loaded.iter().all(|loaded| rows.contains(loaded)));
}

async fn transactions_change_in_place_and_go(store: Arc<dyn Store>) {
    let rows = created(&store).await;
    let mut updated = rows[0].clone();
    updated.details.date = "2024-01-01".parse().unwrap();
    updated.security_id = Some(SecurityId::from_bits(7));
    let removed = vec![rows[1].id.clone(), InvestmentTransactionId::from_bits(99)];
    let changes =
        InvestmentChanges { portfolio: portfolio("1"), updated: vec![updated.clone()], removed, ..Default::default() };
    store.commit(written(changes)).await.unwrap();
    assert_eq!(listed(&store, all()).await, (5, vec![5, 3, 4, 6, 1]));
    let loaded = store.load_investment_transactions(&tenant(), &LinkId::from_bits(1), None).await.unwrap();
    assert!(loaded.contains(&updated));
    let unknown = InvestmentChanges { updated: vec![row(99, "2024-05-01")], ..Default::default() };
    assert!(matches!(store.commit(written(unknown)).await, Err(CommitError::Conflict(Guard::Link))));
}

async fn a_key_names_one_transaction_of_an_account(store: Arc<dyn Store>) {
    let rows = created(&store).await;
    let mut twin = row(11, "2024-05-01");
    (twin.account_id, twin.upstream_key) = (rows[0].account_id.clone(), rows[0].upstream_key.clone());
    let changes = InvestmentChanges { created: vec![twin], ..Default::default() };
    assert!(matches!(store.commit(written(changes)).await, Err(CommitError::Conflict(Guard::Link))));
    let kept = store.lookup_portfolio(&tenant(), &LinkId::from_bits(1)).await.unwrap();
    assert_eq!(kept, Some(portfolio("1")), "all or nothing");
}

async fn other_tenants_see_nothing(store: Arc<dyn Store>) {
    created(&store).await;
    let link = LinkId::from_bits(1);
    for stranger in strangers() {
        assert_eq!(store.lookup_portfolio(&stranger, &link).await.unwrap(), None);
        let page = store.list_investment_transactions(&stranger, &link, &all()).await.unwrap();
        assert_eq!((page.total, page.items.len()), (0, 0));
        assert!(store.load_investment_transactions(&stranger, &link, None).await.unwrap().is_empty());
    }
}

async fn a_deleted_link_has_no_investments(store: Arc<dyn Store>) {
    created(&store).await;
    let link = LinkId::from_bits(1);
    let stored = store.lookup_link(&tenant(), &link).await.unwrap().unwrap();
    store.commit(changes(deletion(stored.link, stored.version))).await.unwrap();
    assert_eq!(store.lookup_portfolio(&tenant(), &link).await.unwrap(), None);
    assert_eq!(listed(&store, all()).await.0, 0);
}
