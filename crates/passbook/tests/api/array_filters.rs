//! Filters by account, in every form that official clients send them, over every operation that has one: never more
//! data than was asked for.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::{
    documents::{CONTRACT, document, operations},
    support::{Client, TestServer, USER},
};

const VALIDATION: &str = "api_error.request.validation_failed";

/// Path of each operation with a filter by account, and whether the contract forbids an empty id there.
const FILTERED: [(&str, bool); 7] = [
    ("/links/{id}/accounts", false),
    ("/links/{id}/identity", false),
    ("/links/{id}/transactions", false),
    ("/links/{id}/investments/holdings", false),
    ("/links/{id}/investments/transactions", false),
    ("/users/{id}/accounts", true),
    ("/users/{id}/transactions", true),
];

/// The ids of all accounts of which a body shows anything.
fn shown(body: &Value) -> BTreeSet<String> {
    let mut ids = BTreeSet::new();
    match body {
        Value::Object(entries) => {
            ids.extend(entries.get("account_id").and_then(Value::as_str).map(str::to_owned));
            ids.extend(entries.values().flat_map(shown));
            // A map of accounts by their ids.
            ids.extend(entries.keys().filter(|key| key.starts_with("acc_")).cloned());
        }
        Value::Array(items) => ids.extend(items.iter().flat_map(shown)),
        _ => {}
    }
    ids
}

/// A server with an end user of two links, and the filtered operations of one of them with all that each shows.
struct World {
    server: TestServer,
    /// Path with `?size=1000`, what it shows without a filter, and whether an empty id is refused.
    operations: Vec<(String, BTreeSet<String>, bool)>,
}

impl World {
    async fn make() -> Self {
        let server = TestServer::start().await;
        let link = server.link_at(&server.a, "credentials_bank", "user_investor").await;
        server.link_at(&server.a, "instant_bank", "user_good").await;
        let mut operations = Vec::new();
        for (path, strict) in FILTERED {
            let id = if path.starts_with("/users") { USER } else { link.as_str() };
            let path = format!("{}?size=1000", path.replace("{id}", id));
            let all = shown(&server.get(&server.a, &path).await.ok(200));
            assert!(all.len() >= 2, "{path}: {all:?}");
            operations.push((path, all, strict));
        }
        Self { server, operations }
    }

    fn client(&self) -> &Client {
        &self.server.a
    }
}

/// Two ids in each form, under this name.
fn forms(name: &str, one: &str, two: &str) -> Vec<String> {
    vec![
        format!("{name}={one}&{name}={two}"),
        format!("{name}[]={one}&{name}[]={two}"),
        // Faraday, which both Ruby gems use, escapes the brackets.
        format!("{name}%5B%5D={one}&{name}%5B%5D={two}"),
        format!("{name}%5b%5d={one}&{name}[]={two}"),
        format!("{name}={one},{two}"),
        format!("{name}={one}%2C{two}"),
        format!("{name}={one},%20{two}"),
        format!("{name}[]={one},{two}"),
        format!("{name}[0]={one}&{name}%5B1%5D={two}"),
        format!("{name}={one}&{name}[]={two}"),
        format!("{name}=acc_nobody,{one}&{name}[]={two}"),
    ]
}

#[tokio::test]
async fn each_form_shows_the_accounts_asked_for_and_no_other() {
    let world = World::make().await;
    for (path, all, _) in &world.operations {
        let pair: Vec<&String> = all.iter().take(2).collect();
        let wanted: BTreeSet<String> = pair.iter().map(ToString::to_string).collect();
        for name in ["account_ids", "account_id"] {
            for form in forms(name, pair[0], pair[1]) {
                let answer = world.server.get(world.client(), &format!("{path}&{form}")).await;
                assert_eq!(shown(&answer.ok(200)), wanted, "{path}&{form}");
                assert!(answer.header("passbook-ignored-parameters").is_none_or(|names| names == "size"), "{form}");
            }
            for form in [format!("{name}={}", pair[1]), format!("{name}%5B%5D={}", pair[1])] {
                let body = world.server.get(world.client(), &format!("{path}&{form}")).await.ok(200);
                assert_eq!(shown(&body), [pair[1].clone()].into(), "{path}&{form}");
            }
        }
        let both = format!("{path}&account_id={}&account_ids[]={}", pair[0], pair[1]);
        assert_eq!(shown(&world.server.get(world.client(), &both).await.ok(200)), wanted, "{both}");
    }
}

#[tokio::test]
async fn a_filter_that_names_nobody_shows_nothing() {
    let world = World::make().await;
    for (path, _, strict) in &world.operations {
        for form in [
            "account_ids=",
            "account_ids",
            "account_ids[]=",
            // What Faraday makes of an empty list.
            "account_ids%5B%5D",
            "account_ids=,",
            "account_id=",
            "account_id[]",
        ] {
            let answer = world.server.get(world.client(), &format!("{path}&{form}")).await;
            match strict {
                true => drop(answer.expect(422, VALIDATION)),
                false => assert_eq!(shown(&answer.ok(200)), BTreeSet::new(), "{path}&{form}"),
            }
        }
        for form in ["account_ids=acc_nobody", "account_ids[]=acc_nobody", "account_id=acc_nobody,acc_none"] {
            let body = world.server.get(world.client(), &format!("{path}&{form}")).await.ok(200);
            assert_eq!(shown(&body), BTreeSet::new(), "{path}&{form}");
        }
    }
}

#[tokio::test]
async fn a_filter_in_no_known_form_is_refused() {
    let world = World::make().await;
    for (path, all, _) in &world.operations {
        let id = all.first().expect("an account");
        for name in ["account_ids", "account_id"] {
            for form in ["[x]", "[", "[]]", "[][]", "[-1]", "%5Bid%5D"] {
                let answer = world.server.get(world.client(), &format!("{path}&{name}{form}={id}")).await;
                assert_eq!(answer.expect(422, VALIDATION).places(), [format!("query.{name}")], "{path}&{name}{form}");
            }
        }
    }
}

#[test]
fn every_list_of_the_contract_is_a_filter_by_account_or_deprecated() {
    let contract = document(CONTRACT);
    let mut filtered = BTreeSet::new();
    for (_, path, operation) in operations(&contract) {
        for parameter in operation["parameters"].as_array().into_iter().flatten() {
            if parameter["in"] != "query" || parameter["schema"]["type"] != "array" {
                continue;
            }
            let name = parameter["name"].as_str().unwrap();
            if parameter["deprecated"] != json!(true) {
                assert!(["account_ids", "account_id"].contains(&name), "{path}: {name} needs cases of its own");
                filtered.insert(path.clone());
            }
        }
    }
    assert_eq!(filtered, FILTERED.iter().map(|(path, _)| (*path).to_owned()).collect());
}

/// What both published Ruby gems send, byte for byte: the token request with an empty Basic pair beside the form, and a
/// listing whose list has escaped brackets. 0.1.6 adds an empty version header.
#[tokio::test]
async fn the_official_ruby_clients_requests_are_understood() {
    let world = World::make().await;
    let server = &world.server;
    for (gem, version) in [("0.1.6", Some("")), ("0.2.3", Some("2023-02-18")), ("0.2.3", None)] {
        let agent = format!("OpenAPI-Generator/{gem}/ruby");
        let with_headers = |call: crate::support::Call| {
            let call = call.header("user-agent", &agent).header("accept", "application/json");
            version.into_iter().fold(call, |call, version| call.header("moneykit-version", version))
        };
        let form =
            format!("grant_type=client_credentials&scope=&client_id={}&client_secret={}", server.a.id, server.a.secret);
        let call = server.anonymous("POST", "/auth/token").header("authorization", "Basic Og==").form(&form);
        let token = with_headers(call).send().await.ok(201)["access_token"].as_str().unwrap().to_owned();
        for (path, all, _) in &world.operations {
            let pair: Vec<&String> = all.iter().take(2).collect();
            let (base, _) = path.split_once('?').unwrap();
            let query = format!(
                "account_ids%5B%5D={}&account_ids%5B%5D={}&page=1&size=500&start_date=2000-01-01",
                pair[0], pair[1]
            );
            let call = server.bearer(&token, "GET", &format!("{base}?{query}"));
            let answer = with_headers(call.header("content-type", "application/json")).send().await;
            let wanted: BTreeSet<String> = pair.iter().map(ToString::to_string).collect();
            assert_eq!(shown(&answer.ok(200)), wanted, "{gem}: {base}?{query}");
        }
    }
}
