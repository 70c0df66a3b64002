//! `GET /links/{id}/transactions`.

use std::collections::HashSet;

use serde_json::{Value, json};

use crate::support::{TestServer, without_avatar};

async fn page(server: &TestServer, id: &str, query: &str) -> Value {
    server.get(&server.a, &format!("/links/{id}/transactions{query}")).await.ok(200)
}

fn rows(page: &Value) -> Vec<Value> {
    page["transactions"].as_array().unwrap().clone()
}

#[tokio::test]
async fn the_first_page_has_the_contracts_shape() {
    let server = TestServer::start().await;
    let id = server.link(&server.a).await;
    let body = page(&server, &id, "?size=2").await;
    assert_eq!((&body["page"], &body["size"]), (&json!(1), &json!(2)));
    crate::support::assert_snapshot!("transactions", without_avatar(body));
}

#[tokio::test]
async fn pages_add_up_to_the_total_without_gap_or_repeat() {
    let server = TestServer::start().await;
    let id = server.link_at(&server.a, "credentials_bank", "user_many").await;
    let total = page(&server, &id, "").await["total"].as_u64().unwrap();
    assert!(total > 1_000, "{total}");
    for size in [1_000, 333, 50] {
        let mut seen = Vec::new();
        for number in 1.. {
            let body = page(&server, &id, &format!("?page={number}&size={size}")).await;
            let items = rows(&body);
            assert_eq!((&body["total"], body["size"].as_u64().unwrap()), (&json!(total), items.len() as u64));
            let shown: HashSet<_> = items.iter().map(|row| row["account_id"].clone()).collect();
            let accounts: HashSet<_> =
                body["accounts"].as_array().unwrap().iter().map(|account| account["account_id"].clone()).collect();
            assert_eq!(shown, accounts, "accounts of the returned transactions");
            if items.is_empty() {
                break;
            }
            seen.extend(items);
        }
        assert_eq!(seen.len() as u64, total);
        let ids: HashSet<_> = seen.iter().map(|row| row["transaction_id"].clone()).collect();
        assert_eq!(ids.len() as u64, total);
        let keys: Vec<_> = seen.iter().map(|row| row["date"].as_str().unwrap()).collect();
        assert!(keys.windows(2).all(|pair| pair[0] >= pair[1]), "newest first");
        assert!(seen.iter().all(|row| !row["amount"].as_str().unwrap().starts_with('-')));
    }
}

#[tokio::test]
async fn ties_are_ordered_by_datetime_and_id_descending() {
    let server = TestServer::start().await;
    let id = server.link_at(&server.a, "credentials_bank", "user_many").await;
    let items = rows(&page(&server, &id, "?size=1000").await);
    let key = |row: &Value| {
        let text = |name: &str| row[name].as_str().unwrap_or_default().to_owned();
        (text("date"), text("datetime"), text("transaction_id"))
    };
    assert!(items.windows(2).all(|pair| key(&pair[0]) > key(&pair[1])));
}

#[tokio::test]
async fn dates_are_inclusive_and_accounts_filter() {
    let server = TestServer::start().await;
    let id = server.link(&server.a).await;
    let all = rows(&page(&server, &id, "?size=1000").await);
    let day = all[all.len() / 2]["date"].as_str().unwrap();
    let count = |test: &dyn Fn(&Value) -> bool| all.iter().filter(|row| test(row)).count() as u64;
    let date = |row: &Value| row["date"].as_str().unwrap().to_owned();
    for (query, expected) in [
        (format!("?start_date={day}"), count(&|row| date(row).as_str() >= day)),
        (format!("?end_date={day}"), count(&|row| date(row).as_str() <= day)),
        (format!("?start_date={day}&end_date={day}"), count(&|row| date(row) == day)),
        ("?end_date=1990-01-01".to_owned(), 0),
        ("?start_date=9999-12-31".to_owned(), 0),
        ("?start_date=0001-01-01".to_owned(), all.len() as u64),
    ] {
        assert_eq!(page(&server, &id, &query).await["total"].as_u64(), Some(expected), "{query}");
    }
    let account = all[0]["account_id"].as_str().unwrap();
    let other = all.iter().find(|row| row["account_id"] != account).unwrap()["account_id"].as_str().unwrap();
    let of = |wanted: &str| count(&|row| row["account_id"] == wanted);
    for (query, expected) in [
        (format!("?account_ids={account}"), of(account)),
        (format!("?account_ids={account}&account_ids={other}"), of(account) + of(other)),
        (format!("?account_ids={account}&account_ids=acc_none"), of(account)),
        (format!("?account_ids={account}&account_ids={account}"), of(account)),
        ("?account_ids=acc_none".to_owned(), 0),
        ("?account_ids=".to_owned(), 0),
    ] {
        assert_eq!(page(&server, &id, &query).await["total"].as_u64(), Some(expected), "{query}");
    }
}

#[tokio::test]
async fn a_page_beyond_the_end_is_empty_however_far() {
    let server = TestServer::start().await;
    let id = server.link(&server.a).await;
    let total = page(&server, &id, "").await["total"].clone();
    for number in ["1000", "4294967296", "9223372036854775807", "9223372036854775808", "18446744073709551615"] {
        let body = page(&server, &id, &format!("?page={number}&size=1000")).await;
        assert_eq!((&body["transactions"], &body["size"], &body["total"]), (&json!([]), &json!(0), &total), "{number}");
    }
}

#[tokio::test]
async fn bad_parameters_are_refused_at_their_place() {
    let server = TestServer::start().await;
    let id = server.link(&server.a).await;
    for (query, place) in [
        ("page=0", "query.page"),
        ("page=-1", "query.page"),
        ("page=", "query.page"),
        ("page=1.0", "query.page"),
        ("page=1e3", "query.page"),
        ("page=99999999999999999999", "query.page"),
        ("size=0", "query.size"),
        ("size=1001", "query.size"),
        ("size=x", "query.size"),
        ("start_date=x", "query.start_date"),
        ("start_date=2026-02-30", "query.start_date"),
        ("start_date=2026-1-31", "query.start_date"),
        ("start_date=20260131", "query.start_date"),
        ("start_date=2026-01-31T00:00:00Z", "query.start_date"),
        ("end_date=", "query.end_date"),
        ("end_date=31.01.2026", "query.end_date"),
        ("start_date=2026-01-02&end_date=2026-01-01", "query.end_date"),
    ] {
        let answer = server.get(&server.a, &format!("/links/{id}/transactions?{query}")).await;
        answer.expect(422, "api_error.request.validation_failed");
        assert_eq!(answer.places(), [place], "{query}");
    }
}
