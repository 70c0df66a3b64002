//! The servers of an experiment that needs them only running: started together, and looked at when all is done.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::conduct::Conduct;
use super::store_files::{Jobs, check_store};
use crate::api::{Api, Target};
use crate::server::Server;

/// How long accepted jobs may take to end.
const IDLE_MAX: Duration = Duration::from_secs(120);

/// Running servers.
pub struct Site {
    server: Server,
}

impl Site {
    /// Starts them.
    ///
    /// # Errors
    /// When one does not start.
    pub async fn start(conduct: &Conduct) -> Result<Self> {
        Ok(Self { server: Server::start(&conduct.plan).await? })
    }

    /// Where they are.
    pub fn targets(&self) -> Vec<Target> {
        vec![self.server.target()]
    }

    /// Waits until no job is due.
    ///
    /// # Errors
    /// When jobs do not end.
    pub async fn wait_until_idle(&self, api: &mut Api) -> Result<()> {
        let begun = Instant::now();
        loop {
            let clock = api.get_json("/sandbox/clock").await?;
            let pending = clock["pending_jobs"].as_u64().context("the clock tells no pending jobs")?;
            if pending == 0 {
                return Ok(());
            }
            ensure!(begun.elapsed() < IDLE_MAX, "{pending} accepted jobs do not end");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Waits for accepted jobs, stops the servers and checks every invariant of what is stored.
    ///
    /// # Errors
    /// When one is broken.
    pub async fn finish(self, conduct: &Conduct) -> Result<()> {
        self.wait_until_idle(&mut Api::new(&self.server)).await?;
        self.server.stop().await?;
        check_store(&conduct.plan.data, Jobs::HaveEnded)
    }
}
