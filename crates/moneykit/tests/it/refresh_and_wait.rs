//! Waiting for a refresh: success, failure, and everything between.

use std::{sync::Mutex, time::Duration};

use moneykit::{
    Error,
    api::WaitOptions,
    models::{LinkCommon, LinkProductError, Product},
};
use tokio::time::Instant;

use crate::support::{Reply, Server, connected_link, link};

const BEFORE: &str = "2024-01-09T10:00:00.000000Z";
const BEFORE_DONE: &str = "2024-01-09T10:00:00.500000Z";
const NOW: &str = "2024-01-09T11:00:00.000000Z";
const NOW_DONE: &str = "2024-01-09T11:00:00.500000Z";

fn idle() -> Reply {
    Reply::json(200, connected_link())
}

fn running() -> Reply {
    Reply::json(200, link("connected", Some(BEFORE_DONE), Some(NOW), None))
}

fn done() -> Reply {
    Reply::json(200, link("connected", Some(NOW_DONE), Some(NOW), None))
}

fn failed(error: &str) -> Reply {
    Reply::json(200, link("connected", Some(BEFORE_DONE), Some(NOW), Some(error)))
}

/// Shows the link as `before`, accepts the refresh, then shows the link as in `later`, whose last entry stays.
async fn server_showing(before: Reply, later: Vec<Reply>) -> Server {
    let mut looks: Vec<_> = [before].into_iter().chain(later).rev().collect();
    let current = Mutex::new(looks.pop().unwrap());
    let looks = Mutex::new(looks);
    Server::start_with_tokens(move |request| {
        if request.method == "POST" {
            return Reply::json(202, connected_link());
        }
        let mut current = current.lock().unwrap();
        let reply = current.clone();
        if let Some(next) = looks.lock().unwrap().pop() {
            *current = next;
        }
        reply
    })
    .await
}

async fn refresh(server: &Server, timeout: u64) -> Result<LinkCommon, Error> {
    let options = WaitOptions { timeout: Duration::from_secs(timeout), poll_interval: Duration::from_secs(5) };
    server.client().products().refresh_and_wait("mk_1", [Product::AccountNumbers], options).await
}

/// When each call came, in seconds since the first, as `GET target` and so on.
fn timeline(server: &Server) -> Vec<(u64, String)> {
    let calls = server.calls();
    let first = calls[0].at;
    calls
        .iter()
        .map(|call| (call.at.duration_since(first).as_secs(), format!("{} {}", call.method, call.target)))
        .collect()
}

#[tokio::test(start_paused = true)]
async fn it_returns_when_refreshed_at_rises_and_never_reads_numbers() {
    let server = server_showing(idle(), vec![idle(), running(), running(), done()]).await;
    let link = refresh(&server, 60).await.unwrap();
    assert_eq!(link.products.account_numbers.unwrap().refreshed_at.unwrap().to_string(), "2024-01-09T11:00:00.5Z");
    let look = |at| (at, "GET /links/mk_1".to_owned());
    let asked = (0, "POST /links/mk_1/products".to_owned());
    assert_eq!(timeline(&server), [look(0), asked, look(1), look(3), look(7), look(12)]);
    assert_eq!(server.calls()[1].body, r#"{"products":["account_numbers"]}"#);
}

#[tokio::test(start_paused = true)]
async fn the_first_refresh_of_all_counts_as_a_rise() {
    let never = Reply::json(200, link("connected", None, None, None));
    let server = server_showing(never.clone(), vec![never, done()]).await;
    refresh(&server, 60).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_failed_attempt_names_the_product_and_the_reason() {
    let server = server_showing(idle(), vec![running(), failed("institution_error")]).await;
    let error = refresh(&server, 60).await.unwrap_err();
    assert_eq!(error.product_error(), Some((&Product::AccountNumbers, &LinkProductError::InstitutionError)));
    assert_eq!(error.to_string(), "refresh_and_wait: the refresh of account_numbers failed: institution_error");
    assert!(error.is_retryable() && !error.is_timeout());
}

#[tokio::test(start_paused = true)]
async fn an_old_error_shown_during_the_attempt_is_not_a_failure() {
    let old = Reply::json(200, link("connected", Some(BEFORE_DONE), Some(BEFORE), Some("timeout")));
    let server = server_showing(old.clone(), vec![old, failed("timeout"), failed("timeout"), done()]).await;
    refresh(&server, 60).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_same_error_again_is_a_failure_in_the_end() {
    let old = || Reply::json(200, link("connected", Some(BEFORE_DONE), Some(BEFORE), Some("timeout")));
    for (timeout, ended_after) in [(120, 32), (20, 17)] {
        let server = server_showing(old(), vec![failed("timeout")]).await;
        let started = Instant::now();
        let error = refresh(&server, timeout).await.unwrap_err();
        assert_eq!(error.product_error(), Some((&Product::AccountNumbers, &LinkProductError::Timeout)));
        assert_eq!(started.elapsed().as_secs(), ended_after);
    }
}

#[tokio::test(start_paused = true)]
async fn a_new_error_under_a_frozen_clock_is_a_failure() {
    let server = server_showing(
        idle(),
        vec![Reply::json(200, link("connected", Some(BEFORE_DONE), Some(BEFORE), Some("no_accounts")))],
    )
    .await;
    let error = refresh(&server, 60).await.unwrap_err();
    assert_eq!(error.product_error().unwrap().1, &LinkProductError::NoAccounts);
    assert!(!error.is_retryable());
}

#[tokio::test(start_paused = true)]
async fn it_gives_up_when_time_is_up() {
    let server = server_showing(idle(), vec![running()]).await;
    let started = Instant::now();
    let error = refresh(&server, 60).await.unwrap_err();
    assert_eq!(started.elapsed().as_secs(), 60);
    assert!(error.is_timeout() && error.is_retryable());
    assert_eq!(error.product_error(), None);
}

#[tokio::test(start_paused = true)]
async fn time_runs_also_while_an_answer_hangs() {
    let server = server_showing(idle(), vec![running().after(Duration::from_secs(3600))]).await;
    let started = Instant::now();
    assert!(refresh(&server, 10).await.unwrap_err().is_timeout());
    assert_eq!(started.elapsed().as_secs(), 10);
}

#[tokio::test(start_paused = true)]
async fn a_link_that_ends_ends_the_wait() {
    for (state, code) in [("error", "auth_expired"), ("deleted", "deleted")] {
        let ended = Reply::json(200, link(state, Some(BEFORE_DONE), Some(BEFORE), None));
        let server = server_showing(idle(), vec![running(), ended]).await;
        let error = refresh(&server, 60).await.unwrap_err();
        assert_eq!(error.link_error_code(), Some(code));
        assert!(!error.is_retryable());
    }
}

#[tokio::test(start_paused = true)]
async fn a_rate_limit_while_looking_is_waited_out() {
    let limited = Reply::error(429, "api_error.rate_limit_exceeded", "slow down").header("Retry-After", "40");
    // The client itself repeats twice, so three answers make one failed look; then the wait asks once more.
    let server = server_showing(idle(), vec![running(), limited.clone(), limited.clone(), limited, done()]).await;
    refresh(&server, 300).await.unwrap();
    let times: Vec<_> = timeline(&server).into_iter().map(|(at, _)| at).collect();
    assert_eq!(times, [0, 0, 1, 3, 43, 83, 123]);
}

#[tokio::test(start_paused = true)]
async fn a_refused_refresh_is_returned_at_once() {
    let server = Server::start_with_tokens(|request| match request.method.as_str() {
        "POST" => Reply::error(429, "api_error.rate_limit_exceeded", "today already").header("Retry-After", "3600"),
        _ => idle(),
    })
    .await;
    let error = refresh(&server, 60).await.unwrap_err();
    assert_eq!(error.retry_after(), Some(Duration::from_secs(3600)));
    assert_eq!(server.calls().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn extreme_options_do_not_panic() {
    let server = server_showing(idle(), vec![done()]).await;
    let options = WaitOptions { timeout: Duration::MAX, poll_interval: Duration::ZERO };
    server.client().products().refresh_and_wait("mk_1", [Product::AccountNumbers], options).await.unwrap();
    let server = server_showing(idle(), vec![running()]).await;
    let options = WaitOptions { timeout: Duration::ZERO, poll_interval: Duration::MAX };
    let result = server.client().products().refresh_and_wait("mk_1", [Product::AccountNumbers], options).await;
    assert!(result.unwrap_err().is_timeout());
}
