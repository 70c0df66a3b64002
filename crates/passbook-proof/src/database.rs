//! A connection of the experiment's own to the database under the servers, to look and to prepare; never to help them.

use anyhow::{Context, Result};
use tokio_postgres::{Client, NoTls};

/// A connection; it ends when this is dropped.
pub struct Database {
    client: Client,
}

impl Database {
    /// Connects.
    pub async fn connect(url: &str) -> Result<Self> {
        let (client, connection) = tokio_postgres::connect(url, NoTls).await.context("connecting to the database")?;
        // Whoever uses the client meets the same error.
        tokio::spawn(async move { drop(connection.await) });
        Ok(Self { client })
    }

    /// Makes an empty database beside the connected one.
    pub async fn create(&self, name: &str) -> Result<()> {
        self.client.batch_execute(&format!("CREATE DATABASE {name}")).await.context("CREATE DATABASE")
    }

    /// The one number that a query gives.
    pub async fn number(&self, sql: &str) -> Result<i64> {
        self.client.query_one(sql, &[]).await.and_then(|row| row.try_get(0)).with_context(|| sql.to_owned())
    }

    /// The driver's client.
    pub fn client(&mut self) -> &mut Client {
        &mut self.client
    }
}
