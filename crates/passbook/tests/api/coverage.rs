//! The route table against the contract, and every protected operation without its credentials. Both are read from the
//! sources, so a new route cannot be forgotten here.

use std::collections::BTreeSet;

use passbook_core::tenant::ScopeSet;
use serde_json::json;

use crate::support::{TestServer, write_client};

/// Operations that are ours and not the contract's.
const OURS: [(&str, &str); 15] = [
    ("POST", "/sandbox/links"),
    ("POST", "/sandbox/links/{id}/edits"),
    ("POST", "/sandbox/links/{id}/events"),
    ("GET", "/passbook/events"),
    ("GET", "/passbook/events/stream"),
    ("POST", "/passbook/events/replay"),
    ("POST", "/sandbox/link-sessions/complete"),
    ("GET", "/sandbox/clock"),
    ("POST", "/sandbox/clock"),
    ("POST", "/passbook/links/import-file"),
    ("GET", "/healthz"),
    ("GET", "/readyz"),
    ("GET", "/metrics"),
    ("GET", "/openapi.yaml"),
    ("GET", "/demo"),
];

/// Operations that need no token.
pub const PUBLIC: [(&str, &str); 7] = [
    ("POST", "/auth/token"),
    ("GET", "/.well-known/jwks.json"),
    ("GET", "/healthz"),
    ("GET", "/readyz"),
    ("GET", "/metrics"),
    ("GET", "/openapi.yaml"),
    ("GET", "/demo"),
];

const METHODS: [&str; 5] = ["get", "post", "put", "patch", "delete"];

fn read(path: &str) -> String {
    let path = format!("{}/{path}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Method and path of every line of the route table.
pub fn routes() -> BTreeSet<(String, String)> {
    let source = read("src/api/mod.rs");
    let table =
        &source[source.find("Router::new()").expect("a route table")..source.find(".fallback(").expect("its end")];
    let mut routes = BTreeSet::new();
    for line in table.split(".route(").skip(1) {
        let path = line.split('"').nth(1).expect("a path");
        for method in METHODS.iter().filter(|method| line.contains(&format!("{method}(observed("))) {
            routes.insert((method.to_uppercase(), path.to_owned()));
        }
    }
    routes
}

/// Method and path of every operation of the contract, parameters without their names.
fn contract() -> BTreeSet<(String, String)> {
    let mut operations = BTreeSet::new();
    let mut path = String::new();
    for line in read("../../contract/openapi.yaml").lines() {
        if let Some(name) = line.strip_prefix("  /") {
            path = unnamed(&format!("/{}", name.trim_end_matches(':')));
        } else if let Some(key) = line.strip_prefix("    ").and_then(|line| line.strip_suffix(':'))
            && METHODS.contains(&key)
        {
            operations.insert((key.to_uppercase(), path.clone()));
        }
    }
    operations
}

/// A path whose parameters have lost their names.
fn unnamed(path: &str) -> String {
    let parts: Vec<_> = path.split('/').map(|part| if part.starts_with('{') { "{}" } else { part }).collect();
    parts.join("/")
}

pub fn owned(list: &[(&str, &str)]) -> BTreeSet<(String, String)> {
    list.iter().map(|(method, path)| (method.to_string(), path.to_string())).collect()
}

#[test]
fn every_route_is_the_contracts_or_listed_as_ours() {
    let (routes, contract, ours) = (routes(), contract(), owned(&OURS));
    assert!(routes.len() >= 30 && contract.len() >= 28, "{} {}", routes.len(), contract.len());
    for (method, path) in &routes {
        let known = contract.contains(&(method.clone(), unnamed(path)));
        let listed = ours.contains(&(method.clone(), path.clone()));
        assert!(known != listed, "{method} {path}: in the contract {known}, listed as ours {listed}");
    }
    assert!(ours.is_subset(&routes), "an operation listed as ours is gone");
    assert!(owned(&PUBLIC).is_subset(&routes), "an operation listed as public is gone");
}

#[tokio::test]
async fn every_protected_operation_needs_credentials_and_its_scope() {
    let server = TestServer::start().await;
    let scopes = ScopeSet::requested("access_token", ScopeSet::all()).unwrap();
    write_client(&server.services, &server.b, scopes, None).await;
    let public = owned(&PUBLIC);
    let mut protected = 0;
    for (method, path) in routes() {
        let concrete = path.replace("{id}", "mk_zzzzzzzzzzzzzzzzzzzzzz").replace("{account_id}", "acc_1");
        let anonymous = server.anonymous(&method, &concrete).send().await;
        if public.contains(&(method.clone(), path.clone())) {
            assert_ne!(anonymous.status, 401, "{method} {path}");
            continue;
        }
        protected += 1;
        assert_eq!(
            (anonymous.status, anonymous.code().as_str()),
            (401, "api_error.auth.unauthorized"),
            "{method} {path}"
        );
        if path == "/auth/introspect" {
            continue;
        }
        let out_of_scope = server.call(&server.b, &method, &concrete).send().await;
        let of_a_link = path.contains("/links/{id}") || path.starts_with("/webhooks/test/link/{");
        let code = if of_a_link { "link_error.unauthorized_access" } else { "api_error.auth.unauthorized" };
        assert_eq!((out_of_scope.status, out_of_scope.code().as_str()), (401, code), "{method} {path}");
    }
    assert!(protected >= 23, "{protected}");
}

#[tokio::test]
async fn no_operation_accepts_a_bad_credential() {
    let server = TestServer::start().await;
    let token = server.token(&server.a).await;
    let disabled = server.token(&server.b).await;
    let session = server.session_token(&server.a, json!({})).await;
    let (_, exchangeable) = server.waiting_link(&server.a).await;
    let expired = server.token(&server.a).await;
    server.advance(3_600);
    write_client(&server.services, &server.b, ScopeSet::all(), Some(server.services.clocks.real_now())).await;
    let bad = [
        ("garbage", format!("Bearer {}", "g".repeat(64)), "api_error.auth.unauthorized"),
        ("unknown", format!("Bearer {}", "0".repeat(64)), "api_error.auth.unauthorized"),
        ("truncated", format!("Bearer {}", &token[..63]), "api_error.auth.unauthorized"),
        ("upper case", format!("Bearer {}", token.to_uppercase()), "api_error.auth.unauthorized"),
        ("session token", format!("Bearer {session}"), "api_error.auth.unauthorized"),
        ("exchangeable token", format!("Bearer {exchangeable}"), "api_error.auth.unauthorized"),
        ("disabled client", format!("Bearer {disabled}"), "api_error.auth.unauthorized"),
        ("client secret", format!("Bearer {}", server.a.secret), "api_error.auth.unauthorized"),
        ("Basic", "Basic Og==".to_owned(), "api_error.auth.unauthorized"),
        ("expired", format!("Bearer {expired}"), "api_error.auth.expired_access_token"),
    ];
    let public = owned(&PUBLIC);
    for (method, path) in routes().difference(&public) {
        let concrete = path.replace("{id}", "mk_zzzzzzzzzzzzzzzzzzzzzz").replace("{account_id}", "acc_1");
        for (name, header, code) in &bad {
            let answer = server.anonymous(method, &concrete).header("authorization", header).send().await;
            assert_eq!((answer.status, answer.code().as_str()), (401, *code), "{name}: {method} {path}");
        }
    }
}

#[test]
fn every_error_code_has_a_paragraph_in_the_docs() {
    let source = read("src/api/errors.rs");
    let mut codes: BTreeSet<&str> = source
        .split('"')
        .filter(|text| {
            let family = text.split('.').next().unwrap_or_default();
            let families = ["api_error", "link_error", "link_session_error", "institution_error", "stream_error"];
            families.contains(&family) && text.contains('.')
        })
        .collect();
    // These two are built by the models of the contract.
    codes.extend(["link_error.bad_state", "api_error.request.validation_failed"]);
    assert!(codes.len() >= 15, "{codes:?}");
    let docs = read("../../docs/errors.md");
    let missing: Vec<_> =
        codes.iter().filter(|code| !docs.lines().any(|line| line.trim_end() == format!("## `{code}`"))).collect();
    assert!(missing.is_empty(), "no heading in docs/errors.md: {missing:?}");
}
