//! Query parameters that an operation does not know are named in a header and counted.

use serde_json::{Value, json};

use crate::{
    coverage::routes,
    documents::{CONTRACT, OWN, document, operations, resolved},
    support::{Call, TestServer, USER},
};

const IGNORED: &str = "passbook-ignored-parameters";

/// A value that the operation takes for this parameter.
fn value(parameter: &Value, link: &str) -> String {
    let schema = &parameter["schema"];
    match (parameter["name"].as_str().unwrap(), schema["type"].as_str(), schema["format"].as_str()) {
        ("link_id", ..) => link.to_owned(),
        ("delivery_state", ..) => "dead".to_owned(),
        ("cursor", Some("string"), _) => String::new(),
        (_, Some("integer"), _) => schema["default"].as_u64().or(schema["minimum"].as_u64()).unwrap().to_string(),
        (_, Some("boolean"), _) => "false".to_owned(),
        (_, _, Some("date")) => "2026-01-01".to_owned(),
        (_, _, Some("date-time")) => "2026-01-01T00:00:00Z".to_owned(),
        _ => "abcd".to_owned(),
    }
}

/// A path with ids that exist.
fn concrete(path: &str, link: &str, account: &str) -> String {
    let id = if path.starts_with("/users") { USER } else { link };
    let path = path.replace("/institutions/{institution_id}", "/institutions/credentials_bank");
    path.replace("/institutions/{id}", "/institutions/credentials_bank")
        .replace("{id}", id)
        .replace("{account_id}", account)
}

#[tokio::test]
async fn every_documented_parameter_is_known_to_its_operation_and_no_other() {
    let server = TestServer::start().await;
    let link = server.link(&server.a).await;
    let accounts = server.get(&server.a, &format!("/links/{link}/accounts")).await.ok(200);
    let account = accounts["accounts"][0]["account_id"].as_str().unwrap();
    let mut asked = 0;
    for file in [CONTRACT, OWN] {
        let whole = document(file);
        for (method, path, operation) in operations(&whole) {
            // A stream has no end to wait for; the test below looks at its head.
            if method != "GET" || path == "/passbook/events/stream" {
                continue;
            }
            let (mut query, mut ignored) = (String::from("verbose=1"), vec!["verbose".to_owned()]);
            for parameter in operation["parameters"].as_array().into_iter().flatten() {
                let parameter = resolved(&whole, parameter);
                if parameter["in"] != "query" {
                    continue;
                }
                let name = parameter["name"].as_str().unwrap();
                query += &format!("&{name}={}", value(parameter, &link));
                ignored.extend((parameter["deprecated"] == json!(true)).then(|| name.to_owned()));
                asked += 1;
            }
            let path = concrete(&path, &link, account);
            let answer = server.get(&server.a, &format!("{path}?{query}")).await;
            assert_eq!(answer.status, 200, "{path}?{query}: {}", answer.text());
            assert_eq!(answer.header(IGNORED), Some(ignored.join(", ").as_str()), "{path}?{query}");
        }
    }
    assert!(asked >= 35, "{asked}");
}

#[tokio::test]
async fn a_stream_of_events_names_them_in_its_head() {
    use tower::ServiceExt as _;
    let server = TestServer::start().await;
    let request = http::Request::get("/passbook/events/stream?signed=false&cursor=0&verbose=1&from[]=x")
        .header("x-client-id", &server.a.id)
        .header("x-client-secret", &server.a.secret)
        .body(axum::body::Body::empty());
    let response = server.router.clone().oneshot(request.unwrap()).await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()[IGNORED], "verbose, from[]");
}

#[tokio::test]
async fn an_operation_that_takes_no_query_ignores_all_of_it() {
    let server = TestServer::start().await;
    let link = server.link(&server.a).await;
    for (method, path) in routes().iter().filter(|(method, _)| method == "GET") {
        if path == "/passbook/events/stream" || path.starts_with("/links/{id}/accounts/{") {
            continue;
        }
        let path = concrete(path, &link, "");
        let answer = server.call(&server.a, method, &format!("{path}?verbose=1&pretty=0")).send().await;
        assert_eq!((answer.status, answer.header(IGNORED)), (200, Some("verbose, pretty")), "{method} {path}");
    }
    for (method, path, body, status) in [
        (
            "POST",
            "/link-session",
            json!({"customer_user": {"id": USER}, "redirect_uri": crate::support::REDIRECT}),
            201,
        ),
        ("POST", "/sandbox/links", json!({"customer_user": {"id": USER}}), 201),
        ("POST", "/sandbox/clock", json!({"advance_seconds": 1}), 200),
        ("PATCH", "/links/{id}", json!({"link_tags": []}), 200),
        ("POST", "/sandbox/links/{id}/events", json!({"webhook_event": "link.state_changed"}), 201),
        ("POST", "/links/{id}/reset", json!({}), 200),
        ("DELETE", "/links/{id}", json!({}), 204),
    ] {
        let call = server.call(&server.a, method, &format!("{}?verbose=1", path.replace("{id}", &link)));
        let answer = call.json(&body).send().await;
        assert_eq!((answer.status, answer.header(IGNORED)), (status, Some("verbose")), "{method} {path}");
    }
}

#[tokio::test]
async fn an_error_names_what_was_ignored_once_the_query_was_read() {
    let server = TestServer::start().await;
    let link = server.link(&server.a).await;
    let told = async |call: Call| {
        let answer = call.send().await;
        (answer.status, answer.header(IGNORED).map(str::to_owned))
    };
    let transactions = |query: &str| server.call(&server.a, "GET", &format!("/links/{link}/transactions?{query}"));
    assert_eq!(told(transactions("page=0&verbose=1")).await, (422, Some("verbose".to_owned())));
    assert_eq!(told(transactions("page=1&account_ids=x")).await, (200, None));
    let unknown = format!("/links/{}/transactions?verbose=1", crate::support::UNKNOWN_LINK);
    assert_eq!(told(server.call(&server.a, "GET", &unknown)).await, (404, None));
    assert_eq!(told(server.anonymous("GET", "/links?verbose=1")).await.1, None);
    let file = server.call(&server.a, "POST", "/passbook/links/import-file?customer_user_id=abcd&user=x").body("none");
    assert_eq!(told(file).await, (422, Some("user".to_owned())));
}

#[tokio::test]
async fn values_stay_out_and_nobody_writes_headers() {
    let server = TestServer::start().await;
    for query in [
        "s3cret",
        "a%0D%0Aset-cookie:%20s3cret=1",
        "a%0as3cret=1",
        "%00s3cret=1",
        "s3cret%2Cb=1",
        "%FFs3cret=1",
        "=s3cret",
        &format!("{}=1", "s3cret".repeat(100)),
    ] {
        let answer = server.anonymous("GET", &format!("/healthz?{query}")).send().await;
        assert_eq!((answer.status, answer.header(IGNORED)), (200, Some("*")), "{query}");
        assert!(!answer.headers.values().any(|value| value.as_bytes().windows(6).any(|part| part == b"s3cret")));
        assert!(answer.header("set-cookie").is_none());
    }
    let named = server.anonymous("GET", "/healthz?token=s3cret&token=other").send().await;
    assert_eq!(named.header(IGNORED), Some("token"));
    let many = (0..1_000).map(|n| format!("name_{n}=1")).collect::<Vec<_>>().join("&");
    let many = server.anonymous("GET", &format!("/healthz?{many}")).send().await;
    assert!(many.header(IGNORED).is_some_and(|names| names.len() < 300 && names.ends_with(", *")));
}

#[tokio::test]
async fn requests_with_ignored_parameters_are_counted_by_operation() {
    let server = TestServer::start().await;
    for path in ["/links?verbose=1&pretty=1", "/links?verbose=1", "/links?limit=500", "/links"] {
        server.get(&server.a, path).await.ok(200);
    }
    let metrics = server.anonymous("GET", "/metrics").send().await.text();
    for line in [
        "passbook_ignored_parameters_total{operation=\"get_links\"} 2",
        "passbook_ignored_parameters_total{operation=\"get_link\"} 0",
    ] {
        assert!(metrics.lines().any(|found| found == line), "{line}\n{metrics}");
    }
}
