//! The schema: its version, and bringing it up to date while other processes may be starting too.
//!
//! A row lock in `schema_guard` lets one process at a time look and change; it ends with the connection that holds it,
//! so a process that dies in the middle blocks nobody. What makes it safe even without the lock is that each migration
//! is one transaction together with its line in the history, whose version is a unique key.

use std::{error::Error as _, time::Duration};

use deadpool_postgres::ClientWrapper;
use tokio::time::sleep;
use tokio_postgres::{Error, error::SqlState};

use super::{connect::Connector, failure::Told, open::OpenError};

mod migrations {
    refinery::embed_migrations!("migrations/postgres");
}

const LOOKUP_SCHEMA_VERSION: &str = "SELECT MAX(version) FROM refinery_schema_history";
const CREATE_GUARD: &str = "CREATE TABLE IF NOT EXISTS schema_guard (guard_id BIGINT NOT NULL PRIMARY KEY)";
const ADD_GUARD: &str = "INSERT INTO schema_guard (guard_id) VALUES (1) ON CONFLICT (guard_id) DO NOTHING";
const TAKE_GUARD: &str = "SELECT guard_id FROM schema_guard WHERE guard_id = 1 FOR UPDATE";
const PATIENCE: &str = "SET lock_timeout = 60000";
/// A migration that waits for a lock on live data lets others pass, and tries again.
const IMPATIENCE: &str = "SET lock_timeout = 2000";
const BEGIN: &str = "BEGIN";
const END: &str = "COMMIT";

/// How often something is tried that another process was doing at the same moment.
const TRIES_MAX: u32 = 30;
const PAUSE: Duration = Duration::from_millis(200);

/// The version this release brings a schema to.
pub(super) fn known_version() -> i32 {
    migrations::migrations::runner().get_migrations().iter().map(refinery::Migration::version).max().unwrap_or(0)
}

/// The version of the stored schema; 0 when there is none. Changes nothing.
pub(super) async fn stored_version(client: &ClientWrapper) -> Result<i32, OpenError> {
    match client.query_one(LOOKUP_SCHEMA_VERSION, &[]).await {
        Ok(row) => Ok(row.try_get::<_, Option<i32>>(0)?.unwrap_or(0)),
        Err(error) if error.code() == Some(&SqlState::UNDEFINED_TABLE) => Ok(0),
        Err(error) => Err(error.into()),
    }
}

/// An older release must leave a newer schema as it is.
pub(super) fn refuse_newer(found: i32) -> Result<(), OpenError> {
    let known = known_version();
    if found > known { Err(OpenError::NewerSchema { found, known }) } else { Ok(()) }
}

/// The right to change the schema and what every process must agree on, as an open transaction.
pub(super) struct Guard(ClientWrapper);

impl Guard {
    /// Waits for whoever has it.
    pub(super) async fn take(connector: &Connector) -> Result<Self, OpenError> {
        let client = connector.open_patient().await?;
        client.batch_execute(PATIENCE).await?;
        let mut tries = 0;
        // Two processes that make the table at the same moment can fail each other.
        while let Err(error) = client.batch_execute(CREATE_GUARD).await {
            tries += 1;
            if tries == TRIES_MAX || !is_passing(&error) {
                return Err(error.into());
            }
            sleep(PAUSE).await;
        }
        client.batch_execute(ADD_GUARD).await?;
        client.batch_execute(BEGIN).await?;
        client.batch_execute(TAKE_GUARD).await?;
        Ok(Self(client))
    }

    /// The connection of its transaction.
    pub(super) fn client(&self) -> &ClientWrapper {
        &self.0
    }

    /// Commits what was done on its connection and lets the next one in.
    pub(super) async fn release(self) -> Result<(), OpenError> {
        self.0.batch_execute(END).await?;
        Ok(())
    }
}

/// Applies what is missing.
///
/// On a connection of its own: a statement that fails would end the guard's transaction.
pub(super) async fn bring_up_to_date(connector: &Connector, _guard: &Guard) -> Result<(), OpenError> {
    let mut client = connector.open_patient().await?;
    refuse_newer(stored_version(&client).await?)?;
    client.batch_execute(IMPATIENCE).await?;
    let mut tries = 0;
    while let Err(error) = migrations::migrations::runner().run_async(&mut *client).await {
        tries += 1;
        let cause = database_error(&error);
        if tries == TRIES_MAX || !cause.is_some_and(is_passing) {
            let told = cause.map(|cause| Told::of(cause).into());
            return Err(OpenError::Migration(told.unwrap_or_else(|| error.to_string().into())));
        }
        sleep(PAUSE).await;
    }
    Ok(())
}

fn database_error(error: &refinery::Error) -> Option<&Error> {
    let mut cause = error.source();
    while let Some(inner) = cause {
        if let Some(found) = inner.downcast_ref() {
            return Some(found);
        }
        cause = inner.source();
    }
    None
}

/// Somebody else was at it at the same moment.
fn is_passing(error: &Error) -> bool {
    const PASSING: [&str; 6] = ["40001", "40P01", "55P03", "23505", "42P07", "42710"];
    error.code().is_some_and(|state| PASSING.contains(&state.code()))
}
