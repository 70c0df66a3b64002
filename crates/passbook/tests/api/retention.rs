//! Retention deletes what is over, and nothing after time has jumped.

use jiff::SignedDuration;
use passbook::workers::maintenance::{Round, round};
use tokio_util::sync::CancellationToken;

use crate::support::TestServer;

const ROUND: SignedDuration = SignedDuration::from_mins(10);
const DAY: i64 = 24 * 3_600;

/// A round after real time went on by `passed` seconds, of which the process observed `observed`.
async fn after(server: &TestServer, passed: i64, observed: SignedDuration) -> Round {
    server.advance(passed);
    round(&server.services, observed, &CancellationToken::new()).await.expect("the store answers")
}

fn tokens(server: &TestServer) -> i64 {
    server.sql("SELECT COUNT(*) FROM access_tokens", &[]).number()
}

#[tokio::test]
async fn nothing_is_deleted_after_a_jump_until_a_day_was_observed() {
    let server = TestServer::start().await;
    server.token(&server.a).await;
    let kept = tokens(&server);
    assert!(kept > 0);
    assert_eq!(after(&server, 0, ROUND).await, Round::Held, "nobody has watched yet");
    assert_eq!(after(&server, DAY, SignedDuration::from_hours(24)).await, Round::CleanedUp);

    assert_eq!(after(&server, 3_650 * DAY, ROUND).await, Round::Held, "ten years in ten minutes");
    for _ in 0..24 * 6 - 1 {
        assert_eq!(after(&server, 600, ROUND).await, Round::Held);
    }
    assert_eq!(tokens(&server), kept);
    assert_eq!(after(&server, 600, ROUND).await, Round::CleanedUp);
    assert_eq!(tokens(&server), 0, "retention has long ended");
}
