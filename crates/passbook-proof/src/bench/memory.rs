//! Memory: what an idle server holds, and whether reading makes it grow.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;

use super::Bench;
use super::reads::numbers_requests;
use super::report::Report;
use super::seeding::prepare;
use crate::load::{Load, Until, run};
use crate::process::rss_anon_kib;
use crate::server::Server;

/// Long enough for what a start leaves behind to be given back.
const IDLE: Duration = Duration::from_secs(2);
/// Reads before the first look: buffers and caches of every connection exist by then.
const WARM_UP_READS: u64 = 20_000;

/// Measures the small store's server.
pub async fn measure(bench: &Bench, report: &mut Report) -> Result<()> {
    let ids = prepare(bench, "small", bench.scale.small).await?;
    let server = Server::start(&bench.plan("small")).await?;
    tokio::time::sleep(IDLE).await;
    let idle = rss_anon_kib(server.pid())?;
    let requests = numbers_requests(&server, &ids).await?;
    let load = |reads| Load {
        address: server.address,
        requests: Arc::clone(&requests),
        connections: bench.scale.connections,
        until: Until::Requests(reads),
        seed: 1,
    };
    run(load(WARM_UP_READS)).await?.expect_only(200)?;
    let before = rss_anon_kib(server.pid())?;
    run(load(bench.scale.memory_reads)).await?.expect_only(200)?;
    let after = rss_anon_kib(server.pid())?;
    let mib = |kib: u64| kib as f64 / 1024.0;
    report.note(&format!("Anonymous memory of the server, idle after start: {:.1} MiB.", mib(idle)));
    report.note(&format!(
        "Anonymous memory before and after {} numbers reads: {:.1} MiB, {:.1} MiB (ratio {:.3}).",
        bench.scale.memory_reads,
        mib(before),
        mib(after),
        after as f64 / before as f64,
    ));
    server.stop().await
}
