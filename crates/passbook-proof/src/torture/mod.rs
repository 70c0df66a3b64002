//! Experiments that hurt the server and then look for what it promised.
//!
//! Workers own the links they make, and each works on one thing at a time. So at any instant a worker has at most one
//! request whose outcome is unknown, and the checker can say exactly what must be there, what may be, and what must not.

mod backups;
mod bystander;
mod check;
mod clock_jumps;
mod conduct;
mod contract;
mod crew;
mod damaged_directories;
mod disk;
mod drain;
mod exchange;
mod failing_disk;
mod full_disk;
mod ground;
mod invariants;
mod journal;
mod kill;
mod memory;
mod model;
mod neighbour_imports;
mod neighbour_webhooks;
mod neighbours;
mod overload;
mod power_cut;
mod refresh_limits;
mod replicas;
mod signing_keys;
mod slow_bodies;
mod store_files;
mod store_restarts;
mod streams;
mod surroundings;
mod sync;
mod trace;
mod webhooks;
mod work;

pub use self::ground::StoreKind;
pub use self::kill::binary;
pub use self::store_files::{copy_files, databases_in};

use std::path::PathBuf;

use anyhow::Result;
use clap::{Args, Subcommand};

/// Which experiment.
#[derive(Subcommand)]
pub enum Experiment {
    /// Kill the server at random moments under load; nothing acknowledged may be lost or doubled.
    Kill(KillOptions),
    /// Fill the server's disk; writes are refused, reads go on, nothing acknowledged is lost.
    FullDisk(FullDiskOptions),
    /// Cut the power in a recorded run; whatever the disk may hold then, nothing acknowledged is lost.
    PowerCut(PowerCutOptions),
    /// Spend each exchangeable token many times at once; exactly one call gets the link.
    Exchange(ExchangeOptions),
    /// Ask for each refresh many times at once; exactly one call per window is accepted.
    RefreshLimits(RefreshLimitsOptions),
    /// Stop replicas in the middle of jobs until their leases are over; what they write late is refused.
    Replicas(ReplicasOptions),
    /// Stop, crash and cut off the database under writers; they get 503 and nothing is lost.
    StoreRestarts(StoreRestartsOptions),
    /// Make the disk answer with errors for a while; writes are refused and work again afterwards.
    FailingDisk(FailingDiskOptions),
    /// Set the clock while the server works; nothing is fetched, deleted or forgotten because of it.
    ClockJumps(ClockJumpsOptions),
    /// Let one tenant send 99 of 100 requests; another one hardly notices.
    Neighbours(NeighboursOptions),
    /// Send bodies a byte at a time; nobody else notices.
    SlowBodies(SlowBodiesOptions),
    /// Offer five times what the server can do; it refuses quickly and works on.
    Overload(OverloadOptions),
    /// Stop replicas in order under load, one after the other; no request fails.
    Drain(DrainOptions),
    /// Follow transactions while they change; each reader ends with what the server has.
    Sync(SyncOptions),
    /// Send generated requests; every answer is one that the contract documents.
    Contract(ContractOptions),
    /// Take backups under writes and restore each; everything acknowledged before is in it.
    Backups(BackupsOptions),
    /// Damage data directories in every way; each is refused by name or served right, never as a new one.
    DamagedDirectories(DamagedDirectoriesOptions),
    /// Replace the keys that sign webhooks under load and kills; a receiver with old keys refuses none.
    SigningKeys(SigningKeysOptions),
    /// Kill the server while it sends webhooks to receivers that fail in every way; none is lost, and order is kept.
    Webhooks(WebhooksOptions),
    /// Break the log, end vital parts, look for secrets in memory; the server says so and never serves half.
    Surroundings(SurroundingsOptions),
    /// Follow the ledger from two tenants, withdraw access, wait in silence; streams are shared, end with a reason, cost nothing.
    Streams(StreamsOptions),
    /// Hang hundreds of receivers of one tenant, and kill some that have thousands of events waiting; webhooks to the
    /// others are attempted as soon as ever.
    NeighbourWebhooks(NeighbourWebhooksOptions),
    /// Import 49,000 transactions beside another tenant's writes; none of those waits for long.
    NeighbourImports(NeighbourImportsOptions),
}

/// What every experiment needs.
#[derive(Args)]
pub struct Common {
    /// The server binary; by default the one built beside this program.
    #[arg(long)]
    server: Option<PathBuf>,
    /// Seed of every choice of the experiment.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Append the result line to docs/proofs.jsonl.
    #[arg(long)]
    record: bool,
    /// Which store, for the experiments that run on both.
    #[arg(long, value_enum, default_value_t = StoreKind::Sqlite)]
    store: StoreKind,
}

impl Common {
    /// Refuses a run that is to be recorded and cannot be, before it begins.
    fn require_clean(&self) -> anyhow::Result<()> {
        if self.record {
            crate::record::require_clean()?;
        }
        Ok(())
    }
}

/// Options of `torture kill`.
#[derive(Args)]
pub struct KillOptions {
    #[command(flatten)]
    common: Common,
    /// How many times the server is killed.
    #[arg(long, default_value_t = 200)]
    rounds: u64,
    /// A kill comes between 0 and this many seconds after the load began.
    #[arg(long, default_value_t = 3)]
    secs_max: u64,
    /// Parallel workers.
    #[arg(long, default_value_t = 8)]
    workers: u32,
    /// How long a restart may take until `/readyz` is green; 2000 on the embedded store, 5000 on PostgreSQL.
    #[arg(long)]
    ready_ms_max: Option<u64>,
    /// Acknowledged writes a round needs on average, or the run proves nothing.
    #[arg(long, default_value_t = 10)]
    acked_per_round_min: u64,
}

/// Options of `torture full-disk`.
#[derive(Args)]
pub struct FullDiskOptions {
    #[command(flatten)]
    common: Common,
    /// How many times the disk is filled, each time to another level.
    #[arg(long, default_value_t = 10)]
    levels: u64,
    /// Size of the disk in MiB.
    #[arg(long, default_value_t = 64)]
    disk_mib: u64,
    /// Set when the process is already in a mount namespace of its own.
    #[arg(long, hide = true)]
    inside_namespace: bool,
}

/// Options of `torture power-cut`.
#[derive(Args)]
pub struct PowerCutOptions {
    #[command(flatten)]
    common: Common,
    /// Disk images made from the record, each with its own cut and its own losses.
    #[arg(long, default_value_t = 100)]
    images: u64,
    /// Seconds of recorded load.
    #[arg(long, default_value_t = 5)]
    secs: u64,
}

/// Options of `torture exchange`.
#[derive(Args)]
pub struct ExchangeOptions {
    #[command(flatten)]
    common: Common,
    /// Tokens that are raced for.
    #[arg(long, default_value_t = 1000)]
    tokens: usize,
    /// Parallel calls for each token.
    #[arg(long, default_value_t = 16)]
    callers: usize,
}

/// Options of `torture refresh-limits`.
#[derive(Args)]
pub struct RefreshLimitsOptions {
    #[command(flatten)]
    common: Common,
    /// Links, each with four products.
    #[arg(long, default_value_t = 50)]
    links: usize,
    /// Windows, one after the other.
    #[arg(long, default_value_t = 2)]
    windows: u64,
    /// Calls for each product of each link in each window.
    #[arg(long, default_value_t = 50)]
    calls: usize,
}

/// Options of `torture replicas`; always on PostgreSQL.
#[derive(Args)]
pub struct ReplicasOptions {
    #[command(flatten)]
    common: Common,
    /// Refreshes to be accepted and run.
    #[arg(long, default_value_t = 5000)]
    jobs: u64,
    /// Jobs to be taken over from a stopped holder.
    #[arg(long, default_value_t = 50)]
    zombies: u64,
}

/// Options of `torture store-restarts`; always on PostgreSQL.
#[derive(Args)]
pub struct StoreRestartsOptions {
    #[command(flatten)]
    common: Common,
    /// Faults of each of the three kinds.
    #[arg(long, default_value_t = 20)]
    rounds: u64,
    /// Parallel writers.
    #[arg(long, default_value_t = 100)]
    writers: u32,
}

/// Options of `torture failing-disk`; always on the embedded store.
#[derive(Args)]
pub struct FailingDiskOptions {
    #[command(flatten)]
    common: Common,
    /// How many times the disk fails.
    #[arg(long, default_value_t = 50)]
    rounds: u64,
}

/// Options of `torture clock-jumps`; always on the embedded store, whose time is the machine's.
#[derive(Args)]
pub struct ClockJumpsOptions {
    #[command(flatten)]
    common: Common,
    /// How many of the patterns, in their order.
    #[arg(long, default_value_t = 12)]
    patterns: usize,
    /// Milliseconds of work before, during and after each wrong time.
    #[arg(long, default_value_t = 3000)]
    work_ms: u64,
}

/// Options of `torture overload`; always on the embedded store.
#[derive(Args)]
pub struct OverloadOptions {
    #[command(flatten)]
    common: Common,
    /// Seconds of the search for the capacity, and of the overload.
    #[arg(long, default_value_t = 20)]
    secs: u64,
    /// How many times the capacity must really have been offered; the generator tries five times.
    #[arg(long, default_value_t = 4.0)]
    offered_factor_min: f64,
    /// What must still get done, in percent of the capacity.
    #[arg(long, default_value_t = 75.0)]
    goodput_percent_min: f64,
    /// What 99 of 100 accepted requests may take.
    #[arg(long, default_value_t = 250.0)]
    accepted_p99_ms_max: f64,
    /// What 99 of 100 refusals may take.
    #[arg(long, default_value_t = 20.0)]
    refused_p99_ms_max: f64,
}

/// Options of `torture neighbours`.
#[derive(Args)]
pub struct NeighboursOptions {
    #[command(flatten)]
    common: Common,
    /// Seconds of each part: alone, and beside the busy tenant.
    #[arg(long, default_value_t = 30)]
    secs: u64,
    /// How far the bystander's p99 may rise under the contract's limits.
    #[arg(long, default_value_t = 2.0)]
    limited_ratio_max: f64,
    /// How far it may rise when the busy tenant's limits are out of reach.
    #[arg(long, default_value_t = 4.0)]
    unlimited_ratio_max: f64,
    /// How much of what it asks for may then be refused, in percent.
    #[arg(long, default_value_t = 0.1)]
    unlimited_refused_percent_max: f64,
}

/// Options of `torture slow-bodies`.
#[derive(Args)]
pub struct SlowBodiesOptions {
    #[command(flatten)]
    common: Common,
    /// HTTP/2 streams that ask for a token and never end their form.
    #[arg(long, default_value_t = 1_100)]
    streams: usize,
    /// HTTP/1 sockets that do the same.
    #[arg(long, default_value_t = 1_000)]
    sockets: usize,
    /// Uploads of statement files that never end.
    #[arg(long, default_value_t = 56)]
    uploads: usize,
    /// Seconds of each part: alone, and beside the slow bodies.
    #[arg(long, default_value_t = 20)]
    secs: u64,
    /// How far the bystander's p99 may rise.
    #[arg(long, default_value_t = 1.5)]
    ratio_max: f64,
}

/// Options of `torture drain`; always on PostgreSQL, because it needs two servers.
#[derive(Args)]
pub struct DrainOptions {
    #[command(flatten)]
    common: Common,
    /// How many times a server is stopped and started again.
    #[arg(long, default_value_t = 20)]
    rounds: u64,
    /// Clients behind the balancer.
    #[arg(long, default_value_t = 8)]
    clients: usize,
}

/// Options of `torture backups`; always on the embedded store.
#[derive(Args)]
pub struct BackupsOptions {
    #[command(flatten)]
    common: Common,
    /// How many backups are taken and restored.
    #[arg(long, default_value_t = 20)]
    rounds: u64,
}

/// Options of `torture damaged-directories`; always on the embedded store.
#[derive(Args)]
pub struct DamagedDirectoriesOptions {
    #[command(flatten)]
    common: Common,
    /// How many directories are damaged; the kinds of damage follow each other.
    #[arg(long, default_value_t = 200)]
    directories: u64,
}

/// Options of `torture sync`.
#[derive(Args)]
pub struct SyncOptions {
    #[command(flatten)]
    common: Common,
    /// Seconds of writing and reading, comparisons included.
    #[arg(long, default_value_t = 600)]
    secs: u64,
    /// Links of each of the three kinds.
    #[arg(long, default_value_t = 4)]
    links: usize,
}

/// Options of `torture contract`.
#[derive(Args)]
pub struct ContractOptions {
    #[command(flatten)]
    common: Common,
    /// Generated cases for each operation and phase.
    #[arg(long, default_value_t = 300)]
    examples: u64,
    /// Requests that must have been sent.
    #[arg(long, default_value_t = 10_000)]
    requests_min: u64,
    /// A Python that has schemathesis; by default the one that `cargo xtask test` sets up.
    #[arg(long)]
    python: Option<PathBuf>,
}

/// Options of `torture signing-keys`; always on the embedded store, whose time can be faked.
#[derive(Args)]
pub struct SigningKeysOptions {
    #[command(flatten)]
    common: Common,
    /// How many times the server is killed; four hours pass with each.
    #[arg(long, default_value_t = 20)]
    kills: u64,
    /// How long each life is.
    #[arg(long, default_value_t = 3_000)]
    life_ms: u64,
    /// Reads in a second.
    #[arg(long, default_value_t = 200)]
    rate: u32,
}

/// Options of `torture webhooks`.
#[derive(Args)]
pub struct WebhooksOptions {
    #[command(flatten)]
    common: Common,
    /// Events to be acknowledged.
    #[arg(long, default_value_t = 10_000)]
    events: u64,
    /// Receivers, each of one link.
    #[arg(long, default_value_t = 100)]
    receivers: usize,
    /// How many times the server is killed.
    #[arg(long, default_value_t = 200)]
    kills: u64,
}

/// Options of `torture surroundings`.
#[derive(Args)]
pub struct SurroundingsOptions {
    #[command(flatten)]
    common: Common,
    /// The server with fault hooks; by default `passbook-faulty` beside the server.
    #[arg(long)]
    faulty: Option<PathBuf>,
    /// Only this part.
    #[arg(long, value_enum)]
    only: Option<surroundings::Failing>,
    /// Milliseconds of work before each fault.
    #[arg(long, default_value_t = 2000)]
    work_ms: u64,
    /// Parallel workers.
    #[arg(long, default_value_t = 4)]
    workers: u32,
    /// Seconds between the last use of a secret and the look at the memory.
    #[arg(long, default_value_t = 60)]
    memory_secs: u64,
}

/// Options of `torture streams`.
#[derive(Args)]
pub struct StreamsOptions {
    #[command(flatten)]
    common: Common,
    /// Events in the ledger that silent streams look through.
    #[arg(long, default_value_t = 60_000)]
    events: u64,
    /// Seconds over which their cost is measured.
    #[arg(long, default_value_t = 20)]
    quiet_secs: u64,
    /// Seconds that a stream on HTTP/2 must live; 0 leaves it out.
    #[arg(long, default_value_t = 120)]
    alive_secs: u64,
}

/// Options of `torture neighbour-webhooks`.
#[derive(Args)]
pub struct NeighbourWebhooksOptions {
    #[command(flatten)]
    common: Common,
    /// Receivers of one tenant that take connections and never answer, beside another tenant's.
    #[arg(long, default_value_t = 320)]
    hanging: usize,
    /// Receivers that never answer, beside others of the same tenant.
    #[arg(long, default_value_t = 10)]
    dead: usize,
    /// Those others.
    #[arg(long, default_value_t = 90)]
    healthy: usize,
    /// Events that wait for each of the dead ones.
    #[arg(long, default_value_t = 5_000)]
    backlog: u64,
    /// Seconds for which events are timed, in each scene.
    #[arg(long, default_value_t = 20)]
    secs: u64,
    /// Timed events in a second.
    #[arg(long, default_value_t = 100)]
    rate: u32,
    /// What 99 of 100 first attempts of the other tenant may take.
    #[arg(long, default_value_t = 100.0)]
    bystander_p99_ms_max: f64,
    /// The same beside dead receivers.
    #[arg(long, default_value_t = 250.0)]
    others_p99_ms_max: f64,
}

/// Options of `torture neighbour-imports`; always on the embedded store, which has one writer for all.
#[derive(Args)]
pub struct NeighbourImportsOptions {
    #[command(flatten)]
    common: Common,
    /// Imports, one after the other, each of a new link.
    #[arg(long, default_value_t = 5)]
    imports: u32,
    /// Transactions in each.
    #[arg(long, default_value_t = 49_000)]
    transactions: u32,
    /// The longest that a write of the other tenant may take meanwhile.
    #[arg(long, default_value_t = 80)]
    longest_ms_max: u64,
    /// Writes that must have been timed beside imports, or the run proves nothing.
    #[arg(long, default_value_t = 100)]
    writes_min: usize,
}

/// Runs the experiment; an error is a failed proof.
pub async fn run(experiment: Experiment) -> Result<()> {
    match experiment {
        Experiment::Kill(options) => kill::run(options).await,
        Experiment::FullDisk(options) => full_disk::run(options).await,
        Experiment::PowerCut(options) => power_cut::run(options).await,
        Experiment::Exchange(options) => exchange::run(options).await,
        Experiment::RefreshLimits(options) => refresh_limits::run(options).await,
        Experiment::Replicas(options) => replicas::run(options).await,
        Experiment::StoreRestarts(options) => store_restarts::run(options).await,
        Experiment::FailingDisk(options) => failing_disk::run(options).await,
        Experiment::ClockJumps(options) => clock_jumps::run(options).await,
        Experiment::Neighbours(options) => neighbours::run(options).await,
        Experiment::SlowBodies(options) => slow_bodies::run(options).await,
        Experiment::Overload(options) => overload::run(options).await,
        Experiment::Drain(options) => drain::run(options).await,
        Experiment::Sync(options) => sync::run(options).await,
        Experiment::Contract(options) => contract::run(options).await,
        Experiment::Backups(options) => backups::run(options).await,
        Experiment::DamagedDirectories(options) => damaged_directories::run(options).await,
        Experiment::SigningKeys(options) => signing_keys::run(options).await,
        Experiment::Webhooks(options) => webhooks::run(options).await,
        Experiment::Surroundings(options) => surroundings::run(options).await,
        Experiment::Streams(options) => streams::run(options).await,
        Experiment::NeighbourWebhooks(options) => neighbour_webhooks::run(options).await,
        Experiment::NeighbourImports(options) => neighbour_imports::run(options).await,
    }
}
