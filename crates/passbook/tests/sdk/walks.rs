//! Walks, raw calls and the blocking client against the built server.

use futures_util::TryStreamExt as _;
use moneykit::{
    api::{GetInstitutionsQuery, GetLinksQuery, GetTransactionsQuery},
    http::Method,
    models::{GetLinksResponse, LinkCommon},
};

use crate::server::Server;

#[tokio::test]
async fn every_list_is_walked_to_its_end() {
    let server = Server::start();
    let client = server.client();
    let links: Vec<_> = client.links().get_links_pages(&GetLinksQuery::new()).items().try_collect().await.unwrap();
    assert!(links.iter().any(|link| link.link_id.as_str() == server.dev.link_id));

    let all = client.institutions().get_institutions(&GetInstitutionsQuery::new().limit(1000_u32)).await.unwrap();
    let by_one = client.institutions().get_institutions_pages(&GetInstitutionsQuery::new().limit(1_u32));
    let by_one: Vec<_> = by_one.items().try_collect().await.unwrap();
    assert!(by_one.len() > 1);
    assert_eq!(by_one, all.institutions);

    let api = client.transactions();
    let all = api.get_transactions(&server.dev.link_id, &GetTransactionsQuery::new().size(1000_u64)).await.unwrap();
    let pages = api.get_transactions_pages(&server.dev.link_id, &GetTransactionsQuery::new().size(10_u64));
    let pages: Vec<_> = pages.try_collect().await.unwrap();
    assert_eq!(pages.len() as u64, all.total.div_ceil(10), "no page too many");
    let walked: Vec<_> = pages.into_iter().flat_map(|page| page.transactions).collect();
    assert_eq!(walked, all.transactions);
}

#[tokio::test]
async fn a_raw_call_is_answered_like_a_modelled_one() {
    let server = Server::start();
    let client = server.client();
    let raw = client.request(Method::GET, "/links").segment(&server.dev.link_id).send_json::<LinkCommon>().await;
    assert_eq!(raw.unwrap().data, client.links().get_link(&server.dev.link_id).await.unwrap());
    let list = client.request(Method::GET, "/links").query("limit", 500).send_json::<GetLinksResponse>().await;
    assert!(!list.unwrap().data.links.is_empty());
    let error = client.request(Method::GET, "/links").query("limit", 1).send().await.unwrap_err();
    assert_eq!(error.error_code(), Some("api_error.request.validation_failed"));
}

#[test]
fn the_blocking_client_reads_numbers_without_a_runtime() {
    let server = Server::start();
    let client = server.builder().build_blocking().unwrap();
    let answer = client.account_numbers().get_account_numbers(&server.dev.link_id).unwrap();
    assert!(!answer.accounts.is_empty());
    let links: Result<Vec<_>, _> = client.links().get_links_pages(&GetLinksQuery::new()).items().collect();
    assert!(!links.unwrap().is_empty());
}
