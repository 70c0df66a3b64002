//! `torture drain`: replicas are stopped in order, one after the other, under load.
//!
//! Clients go through a balancer that believes `/readyz`, as balancers do: it looks often and forgets a server's
//! connections when the server is not ready. No request may fail; the server must end by itself in time; what it had
//! accepted must get done.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::json;
use tokio::task::JoinSet;

use super::DrainOptions;
use super::StoreKind;
use super::conduct::{Conduct, milliseconds};
use super::exchange::settle;
use super::ground::{Ground, Running};
use super::store_files::Jobs;
use super::work::numbers_path;
use crate::api::{Body, import_file_path, sandbox_link};
use crate::http::{Connection, request};
use crate::rng::Rng;
use crate::server::{Server, is_ready};
use crate::statement::{Account, PER_DAY};

/// How often the balancer looks.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Between "not ready" and the end of listening.
const GRACE_SECONDS: u64 = 1;
/// How long a drain may take.
const DRAIN_MAX: Duration = Duration::from_secs(30);
/// How long a client waits after an answer.
const PAUSE: Duration = Duration::from_millis(15);
/// Load between two drains.
const BETWEEN: Duration = Duration::from_millis(500);
/// Requests each drain must have met on average.
const REQUESTS_PER_ROUND_MIN: u64 = 100;

/// What the balancer knows.
struct Balancer {
    addresses: Vec<SocketAddr>,
    is_ready: Vec<AtomicBool>,
    is_over: AtomicBool,
    answered: AtomicU64,
    refreshes: AtomicU64,
}

/// Runs the experiment.
pub async fn run(mut options: DrainOptions) -> Result<()> {
    options.common.store = StoreKind::Postgres;
    let conduct = Conduct::new(&options.common, &[])?;
    conduct.run("R13-drain-postgres", &options.common, async |conduct| experiment(conduct, &options).await).await
}

async fn experiment(conduct: &mut Conduct, options: &DrainOptions) -> Result<()> {
    let mut ground = Ground::new(&options.common, &conduct.plan, conduct.directory(), 2).await?;
    if let Ground::Hosted(deployment) = &mut ground {
        for plan in &mut deployment.plans {
            plan.environment.push(("PASSBOOK_SERVER__DRAIN_SECONDS".to_owned(), GRACE_SECONDS.to_string()));
        }
    }
    let mut running = ground.start().await?;
    let balancer = Arc::new(Balancer {
        addresses: running.addresses.clone(),
        is_ready: running.addresses.iter().map(|_| AtomicBool::new(true)).collect(),
        is_over: AtomicBool::new(false),
        answered: AtomicU64::new(0),
        refreshes: AtomicU64::new(0),
    });
    let mut looks = JoinSet::new();
    for server in 0..running.addresses.len() {
        looks.spawn(look(Arc::clone(&balancer), server));
    }
    let mut clients = JoinSet::new();
    for number in 0..options.clients {
        let link = make_link(&running, number).await?;
        let token = running.api(0).token().await?;
        clients.spawn(client(Arc::clone(&balancer), number, link, token, conduct.seed));
    }
    let mut slowest = Duration::ZERO;
    for round in 0..options.rounds {
        tokio::time::sleep(BETWEEN).await;
        let took = drain_one(&ground, &balancer, &mut running, usize::try_from(round)? % 2).await;
        slowest = slowest.max(took.with_context(|| format!("round {round}"))?);
        ensure!(clients.try_join_next().is_none(), "round {round}: a client gave up");
        conduct.rounds += 1;
    }
    balancer.is_over.store(true, Ordering::Relaxed);
    while let Some(ended) = clients.join_next().await {
        ended??;
    }
    while looks.join_next().await.is_some() {}
    settle(&mut running.api(0)).await.context("accepted jobs")?;
    running.stop().await?;
    ground.check(Jobs::HaveEnded).await?;
    let answered = balancer.answered.load(Ordering::Relaxed);
    conduct.tally.acked = answered;
    conduct.figure("requests", answered);
    conduct.figure("failed", 0);
    conduct.figure("refreshes", balancer.refreshes.load(Ordering::Relaxed));
    conduct.figure("drain_ms_max", milliseconds(slowest));
    ensure!(
        answered >= options.rounds * REQUESTS_PER_ROUND_MIN,
        "only {answered} requests met {} drains",
        options.rounds
    );
    Ok(())
}

/// A link at a simulated bank for one client.
async fn make_link(running: &Running, number: usize) -> Result<String> {
    let body = sandbox_link(&format!("drain-{number}"));
    let answer = running.api(0).call("POST", "/sandbox/links", Body::Json(&body)).await?;
    ensure!(answer.status == 201, "a link was answered {}", answer.status);
    Ok(answer.json()["link_id"].as_str().context("no link id")?.to_owned())
}

/// Stops one server under load and starts it again.
async fn drain_one(ground: &Ground, balancer: &Balancer, running: &mut Running, position: usize) -> Result<Duration> {
    let server = running.servers.remove(position);
    let begun = Instant::now();
    server.stop().await?;
    let took = begun.elapsed();
    ensure!(took >= Duration::from_secs(GRACE_SECONDS), "the server did not wait for the balancer: {took:?}");
    ensure!(took <= DRAIN_MAX, "the server took {took:?} to end");
    running.servers.insert(position, Server::start(&ground.plans()[position]).await?);
    while !balancer.is_ready[position].load(Ordering::Acquire) {
        tokio::time::sleep(LOOK_EVERY).await;
    }
    Ok(took)
}

async fn look(balancer: Arc<Balancer>, server: usize) {
    while !balancer.is_over.load(Ordering::Relaxed) {
        let ready = is_ready(balancer.addresses[server]).await;
        balancer.is_ready[server].store(ready, Ordering::Release);
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Sends one request after the other to the ready servers in turn; anything but the expected answer ends it.
async fn client(balancer: Arc<Balancer>, number: usize, link: String, token: String, seed: u64) -> Result<()> {
    let mut rng = Rng::new(seed, number as u64);
    let mut kept: Vec<Option<Connection>> = balancer.addresses.iter().map(|_| None).collect();
    let mut work = Work { link, bearer: format!("Bearer {token}"), number: u32::try_from(number)?, imports: 0 };
    let mut turn = number;
    while !balancer.is_over.load(Ordering::Relaxed) {
        turn += 1;
        let server = turn % balancer.addresses.len();
        if !balancer.is_ready[server].load(Ordering::Acquire) {
            kept[server] = None;
            tokio::task::yield_now().await;
            continue;
        }
        let (bytes, expected) = work.next(&mut rng);
        let mut connection = match kept[server].take() {
            Some(connection) => connection,
            None => Connection::open(balancer.addresses[server]).await.context("a ready server does not accept")?,
        };
        let answer = connection.exchange(&bytes).await.context("a request was cut off")?;
        let body = String::from_utf8_lossy(&answer.body);
        ensure!(expected.contains(&answer.status), "a request was answered {}: {body}", answer.status);
        balancer.answered.fetch_add(1, Ordering::Relaxed);
        balancer.refreshes.fetch_add(u64::from(answer.status == 202), Ordering::Relaxed);
        if answer.header("connection").is_none_or(|value| !value.eq_ignore_ascii_case("close")) {
            kept[server] = Some(connection);
        }
        tokio::time::sleep(PAUSE).await;
    }
    Ok(())
}

/// The requests of one client.
struct Work {
    link: String,
    bearer: String,
    number: u32,
    imports: u32,
}

impl Work {
    /// A request and the statuses that are right for it.
    fn next(&mut self, rng: &mut Rng) -> (Vec<u8>, &'static [u16]) {
        let authorized = ("authorization", self.bearer.as_str());
        let headers = |content_type| [authorized, ("content-type", content_type)];
        match rng.below(10) {
            0..6 => (request("GET", &numbers_path(&self.link), &[authorized], b""), &[200]),
            6..8 => {
                self.imports += 1;
                let file = Account::new(self.number, 1).statement(0..self.imports * PER_DAY);
                let path = import_file_path(&format!("drain-files-{}", self.number));
                (request("POST", &path, &headers("application/x-ofx"), file.as_bytes()), &[200, 201])
            }
            8 => {
                let product = ["accounts", "account_numbers", "identity", "transactions"][rng.index(4)];
                let body = json!({ "products": [product] }).to_string();
                let path = format!("/links/{}/products", self.link);
                // The limits of a real clock: most of these are told to come back later.
                (request("POST", &path, &headers("application/json"), body.as_bytes()), &[202, 429])
            }
            _ => (request("GET", &format!("/links/{}/transactions", self.link), &[authorized], b""), &[200]),
        }
    }
}
