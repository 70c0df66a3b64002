//! `GET /links`, `GET /links/{id}` and `DELETE /links/{id}`.

use passbook::seed;
use passbook_core::{failure::FailureClass, product::Product};
use serde_json::{Value, json};

use crate::support::{TestServer, USER, text, without_avatar};

const VALIDATION: &str = "api_error.request.validation_failed";

/// Stores `count` connected links of application A in one go.
async fn seed_links(server: &TestServer, count: u64) {
    let derivation = &server.services.derivation;
    for n in 0..count {
        let changes = seed::link_changes(derivation, &server.a.tenant, n, server.services.clocks.real_now());
        server.services.store.commit(changes).await.expect("a new link");
    }
}

fn ids(body: &Value) -> Vec<String> {
    body["links"].as_array().unwrap().iter().map(|link| text(&link["link_id"])).collect()
}

#[tokio::test]
async fn a_link_has_the_contracts_shape() {
    let server = TestServer::start().await;
    let fields = json!({"link_tags": ["one", "two"], "webhook": "https://app.example/hook"});
    let id = server.link_with(&server.a, fields).await;
    let answer = server.get(&server.a, &format!("/links/{id}")).await;
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    insta::assert_json_snapshot!("link", without_avatar(json!({"link": answer.ok(200)})));
}

#[tokio::test]
async fn only_links_that_connected_and_have_data_are_listed_oldest_first() {
    let server = TestServer::start().await;
    let first = server.link(&server.a).await;
    server.link_at(&server.a, "credentials_bank", "user_bad").await;
    server.waiting_link(&server.a).await;
    server.deleted_link(&server.a).await;
    server.advance(1);
    let second = server.link_at(&server.a, "instant_bank", "user_good").await;
    let body = server.get(&server.a, "/links").await.ok(200);
    assert_eq!((ids(&body), &body["next_cursor"]), (vec![first.clone(), second], &json!("")));
    assert_eq!(body["links"][0], json!({"link_id": first, "created_at": "2026-01-15T09:00:00.000000Z"}));
}

#[tokio::test]
async fn a_walk_by_cursor_visits_every_link_once_in_order() {
    let server = TestServer::start().await;
    seed_links(&server, 501).await;
    let first = server.get(&server.a, "/links?limit=500").await.ok(200);
    let cursor = text(&first["next_cursor"]);
    assert!(ids(&first).len() == 500 && !cursor.is_empty());
    let second = server.get(&server.a, &format!("/links?limit=500&cursor={cursor}")).await.ok(200);
    assert_eq!((ids(&second).len(), &second["next_cursor"]), (1, &json!("")));
    let walked = [ids(&first), ids(&second)].concat();
    assert_eq!(walked, ids(&server.get(&server.a, "/links").await.ok(200)));
    assert!(walked.windows(2).all(|pair| pair[0] < pair[1]), "made at one instant, so ordered by id");

    for (client, path) in [
        (&server.b, format!("/links?cursor={cursor}")),
        (&server.live, format!("/links?cursor={cursor}")),
        (&server.a, format!("/institutions?cursor={cursor}")),
        (&server.a, format!("/links?cursor={}", &cursor[1..])),
        (&server.a, format!("/links?cursor={cursor}A")),
        (&server.a, "/links?cursor=x".to_owned()),
        (&server.a, format!("/links?cursor={}", "A".repeat(10_240))),
    ] {
        assert_eq!(server.get(client, &path).await.expect(422, VALIDATION).places(), ["query.cursor"]);
    }
}

#[tokio::test]
async fn the_page_size_has_bounds() {
    let server = TestServer::start().await;
    for limit in ["500", "1000", "5000"] {
        assert_eq!(server.get(&server.a, &format!("/links?limit={limit}")).await.status, 200, "{limit}");
    }
    for limit in ["0", "1", "499", "5001", "-500", "", "x", "1e3", "99999999999999999999"] {
        let answer = server.get(&server.a, &format!("/links?limit={limit}")).await;
        assert_eq!(answer.expect(422, VALIDATION).places(), ["query.limit"], "{limit}");
    }
}

#[tokio::test]
async fn a_deleted_link_leaves_the_list_and_its_user_can_link_again() {
    let server = TestServer::start().await;
    let id = server.link(&server.a).await;
    let deleted = server.delete(&server.a, &format!("/links/{id}")).await;
    assert_eq!((deleted.status, deleted.body.as_slice(), deleted.header("content-type")), (204, &b""[..], None));
    assert!(ids(&server.get(&server.a, "/links").await.ok(200)).is_empty());
    let again = server.link(&server.a).await;
    assert_ne!(again, id);
    assert_eq!(ids(&server.get(&server.a, "/links").await.ok(200)), [again]);
}

#[tokio::test]
async fn of_many_deletes_at_once_one_deletes() {
    let server = TestServer::start().await;
    let id = server.link(&server.a).await;
    let call = server.call(&server.a, "DELETE", &format!("/links/{id}"));
    let calls: Vec<_> = (0..16).map(|_| tokio::spawn(call.clone().send_until_admitted())).collect();
    let mut statuses = Vec::new();
    for call in calls {
        statuses.push(call.await.unwrap().status);
    }
    statuses.sort_unstable();
    assert_eq!((statuses[0], &statuses[1..]), (204, &[410; 15][..]));
}

#[tokio::test]
async fn a_link_whose_access_ended_stays_listed() {
    let server = TestServer::start().await;
    let id = server.scripted_link(json!({})).await;
    server.bank.fail(Product::Accounts, FailureClass::ConsentExpired);
    let refresh = json!({"products": ["accounts"]});
    server.post(&server.a, &format!("/links/{id}/products"), &refresh).await.ok(202);
    server.drain(&server.a).await;
    assert_eq!(server.get(&server.a, &format!("/links/{id}")).await.ok(200)["state"], "error");
    assert_eq!(ids(&server.get(&server.a, "/links").await.ok(200)), [id]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn links_made_at_once_are_different_links() {
    let server = TestServer::start().await;
    let body = json!({"customer_user": {"id": USER}});
    let call = server.call(&server.a, "POST", "/sandbox/links").json(&body);
    let calls: Vec<_> = (0..16).map(|_| tokio::spawn(call.clone().send_until_admitted())).collect();
    let mut made = std::collections::BTreeSet::new();
    for call in calls {
        made.insert(text(&call.await.unwrap().ok(201)["link_id"]));
    }
    let listed: std::collections::BTreeSet<_> =
        ids(&server.get(&server.a, "/links").await.ok(200)).into_iter().collect();
    assert_eq!((made.len(), made), (16, listed));
}
