//! `GET /links/{id}/investments/holdings` and `GET /links/{id}/investments/transactions`.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::support::{TestServer, text, without_avatar};

async fn investor(server: &TestServer) -> String {
    server.link_with(&server.a, json!({"username": "user_investor"})).await
}

fn ids(items: &Value, field: &str) -> BTreeSet<String> {
    items.as_array().unwrap().iter().filter_map(|item| item[field].as_str()).map(str::to_owned).collect()
}

async fn holdings(server: &TestServer, id: &str, query: &str) -> Value {
    server.get(&server.a, &format!("/links/{id}/investments/holdings{query}")).await.ok(200)
}

async fn transactions(server: &TestServer, id: &str, query: &str) -> Value {
    server.get(&server.a, &format!("/links/{id}/investments/transactions{query}")).await.ok(200)
}

#[tokio::test]
async fn holdings_and_transactions_have_the_contracts_shape() {
    let server = TestServer::start().await;
    let id = investor(&server).await;
    crate::support::assert_snapshot!("holdings", without_avatar(holdings(&server, &id, "").await));
    let page = transactions(&server, &id, "?size=5").await;
    crate::support::assert_snapshot!("investment_transactions", without_avatar(page));
}

#[tokio::test]
async fn an_answer_holds_the_securities_and_accounts_it_refers_to_and_no_others() {
    let server = TestServer::start().await;
    let id = investor(&server).await;
    let held = holdings(&server, &id, "").await;
    assert_eq!(ids(&held["holdings"], "security_id"), ids(&held["securities"], "security_id"));
    assert_eq!(ids(&held["holdings"], "account_id"), ids(&held["accounts"], "account_id"));
    assert_eq!(held["accounts"].as_array().unwrap().len(), 2, "the investment accounts");
    for account in held["accounts"].as_array().unwrap() {
        let id_of_account = text(&account["account_id"]);
        let one = holdings(&server, &id, &format!("?account_ids={id_of_account}")).await;
        assert_eq!(ids(&one["holdings"], "account_id"), BTreeSet::from([id_of_account.clone()]));
        let page = transactions(&server, &id, &format!("?size=1000&account_ids={id_of_account}")).await;
        assert_eq!(ids(&page["investment_transactions"], "account_id"), BTreeSet::from([id_of_account]));
        assert_eq!(ids(&page["investment_transactions"], "security_id"), ids(&page["securities"], "security_id"));
    }
    for query in ["?account_ids=nobody", "?account_ids="] {
        let nothing = holdings(&server, &id, query).await;
        assert_eq!(
            (&nothing["holdings"], &nothing["securities"], &nothing["accounts"]),
            (&json!([]), &json!([]), &json!([]))
        );
    }
}

#[tokio::test]
async fn older_clients_find_ids_under_their_older_names() {
    let server = TestServer::start().await;
    let id = investor(&server).await;
    let (held, moved) = (holdings(&server, &id, "").await, transactions(&server, &id, "").await);
    let both = [("securities", "security_id"), ("investment_transactions", "investment_transaction_id")];
    for (answer, list, name) in
        [(&held, both[0].0, both[0].1), (&moved, both[0].0, both[0].1), (&moved, both[1].0, both[1].1)]
    {
        let items = answer[list].as_array().unwrap();
        assert!(!items.is_empty(), "{list}");
        assert!(items.iter().all(|item| item[name].is_string() && item["id"] == item[name]), "{list}: {items:?}");
    }
}

#[tokio::test]
async fn pages_hold_everything_once_newest_first() {
    let server = TestServer::start().await;
    let id = investor(&server).await;
    let all = transactions(&server, &id, "?size=1000").await;
    let total = all["total"].as_u64().unwrap();
    assert!(total > 100, "{total}");
    let mut paged = Vec::new();
    for page in 1.. {
        let answer = transactions(&server, &id, &format!("?size=37&page={page}")).await;
        assert_eq!((&answer["total"], &answer["page"]), (&json!(total), &json!(page)));
        let items = answer["investment_transactions"].as_array().unwrap().clone();
        assert_eq!(answer["size"], json!(items.len()));
        if items.is_empty() {
            break;
        }
        paged.extend(items);
    }
    assert_eq!(&Value::from(paged.clone()), &all["investment_transactions"]);
    let dates: Vec<_> = paged.iter().map(|item| text(&item["date"])).collect();
    assert!(dates.is_sorted_by(|one, next| one >= next));
    let (from, to) = (&dates[dates.len() / 2], &dates[dates.len() / 4]);
    let some = transactions(&server, &id, &format!("?size=1000&start_date={from}&end_date={to}")).await;
    let expected = dates.iter().filter(|date| *date >= from && *date <= to).count();
    assert_eq!(some["total"], json!(expected));
}

#[tokio::test]
async fn a_refresh_moves_prices_and_keeps_ids() {
    let server = TestServer::start().await;
    let id = investor(&server).await;
    let (held, moved) = (holdings(&server, &id, "").await, transactions(&server, &id, "?size=1000").await);
    server.advance(40 * 86_400);
    server.post(&server.a, &format!("/links/{id}/products"), &json!({"products": ["investments"]})).await.ok(202);
    server.drain(&server.a).await;
    let (held_later, moved_later) = (holdings(&server, &id, "").await, transactions(&server, &id, "?size=1000").await);
    let securities = |answer: &Value| ids(&answer["securities"], "security_id");
    assert!(securities(&held_later).is_superset(&securities(&held)));
    assert_ne!(held["holdings"], held_later["holdings"]);
    let of = |answer: &Value| ids(&answer["investment_transactions"], "investment_transaction_id");
    let (before, after) = (of(&moved), of(&moved_later));
    assert!(after.difference(&before).count() > 2, "new ones came");
    assert!(before.intersection(&after).count() > 90, "and most of the old ones are the same");
}

#[tokio::test]
async fn without_a_fetch_there_is_nothing_and_without_the_grant_a_refusal() {
    let server = TestServer::start().await;
    let settings = json!({"settings": {"products": {"investments": {"prefetch": false}}}, "username": "user_investor"});
    let id = server.link_with(&server.a, settings).await;
    let held = holdings(&server, &id, "").await;
    assert_eq!(
        (&held["holdings"], &held["link"]["products"]["investments"]["refreshed_at"]),
        (&json!([]), &Value::Null)
    );
    assert_eq!(transactions(&server, &id, "").await["total"], json!(0));
    let other = json!({"settings": {"products": {"transactions": {"prefetch": true}}}, "username": "user_investor"});
    let id = server.link_with(&server.a, other).await;
    for path in ["holdings", "transactions"] {
        let refused = server.get(&server.a, &format!("/links/{id}/investments/{path}")).await;
        refused.expect(403, "link_error.forbidden_action");
    }
}

#[tokio::test]
async fn a_malformed_query_is_refused_at_its_place() {
    let server = TestServer::start().await;
    let id = investor(&server).await;
    for (query, place) in [
        ("page=0", "query.page"),
        ("size=1001", "query.size"),
        ("start_date=yesterday", "query.start_date"),
        ("start_date=2024-02-01&end_date=2024-01-01", "query.end_date"),
    ] {
        let path = format!("/links/{id}/investments/transactions?{query}");
        let answer = server.get(&server.a, &path).await;
        assert_eq!(answer.expect(422, "api_error.request.validation_failed").places(), [place]);
    }
}
