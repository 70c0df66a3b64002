//! `GET /links/{id}/accounts/numbers`.

use passbook_core::product::Product;
use serde_json::{Value, json};

use crate::support::{TestServer, bank, without_avatar};

fn names(answer: &Value) -> Vec<&str> {
    answer["accounts"].as_array().unwrap().iter().map(|account| account["name"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn accounts_with_numbers_are_listed_with_all_four_lists() {
    let server = TestServer::start().await;
    let id = server.link(&server.a).await;
    let answer = server.get(&server.a, &format!("/links/{id}/accounts/numbers")).await;
    let body = answer.ok(200);
    let all = server.get(&server.a, &format!("/links/{id}/accounts")).await.ok(200);
    assert_eq!(all["accounts"].as_array().unwrap().len(), 3);
    let types: Vec<_> = body["accounts"].as_array().unwrap().iter().map(|it| it["account_type"].clone()).collect();
    assert_eq!(types, ["depository.checking", "depository.savings"], "the credit card has none");
    for account in body["accounts"].as_array().unwrap() {
        let lists = account["numbers"].as_object().unwrap();
        let lengths: Vec<_> =
            ["ach", "eft", "bacs", "international"].map(|it| lists[it].as_array().unwrap().len()).into();
        assert_eq!((lengths, lists.len()), (vec![1, 0, 0, 0], 4));
        let number = account["numbers"]["ach"][0]["account_number"].as_str().unwrap();
        assert!(number.ends_with(account["account_mask"].as_str().unwrap()));
    }
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    crate::support::assert_snapshot!("numbers", without_avatar(body));
}

#[tokio::test]
async fn each_country_fills_its_own_list() {
    let server = TestServer::start().await;
    for (institution, filled) in [
        ("credentials_bank", vec!["ach"]),
        ("credentials_bank_ca", vec!["eft"]),
        ("credentials_bank_gb", vec!["bacs", "international"]),
    ] {
        let id = server.link_at(&server.a, institution, "user_good").await;
        let body = server.get(&server.a, &format!("/links/{id}/accounts/numbers")).await.ok(200);
        let numbers = body["accounts"][0]["numbers"].as_object().unwrap();
        let mut found: Vec<_> = numbers.iter().filter(|(_, list)| list[0].is_object()).map(|(name, _)| name).collect();
        found.sort();
        assert_eq!(found, filled, "{institution}");
    }
}

#[tokio::test]
async fn only_permitted_accounts_are_shown() {
    let server = TestServer::start().await;
    let token = server.session_token(&server.a, json!({})).await;
    let all = server.get(&server.a, &format!("/links/{}/accounts", server.link(&server.a).await)).await.ok(200);
    let savings = all["accounts"].as_array().unwrap().iter().find(|it| it["account_type"] == "depository.savings");
    let savings = savings.unwrap();
    let completed = server.complete(&server.a, &token, json!({"accounts": [savings["account_mask"]]})).await.ok(201);
    let body = json!({"exchangeable_token": completed["exchangeable_token"]});
    let id = server.post(&server.a, "/link-session/exchange-token", &body).await.ok(201)["link_id"].clone();
    server.drain(&server.a).await;
    let id = id.as_str().unwrap();
    for path in ["accounts", "accounts/numbers", "identity"] {
        let answer = server.get(&server.a, &format!("/links/{id}/{path}")).await.ok(200);
        assert_eq!(names(&answer), [savings["name"].as_str().unwrap()], "{path}");
    }
    let page = server.get(&server.a, &format!("/links/{id}/transactions?size=1000")).await.ok(200);
    assert_eq!(page["total"], page["transactions"].as_array().unwrap().len());
    let one: std::collections::BTreeSet<_> =
        page["transactions"].as_array().unwrap().iter().map(|row| row["account_id"].as_str().unwrap()).collect();
    assert_eq!(one.len(), 1);
}

#[tokio::test]
async fn a_read_never_causes_a_fetch() {
    let server = TestServer::start().await;
    let id = server.scripted_link(json!({"account_numbers": {}, "identity": {}, "transactions": {}})).await;
    let before = server.bank.all_fetches();
    let answer = server.get(&server.a, &format!("/links/{id}/accounts/numbers")).await.ok(200);
    assert_eq!(answer["accounts"], json!([]));
    let reasons: Vec<_> =
        answer["accounts_without_numbers"].as_array().unwrap().iter().map(|it| it["reason"].clone()).collect();
    assert_eq!(reasons, ["not_fetched", "not_fetched", "not_a_deposit_account"]);
    let product = &answer["link"]["products"]["account_numbers"];
    assert_eq!((&product["refreshed_at"], &product["last_attempted_at"]), (&Value::Null, &Value::Null));
    for path in ["accounts", "identity", "transactions", "accounts/numbers"] {
        assert_eq!(server.get(&server.a, &format!("/links/{id}/{path}")).await.status, 200, "{path}");
    }
    server.drain(&server.a).await;
    assert_eq!(server.bank.all_fetches(), before);
}

#[tokio::test]
async fn required_and_prefetched_numbers_arrive_with_the_link_and_others_on_demand() {
    for (settings, fetched) in
        [(json!({"required": true}), 1), (json!({"prefetch": true}), 1), (json!({"require_permission": true}), 0)]
    {
        let server = TestServer::start().await;
        let id = server.scripted_link(json!({"account_numbers": settings})).await;
        assert_eq!(server.bank.fetches(Product::AccountNumbers), fetched, "{settings}");
        let path = format!("/links/{id}/accounts/numbers");
        let answer = server.get(&server.a, &path).await.ok(200);
        assert_eq!(answer["accounts"].as_array().unwrap().len(), fetched * 2);
        let refresh = json!({"products": ["account_numbers"]});
        assert_eq!(server.post(&server.a, &format!("/links/{id}/products"), &refresh).await.status, 202);
        server.drain(&server.a).await;
        let answer = server.get(&server.a, &path).await.ok(200);
        assert_eq!(answer["accounts"].as_array().unwrap().len(), 2);
        assert_eq!(server.bank.fetches(Product::AccountNumbers), fetched + 1);
    }
}

#[tokio::test]
async fn numbers_that_were_not_granted_are_forbidden() {
    let server = TestServer::start().await;
    let id = server.scripted_link(json!({"transactions": {"prefetch": true}})).await;
    let answer = server.get(&server.a, &format!("/links/{id}/accounts/numbers")).await;
    answer.expect(403, "link_error.forbidden_action");
    let link = server.get(&server.a, &format!("/links/{id}")).await.ok(200);
    assert!(link["products"].get("account_numbers").is_none());
    assert!(link["available_products"].as_array().unwrap().contains(&json!("account_numbers")));
    let missing = link["missing_products"].as_array().unwrap();
    assert!(missing.contains(&json!({"product": "account_numbers", "reason": "not_granted"})), "{missing:?}");
    assert!(missing.iter().all(|it| it["product"] != "transactions"), "{missing:?}");
}

#[tokio::test]
async fn numbers_of_a_custom_user_are_given_back_exactly() {
    let server = TestServer::start().await;
    let data = json!({"accounts": [
        {"account_type": "depository.checking", "name": "Leading zeros", "account_number": "000123450", "routing_number": "091000019"},
        {"account_type": "depository.savings", "name": "No routing number", "account_number": "777"},
    ]});
    let fields = json!({"institution_id": bank::ID, "username": "user_custom", "custom_sandbox_data": data});
    let id = server.link_with(&server.a, fields).await;
    let answer = server.get(&server.a, &format!("/links/{id}/accounts/numbers")).await.ok(200);
    assert_eq!(names(&answer), ["Leading zeros"]);
    let ach = json!([{"account_number": "000123450", "routing_number": "091000019", "wire_routing_number": null}]);
    assert_eq!(answer["accounts"][0]["numbers"]["ach"], ach);
    let accounts = server.get(&server.a, &format!("/links/{id}/accounts")).await.ok(200);
    let left_out = json!([{"account_id": accounts["accounts"][1]["account_id"], "reason": "not_given"}]);
    assert_eq!(answer["accounts_without_numbers"], left_out);
}

#[tokio::test]
async fn an_account_ids_parameter_does_not_exist_here() {
    let server = TestServer::start().await;
    let id = server.link(&server.a).await;
    let answer = server.get(&server.a, &format!("/links/{id}/accounts/numbers?account_ids=acc_none")).await.ok(200);
    assert_eq!(answer["accounts"].as_array().unwrap().len(), 2);
}
