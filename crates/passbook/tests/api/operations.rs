//! What needs no token: health, readiness, metrics, the contract, the webhook keys, the demo page.

use serde_json::Value;

use crate::support::TestServer;

#[tokio::test]
async fn the_key_set_is_public_and_a_client_may_name_its_environment() {
    let server = TestServer::start().await;
    let answer = server.anonymous("GET", "/.well-known/jwks.json").send().await;
    let keys = answer.ok(200)["keys"].clone();
    assert_eq!(keys.as_array().unwrap().len(), 2, "one for the sandbox, one for live");
    let key = &keys[0];
    for (name, value) in [("kty", "EC"), ("crv", "P-256"), ("alg", "ES256"), ("use", "sig")] {
        assert_eq!(key[name], value, "{name}");
    }
    assert!(["x", "y", "kid"].iter().all(|name| key[*name].as_str().is_some_and(|text| text.len() == 43)));
    assert!(key.get("d").is_none_or(Value::is_null), "the private half");
    assert_eq!(answer.header("cache-control"), Some("public, max-age=300"));
    for (version, status) in [("2023-02-18", 200), ("", 200), ("2030-01-01", 422)] {
        let call = server.anonymous("GET", "/.well-known/jwks.json").header("moneykit-version", version);
        assert_eq!(call.send().await.status, status, "{version:?}, as every other operation");
    }
    for (client, index) in [(&server.a, 0), (&server.live, 1)] {
        let own = server.anonymous("GET", "/.well-known/jwks.json").header("x-client-id", &client.id).send().await;
        assert_eq!(own.ok(200)["keys"], serde_json::json!([keys[index]]));
    }
    for (name, value) in [("x-client-id", "nobody"), ("authorization", "Bearer x")] {
        let same = server.anonymous("GET", "/.well-known/jwks.json").header(name, value).send().await;
        assert_eq!(same.visible(), answer.visible(), "{name}");
    }
}

#[tokio::test]
async fn operators_see_health_readiness_and_metrics() {
    let server = TestServer::start().await;
    assert_eq!(server.anonymous("GET", "/healthz").send().await.text(), "ok\n");
    assert_eq!(server.anonymous("GET", "/readyz").send().await.text(), "ready\n");
    server.link(&server.a).await;
    let metrics = server.anonymous("GET", "/metrics").send().await.text();
    for line in [
        "passbook_requests_total{operation=\"create_sandbox_link\",status=\"2xx\"} 1",
        "passbook_jobs_total{outcome=\"done\"} 1",
        "passbook_requests_limited_total 0",
        "# EOF",
    ] {
        assert!(metrics.lines().any(|found| found == line), "{line}\n{metrics}");
    }
}

#[tokio::test]
async fn the_demo_page_runs_nothing() {
    let server = TestServer::start().await;
    let demo = server.anonymous("GET", "/demo").send().await;
    assert_eq!(demo.header("content-type"), Some("text/html; charset=utf-8"));
    assert_eq!(demo.header("x-content-type-options"), Some("nosniff"));
    assert!(demo.header("content-security-policy").unwrap().contains("default-src 'none'"));
    assert!(!demo.text().contains("<script"));
}
