//! The example programs of the SDK do what they say.

use std::collections::BTreeSet;

use moneykit::{
    Client,
    api::GetTransactionsQuery,
    models::{LinkId, PublicLinkState},
};
use rusqlite::Connection;

use crate::server::{Server, another_day};

#[path = "../../../moneykit/examples/cache_transactions.rs"]
#[expect(dead_code, reason = "its `main` only reads arguments")]
mod cache_transactions;
#[path = "../../../moneykit/examples/create_link.rs"]
#[expect(dead_code, reason = "its `main` only reads arguments")]
mod create_link;
#[path = "../../../moneykit/examples/fetch_products.rs"]
#[expect(dead_code, reason = "its `main` only reads arguments")]
mod fetch_products;
#[path = "../../../moneykit/examples/import_link.rs"]
#[expect(dead_code, reason = "its `main` only reads arguments")]
mod import_link;

#[tokio::test]
async fn a_link_is_created_from_session_to_exchange() {
    let server = Server::start();
    let client = server.client();
    let session_token = create_link::open_session(&client).await.unwrap();
    let token = create_link::sign_in(&client, &session_token).await.unwrap().expect("this is a sandbox");
    let link = create_link::exchange(&client, &token).await.unwrap();
    assert_eq!(link.state, PublicLinkState::Connected);
    assert_eq!(link.link_tags.as_deref(), Some(&["example".to_owned()][..]));
    assert!(link.products.identity.is_some());
}

#[tokio::test]
async fn the_granted_products_are_fetched_and_the_others_are_no_failure() {
    let server = Server::start();
    let lines = fetch_products::fetch(&server.client(), &LinkId::from(&server.dev.link_id)).await.unwrap();
    let text = lines.join("\n");
    for expected in ["account ", "numbers of ", "owner(s)", " USD "] {
        assert!(text.contains(expected), "{expected:?} is not in {text}");
    }
}

#[tokio::test]
async fn imported_transactions_are_read_back_once_and_corrected() {
    let server = Server::start();
    let found = import_link::import(&server.client(), "credentials_bank").await.unwrap();
    let found: Vec<_> = found
        .into_iter()
        .map(|transaction| {
            let amount = transaction.import_amount().unwrap().to_string();
            (transaction.original_id.unwrap(), amount, transaction.description.unwrap())
        })
        .collect();
    let expected =
        [("coffee-2", "-7.10", "Coffee again"), ("coffee-1", "-7.10", "Coffee"), ("wages-1", "2500.00", "Wages")];
    assert_eq!(found, expected.map(|(id, amount, text)| (id.to_owned(), amount.to_owned(), text.to_owned())));
}

#[tokio::test]
async fn cached_transactions_are_those_of_the_server_after_every_run() {
    let server = Server::start();
    let client = server.client();
    let link_id = LinkId::from(&server.dev.link_id);
    let mut database = Connection::open_in_memory().unwrap();
    let first = cache_transactions::bring_up_to_date(&client, &link_id, &mut database).await.unwrap();
    assert!(first.created > 0);
    assert_eq!(cached(&database), listed(&client, &link_id).await);
    let nothing = cache_transactions::bring_up_to_date(&client, &link_id, &mut database).await.unwrap();
    assert_eq!(nothing, cache_transactions::Summary::default());
    for _ in 0..3 {
        another_day(&client, link_id.as_str()).await;
        cache_transactions::bring_up_to_date(&client, &link_id, &mut database).await.unwrap();
        assert_eq!(cached(&database), listed(&client, &link_id).await);
    }
}

/// Id, signed amount, and whether it is pending.
type Known = BTreeSet<(String, String, bool)>;

fn cached(database: &Connection) -> Known {
    let mut statement = database.prepare("SELECT transaction_id, amount, pending FROM transactions").unwrap();
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).unwrap();
    rows.map(Result::unwrap).collect()
}

async fn listed(client: &Client, link_id: &LinkId) -> Known {
    let query = GetTransactionsQuery::new().size(7_u64);
    let mut items = client.transactions().get_transactions_pages(link_id, &query).items();
    let mut known = Known::new();
    while let Some(item) = items.next_item().await {
        let item = item.unwrap();
        let amount = item.import_amount().unwrap().credit_positive().to_string();
        assert!(known.insert((item.transaction_id.into_string(), amount, item.pending)), "listed twice");
    }
    known
}
