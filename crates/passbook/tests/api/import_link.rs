//! `POST /links/import` and `POST /links/{id}/import/transactions`.

use serde_json::{Value, json};

use crate::support::{Answer, TestServer, USER, text};

const VALIDATION: &str = "api_error.request.validation_failed";

fn account(id: &str, account_type: &str, mask: &str) -> Value {
    json!({
        "account_id": id, "name": format!("Account {id}"), "type": account_type, "mask": mask,
        "balances": {"currency": "USD", "available": 12.5, "current": 0.1, "limit": null}
    })
}

fn transaction(account: &str, id: Option<&str>, amount: &str, date: &str) -> Value {
    json!({
        "account_id": account, "transaction_id": id, "amount": amount, "date": date, "description": "Coffee House",
        "type": "anything"
    })
}

fn import_body() -> Value {
    json!({
        "customer_user": {"id": USER}, "provider": "mx", "institution_id": "mx.credentials_bank",
        "accounts": [account("one", "checking", "1111"), account("two", "credit_card", "2222")],
        "transactions": [
            transaction("one", Some("t1"), "-7.1", "2024-04-01"),
            transaction("one", Some("t2"), "1200.00", "2024-04-02T23:30:00-05:00"),
            transaction("two", None, "-5", "2024-04-03"),
            transaction("two", None, "-5", "2024-04-03"),
        ]
    })
}

async fn import(server: &TestServer, body: &Value) -> Answer {
    server.post(&server.a, "/links/import", body).await
}

async fn add(server: &TestServer, id: &str, transactions: &[Value]) -> Answer {
    server.post(&server.a, &format!("/links/{id}/import/transactions"), &json!({"transactions": transactions})).await
}

async fn rows(server: &TestServer, id: &str) -> Vec<Value> {
    let body = server.get(&server.a, &format!("/links/{id}/transactions?size=1000")).await.ok(200);
    body["transactions"].as_array().unwrap().clone()
}

#[tokio::test]
async fn an_imported_link_shows_expired_access_and_is_readable() {
    let server = TestServer::start().await;
    let link = import(&server, &import_body()).await.ok(200);
    assert_eq!((&link["state"], &link["error_code"]), (&json!("error"), &json!("auth_expired")));
    assert_eq!((&link["institution_id"], &link["provider"]), (&json!("credentials_bank"), &json!("moneykit")));
    assert!(link["products"]["transactions"]["refreshed_at"].is_string());
    let id = text(&link["link_id"]);
    assert_eq!(server.get(&server.a, &format!("/links/{id}")).await.ok(200), link);

    let accounts = server.get(&server.a, &format!("/links/{id}/accounts")).await.ok(200);
    let shown: Vec<_> = accounts["accounts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|account| (text(&account["original_id"]), text(&account["account_type"]), text(&account["account_mask"])))
        .collect();
    let expected = [("one", "depository.checking", "1111"), ("two", "liability.credit_card", "2222")];
    assert_eq!(shown, expected.map(|(id, kind, mask)| (id.to_owned(), kind.to_owned(), mask.to_owned())));
    assert_eq!(accounts["accounts"][0]["balances"]["current"], json!(0.1));
    let first = text(&accounts["accounts"][0]["account_id"]);
    assert_eq!(server.get(&server.a, &format!("/links/{id}/accounts/{first}")).await.status, 200);

    let rows = rows(&server, &id).await;
    let shown: Vec<_> =
        rows.iter().map(|row| json!([row["original_id"], row["amount"], row["type"], row["date"]])).collect();
    assert_eq!(
        shown,
        [
            json!([null, "5.00", "debit", "2024-04-03"]),
            json!([null, "5.00", "debit", "2024-04-03"]),
            json!(["t2", "1200.00", "credit", "2024-04-02"]),
            json!(["t1", "7.10", "debit", "2024-04-01"]),
        ]
    );
    assert_eq!(rows[2]["datetime"], "2024-04-03T04:30:00.000000Z");
    let synced = server.get(&server.a, &format!("/links/{id}/transactions/sync")).await.ok(200);
    assert_eq!(synced["transactions"]["created"].as_array().unwrap().len(), 4);

    let path = |rest: &str| format!("/links/{id}{rest}");
    server.get(&server.a, &path("/accounts/numbers")).await.expect(403, "link_error.forbidden_action");
    server.get(&server.a, &path("/identity")).await.expect(403, "link_error.forbidden_action");
    let refresh = server.post(&server.a, &path("/products"), &json!({"products": ["transactions"]})).await;
    refresh.expect(422, "link_error.bad_state");
    let listed = server.get(&server.a, "/links").await.ok(200);
    assert_eq!(listed["links"], json!([]), "it never connected");
}

#[tokio::test]
async fn more_transactions_are_added_and_known_ids_are_changed() {
    let server = TestServer::start().await;
    let id = text(&import(&server, &import_body()).await.ok(200)["link_id"]);
    let before = rows(&server, &id).await;
    let sync = format!("/links/{id}/transactions/sync");
    let cursor = text(&server.get(&server.a, &sync).await.ok(200)["cursor"]["next"]);
    let again: Vec<_> = import_body()["transactions"].as_array().unwrap().clone();
    add(&server, &id, &again).await.ok(200);
    assert_eq!(rows(&server, &id).await, before, "the same again changes nothing");

    let link = add(
        &server,
        &id,
        &[
            transaction("one", Some("t1"), "-8", "2024-04-01"),
            transaction("two", Some("t1"), "-9", "2024-04-01"),
            transaction("one", Some("t9"), "1", "2024-04-09"),
        ],
    )
    .await
    .ok(200);
    assert_eq!((&link["link_id"], &link["state"]), (&json!(id), &json!("error")));
    let after = rows(&server, &id).await;
    assert_eq!(after.len(), before.len() + 2, "an id is unique within its account");
    let changed =
        |rows: &[Value]| rows.iter().find(|row| row["original_id"] == "t1" && row["amount"] != "9.00").unwrap().clone();
    assert_eq!(changed(&after)["transaction_id"], changed(&before)["transaction_id"]);
    assert_eq!(changed(&after)["amount"], "8.00");
    let changes = server.get(&server.a, &format!("{sync}?cursor={cursor}")).await.ok(200)["transactions"].clone();
    let count = |name: &str| changes[name].as_array().unwrap().len();
    assert_eq!((count("created"), count("updated"), count("removed")), (2, 1, 0));
}

#[tokio::test]
async fn bad_imports_are_refused_at_their_place() {
    let server = TestServer::start().await;
    let with = |pointer: &str, value: Value| {
        let mut body = import_body();
        *body.pointer_mut(pointer).expect("a place") = value;
        body
    };
    for (body, place) in [
        (with("/institution_id", json!("nobody")), "body.institution_id"),
        (with("/institution_id", json!("mx.nobody")), "body.institution_id"),
        (with("/institution_id", json!("nobody.credentials_bank")), "body.institution_id"),
        (with("/customer_user/id", json!("x")), "body.customer_user.id"),
        (with("/provider", json!("somebody")), "body.provider"),
        (with("/accounts", json!([])), "body.accounts"),
        (with("/accounts/1/account_id", json!("one")), "body.accounts.1.account_id"),
        (with("/accounts/0/balances", json!(null)), "body.accounts.0.balances"),
        (with("/accounts/0/balances/current", json!("1.0")), "body.accounts.0.balances.current"),
        (with("/transactions/0/account_id", json!("three")), "body.transactions.0.account_id"),
        (with("/transactions/1/amount", json!("1e3")), "body.transactions.1.amount"),
        (with("/transactions/1/amount", json!(12)), "body.transactions.1.amount"),
        (with("/transactions/2/date", json!("2024-02-30")), "body.transactions.2.date"),
        (with("/transactions/2", json!([])), "body.transactions.2"),
    ] {
        let answer = import(&server, &body).await;
        answer.expect(422, VALIDATION);
        let places = answer.places();
        assert!(places.contains(&place.to_owned()), "{place}: {places:?}");
    }
    let large = format!("{{\"x\":\"{}\"}}", "a".repeat(1 << 20));
    for path in ["/links/import", "/links/mk_zzzzzzzzzzzzzzzzzzzzzz/import/transactions"] {
        let answer = server.call(&server.a, "POST", path).json(&import_body()).body(large.clone()).send().await;
        assert_eq!(answer.status, if path == "/links/import" { 413 } else { 404 }, "{path}");
    }
    let id = text(&import(&server, &import_body()).await.ok(200)["link_id"]);
    let more = format!("/links/{id}/import/transactions");
    let answer = server.call(&server.a, "POST", &more).json(&import_body()).body(large).send().await;
    answer.expect(413, VALIDATION);
    let before = rows(&server, &id).await;
    let stray = [transaction("one", Some("t8"), "1", "2024-04-08"), transaction("three", None, "1", "2024-04-08")];
    let answer = add(&server, &id, &stray).await;
    answer.expect(422, VALIDATION);
    assert_eq!(answer.places(), ["body.transactions.1.account_id"]);
    assert_eq!(rows(&server, &id).await, before, "all or nothing");
}

#[tokio::test]
async fn only_imported_links_take_transactions() {
    let server = TestServer::start().await;
    let own = server.link(&server.a).await;
    let one = [transaction("one", Some("t8"), "1", "2024-04-08")];
    add(&server, &own, &one).await.expect(403, "link_error.forbidden_action");
    let failed = server.link_at(&server.a, "credentials_bank", "user_bad").await;
    add(&server, &failed, &one).await.expect(403, "link_error.forbidden_action");
    let id = text(&import(&server, &import_body()).await.ok(200)["link_id"]);
    let foreign =
        server.post(&server.b, &format!("/links/{id}/import/transactions"), &json!({"transactions": one})).await;
    foreign.expect(404, "link_error.not_found");
    assert_eq!(server.delete(&server.a, &format!("/links/{id}")).await.status, 204);
    add(&server, &id, &one).await.expect(410, "link_error.deleted");
}

#[tokio::test]
async fn a_repeated_key_imports_once() {
    let server = TestServer::start().await;
    let call = || server.call(&server.a, "POST", "/links/import").header("idempotency-key", "k1").json(&import_body());
    let (first, second) = (call().send().await.ok(200), call().send().await);
    assert_eq!(second.header("idempotency-replayed"), Some("true"));
    assert_eq!(second.ok(200), first);
    let other = import(&server, &import_body()).await.ok(200);
    assert_ne!(other["link_id"], first["link_id"], "without a key each call makes a link");
}

#[tokio::test]
async fn a_reconnect_finds_the_accounts_by_mask_and_neither_loses_nor_doubles_transactions() {
    let server = TestServer::start().await;
    // What the bank will show, as another link of the same person shows it.
    let live = server.link(&server.a).await;
    let seen = server.get(&server.a, &format!("/links/{live}/accounts")).await.ok(200);
    let checking = seen["accounts"]
        .as_array()
        .unwrap()
        .iter()
        .find(|account| account["account_type"] == "depository.checking")
        .unwrap()
        .clone();
    let history: Vec<_> = rows(&server, &live)
        .await
        .into_iter()
        .filter(|row| row["account_id"] == checking["account_id"] && row["pending"] == false)
        .collect();
    let transactions: Vec<_> = history
        .iter()
        .zip(0..)
        .map(|(row, n)| {
            let sign = if row["type"] == "debit" { "-" } else { "" };
            let mut imported = transaction(
                "mine",
                Some(&format!("t{n}")),
                &format!("{sign}{}", text(&row["amount"])),
                row["date"].as_str().unwrap(),
            );
            imported["description"] = row["description"].clone();
            imported
        })
        .collect();
    let mut body = import_body();
    body["accounts"] = json!([account("mine", "checking", checking["account_mask"].as_str().unwrap())]);
    body["transactions"] = json!(transactions);
    let id = text(&import(&server, &body).await.ok(200)["link_id"]);
    let imported = server.get(&server.a, &format!("/links/{id}/accounts")).await.ok(200)["accounts"][0].clone();
    assert_eq!(rows(&server, &id).await.len(), history.len());

    let fields = json!({"existing_link_id": id, "settings": {"products": {"transactions": {"prefetch": true}}}});
    let token = server.session_token(&server.a, fields).await;
    server.complete(&server.a, &token, json!({})).await.ok(201);
    server.drain(&server.a).await;
    let link = server.get(&server.a, &format!("/links/{id}")).await.ok(200);
    assert_eq!((&link["state"], &link["error_code"]), (&json!("connected"), &Value::Null));
    let accounts = server.get(&server.a, &format!("/links/{id}/accounts")).await.ok(200);
    let found = accounts["accounts"]
        .as_array()
        .unwrap()
        .iter()
        .find(|account| account["account_id"] == imported["account_id"])
        .unwrap();
    assert_eq!((&found["name"], &found["original_id"]), (&checking["name"], &json!("mine")));
    add(&server, &id, &[transaction("mine", None, "1", "2024-04-08")]).await.expect(403, "link_error.forbidden_action");

    let after: Vec<_> = rows(&server, &id)
        .await
        .into_iter()
        .filter(|row| row["account_id"] == imported["account_id"] && row["pending"] == false)
        .collect();
    assert_eq!(after.len(), history.len(), "neither lost nor doubled");
    assert!(after.iter().all(|row| row["original_id"].is_string()), "they are the imported ones");
}
