//! The server that is crawled, on either store, with the apps and clients that ask.

use std::path::Path;

use anyhow::{Context, Result};
use tempfile::TempDir;

use super::{FROZEN_AT, Options};
use crate::deployment::{Deployment, NO_LIMITS, Shape, operate};
use crate::server::{Access, Plan, Server};
use crate::torture::{StoreKind, binary};

/// Where sessions may send people back to.
pub const ORIGIN: &str = "http://localhost:3000";

/// A running server and what it stands on.
pub struct Place {
    /// The server.
    pub server: Server,
    plan: Plan,
    /// Keeps the database running.
    _deployment: Option<Deployment>,
    /// Removed at the end.
    _directory: TempDir,
}

impl Place {
    /// Starts a server on a new store.
    pub async fn new(options: &Options) -> Result<Self> {
        let directory = TempDir::with_prefix("passbook-crawl-")?;
        let (plan, deployment) = match options.store {
            StoreKind::Sqlite => (embedded(options, directory.path())?, None),
            StoreKind::Postgres => {
                let deployment = hosted(options, directory.path()).await?;
                (deployment.plans.first().context("no server")?.clone(), Some(deployment))
            }
        };
        let server = Server::start(&plan).await?;
        Ok(Self { server, plan, _deployment: deployment, _directory: directory })
    }

    /// Makes an app.
    pub fn add_app(&self, name: &str) -> Result<()> {
        operate(&self.plan, &["apps", "add", name, "--origin", ORIGIN]).map(drop)
    }

    /// Makes a client that may do all, or what one scope allows.
    pub fn add_client(&self, app: &str, environment: &str, scope: Option<&str>) -> Result<Access> {
        let mut words = vec!["clients", "add", "--app", app, "--environment", environment];
        words.extend(scope.iter().flat_map(|scope| ["--scope", *scope]));
        let client = operate(&self.plan, &words)?;
        let field = |name: &str| client[name].as_str().map(ToOwned::to_owned).with_context(|| format!("no {name}"));
        let (client_id, client_secret) = (field("client_id")?, field("client_secret")?);
        Ok(Access { client_id, client_secret, ..Access::default() })
    }

    /// Ends a client.
    pub fn revoke_client(&self, client: &Access) -> Result<()> {
        operate(&self.plan, &["clients", "revoke", &client.client_id]).map(drop)
    }
}

fn embedded(options: &Options, directory: &Path) -> Result<Plan> {
    let arguments = ["--seed", &options.seed.to_string(), "--frozen-at", FROZEN_AT].map(ToOwned::to_owned).to_vec();
    Plan::new(binary(options.server.clone())?, directory, arguments)
}

async fn hosted(options: &Options, directory: &Path) -> Result<Deployment> {
    let shape = Shape {
        binary: binary(options.server.clone())?,
        directory,
        replicas: 1,
        under: &[],
        store: "",
        limits: NO_LIMITS,
        settings: "",
    };
    Deployment::seeded(&shape, options.seed).await
}
