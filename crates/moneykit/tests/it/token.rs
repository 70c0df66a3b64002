//! Getting, keeping, renewing and sharing the access token.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use moneykit::{Client, api::LinksApi, models::LinkId};
use tokio::{task::JoinSet, time::advance};

use crate::support::{CLIENT_ID, Reply, SECRET, Server, connected_link, token_reply};

fn expired() -> Reply {
    Reply::error(401, "api_error.auth.expired_access_token", "Access token expired")
}

#[tokio::test(start_paused = true)]
async fn the_token_is_fetched_once_and_sent_with_every_call() {
    let server = Server::start_with_tokens(|_| Reply::json(200, connected_link())).await;
    let links = LinksApi::new(&server.client());
    for _ in 0..3 {
        links.get_link("mk_1").await.unwrap();
    }
    let tokens = server.token_calls();
    assert_eq!(tokens.len(), 1);
    assert_eq!(tokens[0].method, "POST");
    assert_eq!(tokens[0].header("content-type"), Some("application/x-www-form-urlencoded"));
    let form = format!("grant_type=client_credentials&scope=&client_id={CLIENT_ID}&client_secret={SECRET}");
    assert_eq!(tokens[0].body, form);
    assert_eq!(tokens[0].header("authorization"), None);
    for call in server.calls() {
        assert_eq!(call.header("authorization"), Some("Bearer token-1"));
        assert_eq!(call.header("moneykit-version"), Some("2023-02-18"));
    }
}

#[tokio::test(start_paused = true)]
async fn the_token_is_renewed_before_it_expires() {
    let server = Server::start_with_tokens(|_| Reply::json(200, connected_link())).await;
    let client = server.client();
    client.links().get_link("mk_1").await.unwrap();
    advance(Duration::from_secs(3600 - 61)).await;
    client.links().get_link("mk_1").await.unwrap();
    assert_eq!(server.token_calls().len(), 1);
    advance(Duration::from_secs(2)).await;
    client.links().get_link("mk_1").await.unwrap();
    assert_eq!(server.token_calls().len(), 2);
    assert_eq!(server.calls()[2].header("authorization"), Some("Bearer token-2"));
}

#[tokio::test(start_paused = true)]
async fn a_token_ages_from_before_it_was_asked_for() {
    let server = Server::start(|request| match request.target.as_str() {
        "/auth/token" => token_reply(1, 100).after(Duration::from_secs(20)),
        _ => Reply::json(200, connected_link()),
    })
    .await;
    let client = server.client();
    client.links().get_link("mk_1").await.unwrap();
    // A tenth of 100 seconds is the margin, and 20 seconds went by before the answer came.
    advance(Duration::from_secs(71)).await;
    client.links().get_link("mk_1").await.unwrap();
    assert_eq!(server.token_calls().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn concurrent_calls_share_one_renewal() {
    let server = Server::start_with_tokens(|_| Reply::json(200, connected_link())).await;
    let client = server.client();
    for round in 1..=2 {
        let mut calls = JoinSet::new();
        for _ in 0..32 {
            let links = client.links();
            calls.spawn(async move { links.get_link("mk_1").await.map(|link| link.link_id) });
        }
        assert_eq!(calls.join_all().await.into_iter().filter(Result::is_ok).count(), 32);
        assert_eq!(server.token_calls().len(), round);
        advance(Duration::from_secs(3600)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn concurrent_calls_share_a_refused_secret() {
    let server = Server::start(|_| Reply::error(401, "api_error.auth.unauthorized", "no")).await;
    let client = server.client();
    let mut calls = JoinSet::new();
    for _ in 0..32 {
        let links = client.links();
        calls.spawn(async move { links.get_link("mk_1").await.unwrap_err().error_code().map(str::to_owned) });
    }
    for code in calls.join_all().await {
        assert_eq!(code.as_deref(), Some("api_error.auth.unauthorized"));
    }
    assert_eq!((server.token_calls().len(), server.calls().len()), (1, 0));
    // A later call asks again: the failure was shared, not remembered.
    client.links().get_link("mk_1").await.unwrap_err();
    assert_eq!(server.token_calls().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn tokens_that_expire_under_way_are_renewed_once_for_all() {
    let valid = Arc::new(AtomicU64::new(1));
    let accepted = Arc::clone(&valid);
    let server = Server::start_with_tokens(move |request| {
        let wanted = format!("Bearer token-{}", accepted.load(Ordering::Relaxed));
        if request.header("authorization") == Some(&wanted) { Reply::json(200, connected_link()) } else { expired() }
    })
    .await;
    let client = server.client();
    client.links().get_link("mk_1").await.unwrap();
    valid.store(2, Ordering::Relaxed);
    let mut calls = JoinSet::new();
    for _ in 0..32 {
        let links = client.links();
        calls.spawn(async move { links.get_link("mk_1").await.map(|link| link.link_id) });
    }
    for result in calls.join_all().await {
        assert_eq!(result.unwrap(), LinkId::from("mk_1"));
    }
    assert_eq!(server.token_calls().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_post_is_repeated_after_an_expired_token_because_it_had_no_effect() {
    let server = Server::start_with_tokens(|request| match request.header("authorization") {
        Some("Bearer token-1") => expired(),
        _ => Reply::json(201, r#"{"link_session_token":"session"}"#),
    })
    .await;
    let request = moneykit::models::CreateLinkSessionRequest::new("user-1", "https://app.example");
    server.client().link_session().create_link_session(&request).await.unwrap();
    assert_eq!(server.calls().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_token_that_is_always_expired_is_renewed_only_once() {
    let server = Server::start_with_tokens(|_| expired()).await;
    let error = server.client().links().get_link("mk_1").await.unwrap_err();
    assert_eq!(error.error_code(), Some("api_error.auth.expired_access_token"));
    assert_eq!((server.token_calls().len(), server.calls().len()), (2, 2));
}

#[tokio::test(start_paused = true)]
async fn other_refusals_do_not_renew_the_token() {
    let server = Server::start_with_tokens(|_| Reply::error(401, "api_error.auth.unauthorized", "no")).await;
    server.client().links().get_link("mk_1").await.unwrap_err();
    assert_eq!((server.token_calls().len(), server.calls().len()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_fixed_token_is_sent_and_never_renewed() {
    let server = Server::start(|_| expired()).await;
    let client = Client::builder().base_url(&server.url).access_token("mine").build().unwrap();
    let error = client.links().get_link("mk_1").await.unwrap_err();
    assert_eq!(error.error_code(), Some("api_error.auth.expired_access_token"));
    assert_eq!(server.calls().len(), 1);
    assert_eq!(server.calls()[0].header("authorization"), Some("Bearer mine"));
    assert_eq!(server.token_calls().len(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_gives_up_leaves_the_renewal_to_the_next() {
    let server = Server::start(|request| match request.target.as_str() {
        "/auth/token" => token_reply(1, 3600).after(Duration::from_secs(5)),
        _ => Reply::json(200, connected_link()),
    })
    .await;
    let client = server.client();
    let hasty = tokio::time::timeout(Duration::from_secs(1), client.links().get_link("mk_1")).await;
    assert!(hasty.is_err());
    client.links().get_link("mk_1").await.unwrap();
    assert_eq!(server.token_calls().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn without_credentials_only_public_calls_work() {
    let server = Server::start(|_| Reply::json(200, r#"{"keys":[]}"#)).await;
    let client = Client::builder().base_url(&server.url).build().unwrap();
    assert!(client.links().get_link("mk_1").await.unwrap_err().to_string().contains("no credentials"));
    assert!(client.access_token().create_access_token().await.unwrap_err().status().is_none());
    client.access_token().get_well_known_jwks().await.unwrap();
    assert_eq!(server.calls()[0].header("x-client-id"), None);
}

#[tokio::test(start_paused = true)]
async fn the_key_set_is_asked_for_with_the_client_id_and_no_token() {
    let server = Server::start(|_| Reply::json(200, r#"{"keys":[{"kty":"EC","kid":"k1","use":"sig"}]}"#)).await;
    let set = server.client().access_token().get_well_known_jwks().await.unwrap();
    assert_eq!(set.keys[0].kid.as_deref(), Some("k1"));
    let calls = server.calls();
    assert_eq!(calls[0].target, "/.well-known/jwks.json");
    assert_eq!((calls[0].header("x-client-id"), calls[0].header("authorization")), (Some(CLIENT_ID), None));
}

#[tokio::test(start_paused = true)]
async fn an_explicit_token_leaves_the_clients_own_alone() {
    let server = Server::start_with_tokens(|_| Reply::json(200, connected_link())).await;
    let client = server.client();
    client.links().get_link("mk_1").await.unwrap();
    let token = client.access_token().create_access_token().await.unwrap();
    assert_eq!((token.access_token.as_str(), token.expires_in), ("token-2", 3600));
    client.links().get_link("mk_1").await.unwrap();
    assert_eq!(server.calls()[1].header("authorization"), Some("Bearer token-1"));
}
