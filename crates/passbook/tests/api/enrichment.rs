//! Enrichment of transactions, and `POST /links/{id}/transactions/{txn_id}/enrichment`.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::support::{Answer, TestServer, text};

const VALIDATION: &str = "api_error.request.validation_failed";

/// Everything listed, by id.
async fn listed(server: &TestServer, id: &str) -> BTreeMap<String, Value> {
    let page = server.get(&server.a, &format!("/links/{id}/transactions?size=1000")).await.ok(200);
    page["transactions"].as_array().unwrap().iter().map(|item| (text(&item["transaction_id"]), item.clone())).collect()
}

async fn correct(server: &TestServer, id: &str, transaction: &str, body: Value) -> Answer {
    server.post(&server.a, &format!("/links/{id}/transactions/{transaction}/enrichment"), &body).await
}

fn merchant(item: &Value) -> Option<&str> {
    item["enrichment"]["merchant"]["name"].as_str()
}

/// A posted transaction whose merchant occurs at least five times.
fn frequent(items: &BTreeMap<String, Value>) -> (String, String) {
    let posted = items.values().filter(|item| item["pending"] == json!(false) && item["type"] == json!("debit"));
    for item in posted {
        let same = |other: &&Value| merchant(other) == merchant(item) && other["type"] == item["type"];
        if merchant(item).is_some() && items.values().filter(same).count() >= 5 {
            return (text(&item["transaction_id"]), merchant(item).unwrap().to_owned());
        }
    }
    panic!("no merchant is frequent");
}

async fn refresh(server: &TestServer, id: &str, products: Value) {
    server.advance(86_400);
    server.post(&server.a, &format!("/links/{id}/products"), &json!({"products": products})).await.ok(202);
    server.drain(&server.a).await;
}

#[tokio::test]
async fn transactions_come_enriched_wherever_they_are_listed() {
    let server = TestServer::start().await;
    let id = server.link_at(&server.a, "credentials_bank", "user_history").await;
    let items = listed(&server, &id).await;
    let enriched = items.values().filter(|item| !item["enrichment"].is_null()).count();
    assert!(enriched * 10 >= items.len() * 8, "{enriched} of {}", items.len());
    for item in items.values().filter(|item| !item["enrichment"].is_null()) {
        let known = &item["enrichment"];
        let confidence = known["category"]["confidence"].as_u64().unwrap();
        assert!((1..=100).contains(&confidence) && known["category"]["value"].is_string(), "{known}");
        assert_eq!(known["recurrence"], Value::Null);
    }
    let feed = server.get(&server.a, &format!("/links/{id}/transactions/sync?size=500")).await.ok(200);
    for item in feed["transactions"]["created"].as_array().unwrap() {
        assert_eq!(*item, items[&text(&item["transaction_id"])]);
    }
    let user = format!("/users/{}/transactions?size=50", crate::support::USER);
    for item in server.get(&server.a, &user).await.ok(200)["transactions"].as_array().unwrap() {
        assert_eq!(item["enrichment"], items[&text(&item["transaction_id"])]["enrichment"]);
    }
    let product = &server.get(&server.a, &format!("/links/{id}")).await.ok(200)["products"]["enrichment"];
    assert!(product["refreshed_at"].is_string() && product["error_code"].is_null(), "{product}");
}

#[tokio::test]
async fn a_correction_reaches_similar_past_transactions_and_is_told() {
    let server = TestServer::start().await;
    let id = server.link_at(&server.a, "credentials_bank", "user_history").await;
    let before = listed(&server, &id).await;
    let cursor = text(
        &server.get(&server.a, &format!("/links/{id}/transactions/sync?size=500")).await.ok(200)["cursor"]["next"],
    );
    let (transaction, name) = frequent(&before);
    let body = json!({"category": "charity", "subcategory": "other_charity"});
    let answer = correct(&server, &id, &transaction, body).await.ok(200);
    let changed = answer["transactions"].as_array().unwrap();
    assert_eq!(text(&changed[0]["transaction_id"]), transaction, "the one that was named comes first");
    let expected =
        before.values().filter(|item| merchant(item) == Some(&name) && item["type"] == json!("debit")).count();
    assert_eq!(changed.len(), expected);
    assert_eq!(answer["cursor"], json!({"next": null}));
    for item in changed {
        let known = &item["enrichment"];
        assert_eq!(known["category"], json!({"value": "charity", "confidence": 100}));
        assert_eq!(known["subcategory"], json!({"value": "other_charity", "confidence": 100}));
        assert_eq!(merchant(item), Some(name.as_str()), "the merchant stays");
    }
    let after = listed(&server, &id).await;
    for (id, item) in &after {
        let is_changed = changed.iter().any(|changed| changed["transaction_id"] == json!(id));
        assert_eq!(*item == before[id], !is_changed);
    }
    let told = server.get(&server.a, &format!("/links/{id}/transactions/sync?size=500&cursor={cursor}")).await.ok(200);
    let told: usize =
        ["created", "updated"].map(|kind| told["transactions"][kind].as_array().unwrap().len()).iter().sum();
    assert!(told > 0, "followers hear of it");
}

#[tokio::test]
async fn a_correction_outlives_refreshes_and_the_rules() {
    let server = TestServer::start().await;
    let id = server.link_at(&server.a, "credentials_bank", "user_history").await;
    let (transaction, _) = frequent(&listed(&server, &id).await);
    correct(&server, &id, &transaction, json!({"category": "home"})).await.ok(200);
    let corrected = listed(&server, &id).await[&transaction]["enrichment"].clone();
    assert_eq!((&corrected["category"]["value"], &corrected["subcategory"]), (&json!("home"), &Value::Null));
    for products in [json!(["transactions"]), json!(["enrichment"]), json!(["transactions", "enrichment"])] {
        refresh(&server, &id, products).await;
        assert_eq!(listed(&server, &id).await[&transaction]["enrichment"], corrected);
    }
    let server = server.restart().await;
    assert_eq!(listed(&server, &id).await[&transaction]["enrichment"], corrected);
}

#[tokio::test]
async fn a_corrected_pending_transaction_stays_corrected_when_it_posts() {
    let server = TestServer::start().await;
    let id = server.link_at(&server.a, "credentials_bank", "user_history").await;
    // Every day has purchases that wait; one is found within a few.
    let pending = loop {
        let items = listed(&server, &id).await;
        if let Some((pending, _)) = items.iter().find(|(_, item)| item["pending"] == json!(true)) {
            break pending.clone();
        }
        refresh(&server, &id, json!(["transactions"])).await;
    };
    correct(&server, &id, &pending, json!({"category": "education"})).await.ok(200);
    for _ in 0..5 {
        refresh(&server, &id, json!(["transactions"])).await;
    }
    let items = listed(&server, &id).await;
    let posted = items.values().find(|item| {
        item["pending_transaction_id"].is_string() && item["enrichment"]["category"]["value"] == json!("education")
    });
    assert!(posted.is_some() && !items.contains_key(&pending), "the posted one has what was said of the pending one");
}

#[tokio::test]
async fn a_refresh_of_enrichment_asks_no_bank() {
    let server = TestServer::start().await;
    let id = server.scripted_link(json!({"transactions": {"prefetch": true}})).await;
    let fetched = server.bank.fetches(passbook_core::product::Product::Transactions);
    let before = server.get(&server.a, &format!("/links/{id}")).await.ok(200);
    refresh(&server, &id, json!(["enrichment"])).await;
    let after = server.get(&server.a, &format!("/links/{id}")).await.ok(200);
    assert_eq!(server.bank.fetches(passbook_core::product::Product::Transactions), fetched);
    let at = |link: &Value, product: &str| link["products"][product]["refreshed_at"].clone();
    assert_eq!(at(&before, "transactions"), at(&after, "transactions"));
    assert!(text(&at(&after, "enrichment")) > text(&at(&before, "enrichment")));
    let again = server.post(&server.a, &format!("/links/{id}/products"), &json!({"products": ["enrichment"]})).await;
    again.expect(429, "api_error.rate_limit_exceeded");
}

#[tokio::test]
async fn what_is_not_a_correction_is_refused() {
    let server = TestServer::start().await;
    let id = server.link_at(&server.a, "credentials_bank", "user_history").await;
    let (transaction, _) = frequent(&listed(&server, &id).await);
    for (body, place) in [
        (json!({"category": "nonsense"}), "body.category"),
        (json!({"category": "transport", "subcategory": "coffee"}), "body.subcategory"),
        (json!({"category": "transport", "subcategory": ""}), "body.subcategory"),
    ] {
        assert_eq!(correct(&server, &id, &transaction, body).await.expect(422, VALIDATION).places(), [place]);
    }
    for body in [json!({}), json!({"category": 7}), json!({"category": null}), json!([])] {
        correct(&server, &id, &transaction, body).await.expect(422, VALIDATION);
    }
    for unknown in ["txn_zzzzzzzzzzzzzzzzzzzzzz", "nothing", "%00", "%ff"] {
        let answer = correct(&server, &id, unknown, json!({"category": "transport"})).await;
        answer.expect(404, "link_error.not_found");
    }
    let only_accounts = server.scripted_link(json!({})).await;
    let refused = correct(&server, &only_accounts, &transaction, json!({"category": "transport"})).await;
    refused.expect(403, "link_error.forbidden_action");
}

#[tokio::test]
async fn an_import_is_enriched_and_can_be_corrected() {
    let server = TestServer::start().await;
    let body = json!({
        "customer_user": {"id": "user-0042"}, "institution_id": "credentials_bank",
        "accounts": [{"account_id": "a", "type": "depository.checking", "name": "Everyday", "balances": {"currency": "USD"}}],
        "transactions": [
            {"transaction_id": "1", "account_id": "a", "amount": "-4.50", "date": "2026-01-01", "description": "STARBUCKS 0312"},
            {"transaction_id": "2", "account_id": "a", "amount": "-1", "date": "2026-01-02", "description": "99123"},
        ],
    });
    let id = text(&server.post(&server.a, "/links/import", &body).await.ok(200)["link_id"]);
    let items = listed(&server, &id).await;
    let by_original =
        |original: &str| items.values().find(|item| item["original_id"] == json!(original)).unwrap().clone();
    assert_eq!(by_original("1")["enrichment"]["subcategory"]["value"], json!("coffee"));
    assert_eq!(by_original("2")["enrichment"], Value::Null, "too little is said");
    let unknown = text(&by_original("2")["transaction_id"]);
    let answer = correct(&server, &id, &unknown, json!({"category": "general"})).await.ok(200);
    assert_eq!(answer["transactions"].as_array().unwrap().len(), 1, "numbers alone make nothing similar");
}
