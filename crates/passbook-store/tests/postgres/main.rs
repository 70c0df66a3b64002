//! What only the PostgreSQL store promises: its statements, its schema, several processes on one database, outcomes
//! that nobody knows, deletions that outlive a restore, TLS to the server.
#![cfg(unix)]

mod authority;
#[path = "../statements/crowd.rs"]
mod crowd;
mod database;
mod deletion;
mod delivery_plans;
#[path = "../behaviour/examples.rs"]
mod examples;
mod inconsistent;
mod opening;
mod outcome;
#[path = "../behaviour/paths.rs"]
mod paths;
mod plans;
mod proxy;
mod races;
#[path = "../sqlite/reading.rs"]
mod reading;
mod schema;
#[path = "../statements/sources.rs"]
mod sources;
mod speed;
mod statements;
mod tls;

/// An open store with a database of its own, and what must live as long.
struct Home {
    database: database::Database,
    directory: tempfile::TempDir,
}

impl Home {
    /// `None` on a machine that has no PostgreSQL; said in the test's output.
    async fn create() -> Option<Self> {
        let database = database::Database::create().await?;
        Some(Self { database, directory: tempfile::tempdir().expect("a temporary directory") })
    }

    /// Over a database without tables.
    async fn create_empty() -> Option<Self> {
        let server = postgres_cluster::shared()?;
        let admin = database::connect(&server).await;
        let database = database::Database::copy(&admin, server, "template0").await;
        Some(Self { database, directory: tempfile::tempdir().expect("a temporary directory") })
    }

    fn ledger(&self) -> std::path::PathBuf {
        self.directory.path().join("deletions.ledger")
    }

    async fn open(&self) -> passbook_store::postgres::PostgresStore {
        self.database.open(&self.ledger()).await.expect("the store opens")
    }

    /// A connection beside the store's own.
    async fn raw(&self) -> tokio_postgres::Client {
        database::connect(&self.database.url()).await
    }
}
