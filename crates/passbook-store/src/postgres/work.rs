//! One transaction, sent in as few round trips as its decisions need.
//!
//! Statements are pipelined: all of a group are sent before the first answer is read. Their outcomes are judged in
//! order, so the first guard that was lost decides, as if they had run one by one. What a later statement of the group
//! did does not matter then: the transaction is rolled back.

use std::{future::poll_fn, pin::pin, task::Poll};

use deadpool_postgres::ClientWrapper;
use futures_util::{TryStreamExt as _, future::BoxFuture};
use tokio_postgres::{Error, Row, error::SqlState};

use super::{
    failure::WriteError,
    values::{Value, values},
};
use crate::port::Guard;

/// Bytes of a commit's mark.
pub(super) const MARK_LENGTH: usize = 16;

const BEGIN: &str = "BEGIN";
const ADD_COMMIT_MARK: &str = "INSERT INTO commit_marks (mark, outcome, at) VALUES ($1, 'committed', $2)";

/// One statement of a transaction and what is expected of it.
pub(super) struct Step<'a> {
    sql: &'static str,
    values: Vec<Value<'a>>,
    rows: Option<(u64, Guard)>,
    unique: Option<Guard>,
    missing: Option<Guard>,
}

impl<'a> Step<'a> {
    /// A statement without expectations.
    pub(super) fn new(sql: &'static str, values: Vec<Value<'a>>) -> Self {
        Self { sql, values, rows: None, unique: None, missing: None }
    }

    /// Exactly so many rows must change, or the guard was lost.
    pub(super) fn rows(self, rows: u64, guard: Guard) -> Self {
        Self { rows: Some((rows, guard)), ..self }
    }

    /// A unique key that exists already means that the guard was lost.
    pub(super) fn unique(self, guard: Guard) -> Self {
        Self { unique: Some(guard), ..self }
    }

    /// A parent row that does not exist means that the guard was lost.
    pub(super) fn parent(self, guard: Guard) -> Self {
        Self { missing: Some(guard), ..self }
    }

    fn judge(&self, outcome: Result<Done, Error>) -> Result<Vec<Row>, WriteError> {
        let done = outcome.map_err(|error| {
            let guard = match error.code() {
                Some(state) if *state == SqlState::UNIQUE_VIOLATION => self.unique,
                Some(state) if *state == SqlState::FOREIGN_KEY_VIOLATION => self.missing,
                _ => None,
            };
            guard.map_or(WriteError::Database(error), WriteError::Conflict)
        })?;
        match self.rows {
            Some((rows, guard)) if done.affected != rows => Err(WriteError::Conflict(guard)),
            _ => Ok(done.rows),
        }
    }
}

/// What a statement gave.
struct Done {
    rows: Vec<Row>,
    affected: u64,
}

/// A transaction on one connection. It begins with its first statement; its owner ends it.
pub(super) struct Work<'c> {
    client: &'c ClientWrapper,
    mark: [u8; MARK_LENGTH],
    now: i64,
    begun: bool,
    marked: bool,
}

impl<'c> Work<'c> {
    /// `mark` is fresh; `now` is the store's time.
    pub(super) fn new(client: &'c ClientWrapper, mark: [u8; MARK_LENGTH], now: i64) -> Self {
        Self { client, mark, now, begun: false, marked: false }
    }

    /// Whether a transaction is open.
    pub(super) fn has_begun(&self) -> bool {
        self.begun
    }

    /// Whether anything was written, which the commit's mark says.
    pub(super) fn has_written(&self) -> bool {
        self.marked
    }

    /// Rows of a statement that locks but changes nothing.
    pub(super) async fn lock(&mut self, sql: &'static str, values: Vec<Value<'_>>) -> Result<Vec<Row>, WriteError> {
        let mut answers = self.exchange(false, &[Step::new(sql, values)]).await?;
        Ok(answers.pop().unwrap_or_default())
    }

    /// Rows of a statement that changes something.
    pub(super) async fn change(&mut self, step: Step<'_>) -> Result<Vec<Row>, WriteError> {
        let mut answers = self.exchange(true, &[step]).await?;
        Ok(answers.pop().unwrap_or_default())
    }

    /// Runs statements that change something, in one round trip.
    pub(super) async fn run(&mut self, steps: &[Step<'_>]) -> Result<(), WriteError> {
        if !steps.is_empty() {
            self.exchange(true, steps).await?;
        }
        Ok(())
    }

    async fn exchange(&mut self, writes: bool, steps: &[Step<'_>]) -> Result<Vec<Vec<Row>>, WriteError> {
        let mark = (writes && !self.marked).then(|| Step::new(ADD_COMMIT_MARK, values![self.mark.to_vec(), self.now]));
        let steps: Vec<&Step<'_>> = mark.iter().chain(steps).collect();
        let mut statements = Vec::with_capacity(steps.len());
        for step in &steps {
            // Once a connection has met a statement, this waits for nothing.
            statements.push(self.client.prepare_cached(step.sql).await?);
        }
        let mut requests: Vec<BoxFuture<'_, Result<Done, Error>>> = Vec::with_capacity(steps.len() + 1);
        let begins = !self.begun;
        if begins {
            requests.push(Box::pin(async {
                self.client.batch_execute(BEGIN).await?;
                Ok(Done { rows: Vec::new(), affected: 0 })
            }));
        }
        for (step, statement) in steps.iter().zip(&statements) {
            requests.push(Box::pin(async {
                let mut stream = pin!(self.client.query_raw(statement, &step.values).await?);
                let mut rows = Vec::new();
                while let Some(row) = stream.try_next().await? {
                    rows.push(row);
                }
                Ok(Done { rows, affected: stream.rows_affected().unwrap_or(0) })
            }));
        }
        let outcomes = pipelined(requests).await;
        self.begun = true;
        self.marked |= mark.is_some();
        let mut outcomes = outcomes.into_iter();
        if begins {
            outcomes.next().transpose()?;
        }
        let mut answers: Vec<_> =
            steps.iter().zip(outcomes).map(|(step, outcome)| step.judge(outcome)).collect::<Result<_, _>>()?;
        if mark.is_some() {
            answers.remove(0);
        }
        Ok(answers)
    }
}

/// Sends all requests, each with its first poll and so in their order, then collects the answers, which come in the
/// same order.
async fn pipelined<T>(mut requests: Vec<BoxFuture<'_, T>>) -> Vec<T> {
    let mut early = Vec::with_capacity(requests.len());
    for request in &mut requests {
        early.push(match poll_fn(|context| Poll::Ready(request.as_mut().poll(context))).await {
            Poll::Ready(answer) => Some(answer),
            Poll::Pending => None,
        });
    }
    let mut answers = Vec::with_capacity(requests.len());
    for (request, early) in requests.into_iter().zip(early) {
        answers.push(match early {
            Some(answer) => answer,
            None => request.await,
        });
    }
    answers
}
