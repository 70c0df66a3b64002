//! Values as columns hold them, and how a wrong one is reported: whatever is stored, the answer is a value or
//! [`StoreError::Inconsistent`], never a panic.

use jiff::{SignedDuration, Timestamp};
use passbook_core::{
    session::SessionProgress,
    tenant::{Environment, Tenant},
    time::AppClock,
};

use crate::{
    port::{EndedAttempt, JobState, LeaseRef, NextAttempt, StoreError},
    sealing::random_bytes,
};

/// The due time of work that waits for a frozen clock.
pub(crate) const NEVER: i64 = i64::MAX;

/// The column holds a value of another kind than expected. Never says which: it may be anything.
#[derive(Debug, thiserror::Error)]
#[error("unexpected kind or value")]
pub(crate) struct Unexpected;

/// Why JSON was not understood, by place and category only: the library's own text quotes stored values.
#[derive(Debug, thiserror::Error)]
#[error("{category:?} error at line {line} column {column}")]
pub(crate) struct JsonPlace {
    category: serde_json::error::Category,
    line: usize,
    column: usize,
}

impl From<&serde_json::Error> for JsonPlace {
    fn from(error: &serde_json::Error) -> Self {
        Self { category: error.classify(), line: error.line(), column: error.column() }
    }
}

/// A span in microseconds; longer than a column can hold is as long as it can hold.
pub(crate) fn whole_micros(span: SignedDuration) -> i64 {
    i64::try_from(span.as_micros()).unwrap_or(i64::MAX)
}

/// [`StoreError::Inconsistent`] with a JSON error's place.
pub(crate) fn malformed_json(
    table: &'static str,
    column: &'static str,
    row: &str,
    error: &serde_json::Error,
) -> StoreError {
    inconsistent(table, column, row, JsonPlace::from(error))
}

pub(crate) fn inconsistent(
    table: &'static str,
    column: &'static str,
    row: &str,
    source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> StoreError {
    StoreError::Inconsistent { table, column, row: row.to_owned(), source: source.into() }
}

/// Reads a serialised enum word without allocating.
pub(crate) fn word<T: serde::de::DeserializeOwned>(text: &str) -> Option<T> {
    use serde::de::{IntoDeserializer as _, value::Error};
    let deserializer: serde::de::value::StrDeserializer<'_, Error> = text.into_deserializer();
    T::deserialize(deserializer).ok()
}

/// An instant as stored: whole microseconds.
pub(crate) fn micros(instant: Timestamp) -> i64 {
    instant.as_microsecond()
}

/// A due time as stored; the far end of time means never.
pub(crate) fn due_micros(instant: Timestamp) -> i64 {
    if instant.as_microsecond() >= Timestamp::MAX.as_microsecond() { NEVER } else { instant.as_microsecond() }
}

/// A count as stored. None comes near the limit.
pub(crate) fn number(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// When a delivery is due after an attempt, in real time and by the app's clock.
pub(crate) fn due_columns(ended: &EndedAttempt) -> (i64, i64) {
    match ended.next {
        NextAttempt::At { due_at, app_due_at } => (due_micros(due_at), micros(app_due_at)),
        NextAttempt::Delivered | NextAttempt::Dead => (NEVER, micros(ended.app_ended_at)),
    }
}

/// The ordinal that counts the events of a tenant.
pub(crate) fn event_counter(tenant: &Tenant) -> &'static str {
    match tenant.environment {
        Environment::Sandbox => "event:sandbox",
        Environment::Live => "event:live",
    }
}

/// The fence of a lease as stored.
pub(crate) fn fence_number(lease: &LeaseRef) -> i64 {
    // No fence comes near the limit; one beyond it matches no row.
    i64::try_from(lease.fence).unwrap_or(-1)
}

/// The fence of a new reservation, as stored: random, because the row that could count them comes and goes. Positive.
pub(crate) fn fresh_fence() -> i64 {
    i64::from_be_bytes(random_bytes()) & i64::MAX
}

pub(crate) fn job_state_word(state: JobState) -> &'static str {
    match state {
        JobState::Open => "open",
        JobState::Done => "done",
        JobState::Failed => "failed",
    }
}

/// Columns `progress` and `exchange_expires_at` of a session.
pub(crate) fn progress_columns(progress: &SessionProgress) -> (&'static str, Option<i64>) {
    match progress {
        SessionProgress::Open => ("open", None),
        SessionProgress::Succeeded { exchange_expires_at, .. } => ("succeeded", Some(micros(*exchange_expires_at))),
        SessionProgress::Exchanged => ("exchanged", None),
    }
}

/// Equal clocks have equal texts, so a text comparison is the guard.
pub(crate) fn clock_text(clock: &AppClock) -> String {
    serde_json::to_string(clock).expect("a clock is plain data")
}
