//! `POST /sandbox/links/{id}/edits`: everything a bank can change, end to end.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::support::{Answer, TestServer, text};

const VALIDATION: &str = "api_error.request.validation_failed";
const DAY: i64 = 86_400;

async fn edit(server: &TestServer, id: &str, edits: Value) -> Answer {
    server.post(&server.a, &format!("/sandbox/links/{id}/edits"), &json!({"edits": edits})).await
}

/// A day later, everything is fetched.
async fn refresh(server: &TestServer, id: &str) {
    server.advance(DAY);
    let products = json!({"products": ["accounts", "account_numbers", "identity", "transactions"]});
    server.post(&server.a, &format!("/links/{id}/products"), &products).await.ok(202);
    server.drain(&server.a).await;
}

async fn get(server: &TestServer, path: &str) -> Value {
    server.get(&server.a, path).await.ok(200)
}

/// Accounts by name, with their ids.
async fn accounts(server: &TestServer, id: &str) -> BTreeMap<String, Value> {
    let answer = get(server, &format!("/links/{id}/accounts")).await;
    answer["accounts"].as_array().unwrap().iter().map(|account| (text(&account["name"]), account.clone())).collect()
}

async fn id_of(server: &TestServer, id: &str, name: &str) -> String {
    text(&accounts(server, id).await[name]["account_id"])
}

async fn transactions(server: &TestServer, id: &str, account: &str) -> Vec<Value> {
    let path = format!("/links/{id}/transactions?size=1000&account_ids={account}");
    get(server, &path).await["transactions"].as_array().unwrap().clone()
}

fn described<'a>(items: &'a [Value], description: &str) -> Option<&'a Value> {
    items.iter().find(|item| item["description"] == json!(description))
}

#[tokio::test]
async fn nothing_is_seen_before_a_refresh() {
    let server = TestServer::start().await;
    let id = server.link(&server.a).await;
    let checking = id_of(&server, &id, "Everyday Checking").await;
    let before = accounts(&server, &id).await;
    let edits = json!([{"edit": "rename_account", "account_id": checking, "name": "Bills"}, {"edit": "close_account", "account_id": checking}]);
    assert_eq!(edit(&server, &id, edits).await.ok(200), json!({"link_id": id, "edits": 2}));
    assert_eq!(accounts(&server, &id).await, before);
}

#[tokio::test]
async fn accounts_close_open_and_change_and_keep_their_ids() {
    let server = TestServer::start().await;
    let id = server.link(&server.a).await;
    let (checking, savings) =
        (id_of(&server, &id, "Everyday Checking").await, id_of(&server, &id, "High-Yield Savings").await);
    let edits = json!([
        {"edit": "rename_account", "account_id": checking, "name": "Bills"},
        {"edit": "close_account", "account_id": savings},
        {"edit": "set_balance", "account_id": checking, "current": 12.34, "available": "10.00"},
        {"edit": "change_numbers", "account_id": checking, "account_number": "000987654321", "routing_number": "021000021"},
        {"edit": "set_owners", "account_id": checking, "owners": [{"names": ["Grace Example"], "addresses": [], "phone_numbers": [], "emails": []}]},
    ]);
    edit(&server, &id, edits).await.ok(200);
    refresh(&server, &id).await;
    let now = accounts(&server, &id).await;
    assert_eq!(now.keys().collect::<Vec<_>>(), ["Bills", "Rewards Credit Card"], "the closed one left the list");
    let bills = &now["Bills"];
    assert_eq!((text(&bills["account_id"]), &bills["account_mask"]), (checking.clone(), &json!("4321")));
    assert_eq!((&bills["balances"]["current"], &bills["balances"]["available"]), (&json!(12.34), &json!(10.0)));
    let closed = get(&server, &format!("/links/{id}/accounts/{savings}")).await;
    assert_eq!(closed["account"]["closed"], json!(true));
    let numbers = get(&server, &format!("/links/{id}/accounts/numbers")).await;
    assert_eq!(numbers["accounts"].as_array().unwrap().len(), 1);
    let ach = &numbers["accounts"][0]["numbers"]["ach"][0];
    assert_eq!((&ach["account_number"], &ach["routing_number"]), (&json!("000987654321"), &json!("021000021")));
    let owners = get(&server, &format!("/links/{id}/identity")).await;
    let of = |id: &str| {
        owners["accounts"].as_array().unwrap().iter().find(|one| one["account_id"] == json!(id)).unwrap()["owners"]
            .clone()
    };
    assert_eq!(of(&checking)[0]["names"], json!(["Grace Example"]));

    edit(
        &server,
        &id,
        json!([{"edit": "reopen_account", "account_id": savings}, {"edit": "remove_numbers", "account_id": checking}]),
    )
    .await
    .ok(200);
    refresh(&server, &id).await;
    assert_eq!(text(&accounts(&server, &id).await["High-Yield Savings"]["account_id"]), savings);
    let numbers = get(&server, &format!("/links/{id}/accounts/numbers")).await;
    let with_numbers: Vec<_> =
        numbers["accounts"].as_array().unwrap().iter().map(|one| text(&one["account_id"])).collect();
    assert_eq!(with_numbers, [savings]);
}

#[tokio::test]
async fn transactions_come_change_go_and_post_and_balances_follow() {
    let server = TestServer::start().await;
    let id = server.link(&server.a).await;
    let checking = id_of(&server, &id, "Everyday Checking").await;
    let add = |amount: &str, kind: &str, description: &str, pending: bool| json!({"edit": "add_transaction", "account_id": checking, "amount": amount, "type": kind, "description": description, "pending": pending});
    edit(&server, &id, json!([add("1000000.00", "credit", "Jackpot", false), add("7.50", "debit", "Kiosk", true)]))
        .await
        .ok(200);
    refresh(&server, &id).await;
    let current =
        |accounts: &BTreeMap<String, Value>| accounts["Everyday Checking"]["balances"]["current"].as_f64().unwrap();
    let rich = current(&accounts(&server, &id).await);
    assert!(rich > 1_000_000.0, "the balance follows: {rich}");
    let items = transactions(&server, &id, &checking).await;
    let jackpot = described(&items, "Jackpot").unwrap().clone();
    let kiosk = described(&items, "Kiosk").unwrap().clone();
    assert_eq!(
        (&jackpot["pending"], &jackpot["type"], &jackpot["amount"]),
        (&json!(false), &json!("credit"), &json!("1000000.00"))
    );
    assert_eq!(kiosk["pending"], json!(true));
    let cursor = follow(&server, &id, None).await.1;

    let edits = json!([
        {"edit": "change_transaction", "transaction_id": jackpot["transaction_id"], "amount": "10.00", "description": "Raffle"},
        {"edit": "post_pending", "transaction_id": kiosk["transaction_id"]},
    ]);
    edit(&server, &id, edits).await.ok(200);
    refresh(&server, &id).await;
    let items = transactions(&server, &id, &checking).await;
    let raffle = described(&items, "Raffle").unwrap();
    assert_eq!((&raffle["transaction_id"], &raffle["amount"]), (&jackpot["transaction_id"], &json!("10.00")));
    let posted = described(&items, "Kiosk").unwrap().clone();
    assert_eq!((&posted["pending"], &posted["pending_transaction_id"]), (&json!(false), &kiosk["transaction_id"]));
    assert!(current(&accounts(&server, &id).await) < 1_000_000.0);
    let (told, cursor) = follow(&server, &id, Some(&cursor)).await;
    assert!(told["updated"].contains(&text(&jackpot["transaction_id"])), "a change is told");
    assert!(told["created"].contains(&text(&posted["transaction_id"])), "and a posting");

    edit(&server, &id, json!([{"edit": "remove_transaction", "transaction_id": posted["transaction_id"]}]))
        .await
        .ok(200);
    refresh(&server, &id).await;
    assert!(described(&transactions(&server, &id, &checking).await, "Kiosk").is_none());
    assert!(follow(&server, &id, Some(&cursor)).await.0["removed"].contains(&text(&posted["transaction_id"])));
}

/// What the sync feed tells, by kind, and the cursor after it.
async fn follow(server: &TestServer, id: &str, cursor: Option<&str>) -> (BTreeMap<&'static str, Vec<String>>, String) {
    let mut told: BTreeMap<_, Vec<String>> = BTreeMap::new();
    let mut cursor = cursor.map(str::to_owned);
    loop {
        let after = cursor.map(|cursor| format!("&cursor={cursor}")).unwrap_or_default();
        let page = get(server, &format!("/links/{id}/transactions/sync?size=500{after}")).await;
        for kind in ["created", "updated", "removed"] {
            let items = page["transactions"][kind].as_array().unwrap().iter();
            let ids = items.map(|item| item.as_str().map_or_else(|| text(&item["transaction_id"]), str::to_owned));
            told.entry(kind).or_default().extend(ids);
        }
        let next = text(&page["cursor"]["next"]);
        if page["has_more"] == json!(false) {
            return (told, next);
        }
        cursor = Some(next);
    }
}

#[tokio::test]
async fn an_expired_consent_is_healed_by_signing_in_again_and_other_edits_stay() {
    let server = TestServer::start().await;
    let id = server.link(&server.a).await;
    let checking = id_of(&server, &id, "Everyday Checking").await;
    let edits =
        json!([{"edit": "expire_consent"}, {"edit": "rename_account", "account_id": checking, "name": "Bills"}]);
    edit(&server, &id, edits).await.ok(200);
    refresh(&server, &id).await;
    let link = get(&server, &format!("/links/{id}")).await;
    assert_eq!((&link["state"], &link["error_code"]), (&json!("error"), &json!("auth_expired")));
    assert_eq!(link["products"]["accounts"]["error_code"], json!("auth_expired"));
    let token = server.session_token(&server.a, json!({"existing_link_id": id})).await;
    server.complete(&server.a, &token, json!({})).await.ok(201);
    server.drain(&server.a).await;
    assert_eq!(get(&server, &format!("/links/{id}")).await["state"], json!("connected"));
    assert_eq!(id_of(&server, &id, "Bills").await, checking);
}

#[tokio::test]
async fn edits_outlive_a_restart_and_go_with_the_link() {
    let server = TestServer::start().await;
    let id = server.link(&server.a).await;
    let checking = id_of(&server, &id, "Everyday Checking").await;
    let secret = "918273645546372819";
    edit(&server, &id, json!([{"edit": "change_numbers", "account_id": checking, "account_number": secret}]))
        .await
        .ok(200);
    assert!(!server.files().windows(secret.len()).any(|bytes| bytes == secret.as_bytes()), "sealed at rest");
    let server = server.restart().await;
    refresh(&server, &id).await;
    let numbers = get(&server, &format!("/links/{id}/accounts/numbers")).await;
    assert!(numbers.to_string().contains(secret));
    assert_eq!(server.delete(&server.a, &format!("/links/{id}")).await.status, 204);
    edit(&server, &id, json!([{"edit": "expire_consent"}])).await.expect(410, "link_error.deleted");
}

#[tokio::test]
async fn a_wrong_edit_refuses_all_and_names_its_place() {
    let server = TestServer::start().await;
    let id = server.link(&server.a).await;
    let checking = id_of(&server, &id, "Everyday Checking").await;
    let good = json!({"edit": "close_account", "account_id": checking});
    for (wrong, place) in [
        (json!({"edit": "close_account", "account_id": "acc_zzzzzzzzzzzzzzzzzzzzzz"}), "body.edits.1.account_id"),
        (json!({"edit": "remove_transaction", "transaction_id": "nothing"}), "body.edits.1.transaction_id"),
        (json!({"edit": "rename_account", "account_id": checking, "name": ""}), "body.edits.1.name"),
        (json!({"edit": "set_balance", "account_id": checking}), "body.edits.1.current"),
        (
            json!({"edit": "change_numbers", "account_id": checking, "account_number": "12x"}),
            "body.edits.1.account_number",
        ),
        (
            json!({"edit": "change_numbers", "account_id": checking, "account_number": "12", "routing_number": "1"}),
            "body.edits.1.routing_number",
        ),
        (
            json!({"edit": "add_transaction", "account_id": checking, "amount": "-1", "type": "debit", "description": "x"}),
            "body.edits.1.amount",
        ),
        (
            json!({"edit": "add_transaction", "account_id": checking, "amount": "1e12", "type": "debit", "description": "x"}),
            "body.edits.1.amount",
        ),
    ] {
        let answer = edit(&server, &id, json!([good, wrong])).await;
        assert_eq!(answer.expect(422, VALIDATION).places(), [place], "{wrong}");
    }
    for body in [json!([]), json!([{"edit": "rob"}]), json!([7]), json!({}), json!([good, {"edit": "close_account"}])] {
        edit(&server, &id, body).await.expect(422, VALIDATION);
    }
    let many = vec![good.clone(); 101];
    assert_eq!(edit(&server, &id, json!(many)).await.expect(422, VALIDATION).places(), ["body.edits"]);
    refresh(&server, &id).await;
    assert!(accounts(&server, &id).await.contains_key("Everyday Checking"), "nothing was taken");
    for _ in 0..10 {
        edit(&server, &id, json!(vec![good.clone(); 100])).await.ok(200);
    }
    assert_eq!(edit(&server, &id, json!([good])).await.expect(422, VALIDATION).places(), ["body.edits"]);
}

#[tokio::test]
async fn only_simulated_banks_can_be_edited_and_only_by_the_sandbox() {
    let server = TestServer::start().await;
    let scripted = server.scripted_link(json!({})).await;
    let refused = edit(&server, &scripted, json!([{"edit": "expire_consent"}])).await;
    refused.expect(403, "link_error.forbidden_action");
    let path = format!("/sandbox/links/{scripted}/edits");
    let live = server.post(&server.live, &path, &json!({"edits": []})).await;
    assert_eq!(live.status, 404);
    let limited = server.post(&server.limited, &path, &json!({"edits": []})).await;
    assert_eq!(limited.status, 401);
}
