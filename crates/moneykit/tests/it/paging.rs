//! Walks over lists: where they go, where they end, and that they end.

use futures_util::{StreamExt as _, TryStreamExt as _};
use moneykit::api::{GetInstitutionsQuery, GetLinksQuery, GetTransactionsQuery, GetTransactionsSyncQuery};

use crate::support::{Reply, Server, connected_link};

fn links(ids: &[&str], next: &str) -> Reply {
    let links: Vec<_> =
        ids.iter().map(|id| format!(r#"{{"link_id":"{id}","created_at":"2024-01-09T10:32:38Z"}}"#)).collect();
    Reply::json(200, format!(r#"{{"links":[{}],"next_cursor":"{next}"}}"#, links.join(",")))
}

fn transaction(id: &str) -> String {
    format!(
        r#"{{"transaction_id":"{id}","account_id":"acc_1","amount":"7.10","type":"debit","currency":"USD",
            "date":"2024-01-09","pending":false}}"#
    )
}

fn transactions(page: u64, ids: &[&str], total: u64) -> Reply {
    let found: Vec<_> = ids.iter().map(|id| transaction(id)).collect();
    let (count, found, link) = (ids.len(), found.join(","), connected_link());
    let head = format!(r#""total":{total},"page":{page},"size":{count}"#);
    Reply::json(200, format!(r#"{{{head},"transactions":[{found}],"accounts":[],"link":{link}}}"#))
}

fn changes(created: &[&str], removed: &[&str], next: Option<&str>, has_more: bool) -> Reply {
    let created: Vec<_> = created.iter().map(|id| transaction(id)).collect();
    let next = next.map_or_else(|| "null".to_owned(), |next| format!("{next:?}"));
    let (created, link) = (created.join(","), connected_link());
    let changes = format!(r#"{{"created":[{created}],"updated":[],"removed":{removed:?}}}"#);
    let cursor = format!(r#"{{"next":{next}}}"#);
    Reply::json(
        200,
        format!(r#"{{"transactions":{changes},"accounts":[],"cursor":{cursor},"has_more":{has_more},"link":{link}}}"#),
    )
}

fn targets(server: &Server) -> Vec<String> {
    server.calls().into_iter().map(|call| call.target).collect()
}

#[tokio::test(start_paused = true)]
async fn links_are_walked_until_the_cursor_is_empty() {
    let server = Server::start_with_tokens(|request| match request.target.as_str() {
        "/links?limit=500" => links(&["mk_1", "mk_2"], "c2"),
        "/links?cursor=c2&limit=500" => links(&[], "c3"),
        "/links?cursor=c3&limit=500" => links(&["mk_3"], ""),
        other => panic!("{other}"),
    })
    .await;
    let api = server.client().links();
    let query = GetLinksQuery::new().limit(500_u32);
    let found: Vec<_> =
        api.get_links_pages(&query).items().map_ok(|link| link.link_id.into_string()).try_collect().await.unwrap();
    assert_eq!(found, ["mk_1", "mk_2", "mk_3"]);
    let pages: Vec<_> = api.get_links_pages(&GetLinksQuery::new().cursor("c3").limit(500_u32)).collect().await;
    assert_eq!(pages.len(), 1, "a walk can begin anywhere");
}

#[tokio::test(start_paused = true)]
async fn pages_are_fetched_only_when_asked_for() {
    let server = Server::start_with_tokens(|_| links(&["mk_1"], "more")).await;
    let mut pages = server.client().links().get_links_pages(&GetLinksQuery::new());
    assert_eq!(server.calls().len(), 0);
    pages.next_page().await.unwrap().unwrap();
    assert_eq!(server.calls().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn institutions_are_walked_until_there_is_no_cursor() {
    let server = Server::start_with_tokens(|request| {
        let next = if request.target.contains("cursor=") { "null" } else { r#""c2""# };
        Reply::json(200, format!(r#"{{"institutions":[],"cursors":{{"next":{next}}}}}"#))
    })
    .await;
    let pages = server.client().institutions().get_institutions_pages(&GetInstitutionsQuery::new().name("a"));
    assert_eq!(pages.count().await, 2);
    assert_eq!(targets(&server), ["/institutions?name=a", "/institutions?name=a&cursor=c2"]);
}

#[tokio::test(start_paused = true)]
async fn transactions_are_walked_until_as_many_came_as_there_are() {
    let server = Server::start_with_tokens(|request| match request.target.as_str() {
        "/links/mk_1/transactions?size=2" => transactions(1, &["txn_1", "txn_2"], 3),
        "/links/mk_1/transactions?page=2&size=2" => transactions(2, &["txn_3"], 3),
        other => panic!("{other}"),
    })
    .await;
    let query = GetTransactionsQuery::new().size(2_u64);
    let mut items = server.client().transactions().get_transactions_pages("mk_1", &query).items();
    let mut found = Vec::new();
    while let Some(item) = items.next_item().await {
        found.push(item.unwrap().transaction_id.into_string());
    }
    assert_eq!(found, ["txn_1", "txn_2", "txn_3"]);
    assert_eq!(server.calls().len(), 2, "the total was reached, so nobody asks for an empty page");
}

#[tokio::test(start_paused = true)]
async fn an_empty_page_ends_a_walk_whose_total_is_never_reached() {
    let server = Server::start_with_tokens(|request| {
        let is_first = !request.target.contains("page=");
        transactions(if is_first { 1 } else { 2 }, if is_first { &["txn_1"] } else { &[] }, 9)
    })
    .await;
    let pages = server.client().transactions().get_transactions_pages("mk_1", &GetTransactionsQuery::new());
    assert_eq!(pages.count().await, 2);
}

#[tokio::test(start_paused = true)]
async fn changes_are_walked_until_nothing_more_waits_and_the_last_page_has_its_cursor() {
    let server = Server::start_with_tokens(|request| match request.target.as_str() {
        "/links/mk_1/transactions/sync?cursor=c1" => changes(&["txn_1"], &["txn_0"], Some("c2"), true),
        "/links/mk_1/transactions/sync?cursor=c2" => changes(&[], &[], Some("c3"), true),
        "/links/mk_1/transactions/sync?cursor=c3" => changes(&["txn_2"], &[], Some("c4"), false),
        other => panic!("{other}"),
    })
    .await;
    let query = GetTransactionsSyncQuery::new().cursor("c1");
    let pages = server.client().transactions().get_transactions_sync_pages("mk_1", &query);
    let pages: Vec<_> = pages.try_collect().await.unwrap();
    assert_eq!(pages.len(), 3);
    assert_eq!(pages[0].transactions.removed[0].as_str(), "txn_0");
    assert!(pages[1].transactions.is_empty());
    assert_eq!(pages[2].cursor.next.as_deref(), Some("c4"));
}

#[tokio::test(start_paused = true)]
async fn a_cursor_that_does_not_move_ends_a_walk_with_an_error() {
    for stuck in [Some("c1"), None] {
        let server = Server::start_with_tokens(move |_| changes(&["txn_1"], &[], stuck, true)).await;
        let query = GetTransactionsSyncQuery { cursor: stuck.map(str::to_owned), size: None };
        let mut pages = server.client().transactions().get_transactions_sync_pages("mk_1", &query);
        let error = pages.next_page().await.unwrap().unwrap_err();
        assert!(!error.is_retryable() && error.status().is_none());
        assert_eq!(error.to_string(), "get_transactions_sync: the next page would be the same one again");
        assert!(pages.next_page().await.is_none());
        assert_eq!(server.calls().len(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn an_error_ends_a_walk_after_the_items_before_it() {
    let server = Server::start_with_tokens(|request| match request.target.as_str() {
        "/links" => links(&["mk_1"], "c2"),
        _ => Reply::error(422, "api_error.request.validation_failed", "no"),
    })
    .await;
    let mut items = server.client().links().get_links_pages(&GetLinksQuery::new()).items();
    assert_eq!(items.next_item().await.unwrap().unwrap().link_id.as_str(), "mk_1");
    assert_eq!(items.next_item().await.unwrap().unwrap_err().status().unwrap().as_u16(), 422);
    assert!(items.next_item().await.is_none());
    assert_eq!(server.calls().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_dropped_wait_for_a_page_loses_nothing() {
    let server = Server::start_with_tokens(|_| links(&["mk_1"], "").after(std::time::Duration::from_secs(5))).await;
    let mut pages = server.client().links().get_links_pages(&GetLinksQuery::new());
    let impatient = tokio::time::timeout(std::time::Duration::from_secs(1), pages.next_page()).await;
    assert!(impatient.is_err());
    assert_eq!(pages.next_page().await.unwrap().unwrap().links.len(), 1);
    assert_eq!(server.calls().len(), 1, "the second wait goes on with the first one's request");
}
