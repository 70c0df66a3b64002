//! `GET /links/{id}/transactions/sync`.

use std::collections::{BTreeMap, HashSet};

use serde_json::{Value, json};

use crate::support::{TestServer, text};

const DAY: i64 = 86_400;

/// An app that follows a link and keeps what it is told.
#[derive(Default)]
struct Follower {
    cursor: Option<String>,
    rows: BTreeMap<String, Value>,
    created: HashSet<String>,
}

impl Follower {
    async fn page(&mut self, server: &TestServer, id: &str, size: u32) -> Value {
        let cursor = self.cursor.as_ref().map(|cursor| format!("&cursor={cursor}")).unwrap_or_default();
        let body = server.get(&server.a, &format!("/links/{id}/transactions/sync?size={size}{cursor}")).await.ok(200);
        self.cursor = Some(text(&body["cursor"]["next"]));
        let changes = &body["transactions"];
        for row in changes["created"].as_array().unwrap() {
            assert!(self.created.insert(text(&row["transaction_id"])), "created twice on one chain");
            self.rows.insert(text(&row["transaction_id"]), row.clone());
        }
        for row in changes["updated"].as_array().unwrap() {
            assert_eq!(row["pending"], false);
            self.rows.insert(text(&row["transaction_id"]), row.clone()).expect("created before it is updated");
        }
        for id in changes["removed"].as_array().unwrap() {
            let gone = self.rows.remove(&text(id)).expect("known before it is removed");
            assert_eq!(gone["pending"], false);
        }
        body
    }

    async fn follow(&mut self, server: &TestServer, id: &str, size: u32) {
        while self.page(server, id, size).await["has_more"] == true {}
    }

    fn posted(&self) -> BTreeMap<String, Value> {
        self.rows.clone().into_iter().filter(|(_, row)| row["pending"] == false).collect()
    }
}

/// Every transaction that the list shows.
async fn listed(server: &TestServer, id: &str) -> BTreeMap<String, Value> {
    let mut rows = BTreeMap::new();
    for page in 1.. {
        let path = format!("/links/{id}/transactions?size=1000&page={page}");
        let body = server.get(&server.a, &path).await.ok(200);
        let items = body["transactions"].as_array().unwrap();
        if items.is_empty() {
            return rows;
        }
        rows.extend(items.iter().map(|row| (text(&row["transaction_id"]), row.clone())));
    }
    unreachable!("pages end")
}

async fn refresh(server: &TestServer, id: &str) {
    let body = json!({"products": ["transactions"]});
    assert_eq!(server.post(&server.a, &format!("/links/{id}/products"), &body).await.status, 202);
    server.drain(&server.a).await;
}

#[tokio::test]
async fn without_a_cursor_the_pages_are_the_whole_list() {
    let server = TestServer::start().await;
    let id = server.link_at(&server.a, "credentials_bank", "user_many").await;
    let all = listed(&server, &id).await;
    assert!(all.len() > 1_000);
    for size in [7, 50, 500] {
        let mut follower = Follower::default();
        let first = follower.page(&server, &id, size).await;
        assert_eq!(first["transactions"]["created"].as_array().unwrap().len(), size as usize);
        assert_eq!((&first["has_more"], &first["link"]["link_id"]), (&json!(true), &json!(id)));
        let shown: HashSet<_> =
            first["transactions"]["created"].as_array().unwrap().iter().map(|row| text(&row["account_id"])).collect();
        let accounts: HashSet<_> =
            first["accounts"].as_array().unwrap().iter().map(|account| text(&account["account_id"])).collect();
        assert_eq!(accounts, shown, "accounts of the returned transactions");
        follower.follow(&server, &id, size).await;
        assert_eq!(follower.rows, all);
        let idle = follower.page(&server, &id, size).await;
        assert_eq!(idle["transactions"], json!({"created": [], "updated": [], "removed": []}));
        assert_eq!((&idle["has_more"], &idle["accounts"]), (&json!(false), &json!([])));
        assert_eq!(follower.cursor.as_deref(), idle["cursor"]["next"].as_str(), "always there, also at the end");
    }
    let default = server.get(&server.a, &format!("/links/{id}/transactions/sync?cursor=")).await.ok(200);
    assert_eq!(default["transactions"]["created"].as_array().unwrap().len(), 50);
}

#[tokio::test]
async fn the_first_page_holds_everything_about_most_users() {
    let server = TestServer::start().await;
    for institution in ["credentials_bank", "instant_bank", "oauth_bank"] {
        let id = server.link_at(&server.a, institution, "user_good").await;
        let mut follower = Follower::default();
        let body = follower.page(&server, &id, 50).await;
        assert_eq!((&body["has_more"], body["cursor"]["next"].is_string()), (&json!(false), true), "{institution}");
        assert!((25..=45).contains(&follower.rows.len()), "{institution}: {}", follower.rows.len());
        assert_eq!(follower.rows, listed(&server, &id).await);
    }
}

#[tokio::test]
async fn followers_end_with_what_is_listed_whatever_happens_between_their_pages() {
    let server = TestServer::start().await;
    let id = server.link_at(&server.a, "credentials_bank", "user_history").await;
    let (mut steady, mut slow) = (Follower::default(), Follower::default());
    steady.follow(&server, &id, 50).await;
    slow.page(&server, &id, 20).await;
    let mut postings = 0;
    for _ in 0..12 {
        server.advance(3 * DAY);
        refresh(&server, &id).await;
        steady.follow(&server, &id, 50).await;
        slow.page(&server, &id, 3).await;
        let all = listed(&server, &id).await;
        let pending: HashSet<_> = all.iter().filter(|(_, row)| row["pending"] == true).map(|(id, _)| id).collect();
        assert!(pending.iter().all(|id| steady.rows.contains_key(*id)), "issued anew under ids of their own");
        assert_eq!(
            steady.posted(),
            all.iter().filter(|(_, row)| row["pending"] == false).map(|(id, row)| (id.clone(), row.clone())).collect()
        );
        postings += all.values().filter(|row| row["pending_transaction_id"].is_string()).count();
    }
    assert!(postings > 0, "posted ones say which pending ones they were");
    slow.follow(&server, &id, 3).await;
    assert_eq!(slow.posted(), steady.posted());
    for row in listed(&server, &id).await.values() {
        if let Some(was) = row["pending_transaction_id"].as_str() {
            assert_eq!(row["pending"], false);
            assert!(steady.created.contains(was), "the pending one was told of");
        }
    }
}

#[tokio::test]
async fn a_cursor_stands_in_one_link_only() {
    let server = TestServer::start().await;
    let (one, other) = (server.link(&server.a).await, server.link(&server.a).await);
    let of_b = server.link(&server.b).await;
    let cursor = |body: Value| text(&body["cursor"]["next"]);
    let own = cursor(server.get(&server.a, &format!("/links/{one}/transactions/sync")).await.ok(200));
    let foreign = cursor(server.get(&server.a, &format!("/links/{other}/transactions/sync")).await.ok(200));
    let of_b = cursor(server.get(&server.b, &format!("/links/{of_b}/transactions/sync")).await.ok(200));
    let again = cursor(server.get(&server.a, &format!("/links/{one}/transactions/sync")).await.ok(200));
    assert_eq!(own, again, "the same position is the same cursor");
    let mut flipped = own.clone();
    flipped.replace_range(0..1, if own.starts_with('A') { "B" } else { "A" });
    for bad in [foreign, of_b, flipped, own[1..].to_owned(), "x".repeat(5_000), "%00".to_owned(), "MTA".to_owned()] {
        let answer = server.get(&server.a, &format!("/links/{one}/transactions/sync?cursor={bad}")).await;
        answer.expect(422, "api_error.request.validation_failed");
        assert_eq!(answer.places(), ["query.cursor"], "{bad:.40}");
    }
    for size in ["0", "501", "-1", "x", ""] {
        let answer = server.get(&server.a, &format!("/links/{one}/transactions/sync?size={size}")).await;
        answer.expect(422, "api_error.request.validation_failed");
        assert_eq!(answer.places(), ["query.size"], "{size}");
    }
}

#[tokio::test]
async fn transactions_of_an_account_that_is_permitted_later_are_created_then() {
    let server = TestServer::start().await;
    let token =
        server.session_token(&server.a, json!({"settings": {"products": {"transactions": {"prefetch": true}}}})).await;
    let only = json!({"accounts": ["Everyday Checking"]});
    let completed = server.complete(&server.a, &token, only).await.ok(201);
    let body = json!({"exchangeable_token": completed["exchangeable_token"]});
    server.post(&server.a, "/link-session/exchange-token", &body).await.ok(201);
    server.drain(&server.a).await;
    let id = text(&completed["link_id"]);
    let mut follower = Follower::default();
    follower.follow(&server, &id, 500).await;
    let before = follower.rows.len();
    assert_eq!(before, listed(&server, &id).await.len(), "only permitted accounts");

    let token = server.session_token(&server.a, json!({"existing_link_id": id})).await;
    server.complete(&server.a, &token, json!({})).await.ok(201);
    server.drain(&server.a).await;
    follower.follow(&server, &id, 500).await;
    let all = listed(&server, &id).await;
    assert!(all.len() > before, "{before}");
    assert_eq!(follower.rows.keys().collect::<Vec<_>>(), all.keys().collect::<Vec<_>>());
}

#[tokio::test]
async fn without_the_grant_nothing_is_told() {
    let server = TestServer::start().await;
    let id = server.scripted_link(json!({"identity": {}})).await;
    let answer = server.get(&server.a, &format!("/links/{id}/transactions/sync")).await;
    answer.expect(403, "link_error.forbidden_action");
}
