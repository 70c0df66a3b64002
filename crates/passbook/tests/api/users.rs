//! `GET /users/{id}/links`, `/users/{id}/accounts` and `/users/{id}/transactions`.

use serde_json::{Value, json};

use crate::support::{TestServer, USER, bank, fixture, text};

const VALIDATION: &str = "api_error.request.validation_failed";

async fn of_user(server: &TestServer, rest: &str) -> Value {
    server.get(&server.a, &format!("/users/{USER}/{rest}")).await.ok(200)
}

fn keys(map: &Value) -> Vec<String> {
    map.as_object().expect("a map").keys().cloned().collect()
}

fn sorted(mut ids: Vec<String>) -> Vec<String> {
    ids.sort();
    ids
}

fn ids(rows: &Value) -> Vec<String> {
    rows.as_array().expect("a list").iter().map(|row| text(&row["transaction_id"])).collect()
}

#[tokio::test]
async fn links_of_a_user_are_all_but_the_deleted_ones() {
    let server = TestServer::start().await;
    let connected = server.link(&server.a).await;
    let failed = server.link_at(&server.a, "credentials_bank", "user_bad").await;
    let (waiting, _) = server.waiting_link(&server.a).await;
    server.deleted_link(&server.a).await;
    let links = of_user(&server, "links").await["links"].clone();
    assert_eq!(keys(&links), sorted(vec![connected.clone(), failed, waiting]));
    assert_eq!(links[&connected], server.get(&server.a, &format!("/links/{connected}")).await.ok(200));
}

#[tokio::test]
async fn accounts_of_a_user_are_those_of_usable_links() {
    let server = TestServer::start().await;
    let first = server.link(&server.a).await;
    let second = server.link_at(&server.a, "instant_bank", "user_good").await;
    server.link_at(&server.a, "credentials_bank", "user_bad").await;
    let links = of_user(&server, "accounts").await["links"].clone();
    assert_eq!(keys(&links), sorted(vec![first.clone(), second.clone()]));
    for id in [&first, &second] {
        let alone = server.get(&server.a, &format!("/links/{id}/accounts")).await.ok(200);
        assert_eq!(links[id]["accounts"], alone["accounts"]);
        assert_eq!(links[id]["last_synced_at"], alone["link"]["last_synced_at"]);
    }
    let account = text(&links[&first]["accounts"][0]["account_id"]);
    let filtered =
        of_user(&server, &format!("accounts?account_ids={account}&account_ids=acc_1&institution_ids=x")).await;
    assert_eq!(keys(&filtered["links"]), std::slice::from_ref(&first));
    assert_eq!(filtered["links"][&first]["accounts"].as_array().unwrap().len(), 1);
    assert_eq!(of_user(&server, "accounts?account_ids=acc_1").await, json!({"links": {}}));
}

#[tokio::test]
async fn transactions_of_a_user_are_those_of_each_link_newest_first() {
    let server = TestServer::start().await;
    let mut expected = Vec::new();
    for institution in ["credentials_bank", "instant_bank"] {
        let id = server.link_at(&server.a, institution, "user_good").await;
        let alone = server.get(&server.a, &format!("/links/{id}/transactions?size=1000")).await.ok(200);
        expected.extend(alone["transactions"].as_array().unwrap().clone());
    }
    server.scripted_link(json!({})).await; // Transactions were not granted here.
    expected.sort_by_key(|row| {
        let datetime = row["datetime"].as_str().unwrap_or_default().to_owned();
        std::cmp::Reverse((text(&row["date"]), datetime, text(&row["transaction_id"])))
    });
    let all = of_user(&server, "transactions?size=1000").await;
    assert_eq!(all["transactions"], json!(expected));
    assert_eq!(
        (&all["total"], &all["page"], &all["size"]),
        (&json!(expected.len()), &json!(1), &json!(expected.len()))
    );

    let mut walked = Vec::new();
    for page in 1..=expected.len().div_ceil(7) + 1 {
        let found = of_user(&server, &format!("transactions?page={page}&size=7")).await;
        assert_eq!((&found["total"], &found["page"]), (&all["total"], &json!(page)));
        assert_eq!(found["size"], json!(ids(&found["transactions"]).len()));
        walked.extend(ids(&found["transactions"]));
    }
    assert_eq!(walked, ids(&all["transactions"]));
}

#[tokio::test]
async fn transactions_of_a_user_name_their_accounts_and_can_be_filtered() {
    let server = TestServer::start().await;
    let ids_of_links = [server.link(&server.a).await, server.link_at(&server.a, "instant_bank", "user_good").await];
    let all = of_user(&server, "transactions?size=1000").await;
    let mut named: Vec<String> =
        all["transactions"].as_array().unwrap().iter().map(|row| text(&row["account_id"])).collect();
    named.sort();
    named.dedup();
    assert_eq!(keys(&all["accounts"]), named);
    let account = &named[0];
    let details = &all["accounts"][account];
    assert!(ids_of_links.contains(&text(&details["link_id"])));
    let link = server.get(&server.a, &format!("/links/{}", text(&details["link_id"]))).await.ok(200);
    assert_eq!(
        (&details["institution_id"], &details["last_synced_at"]),
        (&link["institution_id"], &link["last_synced_at"])
    );

    let filter =
        format!("transactions?size=1000&account_id={account}&category=x&institution_id=y&transaction_type=debit");
    let of_one = of_user(&server, &filter).await;
    assert_eq!(keys(&of_one["accounts"]), std::slice::from_ref(account));
    let count = all["transactions"].as_array().unwrap().iter().filter(|row| row["account_id"] == **account).count();
    assert_eq!(of_one["total"], json!(count));
    let date = text(&all["transactions"][0]["date"]);
    let of_day = of_user(&server, &format!("transactions?size=1000&start_date={date}&end_date={date}")).await;
    assert!(of_day["transactions"].as_array().unwrap().iter().all(|row| row["date"] == json!(date)));
    assert!(of_day["total"].as_u64().unwrap() > 0 && of_day["total"].as_u64() < all["total"].as_u64());
}

#[tokio::test]
async fn a_user_nobody_knows_has_nothing() {
    let server = TestServer::start().await;
    server.link(&server.a).await;
    server.deleted_link(&server.a).await;
    for user in [
        "nobody",
        "user-000",
        "user-00011",
        "USER-0001",
        "%00",
        "%ff",
        "%",
        "..",
        "'%20OR%201=1--",
        &"x".repeat(10_240),
        "",
    ] {
        let links = server.get(&server.a, &format!("/users/{user}/links")).await.ok(200);
        let accounts = server.get(&server.a, &format!("/users/{user}/accounts")).await.ok(200);
        let transactions = server.get(&server.a, &format!("/users/{user}/transactions")).await.ok(200);
        assert_eq!((links, accounts), (json!({"links": {}}), json!({"links": {}})), "{user:.40}");
        assert_eq!(transactions, json!({"total": 0, "page": 1, "size": 0, "transactions": [], "accounts": {}}));
    }
}

#[tokio::test]
async fn a_user_id_is_what_its_escapes_mean() {
    let server = TestServer::start().await;
    let user = "a/b ü?";
    let made = server.post(&server.a, "/sandbox/links", &json!({"customer_user": {"id": user}})).await.ok(201);
    let links = server.get(&server.a, "/users/a%2Fb%20%C3%BC%3F/links").await.ok(200);
    assert_eq!(keys(&links["links"]), [text(&made["link_id"])]);
}

#[tokio::test]
async fn a_link_from_a_file_is_its_users_too_and_only_permitted_accounts_are_shown() {
    let server = TestServer::start().await;
    let imported = text(&server.import(&server.a, USER, &fixture("plain_sgml_crlf.ofx")).await.ok(201)["link_id"]);
    let body = json!({"institution_id": bank::ID, "accounts": ["checking"]});
    let partial = server.link_with(&server.a, body).await;
    let links = of_user(&server, "accounts").await["links"].clone();
    assert_eq!(keys(&links), sorted(vec![imported, partial.clone()]));
    assert_eq!(links[&partial]["accounts"].as_array().unwrap().len(), 1);
    let all = of_user(&server, "transactions?size=1000").await;
    for account in keys(&all["accounts"]) {
        let link = text(&all["accounts"][&account]["link_id"]);
        assert!(links[&link]["accounts"].as_array().unwrap().iter().any(|shown| shown["account_id"] == json!(account)));
    }
}

#[tokio::test]
async fn a_bad_query_is_refused() {
    let server = TestServer::start().await;
    for (query, place) in [
        ("accounts?account_ids=", "query.account_ids"),
        ("transactions?account_id=a&account_id=", "query.account_id"),
        ("transactions?page=0", "query.page"),
        ("transactions?size=1001", "query.size"),
        ("transactions?start_date=x", "query.start_date"),
        ("transactions?start_date=2026-02-01&end_date=2026-01-01", "query.end_date"),
    ] {
        let answer = server.get(&server.a, &format!("/users/{USER}/{query}")).await;
        assert_eq!(answer.expect(422, VALIDATION).places(), [place], "{query}");
    }
}

#[tokio::test]
async fn a_listing_needs_the_right_to_users_and_to_what_it_shows() {
    let server = TestServer::start().await;
    server.link(&server.a).await;
    for (scopes, allowed) in [
        ("users", &[][..]),
        ("links accounts transactions", &[]),
        ("users links", &["links"]),
        ("users accounts", &["accounts"]),
        ("users transactions", &["transactions"]),
    ] {
        let token = server.scoped_token(&server.a, &scopes.replace(' ', "+")).await;
        for path in ["links", "accounts", "transactions"] {
            let answer = server.bearer(&token, "GET", &format!("/users/{USER}/{path}")).send().await;
            match allowed.contains(&path) {
                true => drop(answer.ok(200)),
                false => drop(answer.expect(401, "api_error.auth.unauthorized")),
            }
        }
    }
}
