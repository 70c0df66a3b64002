//! `GET /users/{id}/links`, `/users/{id}/accounts` and `/users/{id}/transactions`.

use serde_json::{Value, json};

use crate::support::{TestServer, USER, bank, fixture, text};

const VALIDATION: &str = "api_error.request.validation_failed";

async fn of_user(server: &TestServer, rest: &str) -> Value {
    server.get(&server.a, &format!("/users/{USER}/{rest}")).await.ok(200)
}

/// Every transaction of a listing, and the accounts of all pages.
async fn walk(server: &TestServer, path: &str) -> (Vec<Value>, serde_json::Map<String, Value>) {
    let (mut rows, mut accounts) = (Vec::new(), serde_json::Map::new());
    for page in 1.. {
        let found = server.get(&server.a, &format!("{path}?size=1000&page={page}")).await.ok(200);
        rows.extend(found["transactions"].as_array().expect("a list").clone());
        // The listing of one link has a list here.
        accounts.extend(found["accounts"].as_object().cloned().unwrap_or_default());
        if found["total"] == json!(rows.len()) {
            break;
        }
    }
    (rows, accounts)
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
    for (institution, username) in [("credentials_bank", "user_history"), ("instant_bank", "user_good")] {
        let id = server.link_at(&server.a, institution, username).await;
        expected.extend(walk(&server, &format!("/links/{id}/transactions")).await.0);
    }
    server.scripted_link(json!({})).await; // Transactions were not granted here.
    expected.sort_by_key(|row| {
        let datetime = row["datetime"].as_str().unwrap_or_default().to_owned();
        std::cmp::Reverse((text(&row["date"]), datetime, text(&row["transaction_id"])))
    });
    assert!(expected.len() > 100, "{}", expected.len());
    assert_eq!(walk(&server, &format!("/users/{USER}/transactions")).await.0, expected);

    let mut walked = Vec::new();
    for page in 1..=expected.len().div_ceil(37) + 1 {
        let found = of_user(&server, &format!("transactions?page={page}&size=37")).await;
        assert_eq!((&found["total"], &found["page"]), (&json!(expected.len()), &json!(page)));
        assert_eq!(found["size"], json!(ids(&found["transactions"]).len()));
        walked.extend(ids(&found["transactions"]));
    }
    assert_eq!(walked, ids(&json!(expected)));
}

#[tokio::test]
async fn transactions_of_a_user_name_their_accounts_and_can_be_filtered() {
    let server = TestServer::start().await;
    let ids_of_links = [server.link(&server.a).await, server.link_at(&server.a, "instant_bank", "user_good").await];
    let (rows, accounts) = walk(&server, &format!("/users/{USER}/transactions")).await;
    let named: std::collections::BTreeSet<String> = rows.iter().map(|row| text(&row["account_id"])).collect();
    assert_eq!(accounts.keys().cloned().collect::<std::collections::BTreeSet<_>>(), named);
    let account = named.first().expect("an account");
    let details = &accounts[account];
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
    let count = rows.iter().filter(|row| row["account_id"] == **account).count();
    assert_eq!(of_one["total"], json!(count));
    let date = text(&rows[0]["date"]);
    let of_day = of_user(&server, &format!("transactions?size=1000&start_date={date}&end_date={date}")).await;
    assert!(of_day["transactions"].as_array().unwrap().iter().all(|row| row["date"] == json!(date)));
    assert_eq!(of_day["total"], json!(rows.iter().filter(|row| row["date"] == json!(date)).count()));
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
    let fields = json!({"institution_id": bank::ID, "connect_features": {"permit_only_one_account": true}});
    let token = server.session_token(&server.a, fields).await;
    let completed = server.complete(&server.a, &token, json!({})).await.ok(201);
    let exchange = json!({"exchangeable_token": completed["exchangeable_token"]});
    let exchanged = server.post(&server.a, "/link-session/exchange-token", &exchange).await.ok(201);
    server.drain(&server.a).await;
    let partial = text(&exchanged["link_id"]);
    let links = of_user(&server, "accounts").await["links"].clone();
    assert_eq!(keys(&links), sorted(vec![imported.clone(), partial.clone()]));
    assert_eq!(links[&partial]["accounts"].as_array().unwrap().len(), 1);
    let (rows, accounts) = walk(&server, &format!("/users/{USER}/transactions")).await;
    let mut of_links = std::collections::BTreeSet::new();
    for (account, details) in &accounts {
        let link = text(&details["link_id"]);
        assert!(links[&link]["accounts"].as_array().unwrap().iter().any(|shown| shown["account_id"] == **account));
        of_links.insert(link);
    }
    assert_eq!(of_links, [imported, partial].into());
    assert!(rows.iter().all(|row| accounts.contains_key(row["account_id"].as_str().unwrap())));
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
