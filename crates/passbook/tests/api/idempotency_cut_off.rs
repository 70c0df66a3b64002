//! `Idempotency-Key` when something is cut off: the answer, the request half way, the process, the reservation.

use std::{
    future::Future as _,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Wake, Waker},
    time::Instant,
};

use serde_json::json;

use super::idempotency::{Case, KEY, assert_replayed, every_operation, happened};
use crate::support::{Call, Cell, REDIRECT, TestServer, USER, bank, until};

/// Longest wait for something that must happen.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(30);

/// Remembers that the request may go on.
#[derive(Default)]
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// How often a call is tried anew that was answered before it could be cut off.
const ATTEMPTS_MAX: usize = 50;

/// Sends the call and drops it as soon as `happened`: a commit is visible before the request that waits for it is
/// woken, so it is dropped with its commit done and its answer not made. `false` when it was answered all the same: the
/// commit ended before the request began to wait for it.
async fn cut_off(call: Call, happened: impl Fn() -> bool) -> bool {
    let woken = Arc::new(Woken::default());
    let waker = Waker::from(Arc::clone(&woken));
    let mut request = Box::pin(call.send());
    let began = Instant::now();
    loop {
        if request.as_mut().poll(&mut Context::from_waker(&waker)).is_ready() {
            return false;
        }
        while !woken.0.swap(false, Ordering::SeqCst) {
            assert!(began.elapsed() < PATIENCE, "the request stands still");
            tokio::task::yield_now().await;
        }
        if happened() {
            return true;
        }
    }
}

fn kept(server: &TestServer) -> i64 {
    let count = "SELECT count(*) FROM kept_answers WHERE status IS NOT NULL";
    server.sql(count, &[]).number()
}

async fn links(server: &TestServer) -> usize {
    server.get(&server.a, "/links").await.ok(200)["links"].as_array().expect("a list").len()
}

/// A call of the operation at this place, cut off when `is_time`, which is told how many answers were kept before; and
/// how often its effect had happened before.
async fn cut_operation_off(server: &TestServer, place: usize, is_time: impl Fn(i64) -> bool) -> (Call, Case, i64) {
    for attempt in 0..ATTEMPTS_MAX {
        let case = every_operation(server).await.swap_remove(place);
        let call = case.call.clone().header(KEY, &format!("key {place} {attempt}"));
        let (before, answers) = (happened(server, case.action), kept(server));
        if cut_off(call.clone(), || is_time(answers)).await {
            return (call, case, before);
        }
    }
    panic!("operation {place} was always answered first");
}

#[tokio::test]
async fn a_call_cut_off_between_commit_and_answer_is_answered_by_the_next_one() {
    let server = TestServer::start().await;
    for n in 0..every_operation(&server).await.len() {
        let (call, Case { action, status, .. }, before) =
            cut_operation_off(&server, n, |answers| kept(&server) > answers).await;
        assert_eq!(happened(&server, action), before + 1, "case {n}");
        let retried = call.clone().send().await;
        assert_eq!(retried.status, status, "case {n}: {}", retried.text());
        assert_replayed(&call.send().await, &retried);
        assert_eq!(happened(&server, action), before + 1, "case {n}");
    }
}

#[tokio::test]
async fn a_call_cut_off_before_its_commit_leaves_its_key_free() {
    let server = TestServer::start().await;
    let reserved = || {
        let count = "SELECT count(*) FROM kept_answers WHERE status IS NULL";
        server.sql(count, &[]).number()
    };
    for n in 0..every_operation(&server).await.len() {
        let (call, Case { action, status, .. }, before) = cut_operation_off(&server, n, |_| reserved() > 0).await;
        let answer = call.send().await;
        assert_eq!((answer.status, answer.header("idempotency-replayed")), (status, None), "case {n}");
        assert_eq!(happened(&server, action), before + 1, "case {n}");
    }
}

#[tokio::test]
async fn a_sandbox_link_cut_off_before_its_exchange_leaves_no_second_connected_link() {
    let server = TestServer::start().await;
    let body = json!({"customer_user": {"id": USER}});
    for attempt in 0..ATTEMPTS_MAX {
        let key = format!("k {attempt}");
        let call = server.call(&server.a, "POST", "/sandbox/links").header(KEY, &key).json(&body);
        let (before, completed) = (links(&server).await, happened(&server, "complete_link_session"));
        if cut_off(call.clone(), || happened(&server, "complete_link_session") > completed).await {
            assert_eq!(links(&server).await, before);
            let answer = call.clone().send().await;
            assert_eq!(answer.ok(201)["link"]["state"], "connected");
            assert_replayed(&call.send().await, &answer);
            assert_eq!(links(&server).await, before + 1);
            return;
        }
    }
    panic!("it was always answered first");
}

#[tokio::test]
async fn answers_outlive_a_restart_and_reservations_do_not() {
    let mut server = TestServer::start().await;
    let mut cases = Vec::new();
    for (n, Case { call, .. }) in every_operation(&server).await.into_iter().enumerate() {
        let call = call.header(KEY, &format!("key {n}"));
        cases.push((call.clone(), call.send().await));
    }
    // As kill -9 leaves it: reserved, and nobody at work on it.
    let body = json!({"customer_user": {"id": USER}, "redirect_uri": REDIRECT});
    let cut_off = server.call(&server.a, "POST", "/link-session").header(KEY, "cut off").json(&body);
    cut_off.clone().send().await.ok(201);
    forget_last_answer(&server, 3_600);
    server.drain(&server.a).await;
    let cut_off = cut_off.unsent();
    let cases: Vec<_> = cases.into_iter().map(|(call, answer)| (call.unsent(), answer)).collect();
    server = server.restart().await;
    for (call, first) in cases {
        assert_replayed(&call.through(server.router.clone()).send().await, &first);
    }
    let answer = cut_off.through(server.router.clone()).send().await;
    assert_eq!((answer.status, answer.header("idempotency-replayed")), (201, None), "{}", answer.text());
}

/// Makes a reservation of the newest kept answer, held for so many seconds, as if another process were at work on it.
/// Returns what was taken away: status, body, and the key.
fn forget_last_answer(server: &TestServer, seconds: i64) -> [Cell; 3] {
    let newest = format!(
        "SELECT status, body, key_hash FROM kept_answers WHERE status IS NOT NULL ORDER BY {} DESC LIMIT 1",
        server.written_order()
    );
    let taken: [Cell; 3] = server.sql(&newest, &[]).rows.swap_remove(0).try_into().expect("three columns");
    let until = server.services.store.now().as_microsecond() + seconds * 1_000_000;
    let forget = "UPDATE kept_answers SET status = NULL, body = NULL, expires_at = ?1 WHERE key_hash = ?2";
    assert_eq!(server.sql(forget, &[Cell::Integer(until), taken[2].clone()]).changed, 1);
    taken
}

#[tokio::test]
async fn what_another_process_answers_is_found_and_what_it_never_answers_is_a_503() {
    let server = TestServer::start().await;
    let body = json!({"customer_user": {"id": USER}, "redirect_uri": REDIRECT});
    let call = server.call(&server.a, "POST", "/link-session").header(KEY, "k").json(&body);
    let first = call.clone().send().await;
    let taken = forget_last_answer(&server, 3_600);
    let began = Instant::now();
    let refused = call.clone().send().await;
    refused.expect(503, "api_error.unavailable");
    assert!(refused.header("retry-after").is_some() && began.elapsed().as_secs() < 15);

    let waiting = tokio::spawn(call.send());
    let answer = "UPDATE kept_answers SET status = ?1, body = ?2 WHERE key_hash = ?3";
    assert_eq!(server.sql(answer, &taken).changed, 1);
    assert_replayed(&waiting.await.unwrap(), &first);
    assert_eq!(happened(&server, "create_link_session"), 1);
}

#[tokio::test]
async fn a_request_that_lost_its_key_writes_nothing_and_gives_the_winners_answer() {
    let server = TestServer::start().await;
    let token = server.session_token(&server.a, json!({"institution_id": bank::ID})).await;
    let body = json!({"link_session_token": token});
    let call = server.call(&server.a, "POST", "/sandbox/link-sessions/complete").header(KEY, "k").json(&body);
    server.bank.hold();
    let fetches = server.bank.all_fetches();
    let first = tokio::spawn(call.clone().send());
    until(|| server.bank.all_fetches() == fetches + 1).await;
    server.advance(31);
    let second = tokio::spawn(call.send());
    until(|| server.bank.all_fetches() == fetches + 2).await;
    server.bank.release();
    let (first, second) = (first.await.unwrap(), second.await.unwrap());
    assert_eq!((first.status, first.text()), (201, second.text()), "{}", second.text());
    assert_eq!(first.header("idempotency-replayed"), Some("true"));
    assert_eq!(second.header("idempotency-replayed"), None);
    assert_eq!(happened(&server, "complete_link_session"), 1);
}
