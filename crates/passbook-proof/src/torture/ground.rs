//! What an experiment runs on: one server with the embedded store, or replicas on a PostgreSQL cluster of their own.

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::ValueEnum;
use rusqlite::Connection;

use super::Common;
use super::invariants::broken_in_postgres;
use super::kill::binary;
use super::store_files::{Jobs, check_store, copy_files, databases_in};
use crate::api::Api;
use crate::deployment::{DATABASE, Deployment, NO_LIMITS, Shape, operate};
use crate::server::{Access, Plan, Server};

/// Refreshes that were accepted and have not ended.
const OPEN_REFRESHES: &str = "SELECT COUNT(*) FROM jobs WHERE state = 'open' AND work LIKE '%efresh%'";

/// Which store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum StoreKind {
    /// One process, one file.
    Sqlite,
    /// Any number of processes on one database.
    Postgres,
}

/// See the module page.
pub enum Ground {
    /// `passbook dev` on a directory.
    Embedded(Box<Plan>),
    /// `passbook serve` on PostgreSQL.
    Hosted(Box<Deployment>),
}

/// The running servers of a ground.
pub struct Running {
    /// The processes.
    pub servers: Vec<Server>,
    /// Where they listen.
    pub addresses: Vec<SocketAddr>,
    /// The client that calls them.
    pub access: Access,
}

impl Ground {
    /// Prepares a ground; the embedded store has one server however many replicas are asked for.
    pub async fn new(common: &Common, embedded: &Plan, directory: &Path, replicas: usize) -> Result<Self> {
        Self::with_settings(common, embedded, directory, replicas, "").await
    }

    /// As [`Ground::new`], with more lines of configuration for hosted servers.
    pub async fn with_settings(
        common: &Common,
        embedded: &Plan,
        directory: &Path,
        replicas: usize,
        settings: &str,
    ) -> Result<Self> {
        let shape = Shape {
            binary: binary(common.server.clone())?,
            directory,
            replicas,
            under: &embedded.under,
            store: "",
            limits: NO_LIMITS,
            settings,
        };
        Self::of_shape(common, embedded, &shape).await
    }

    /// As [`Ground::new`], with these settings of the store and of the request limits for hosted servers; the plan
    /// says the limits of the embedded one.
    pub async fn with_limits(
        common: &Common,
        embedded: &Plan,
        directory: &Path,
        replicas: usize,
        store: &str,
        limits: &str,
    ) -> Result<Self> {
        let shape = Shape {
            binary: binary(common.server.clone())?,
            directory,
            replicas,
            under: &embedded.under,
            store,
            limits,
            settings: "",
        };
        Self::of_shape(common, embedded, &shape).await
    }

    async fn of_shape(common: &Common, embedded: &Plan, shape: &Shape<'_>) -> Result<Self> {
        match common.store {
            StoreKind::Sqlite => Ok(Self::Embedded(Box::new(embedded.clone()))),
            StoreKind::Postgres => Ok(Self::Hosted(Box::new(Deployment::new(shape).await?))),
        }
    }

    /// How each server is started.
    pub fn plans(&self) -> &[Plan] {
        match self {
            Self::Embedded(plan) => std::slice::from_ref(plan.as_ref()),
            Self::Hosted(deployment) => &deployment.plans,
        }
    }

    /// Starts all servers and waits until they are ready.
    pub async fn start(&self) -> Result<Running> {
        let mut servers = Vec::new();
        for plan in self.plans() {
            servers.push(Server::start(plan).await?);
        }
        let addresses = servers.iter().map(|server| server.address).collect();
        let access = servers.first().context("no server")?.access.clone();
        Ok(Running { servers, addresses, access })
    }

    /// A client of another app than the one that owns everything.
    pub fn add_foreign_client(&self) -> Result<Access> {
        let plan = &self.plans()[0];
        operate(plan, &["apps", "add", "foreign"])?;
        let client = operate(plan, &["clients", "add", "--app", "foreign", "--environment", "sandbox"])?;
        let field = |name: &str| client[name].as_str().map(ToOwned::to_owned).with_context(|| format!("no {name}"));
        let (client_id, client_secret) = (field("client_id")?, field("client_secret")?);
        Ok(Access { client_id, client_secret, ..Access::default() })
    }

    /// Fails unless the store is sound and no invariant is broken. The servers must be stopped.
    pub async fn check(&self, jobs: Jobs) -> Result<()> {
        let deployment = match self {
            Self::Embedded(plan) => return check_store(&plan.data, jobs),
            Self::Hosted(deployment) => deployment,
        };
        deployment.cluster()?.amcheck(DATABASE)?;
        let broken = broken_in_postgres(&deployment.database().await?, jobs == Jobs::HaveEnded).await?;
        ensure!(broken.is_empty(), "{}", broken.join("; "));
        Ok(())
    }

    /// Waits until no refresh is open in a hosted store; the servers may run. The embedded store has no other process whose
    /// leases had to be waited for.
    pub async fn wait_for_jobs(&self, within: Duration) -> Result<()> {
        let Self::Hosted(deployment) = self else { return Ok(()) };
        let database = deployment.database().await?;
        let begun = Instant::now();
        while database.number(OPEN_REFRESHES).await? > 0 {
            ensure!(begun.elapsed() < within, "a refresh did not end in {} s", within.as_secs());
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Ok(())
    }

    /// The one number that a query in the common dialect gives. The servers must be stopped.
    pub async fn number(&self, sql: &str) -> Result<i64> {
        match self {
            Self::Hosted(deployment) => deployment.database().await?.number(sql).await,
            Self::Embedded(plan) => {
                let copy = tempfile::tempdir()?;
                copy_files(&plan.data, copy.path())?;
                let databases = databases_in(copy.path())?;
                let connection = Connection::open(databases.first().context("no database")?)?;
                connection.query_row(sql, [], |row| row.get(0)).with_context(|| sql.to_owned())
            }
        }
    }
}

impl Running {
    /// A client of all servers in turn, beginning with one of them.
    pub fn api(&self, first: usize) -> Api {
        Api::over(&self.addresses, &self.access, first)
    }

    /// Kills every server at this instant.
    pub fn kill(self) -> Result<()> {
        self.servers.into_iter().try_for_each(Server::kill)
    }

    /// Stops every server in order.
    pub async fn stop(self) -> Result<()> {
        for server in self.servers {
            server.stop().await?;
        }
        Ok(())
    }
}
