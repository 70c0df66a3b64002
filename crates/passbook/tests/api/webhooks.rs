//! Events reach the webhook of their link: signed, in order, again when they must.

use aws_lc_rs::hmac;
use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use jsonwebtoken::{Algorithm, DecodingKey, Validation, jwk::Jwk};
use passbook::{
    services::Webhooks,
    system::{hex, sha256},
};
use serde_json::{Value, json};

use crate::support::{Attempt, Client, Receiver, TestServer, webhooks_of_this_machine};

/// Lowest pauses before attempts 2 to 10, and how wide they spread, in seconds.
const PAUSES: [i64; 9] = [5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400];

/// A link whose events go to `receiver`, once all that linking announced has arrived.
async fn linked(server: &TestServer, receiver: &Receiver) -> String {
    let fields = json!({"webhook": receiver.url, "link_tags": ["one"], "settings": {"products": {"identity": {}}}});
    let id = server.link_with(&server.a, fields).await;
    settle(server, &server.a).await;
    id
}

/// Waits until nothing of the app waits for an attempt that is due, and gives its events.
async fn settle(server: &TestServer, client: &Client) -> Vec<Value> {
    for _ in 0..3_000 {
        let undispatched = server.services.store.list_undispatched(1).await.unwrap();
        let page = server.get(client, "/passbook/events?limit=1000").await.ok(200);
        let now = server.services.now(&client.tenant).await.unwrap();
        let is_due = |delivery: &Value| {
            let next = delivery["next_attempt_at"].as_str();
            next.is_some_and(|at| at.parse::<jiff::Timestamp>().unwrap() <= now)
        };
        let events = page["events"].as_array().unwrap().clone();
        let due = events.iter().flat_map(|event| event["deliveries"].as_array().unwrap()).any(is_due);
        if undispatched.is_empty() && !due {
            return events;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    panic!("deliveries do not come to rest");
}

async fn test_event(server: &TestServer, link: &str, key: &str) -> String {
    let body = json!({"webhook_event": "link.state_changed", "webhook_idempotency_key": key});
    let answer = server.post(&server.a, &format!("/webhooks/test/link/{link}"), &body).await.ok(200);
    answer["delivery_token"].as_str().unwrap().to_owned()
}

/// The claims of a signature that one of the published keys made.
async fn verified(server: &TestServer, signature: &str) -> Option<Value> {
    let keys = server.call(&server.a, "GET", "/.well-known/jwks.json").send().await.ok(200);
    let header = jsonwebtoken::decode_header(signature).ok()?;
    assert_eq!((header.alg, header.typ.as_deref()), (Algorithm::ES256, Some("JWT")));
    let key = keys["keys"].as_array().unwrap().iter().find(|key| key["kid"] == *header.kid.as_ref().unwrap())?;
    let jwk: Jwk = serde_json::from_value(key.clone()).unwrap();
    let mut validation = Validation::new(Algorithm::ES256);
    validation.required_spec_claims.clear();
    validation.validate_exp = false;
    jsonwebtoken::decode::<Value>(signature, &DecodingKey::from_jwk(&jwk).unwrap(), &validation)
        .ok()
        .map(|data| data.claims)
}

fn events_of(attempts: &[Attempt]) -> Vec<Value> {
    attempts.iter().map(Attempt::json).collect()
}

#[tokio::test]
async fn every_event_of_a_link_arrives_signed_and_in_order() {
    let (server, receiver) = (TestServer::start().await, Receiver::start().await);
    let id = linked(&server, &receiver).await;
    server.post(&server.a, &format!("/links/{id}/products"), &json!({"products": ["identity"]})).await.ok(202);
    server.drain(&server.a).await;
    server.post(&server.a, &format!("/links/{id}/reset"), &json!({})).await.ok(200);
    assert_eq!(server.delete(&server.a, &format!("/links/{id}")).await.status, 204);
    let ledger = settle(&server, &server.a).await;
    let attempts = receiver.attempts();
    let bodies = events_of(&attempts);
    assert_eq!(bodies[0]["webhook_event"], "link.state_changed");
    assert_eq!((&bodies[0]["state"], &bodies[0]["error"]), (&json!("connected"), &Value::Null));
    assert_eq!(bodies.last().unwrap()["state"], "deleted", "the webhook of a deleted link hears of it, last of all");
    let payloads: Vec<_> = ledger.iter().map(|event| event["payload"].clone()).collect();
    assert_eq!(bodies, payloads, "the ledger and the receiver tell the same story");
    let sequences: Vec<_> = ledger.iter().map(|event| event["sequence"].as_u64().unwrap()).collect();
    assert_eq!(sequences, (1..=ledger.len() as u64).collect::<Vec<_>>());
    let states: Vec<_> = bodies
        .iter()
        .filter(|body| body["product"] == "identity")
        .map(|body| body["state"].as_str().unwrap())
        .collect();
    assert_eq!(states, ["pending", "in_progress", "completed"]);
    for attempt in &attempts {
        let claims = verified(&server, attempt.header("moneykit-signature")).await.expect("a good signature");
        assert_eq!(claims["request_body_sha256"], hex(&sha256(&attempt.body)));
        assert_eq!((&claims["iss"], claims.as_object().unwrap().len()), (&json!("http://passbook.test"), 3));
        assert_eq!((attempt.number(), attempt.header("content-type")), (1, "application/json"));
    }
    crate::support::assert_snapshot!("webhook_bodies", first_of_each(bodies));
}

/// The first body of each kind and state.
fn first_of_each(bodies: Vec<Value>) -> Vec<Value> {
    let mut seen = std::collections::HashSet::new();
    bodies
        .into_iter()
        .filter(|body| seen.insert((body["webhook_event"].to_string(), body["state"].to_string())))
        .collect()
}

#[tokio::test]
async fn a_flipped_bit_anywhere_breaks_the_signature() {
    let (server, receiver) = (TestServer::start().await, Receiver::start().await);
    linked(&server, &receiver).await;
    let signature = receiver.attempts()[0].header("moneykit-signature").to_owned();
    let parts: Vec<Vec<u8>> = signature.split('.').map(|part| URL_SAFE_NO_PAD.decode(part).unwrap()).collect();
    for part in [1, 2] {
        for byte in 0..parts[part].len() {
            let mut forged = parts.clone();
            forged[part][byte] ^= 1;
            let forged: Vec<_> = forged.iter().map(|part| URL_SAFE_NO_PAD.encode(part)).collect();
            assert_eq!(verified(&server, &forged.join(".")).await, None, "part {part}, byte {byte}");
        }
    }
}

#[tokio::test]
async fn a_test_call_is_delivered_under_the_token_it_answered() {
    let (server, receiver) = (TestServer::start().await, Receiver::start().await);
    let id = linked(&server, &receiver).await;
    let before = receiver.attempts().len();
    let token = test_event(&server, &id, "my-key").await;
    let attempt = receiver.wait_for(before + 1).await.pop().unwrap();
    assert_eq!(attempt.header("moneykit-delivery-token"), token);
    assert_eq!(attempt.json()["webhook_idempotency_key"], "my-key");
}

#[tokio::test]
async fn a_failing_receiver_is_tried_ten_times_over_three_days_and_the_letter_can_be_replayed() {
    let (server, receiver) = (TestServer::start().await, Receiver::start().await);
    let id = linked(&server, &receiver).await;
    let before = receiver.attempts().len();
    receiver.reply([500, 404, 429, 301, 503, 400, 502, 401, 500, 500]);
    let token = test_event(&server, &id, "ten").await;
    receiver.wait_for(before + 1).await;
    for (index, pause) in PAUSES.into_iter().enumerate() {
        settle(&server, &server.a).await;
        // A fifth less at the most.
        server.advance(pause * 4 / 5 - 1);
        settle(&server, &server.a).await;
        assert_eq!(receiver.attempts().len(), before + index + 1, "attempt {} came too early", index + 2);
        // A fifth more at the most.
        server.advance(pause * 2 / 5 + 2);
        receiver.wait_for(before + index + 2).await;
    }
    let ledger = settle(&server, &server.a).await;
    let attempts = receiver.attempts().split_off(before);
    assert_eq!(attempts.iter().map(Attempt::number).collect::<Vec<_>>(), (1..=10).collect::<Vec<_>>());
    for attempt in &attempts {
        assert_eq!((&attempt.body, attempt.header("moneykit-delivery-token")), (&attempts[0].body, token.as_str()));
    }
    let claims = verified(&server, attempts[9].header("moneykit-signature")).await.expect("signed afresh");
    assert_eq!(claims["iat"], server.services.clocks.real_now().as_second(), "not when the first one was made");
    let delivery = &ledger.last().unwrap()["deliveries"][0];
    assert_eq!((&delivery["state"], &delivery["attempts"]), (&json!("dead"), &json!(10)));
    assert_eq!((&delivery["last_status"], &delivery["last_error"]), (&json!(500), &json!("refused")));
    let dead = server.get(&server.a, "/passbook/events?delivery_state=dead").await.ok(200);
    assert_eq!(dead["events"].as_array().unwrap().len(), 1);

    let replay = json!({"event_ids": [dead["events"][0]["event_id"]]});
    let answer = server.post(&server.a, "/passbook/events/replay", &replay).await.ok(202);
    assert_eq!(answer, json!({"deliveries": 1}));
    let again = receiver.wait_for(before + 11).await.pop().unwrap();
    assert_eq!((again.number(), &again.body), (11, &attempts[0].body));
    let ledger = settle(&server, &server.a).await;
    assert_eq!(ledger.last().unwrap()["deliveries"][0]["state"], "delivered");
}

#[tokio::test]
async fn a_receiver_may_ask_for_a_longer_pause() {
    let (server, receiver) = (TestServer::start().await, Receiver::start().await);
    let id = linked(&server, &receiver).await;
    let before = receiver.attempts().len();
    receiver.reply_with(503, "9");
    test_event(&server, &id, "slow").await;
    receiver.wait_for(before + 1).await;
    settle(&server, &server.a).await;
    server.advance(8);
    settle(&server, &server.a).await;
    assert_eq!(receiver.attempts().len(), before + 1);
    server.advance(1);
    receiver.wait_for(before + 2).await;
}

#[tokio::test]
async fn a_receiver_that_is_gone_hears_nothing_until_its_webhook_is_set_again() {
    let (server, receiver) = (TestServer::start().await, Receiver::start().await);
    let id = linked(&server, &receiver).await;
    let before = receiver.attempts().len();
    receiver.reply([410]);
    test_event(&server, &id, "one").await;
    receiver.wait_for(before + 1).await;
    settle(&server, &server.a).await;
    test_event(&server, &id, "two").await;
    let ledger = settle(&server, &server.a).await;
    let states: Vec<_> = ledger.iter().rev().take(2).map(|event| event["deliveries"][0]["state"].clone()).collect();
    assert_eq!((states, receiver.attempts().len()), (vec![json!("dead"), json!("dead")], before + 1));
    let link = server.get(&server.a, &format!("/links/{id}")).await.ok(200);
    assert_eq!(link["webhook"], receiver.url, "the link itself does not change");
    let metrics = server.anonymous("GET", "/metrics").send().await.text();
    assert!(metrics.contains("passbook_webhooks_switched_off_total 1"));

    let same = json!({"webhook": receiver.url});
    server.call(&server.a, "PATCH", &format!("/links/{id}")).json(&same).send().await.ok(200);
    test_event(&server, &id, "three").await;
    let last = receiver.wait_for(before + 2).await.pop().unwrap();
    assert_eq!(last.json()["webhook_idempotency_key"], "three");
    let dead = json!({"delivery_state": "dead"});
    let answer = server.post(&server.a, "/passbook/events/replay", &dead).await.ok(202);
    assert_eq!(answer, json!({"deliveries": 2}));
    let replayed = events_of(&receiver.wait_for(before + 4).await[before + 2..]);
    let keys: Vec<_> = replayed.iter().map(|body| body["webhook_idempotency_key"].as_str().unwrap()).collect();
    assert_eq!(keys, ["one", "two"], "in their order");
}

#[tokio::test]
async fn moving_the_clock_switches_no_webhook_off_by_itself() {
    let (server, receiver) = (TestServer::start().await, Receiver::start().await);
    let id = linked(&server, &receiver).await;
    let before = receiver.attempts().len();
    receiver.reply(std::iter::repeat_n(500, 9));
    test_event(&server, &id, "early").await;
    receiver.wait_for(before + 1).await;
    for attempts in 2..=9 {
        settle(&server, &server.a).await;
        server.advance(6 * 86_400);
        receiver.wait_for(before + attempts).await;
    }
    settle(&server, &server.a).await;
    let metrics = server.anonymous("GET", "/metrics").send().await.text();
    assert!(metrics.contains("passbook_webhooks_switched_off_total 0"), "48 days and nine attempts are no reason");
    test_event(&server, &id, "late").await;
    let last = receiver.wait_for(before + 10).await.pop().unwrap();
    assert_eq!(last.json()["webhook_idempotency_key"], "late");
}

#[tokio::test]
async fn five_days_and_ten_attempts_without_a_success_switch_a_webhook_off() {
    let (server, receiver) = (TestServer::start().await, Receiver::start().await);
    let id = linked(&server, &receiver).await;
    let before = receiver.attempts().len();
    receiver.reply(std::iter::repeat_n(500, 40));
    test_event(&server, &id, "early").await;
    receiver.wait_for(before + 1).await;
    for (index, pause) in PAUSES.into_iter().enumerate() {
        settle(&server, &server.a).await;
        server.advance(pause * 6 / 5 + 1);
        receiver.wait_for(before + index + 2).await;
    }
    settle(&server, &server.a).await;
    server.advance(5 * 86_400);
    test_event(&server, &id, "late").await;
    receiver.wait_for(before + 11).await;
    settle(&server, &server.a).await;
    test_event(&server, &id, "last").await;
    let ledger = settle(&server, &server.a).await;
    assert!(ledger.iter().rev().take(3).all(|event| event["deliveries"][0]["state"] == "dead"));
    assert_eq!(receiver.attempts().len(), before + 11, "the eleventh attempt is the last one");
}

#[tokio::test]
async fn redirects_are_not_followed() {
    let (server, receiver, trap) = (TestServer::start().await, Receiver::start().await, Receiver::start().await);
    let id = linked(&server, &receiver).await;
    let before = receiver.attempts().len();
    for status in [301, 302, 303, 307, 308] {
        receiver.reply_with(status, &trap.url);
        test_event(&server, &id, &status.to_string()).await;
    }
    receiver.wait_for(before + 5).await;
    settle(&server, &server.a).await;
    assert_eq!(trap.attempts().len(), 0);
}

#[tokio::test]
async fn what_was_committed_is_delivered_after_a_restart() {
    let (server, receiver) = (TestServer::start().await, Receiver::start().await);
    let id = linked(&server, &receiver).await;
    let before = receiver.attempts().len();
    server.stop.cancel();
    for number in 0..20 {
        test_event(&server, &id, &number.to_string()).await;
    }
    let server = server.restart().await;
    receiver.wait_for(before + 20).await;
    settle(&server, &server.a).await;
    let mut keys = Vec::new();
    for body in events_of(&receiver.attempts().split_off(before)) {
        let key: u32 = body["webhook_idempotency_key"].as_str().unwrap().parse().unwrap();
        // One that was in flight at the stop comes twice.
        if keys.last() != Some(&key) {
            keys.push(key);
        }
    }
    assert_eq!(keys, (0..20).collect::<Vec<_>>());
}

#[tokio::test]
async fn links_without_a_webhook_have_events_that_can_be_sent_later() {
    let (server, receiver) = (TestServer::start().await, Receiver::start().await);
    let id = server.link(&server.a).await;
    let ledger = settle(&server, &server.a).await;
    assert!(ledger.iter().all(|event| event["deliveries"] == json!([])));
    let all = json!({"link_id": id});
    assert_eq!(server.post(&server.a, "/passbook/events/replay", &all).await.ok(202), json!({"deliveries": 0}));
    let hook = json!({"webhook": receiver.url});
    server.call(&server.a, "PATCH", &format!("/links/{id}")).json(&hook).send().await.ok(200);
    let answer = server.post(&server.a, "/passbook/events/replay", &all).await.ok(202);
    assert_eq!(answer["deliveries"], ledger.len());
    let payloads: Vec<_> = ledger.iter().map(|event| event["payload"].clone()).collect();
    assert_eq!(events_of(&receiver.wait_for(ledger.len()).await), payloads);
}

#[tokio::test]
async fn a_dead_receiver_holds_up_nobody_else() {
    let server = TestServer::start().await;
    // Takes connections and never answers.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let dead = format!("http://{}/", silent.local_addr().unwrap());
    let receiver = Receiver::start().await;
    let healthy = linked(&server, &receiver).await;
    let before = receiver.attempts().len();
    let mut links = Vec::new();
    for _ in 0..20 {
        links.push(server.link_with(&server.a, json!({"webhook": dead, "settings": {"products": {}}})).await);
    }
    for link in &links {
        test_event(&server, link, "unheard").await;
    }
    let began = std::time::Instant::now();
    test_event(&server, &healthy, "heard").await;
    receiver.wait_for(before + 1).await;
    assert!(began.elapsed() < std::time::Duration::from_secs(2), "{:?}", began.elapsed());
}

#[tokio::test]
async fn only_the_end_of_a_refresh_is_sent_when_the_operator_says_so() {
    let webhooks = Webhooks { final_states_only: true, ..webhooks_of_this_machine() };
    let (server, receiver) = (TestServer::start_with_webhooks(webhooks).await, Receiver::start().await);
    let id = linked(&server, &receiver).await;
    server.post(&server.a, &format!("/links/{id}/products"), &json!({"products": ["identity"]})).await.ok(202);
    server.drain(&server.a).await;
    let ledger = settle(&server, &server.a).await;
    let states = |bodies: &[Value]| -> Vec<String> {
        let of_identity = bodies.iter().filter(|body| body["product"] == "identity");
        of_identity.map(|body| body["state"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(states(&events_of(&receiver.attempts())), ["completed"]);
    let payloads: Vec<_> = ledger.iter().map(|event| event["payload"].clone()).collect();
    assert_eq!(states(&payloads), ["pending", "in_progress", "completed"], "the ledger has them all");
}

#[tokio::test]
async fn the_headers_of_standard_webhooks_are_sent_when_the_operator_says_so() {
    let webhooks = Webhooks { standard_headers: true, ..webhooks_of_this_machine() };
    let (server, receiver) = (TestServer::start_with_webhooks(webhooks).await, Receiver::start().await);
    linked(&server, &receiver).await;
    let secret = server.services.keys.webhook_secret(&server.a.tenant);
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.expose());
    assert!(!receiver.attempts().is_empty());
    for attempt in receiver.attempts() {
        let (id, time) = (attempt.header("webhook-id"), attempt.header("webhook-timestamp"));
        assert_eq!(id, attempt.header("moneykit-delivery-token"));
        let signed = [format!("{id}.{time}.").as_bytes(), attempt.body.as_slice()].concat();
        let tag = attempt.header("webhook-signature").strip_prefix("v1,").expect("version 1");
        hmac::verify(&key, &signed, &STANDARD.decode(tag).unwrap()).expect("the right signature");
    }
    let (server, receiver) = (TestServer::start().await, Receiver::start().await);
    linked(&server, &receiver).await;
    assert!(receiver.attempts().iter().all(|attempt| attempt.headers.get("webhook-signature").is_none()));
}
