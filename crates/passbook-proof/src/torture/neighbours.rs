//! `torture neighbours`: one tenant sends 99 of 100 requests; another one must hardly notice.
//!
//! First the bystander is alone. Then a busy tenant keeps 64 connections asking for the same things in a closed loop,
//! with the contract's limits, which refuse most of it, and with limits that are out of reach. The server has one core
//! and the load the other; the database uses both. The busy tenant's load has the lowest priority on its core, so that
//! what is measured is the server and the database and not the load.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, ensure};

use super::NeighboursOptions;
use super::bystander::{Bystander, compare, link, mixed_requests};
use super::conduct::Conduct;
use super::ground::{Ground, StoreKind};
use super::overload::{pin_to, pin_to_the_other_core};
use super::store_files::Jobs;
use crate::api::Api;
use crate::load::{self, Load, Requests, Until};
use crate::server::Access;

/// What `docs/scaling.md` advises for a database whose two cores are what is short.
const STORE: &str = "connections = 4";
/// Connections of the busy tenant.
const BUSY: usize = 64;
/// Requests of the bystander a second: a hundredth of what the busy tenant sends, or less.
const PER_SECOND: f64 = 15.0;
/// Of all requests, the busy tenant must have sent so many percent, or the run says nothing.
const BUSY_PERCENT_MIN: f64 = 95.0;

/// Runs the experiment.
pub async fn run(options: NeighboursOptions) -> Result<()> {
    let mut conduct = Conduct::new(&options.common, &[])?;
    conduct.plan.under = ["taskset", "-c", "0"].map(ToOwned::to_owned).to_vec();
    let id = match options.common.store {
        StoreKind::Sqlite => "R11-neighbours-embedded",
        StoreKind::Postgres => "R11-neighbours-postgres",
    };
    conduct.run(id, &options.common, async |conduct| experiment(conduct, &options).await).await
}

async fn experiment(conduct: &mut Conduct, options: &NeighboursOptions) -> Result<()> {
    beside_a_busy_tenant(conduct, options, "limited", 1, (options.limited_ratio_max, 0.0)).await?;
    let bars = (options.unlimited_ratio_max, options.unlimited_refused_percent_max);
    beside_a_busy_tenant(conduct, options, "unlimited", 10_000, bars).await
}

/// One comparison, on a server whose limits are the contract's times `factor`.
async fn beside_a_busy_tenant(
    conduct: &mut Conduct,
    options: &NeighboursOptions,
    name: &str,
    factor: u32,
    (ratio_max, refused_percent_max): (f64, f64),
) -> Result<()> {
    let mut plan = conduct.plan.clone();
    plan.data = conduct.directory().join(name);
    std::fs::create_dir_all(&plan.data)?;
    plan.arguments.push(format!("--rate-limits={factor}"));
    let directory = conduct.directory().join(format!("{name}-replicas"));
    std::fs::create_dir_all(&directory)?;
    let limits = format!("factor = {factor}");
    let ground = Ground::with_limits(&options.common, &plan, &directory, 1, STORE, &limits).await?;
    let running = ground.start().await?;
    pin_to_the_other_core()?;
    let address = running.addresses[0];
    let foreign = Access { api_url: running.access.api_url.clone(), ..ground.add_foreign_client()? };
    // Its own limits must not be what the bystander meets.
    let bystander = match factor {
        1 => Bystander::within_limits(address, &running.access, conduct.seed).await?,
        _ => Bystander::new(address, &running.access, conduct.seed).await?.asking(PER_SECOND),
    };
    let busy = busy_load(conduct, address, &foreign, Duration::from_secs(options.secs)).await?;
    let duration = Duration::from_secs(options.secs);
    bystander.live(duration / 4).await;
    let alone = bystander.live(duration).await;
    conduct.figure(&format!("{name}_refused_alone"), alone.refused + alone.unsent);
    let loading = tokio::spawn(load::run_behind(busy));
    let beside = bystander.live(duration).await;
    let busy = loading.await??;
    let percent = busy.total() as f64 * 100.0 / (busy.total() + beside.sent) as f64;
    conduct.figure(&format!("{name}_busy_per_second"), busy.per_second().round());
    conduct.figure(&format!("{name}_busy_percent"), (percent * 10.0).round() / 10.0);
    conduct.rounds += 1;
    conduct.tally.acked += beside.done_total();
    running.stop().await?;
    // The next database has all cores again.
    pin_to("0,1")?;
    // The figures come first: they are worth knowing whatever the store looks like.
    let compared = compare(conduct, name, (&alone, &beside), ratio_max, refused_percent_max);
    ensure!(percent >= BUSY_PERCENT_MIN, "{name}: the busy tenant sent only {percent:.0} % of the requests");
    compared?;
    ground.check(Jobs::HaveEnded).await
}

/// What the busy tenant sends.
async fn busy_load(
    conduct: &Conduct,
    address: std::net::SocketAddr,
    access: &Access,
    duration: Duration,
) -> Result<Load> {
    let mut api = Api::over(&[address], access, 0);
    let link_id = link(&mut api, "busy").await?;
    let requests = mixed_requests(&mut api, access, &link_id, "busy", 500).await?;
    let requests = Arc::new(Requests::new(b"", requests.iter().map(|request| &request.bytes), b""));
    let until = Until::Elapsed(duration);
    Ok(Load { address, requests, connections: BUSY, until, seed: conduct.seed })
}
