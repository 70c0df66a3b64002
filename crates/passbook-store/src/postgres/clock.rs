//! The store's time, which is the database's, and what is done now and then.

use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use deadpool_postgres::ClientWrapper;
use jiff::Timestamp;
use tokio::{
    task::JoinHandle,
    time::{sleep, timeout},
};
use tokio_postgres::Error;

use super::{connect::Connector, deletions::Deletions};
use crate::{
    time::{Reading, RemoteClock},
    vital::{Alive, Vital},
};

/// The task's name among the vital parts of a process.
pub(super) const PART: &str = "store_upkeep";

const READ_CLOCK: &str = "SELECT clock_timestamp()";
/// How often the database's clock is read.
const READ_EVERY: Duration = Duration::from_secs(10);
/// A reading that took longer says too little.
const READING_MAX: Duration = Duration::from_secs(1);

/// What the database's clock says.
pub(super) async fn read_clock(client: &ClientWrapper) -> Result<Reading, Error> {
    let asked = Instant::now();
    let row = client.query_one(READ_CLOCK, &[]).await?;
    let time: SystemTime = row.try_get(0)?;
    // The clock was read about half-way between asking and hearing.
    let instant = asked + asked.elapsed() / 2;
    // A server beyond the calendar is not believed: the clock then stands where it is.
    Ok(Reading { time: Timestamp::try_from(time).unwrap_or(Timestamp::UNIX_EPOCH), instant })
}

/// Keeps the clock right and the ledger complete until it is aborted.
pub(super) fn start_upkeep(
    connector: Connector,
    clock: Arc<RemoteClock>,
    deletions: Arc<Deletions>,
) -> (JoinHandle<()>, Vital) {
    let (vital, alive) = Vital::new(PART);
    let task = tokio::spawn(async move {
        let _alive: Alive = alive;
        let mut connection: Option<ClientWrapper> = None;
        loop {
            sleep(READ_EVERY).await;
            // Failing again is expected while the ledger cannot be written, and was logged.
            let _still_failing = deletions.catch_up().await;
            let client = match connection.take().filter(|client| !client.is_closed()) {
                Some(client) => client,
                None => match connector.open().await {
                    Ok(client) => client,
                    // The monotonic clock counts on.
                    Err(_) => continue,
                },
            };
            if let Ok(Ok(reading)) = timeout(READING_MAX, read_clock(&client)).await {
                clock.observe(reading);
                connection = Some(client);
            }
        }
    });
    (task, vital)
}
