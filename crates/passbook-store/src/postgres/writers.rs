//! Units of work: transactions on pooled connections, repeated when the database asks for it, and resolved when nobody
//! knows how they ended.
//!
//! A unit of work runs in a task of its own, so that it comes to its end even if the caller stops waiting.
//!
//! **An unknown outcome.** A connection that dies after COMMIT was sent leaves open whether it took effect, and
//! [`StoreError::Unavailable`] promises that nothing changed. Therefore each unit inserts a random mark first. To learn
//! the outcome, the same mark is inserted again on a new connection, as `fenced`: the row that is there afterwards tells
//! who came first, and rules the other out for ever.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use deadpool_postgres::{ClientWrapper, Object, Pool};
use jiff::SignedDuration;
use passbook_core::{shares::Bounds, tenant::Tenant};
use tokio::{
    sync::{Semaphore, SemaphorePermit, TryAcquireError},
    time::{Instant, sleep, timeout},
};
use tokio_postgres::Error;

use super::{
    connect::{ConnectError, Connector},
    failure::{
        Closed, Crowded, Late, WriteError, is_lost, is_rolled_back, is_serialization_failure, told, unavailable,
    },
    readers::pool_failure,
    values::{Value, values},
    work::{MARK_LENGTH, Work},
};
use crate::{fair::Lane, places::Places, port::StoreError, sealing::random_bytes, time::RemoteClock};

/// Units that may be under way or wait for a connection.
const WRITES_MAX: u32 = 1024;
/// How long a unit waits for a connection.
const PLACE_WAIT: Duration = Duration::from_secs(10);
/// How often a unit is tried when the database gives way to others, and how long the first pause is.
const TRIES_MAX: u32 = 8;
const PAUSE_MS: u64 = 4;
/// How often a unit is tried whose connection broke before anything could have been committed.
const LOST_MAX: u32 = 2;
/// How long a unit may take, its COMMIT not counted.
const WORK_TIMEOUT: Duration = Duration::from_secs(20);
/// How long a COMMIT may take before its outcome counts as unknown.
const COMMIT_TIMEOUT: Duration = Duration::from_secs(15);
/// How long an unknown outcome is inquired into.
const RESOLVE_WITHIN: Duration = Duration::from_secs(10);
const RESOLVE_PAUSE: Duration = Duration::from_millis(100);
/// A mark is of no use once nobody can inquire after it any more.
const MARK_KEPT: SignedDuration = SignedDuration::from_hours(1);

const ROLLBACK: &str = "ROLLBACK";
const COMMIT: &str = "COMMIT";
const ADD_FENCE_MARK: &str =
    "INSERT INTO commit_marks (mark, outcome, at) VALUES ($1, 'fenced', $2) ON CONFLICT (mark) DO NOTHING";
const LOOKUP_MARK: &str = "SELECT outcome FROM commit_marks WHERE mark = $1";
const CLEANUP_MARKS: &str = "DELETE FROM commit_marks WHERE mark = ANY(ARRAY(SELECT mark FROM commit_marks WHERE at < $1 ORDER BY at LIMIT $2))";

/// A transaction's content. It may be run several times; each time finds nothing of the earlier ones.
#[async_trait]
pub(super) trait Unit: Send + Sync + 'static {
    /// What it gives when it was committed.
    type Answer: Send;

    /// Whose it is, to give everybody a turn; `None` for what belongs to nobody.
    fn tenant(&self) -> Option<&Tenant> {
        None
    }

    /// Runs its statements.
    async fn run(&self, work: &mut Work<'_>) -> Result<Self::Answer, WriteError>;
}

/// Everybody who writes.
pub(super) struct Writers {
    connector: Connector,
    pool: Pool,
    turns: Semaphore,
    /// The connections, which tenants get in turn.
    places: Arc<Places<Lane>>,
    clock: Arc<RemoteClock>,
}

/// How one try ended without success.
enum Failed {
    /// The database gave way to another transaction.
    GaveWay(WriteError),
    /// The connection broke before COMMIT was sent.
    Lost(Error),
    /// For good.
    Finally(WriteError),
}

impl Writers {
    pub(super) fn new(connector: Connector, pool: Pool, clock: Arc<RemoteClock>) -> Self {
        let places = Places::new(Bounds::held_long(pool.status().max_size as u32, WRITES_MAX / 2), PLACE_WAIT);
        Self { connector, pool, turns: Semaphore::new(WRITES_MAX as usize), places, clock }
    }

    /// Runs a unit in a task of its own and commits it.
    pub(super) async fn transact<U: Unit>(self: &Arc<Self>, unit: U) -> Result<U::Answer, WriteError>
    where
        U::Answer: 'static,
    {
        let writers = Arc::clone(self);
        tokio::spawn(async move { writers.transact_here(unit).await }).await.map_err(unavailable)?
    }

    /// Runs a unit in the caller's task and commits it.
    pub(super) async fn transact_here<U: Unit>(&self, unit: U) -> Result<U::Answer, WriteError> {
        let _turn = self.turn()?;
        self.repeat(&unit).await
    }

    /// Runs one statement that may be repeated without harm, and says how many rows it changed.
    pub(super) async fn execute(&self, sql: &'static str, values: Vec<Value<'_>>) -> Result<u64, StoreError> {
        let _turn = self.turn()?;
        let mut tries = 0;
        loop {
            let _place = self.places.enter(&None).await.map_err(unavailable)?;
            let client = self.pool.get().await.map_err(pool_failure)?;
            tries += 1;
            let statement = async {
                let statement = client.prepare_cached(sql).await?;
                client.execute_raw(&statement, &values).await
            };
            match timeout(WORK_TIMEOUT, statement).await {
                Ok(Ok(rows)) => return Ok(rows),
                Ok(Err(error)) if is_lost(&error) && tries < LOST_MAX => {}
                Ok(Err(error)) if is_serialization_failure(&error) && tries < TRIES_MAX => sleep(pause(tries)).await,
                Ok(Err(error)) => return Err(told(&error)),
                Err(_) => {
                    drop(Object::take(client));
                    return Err(unavailable(Late));
                }
            }
        }
    }

    fn turn(&self) -> Result<SemaphorePermit<'_>, StoreError> {
        self.turns.try_acquire().map_err(|error| match error {
            TryAcquireError::Closed => unavailable(Closed),
            TryAcquireError::NoPermits => unavailable(Crowded),
        })
    }

    async fn repeat<U: Unit>(&self, unit: &U) -> Result<U::Answer, WriteError> {
        let (mut tries, mut lost) = (0, 0);
        loop {
            match self.attempt(unit).await {
                Ok(answer) => return Ok(answer),
                Err(Failed::Finally(error)) => return Err(error),
                Err(Failed::Lost(error)) => {
                    lost += 1;
                    if lost == LOST_MAX {
                        return Err(error.into());
                    }
                }
                Err(Failed::GaveWay(error)) => {
                    tries += 1;
                    if tries == TRIES_MAX {
                        return Err(error);
                    }
                    sleep(pause(tries)).await;
                }
            }
        }
    }

    async fn attempt<U: Unit>(&self, unit: &U) -> Result<U::Answer, Failed> {
        let place = self.places.enter(&unit.tenant().cloned()).await;
        let _place = place.map_err(|error| Failed::Finally(unavailable(error).into()))?;
        let client = self.pool.get().await.map_err(|error| Failed::Finally(pool_failure(error).into()))?;
        let mark = random_bytes();
        let mut work = Work::new(&client, mark, self.clock.now().as_microsecond());
        let outcome = timeout(WORK_TIMEOUT, unit.run(&mut work)).await;
        let (has_begun, has_written) = (work.has_begun(), work.has_written());
        match outcome {
            Ok(Ok(answer)) if has_written => self.commit(client, mark).await.map(|()| answer),
            Ok(result) => {
                if has_begun {
                    roll_back(client).await;
                }
                result.map_err(Failed::of)
            }
            Err(_) => {
                // Closing the connection ends the transaction.
                drop(Object::take(client));
                Err(Failed::Finally(unavailable(Late).into()))
            }
        }
    }

    async fn commit(&self, client: Object, mark: [u8; MARK_LENGTH]) -> Result<(), Failed> {
        match timeout(COMMIT_TIMEOUT, client.batch_execute(COMMIT)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) if is_rolled_back(&error) => {
                roll_back(client).await;
                Err(Failed::of(error.into()))
            }
            unknown => {
                drop(Object::take(client));
                let cause = match unknown {
                    Ok(Err(error)) => told(&error),
                    _ => unavailable(Late),
                };
                self.resolve(mark, cause).await.map_err(|error| Failed::Finally(error.into()))
            }
        }
    }

    /// Whether the commit with this mark took effect; afterwards it cannot any more if it did not.
    async fn resolve(&self, mark: [u8; MARK_LENGTH], cause: StoreError) -> Result<(), StoreError> {
        let deadline = Instant::now() + RESOLVE_WITHIN;
        loop {
            let inquiry = async {
                let client = self.connector.open().await?;
                Ok::<_, ConnectError>(self.inquire(&client, mark).await?)
            };
            let left = deadline.saturating_duration_since(Instant::now());
            match timeout(left, inquiry).await {
                Ok(Ok(true)) => return Ok(()),
                Ok(Ok(false)) => return Err(cause),
                Ok(Err(_)) => sleep(RESOLVE_PAUSE).await,
                Err(_) => {
                    tracing::error!("a commit was cut off and the database does not say how it ended");
                    return Err(StoreError::OutcomeUnknown(Box::new(cause)));
                }
            }
        }
    }

    async fn inquire(&self, client: &ClientWrapper, mark: [u8; MARK_LENGTH]) -> Result<bool, Error> {
        // Waits for the commit, if the server is still at it.
        client.execute(ADD_FENCE_MARK, &[&&mark[..], &self.clock.now().as_microsecond()]).await?;
        let outcome: String = client.query_one(LOOKUP_MARK, &[&&mark[..]]).await?.try_get(0)?;
        Ok(outcome == "committed")
    }

    /// Removes marks that are of no use any more. Not counted as retention: nothing that anybody stored goes.
    pub(super) async fn cleanup_marks(&self, limit: u32) -> Result<(), StoreError> {
        let before = self.clock.now().checked_sub(MARK_KEPT).unwrap_or(jiff::Timestamp::MIN);
        self.execute(CLEANUP_MARKS, values![before.as_microsecond(), limit]).await?;
        Ok(())
    }

    /// Waits for what is under way and ends all writing.
    pub(super) async fn close(&self) {
        // Handed out in order: later units wait behind this and then find it closed.
        let all = self.turns.acquire_many(WRITES_MAX).await;
        self.turns.close();
        drop(all);
        self.pool.close();
    }
}

impl Failed {
    fn of(error: WriteError) -> Self {
        match error {
            WriteError::Database(ref refusal) if is_serialization_failure(refusal) => Self::GaveWay(error),
            WriteError::Raced(_) => Self::GaveWay(error),
            WriteError::Database(error) if is_lost(&error) => Self::Lost(error),
            error => Self::Finally(error),
        }
    }
}

async fn roll_back(client: Object) {
    if !matches!(timeout(COMMIT_TIMEOUT, client.batch_execute(ROLLBACK)).await, Ok(Ok(()))) {
        drop(Object::take(client));
    }
}

/// Doubles with each try, and differs between those who gave way to each other.
fn pause(tries: u32) -> Duration {
    let longest = PAUSE_MS << tries;
    let [random] = random_bytes::<1>();
    Duration::from_millis(longest / 2 + longest * u64::from(random) / 512)
}
