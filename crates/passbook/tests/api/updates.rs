//! Links that update on their own, by an injected clock.

use passbook::workers::schedule::Updates;
use passbook_core::{failure::FailureClass, product::Product, schedule::Schedule};
use serde_json::{Value, json};

use crate::support::{TestServer, text, until};

const SLOT: i64 = 6 * 3_600;

/// A server that updates links four times a day, so many of one institution at once.
async fn updating(per_institution: usize) -> TestServer {
    TestServer::start_updating(Updates::new(Schedule::new(4).expect("a schedule"), per_institution)).await
}

/// A link at the scripted bank with accounts, transactions and numbers fetched, its update planned.
async fn planned_link(server: &TestServer) -> String {
    let prefetch = json!({"prefetch": true});
    let id = server.scripted_link(json!({"account_numbers": prefetch, "transactions": prefetch})).await;
    server.services.plan_updates().await.expect("a plan");
    id
}

async fn product(server: &TestServer, id: &str, name: &str) -> Value {
    server.get(&server.a, &format!("/links/{id}")).await.ok(200)["products"][name].clone()
}

/// How often transactions were fetched.
fn fetched(server: &TestServer) -> usize {
    server.bank.fetches(Product::Transactions)
}

async fn pass(server: &TestServer, seconds: i64) {
    server.advance(seconds);
    server.drain(&server.a).await;
}

#[tokio::test]
async fn a_link_updates_once_in_each_slot_what_moves_and_nothing_else() {
    let server = updating(2).await;
    let id = planned_link(&server).await;
    let (before, numbers) =
        (product(&server, &id, "transactions").await, product(&server, &id, "account_numbers").await);
    let prefetched = fetched(&server);
    for slot in 1..=8 {
        pass(&server, SLOT).await;
        assert_eq!(fetched(&server), prefetched + slot);
    }
    let after = product(&server, &id, "transactions").await;
    assert!(text(&after["refreshed_at"]) > text(&before["refreshed_at"]));
    assert_eq!(product(&server, &id, "account_numbers").await, numbers);
    pass(&server, 1).await;
    assert_eq!(fetched(&server), prefetched + 8);
}

#[tokio::test]
async fn an_update_spends_none_of_the_apps_allowance() {
    let server = updating(2).await;
    let id = planned_link(&server).await;
    pass(&server, SLOT).await;
    let path = format!("/links/{id}/products");
    let products = json!({"products": ["accounts", "transactions"]});
    server.post(&server.a, &path, &products).await.ok(202);
    server.drain(&server.a).await;
    server.post(&server.a, &path, &products).await.expect(429, "api_error.rate_limit_exceeded");
    let before = fetched(&server);
    pass(&server, SLOT).await;
    assert_eq!(fetched(&server), before + 1, "and the app's refresh does not hold it up");
}

#[tokio::test]
async fn a_link_is_planned_once_however_often_that_is_looked_at() {
    let server = updating(2).await;
    planned_link(&server).await;
    for _ in 0..3 {
        assert_eq!(server.services.plan_updates().await.expect("a plan"), 0);
    }
    server.link_at(&server.a, "credentials_bank", "user_bad").await;
    server.waiting_link(&server.a).await;
    server.deleted_link(&server.a).await;
    assert_eq!(server.services.plan_updates().await.expect("a plan"), 0, "only connected links");
    pass(&server, SLOT).await;
    assert_eq!(server.services.plan_updates().await.expect("a plan"), 0, "each update plans the next");
}

#[tokio::test]
async fn a_failing_link_pauses_longer_and_longer_and_recovers() {
    let server = updating(2).await;
    let id = planned_link(&server).await;
    let before = fetched(&server);
    for product in [Product::Accounts, Product::Transactions] {
        server.bank.fail(product, FailureClass::InstitutionDown);
    }
    let mut tries = Vec::new();
    for slot in 1..=16 {
        let known = fetched(&server);
        pass(&server, SLOT).await;
        if fetched(&server) > known {
            tries.push(slot);
        }
    }
    assert_eq!(tries, [1, 3, 7, 15], "pauses of 2, 4 and 8 slots");
    assert_eq!(product(&server, &id, "transactions").await["error_code"], "institution_error");
    server.bank.recover();
    pass(&server, 16 * SLOT).await;
    assert_eq!(product(&server, &id, "transactions").await["error_code"], Value::Null);
    let recovered = fetched(&server);
    pass(&server, SLOT).await;
    assert_eq!(fetched(&server), recovered + 1);
    assert!(recovered > before);
}

#[tokio::test]
async fn a_link_whose_access_ended_is_left_alone_until_it_is_reconnected() {
    let server = updating(2).await;
    let id = planned_link(&server).await;
    server.bank.fail(Product::Accounts, FailureClass::ConsentExpired);
    pass(&server, SLOT).await;
    assert_eq!(server.get(&server.a, &format!("/links/{id}")).await.ok(200)["error_code"], "auth_expired");
    server.bank.recover();
    let before = server.bank.all_fetches();
    server.services.plan_updates().await.expect("a plan");
    pass(&server, 8 * SLOT).await;
    assert_eq!(server.bank.all_fetches(), before);

    let token = server.session_token(&server.a, json!({"existing_link_id": id})).await;
    server.complete(&server.a, &token, json!({})).await.ok(201);
    server.drain(&server.a).await;
    let before = fetched(&server);
    assert_eq!(server.services.plan_updates().await.expect("a plan"), 1);
    pass(&server, SLOT).await;
    assert_eq!(fetched(&server), before + 1);
}

#[tokio::test]
async fn a_deleted_link_is_not_updated() {
    let server = updating(2).await;
    let id = planned_link(&server).await;
    assert_eq!(server.delete(&server.a, &format!("/links/{id}")).await.status, 204);
    let before = server.bank.all_fetches();
    pass(&server, 2 * SLOT).await;
    assert_eq!(server.bank.all_fetches(), before);
}

#[tokio::test]
async fn links_of_a_disabled_app_are_not_updated_until_it_is_enabled() {
    let server = updating(2).await;
    let products = json!({"transactions": {"prefetch": true}});
    let fields = json!({"institution_id": "credentials_bank", "settings": {"products": products}});
    server.link_with(&server.b, fields).await;
    planned_link(&server).await;
    let before = server.bank.all_fetches();
    server.disable_app(&server.a).await;
    server.advance(SLOT);
    server.drain(&server.b).await;
    assert_eq!(server.bank.all_fetches(), before, "another app's update is done, and this one's is not begun");
    let waiting = server.services.waiting_jobs().await.expect("a count");
    assert_eq!((waiting.due, waiting.oldest_waits.as_secs()), (0, 0), "no worker is late");
    server.enable_app(&server.a).await;
    let transactions = fetched(&server);
    pass(&server, 1).await;
    assert_eq!(fetched(&server), transactions + 1);
}

#[tokio::test]
async fn without_a_schedule_nothing_is_planned() {
    let server = TestServer::start().await;
    planned_link(&server).await;
    let before = server.bank.all_fetches();
    pass(&server, 8 * SLOT).await;
    assert_eq!(server.bank.all_fetches(), before);
}

#[tokio::test]
async fn links_of_one_institution_take_turns_and_all_are_updated() {
    let server = updating(1).await;
    let links = [planned_link(&server).await, planned_link(&server).await, planned_link(&server).await];
    let before = fetched(&server);
    server.bank.hold();
    server.advance(SLOT);
    server.bank.release();
    // Whoever found no room comes again within seconds.
    for _ in 0..links.len() {
        pass(&server, 20).await;
    }
    assert_eq!(fetched(&server), before + links.len());
}

#[tokio::test]
async fn an_app_whose_bank_hangs_leaves_room_to_the_updates_of_another_app() {
    let server = updating(20).await;
    let products = json!({"transactions": {"prefetch": true}});
    for _ in 0..16 {
        server.scripted_link(products.clone()).await;
    }
    let fields = json!({"institution_id": "credentials_bank", "settings": {"products": products}});
    let theirs = server.link_with(&server.b, fields).await;
    let refreshed_at = async || {
        let link = server.get(&server.b, &format!("/links/{theirs}")).await.ok(200);
        text(&link["products"]["transactions"]["refreshed_at"])
    };
    assert_eq!(server.services.plan_updates().await.expect("a plan"), 17);
    let (before, fetches) = (refreshed_at().await, server.bank.all_fetches());
    server.bank.hold();
    server.advance(SLOT);
    until(|| server.bank.all_fetches() == fetches + 8).await;
    server.drain(&server.b).await;
    assert!(refreshed_at().await > before);
    assert_eq!(server.bank.all_fetches(), fetches + 8, "the rest waits");
    server.bank.release();
    pass(&server, 20).await;
}
