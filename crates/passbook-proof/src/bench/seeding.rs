//! Stores of a given size.

use anyhow::{Context, Result};

use super::Bench;
use crate::api::{Api, Body, sandbox_link};
use crate::server::Server;

const MAKERS: u64 = 8;

/// Makes the store of this name with so many links, unless it exists, and gives the ids of its links.
pub async fn prepare(bench: &Bench, name: &str, links: u64) -> Result<Vec<String>> {
    let plan = bench.plan(name);
    let list = bench.path(&format!("{name}.ids"));
    if let Ok(text) = std::fs::read_to_string(&list) {
        return Ok(text.lines().map(ToOwned::to_owned).collect());
    }
    std::fs::create_dir_all(&plan.data)?;
    let server = Server::start(&plan).await?;
    let mut tasks = tokio::task::JoinSet::new();
    for maker in 0..MAKERS {
        let mut api = Api::new(&server);
        tasks.spawn(async move {
            let mut ids = Vec::new();
            for position in (maker..links).step_by(usize::try_from(MAKERS)?) {
                let body = sandbox_link(&format!("bench-{position}"));
                let answer = api.call("POST", "/sandbox/links", Body::Json(&body)).await?;
                let id = answer.json()["link_id"].as_str().map(ToOwned::to_owned);
                ids.push(id.with_context(|| format!("POST /sandbox/links answered {}", answer.status))?);
            }
            anyhow::Ok(ids)
        });
    }
    let mut ids = Vec::new();
    while let Some(made) = tasks.join_next().await {
        ids.extend(made??);
    }
    server.stop().await?;
    std::fs::write(&list, ids.join("\n"))?;
    Ok(ids)
}
