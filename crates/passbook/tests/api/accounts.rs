//! `GET /links/{id}/accounts`, one account, and `GET /links/{id}/identity`.

use serde_json::{Value, json};

use crate::support::{TestServer, text, without_avatar};

fn ids(body: &Value) -> Vec<String> {
    body["accounts"].as_array().unwrap().iter().map(|account| text(&account["account_id"])).collect()
}

#[tokio::test]
async fn accounts_and_owners_have_the_contracts_shape() {
    let server = TestServer::start().await;
    let id = server.link(&server.a).await;
    let accounts = server.get(&server.a, &format!("/links/{id}/accounts")).await;
    let identity = server.get(&server.a, &format!("/links/{id}/identity")).await;
    for answer in [&accounts, &identity] {
        assert_eq!(answer.header("cache-control"), Some("no-store"), "one person's data");
    }
    let (accounts, identity) = (accounts.ok(200), identity.ok(200));
    assert_eq!(ids(&accounts), ids(&identity), "owners for all permitted accounts, the credit card included");
    for account in accounts["accounts"].as_array().unwrap() {
        assert!(account["balances"]["current"].is_number());
    }
    crate::support::assert_snapshot!("accounts", without_avatar(accounts));
    crate::support::assert_snapshot!("identity", without_avatar(identity));
}

#[tokio::test]
async fn account_ids_filter_and_unknown_ones_are_ignored() {
    let server = TestServer::start().await;
    let id = server.link(&server.a).await;
    for path in ["accounts", "identity"] {
        let all = ids(&server.get(&server.a, &format!("/links/{id}/{path}")).await.ok(200));
        for (query, expected) in [
            (format!("account_ids={}", all[1]), vec![all[1].clone()]),
            (format!("account_ids={}&account_ids={}", all[2], all[0]), vec![all[0].clone(), all[2].clone()]),
            (format!("account_ids={}&account_ids=nobody", all[0]), vec![all[0].clone()]),
            ("account_ids=nobody".to_owned(), vec![]),
            ("other=x".to_owned(), all.clone()),
        ] {
            let found = server.get(&server.a, &format!("/links/{id}/{path}?{query}")).await.ok(200);
            assert_eq!(ids(&found), expected, "{path}?{query}");
        }
    }
}

#[tokio::test]
async fn one_account_is_the_same_as_in_the_list() {
    let server = TestServer::start().await;
    let id = server.link(&server.a).await;
    let all = server.get(&server.a, &format!("/links/{id}/accounts")).await.ok(200);
    for account in all["accounts"].as_array().unwrap() {
        let one = server.get(&server.a, &format!("/links/{id}/accounts/{}", text(&account["account_id"]))).await;
        assert_eq!(one.ok(200), json!({"account": account, "link": all["link"]}));
    }
}
