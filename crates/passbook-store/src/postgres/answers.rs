//! The `kept_answers` table: what was answered to requests that carried an idempotency key.

use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;

use super::{
    failure::WriteError,
    values::{Value, values},
    work::{Step, Work},
    writers::Unit,
};
use crate::{
    port::{AnswerKey, Guard, Reservation},
    sealing::Keys,
    stored::{
        columns::Columns,
        prepare::PreparedAnswer,
        rows,
        values::{fresh_fence, micros},
    },
};

// A row whose life is over counts as absent, a reservation that ran out as free.
const RESERVE_ANSWER: &str = "INSERT INTO kept_answers \
    (app_id, environment, key_hash, request_hash, fence, expires_at) \
    VALUES ($1, $2, $3, $4, $7, $6) ON CONFLICT (app_id, environment, key_hash) DO UPDATE SET \
    request_hash = excluded.request_hash, fence = excluded.fence, \
    expires_at = excluded.expires_at, status = NULL, body = NULL, link_id = NULL \
    WHERE kept_answers.expires_at <= $5 RETURNING fence";
const LOOKUP_ANSWER: &str = "SELECT request_hash, status, body FROM kept_answers \
    WHERE app_id = $1 AND environment = $2 AND key_hash = $3";
const KEEP_ANSWER: &str = "UPDATE kept_answers SET status = $5, body = $6, link_id = $7, expires_at = $8 \
    WHERE app_id = $1 AND environment = $2 AND key_hash = $3 AND fence = $4 AND status IS NULL";
pub(super) const RELEASE_ANSWER: &str = "DELETE FROM kept_answers \
    WHERE app_id = $1 AND environment = $2 AND key_hash = $3 AND fence = $4 AND status IS NULL";

/// Reserves a key, or says what became of it. One conditional write decides; what is read afterwards only explains.
pub(super) struct Reserve {
    pub keys: Arc<Keys>,
    pub key: AnswerKey,
    pub request_hash: [u8; 32],
    pub now: Timestamp,
    pub until: Timestamp,
}

#[async_trait]
impl Unit for Reserve {
    type Answer = Reservation;

    async fn run(&self, work: &mut Work<'_>) -> Result<Reservation, WriteError> {
        let mut values = owner(&self.key);
        values.extend(values![&self.request_hash[..], micros(self.now), micros(self.until), fresh_fence()]);
        let reserved = work.change(Step::new(RESERVE_ANSWER, values)).await?;
        if let Some(row) = reserved.first() {
            let columns = Columns { row, table: "kept_answers", key: &self.key.hash };
            return Ok(Reservation::Reserved { fence: columns.integer(0, "fence")? });
        }
        // The statement above waited for whoever was at this row, so what is there now stood in the way.
        match work.lock(LOOKUP_ANSWER, owner(&self.key)).await?.first() {
            Some(row) => Ok(rows::known_answer(row, &self.keys, &self.key, &self.request_hash)?),
            // Given back in between: the next try finds it free.
            None => Err(WriteError::Raced(Guard::Answer)),
        }
    }
}

/// Keeps the answer, if the reservation is still held under the same fence.
pub(super) fn write_answer(answer: &PreparedAnswer) -> Step<'_> {
    let write = &answer.write;
    let mut values = owner(&write.key);
    values.extend(values![
        i64::try_from(write.fence).unwrap_or(-1),
        i64::from(write.status),
        &answer.body,
        write.link_id.as_ref().map(|id| id.as_str()),
        micros(write.expires_at),
    ]);
    Step::new(KEEP_ANSWER, values).rows(1, Guard::Answer)
}

/// The values of [`RELEASE_ANSWER`].
pub(super) fn release(key: &AnswerKey, fence: u64) -> Vec<Value<'_>> {
    let mut values = owner(key);
    values.push(i64::try_from(fence).unwrap_or(-1).into());
    values
}

fn owner(key: &AnswerKey) -> Vec<Value<'_>> {
    values![key.tenant.app_id.as_str(), key.tenant.environment.as_str(), &key.hash]
}
