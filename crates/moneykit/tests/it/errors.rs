//! What errors tell, and what they never tell.

use std::error::Error as _;

use moneykit::{Client, models::errors::ValidationErrorLocationInner};

use crate::support::{CLIENT_ID, Reply, SECRET, Server, connected_link};

#[tokio::test(start_paused = true)]
async fn a_bad_state_tells_the_link_error() {
    let body = r#"{"error_code":"link_error.bad_state","error_message":"Reconnect first.",
        "documentation_url":"https://docs.example/e","link_error_code":"auth_expired"}"#;
    let server = Server::start_with_tokens(move |_| Reply::json(422, body).header("X-Request-Id", "req-9")).await;
    let error = server.client().account_numbers().get_account_numbers("mk_1").await.unwrap_err();
    assert_eq!(error.link_error_code(), Some("auth_expired"));
    assert_eq!(error.error_message(), Some("Reconnect first."));
    assert_eq!(error.documentation_url(), Some("https://docs.example/e"));
    assert!(!error.is_retryable() && error.validation_errors().is_empty());
    assert_eq!(
        error.to_string(),
        "get_account_numbers: the server answered 422 link_error.bad_state (auth_expired), request req-9"
    );
}

#[tokio::test(start_paused = true)]
async fn validation_problems_are_listed() {
    let body = r#"{"error_code":"api_error.request.validation_failed","error_message":"Request validation error",
        "documentation_url":null,"validation_errors":[
        {"location":["body","settings","countries",0],"message":"not a country","type":"enum"}]}"#;
    let server = Server::start_with_tokens(move |_| Reply::json(422, body)).await;
    let error = server.client().links().get_link("mk_1").await.unwrap_err();
    let [problem] = error.validation_errors() else { panic!("one problem") };
    assert_eq!(problem.location[1], ValidationErrorLocationInner::Key("settings".to_owned()));
    assert_eq!(problem.location[3], ValidationErrorLocationInner::Index(0));
    assert_eq!(problem.error_type, "enum");
}

#[tokio::test(start_paused = true)]
async fn bodies_of_another_kind_are_errors_without_a_code() {
    for body in ["<html>Bad gateway</html>", "", "[]", "null", r#"{"error_code":5,"validation_errors":"x"}"#] {
        let server = Server::start_with_tokens(move |_| Reply::json(502, body)).await;
        let error = server.client().links().get_link("mk_1").await.unwrap_err();
        assert_eq!((error.error_code(), error.status().map(|status| status.as_u16())), (None, Some(502)));
        assert!(error.is_retryable());
        assert_eq!(error.to_string(), "get_link: the server answered 502");
    }
}

#[tokio::test(start_paused = true)]
async fn an_unreadable_success_names_the_place_and_quotes_nothing() {
    let body = connected_link().replace(r#""available_products":[]"#, r#""available_products":"000123456789""#);
    let server = Server::start_with_tokens(move |_| Reply::json(200, &body)).await;
    let error = server.client().links().get_link("mk_1").await.unwrap_err();
    assert!(error.to_string().starts_with("get_link: unreadable answer (status 200, line 5 column "), "{error}");
    assert!(!format!("{error:?}").contains("000123456789"));
    assert_eq!(error.status().map(|status| status.as_u16()), Some(200));
    assert!(!error.is_retryable());
}

// On real time, which nothing here waits for: 64 MiB take longer to arrive than paused time would leave them.
#[tokio::test]
async fn an_endless_answer_is_cut_off() {
    let body = format!("\"{}\"", "x".repeat(64 * 1024 * 1024));
    let server = Server::start_with_tokens(move |_| Reply::json(200, &body)).await;
    let error = server.client().links().get_link("mk_1").await.unwrap_err();
    assert_eq!(error.to_string(), "get_link: the answer is too large");
}

#[tokio::test(start_paused = true)]
async fn nothing_secret_is_shown_even_if_the_server_repeats_it() {
    let echo = |request: &crate::support::Seen| {
        let token = request.header("authorization").unwrap_or_default().to_owned();
        let all = format!("{token} {SECRET} 000123456789").replace('"', "");
        let body = format!(
            r#"{{"error_code":"{all}","error_message":"{all}","documentation_url":"{all}","link_error_code":"{all}",
                "validation_errors":[{{"location":["{all}"],"message":"{all}","type":"{all}"}}]}}"#
        );
        Reply::json(422, body).header("X-Request-Id", &all).header("X-Echo", &all)
    };
    let server = Server::start_with_tokens(echo).await;
    let client = server.client();
    let error = client.links().get_link("mk_secret_path").await.unwrap_err();
    assert!(error.error_message().unwrap().contains("token-1"), "the script echoes the token");
    for shown in [format!("{error}"), format!("{error:?}"), format!("{client:?}"), format!("{:?}", server.builder())] {
        for secret in ["token-1", SECRET, CLIENT_ID, "000123456789", "mk_secret_path"] {
            assert!(!shown.contains(secret), "{shown}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_transport_failure_keeps_its_cause_without_the_url() {
    let client = Client::builder().base_url("http://127.0.0.1:1").access_token("mine").max_retries(0).build().unwrap();
    let error = client.links().get_link("mk_secret_path").await.unwrap_err();
    assert!(error.is_connect());
    let mut chain = String::new();
    let mut source = error.source();
    while let Some(cause) = source {
        chain.push_str(&format!("{cause} | {cause:?}\n"));
        source = cause.source();
    }
    assert!(chain.contains("refused"), "{chain}");
    assert!(!chain.contains("mk_secret_path") && !format!("{error:?}").contains("mk_secret_path"));
}

#[test]
fn clients_that_cannot_work_are_not_built() {
    for (builder, problem) in [
        (Client::builder(), "client: the base URL is missing"),
        (Client::builder().base_url("ftp://host"), "client: the base URL must be http or https"),
        (Client::builder().base_url("https://me:pw@host"), "client: the base URL must not carry credentials"),
        (
            Client::builder().base_url("http://host").access_token("a\nb"),
            "client: the access token cannot be sent in a header",
        ),
        (Client::builder().base_url("http://host").version("a\nb"), "client: the version cannot be sent in a header"),
    ] {
        assert!(!format!("{builder:?}").contains("pw"));
        assert_eq!(builder.build().unwrap_err().to_string(), problem);
    }
}
