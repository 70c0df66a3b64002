//! `torture surroundings`: what the server stands on fails, the server does not.
//!
//! Three parts. **Log**: its disk is full, its pipe is closed, or nobody reads its pipe. **Vital parts**: each is ended in
//! turn by a fault hook, by a panic and by a return; the process must say which, never claim to be well, and end with a
//! code of its own, or with 0 when it is told to stop. **Memory**: a while after secrets were used, none is left in any
//! readable page of the process. Workers write meanwhile, and nothing acknowledged may be lost.

use std::io::Read as _;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use clap::ValueEnum;
use passbook::supervision::EXIT_CODE;
use passbook_store::sealing::MasterKey;
use serde_json::Value;

use super::conduct::{Conduct, milliseconds};
use super::crew::Crew;
use super::ground::{Running, StoreKind};
use super::kill::binary;
use super::memory;
use super::{Common, SurroundingsOptions};
use crate::deployment::{Deployment, NO_LIMITS, Shape, make_client, write_private};
use crate::http::{Answer, Connection, request};
use crate::metrics::log_lines_dropped;
use crate::server::{Hosted, Plan, Server};

/// Between "not ready" and the end of listening; long enough to look at what the process says meanwhile.
const DRAIN_SECONDS: &str = "1";
/// How soon the end of a part must show.
const NOTICE_MAX: Duration = Duration::from_secs(5);
/// How soon the process must have ended then: its drain, its requests, its jobs.
const END_MAX: Duration = Duration::from_secs(30);
/// Requests between two looks at what was dropped, and how long they may go on; each leaves a line at least.
const REQUESTS: u64 = 500;
const FILL_MAX: Duration = Duration::from_secs(120);
/// Parts of every server here, beside the store's own.
const PARTS: [&str; 7] = ["control_socket", "key_rotation", "listener", "log", "maintenance", "webhooks", "workers"];

/// A part of the experiment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Failing {
    /// The log cannot be written.
    Log,
    /// Vital parts end.
    Parts,
    /// Secrets are looked for in memory.
    Memory,
}

/// What is behind the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sink {
    FullDisk,
    ClosedPipe,
    UnreadPipe,
}

/// How a part ends.
#[derive(Clone, Copy, Debug)]
enum How {
    Panics,
    Returns,
}

/// A server with what its store stands on.
struct Site {
    plan: Plan,
    _deployment: Option<Deployment>,
}

/// Runs the experiment.
pub async fn run(options: SurroundingsOptions) -> Result<()> {
    let common = &options.common;
    let conduct = Conduct::new(common, &[])?;
    let id = match common.store {
        StoreKind::Sqlite => "surroundings-embedded",
        StoreKind::Postgres => "surroundings-postgres",
    };
    let wanted = |failing| options.only.is_none_or(|only| only == failing);
    conduct
        .run(id, common, async |conduct| {
            let released = binary(common.server.clone())?;
            let faulty = options.faulty.clone().unwrap_or_else(|| released.with_file_name("passbook-faulty"));
            let mut crew = Crew::new(options.workers, common.seed, &conduct.journal);
            let result = async {
                if wanted(Failing::Log) {
                    let site = Site::new(common, released.clone(), &conduct.directory().join("log")).await?;
                    for sink in [Sink::FullDisk, Sink::ClosedPipe, Sink::UnreadPipe] {
                        let context = || format!("log: {sink:?}");
                        let dropped = fail_log(&site, &mut crew, sink, &options).await.with_context(context)?;
                        conduct.figure(&format!("lines_dropped_{sink:?}").to_lowercase(), dropped);
                        conduct.rounds += 1;
                    }
                    check_at_rest(&site, &mut crew).await?;
                    conduct.tally.add(&crew.tally());
                }
                if wanted(Failing::Parts) {
                    ensure!(faulty.exists(), "no server with fault hooks at {}; give --faulty", faulty.display());
                    let mut crew = Crew::new(options.workers, common.seed, &conduct.journal);
                    crew.process_ends = true;
                    let site = Site::new(common, faulty.clone(), &conduct.directory().join("parts")).await?;
                    let result = end_parts(&site, &mut crew, conduct, &options).await;
                    conduct.tally.add(&crew.tally());
                    result?;
                }
                if wanted(Failing::Memory) {
                    let site = Site::new(common, released.clone(), &conduct.directory().join("memory")).await?;
                    let (secrets, bytes) = memory::search(&site.plan, Duration::from_secs(options.memory_secs)).await?;
                    conduct.figure("secrets_looked_for", secrets);
                    conduct.figure("memory_mib_searched", bytes >> 20);
                    conduct.figure("memory_after_secs", options.memory_secs);
                    conduct.rounds += 1;
                }
                Ok(())
            };
            result.await
        })
        .await
}

impl Site {
    /// `passbook serve` on either store, with a client of its own.
    async fn new(common: &Common, binary: PathBuf, directory: &Path) -> Result<Self> {
        std::fs::create_dir_all(directory)?;
        let (mut plan, deployment) = match common.store {
            StoreKind::Sqlite => (embedded(binary, directory).await?, None),
            StoreKind::Postgres => {
                let shape =
                    Shape { binary, directory, replicas: 1, under: &[], store: "", limits: NO_LIMITS, settings: "" };
                let deployment = Deployment::new(&shape).await?;
                (deployment.plans[0].clone(), Some(deployment))
            }
        };
        plan.environment.push(("PASSBOOK_SERVER__DRAIN_SECONDS".to_owned(), DRAIN_SECONDS.to_owned()));
        Ok(Self { plan, _deployment: deployment })
    }
}

async fn embedded(binary: PathBuf, directory: &Path) -> Result<Plan> {
    let key = directory.join("master.key");
    write_private(&key, MasterKey::generate().to_file_text().as_bytes())?;
    let mut plan = Plan::new(binary, directory, Vec::new())?;
    let address = free_address()?;
    let text = format!(
        "[server]\nlisten = \"{address}\"\n[store]\nkind = \"sqlite\"\ndata = \"{data}\"\n[keys]\n\
         master_key_file = \"{key}\"\n[sandbox]\nenabled = true\n[webhooks]\nonly_this_machine = true\n[refresh]\n\
         times_per_day = 0\n[limits]\n{NO_LIMITS}\n",
        data = plan.data.display(),
        key = key.display(),
    );
    let config = directory.join("passbook.toml");
    write_private(&config, text.as_bytes())?;
    plan.hosted = Some(Hosted { config, address, access: Default::default() });
    Server::start(&plan).await?.stop().await?;
    let access = make_client(&plan)?;
    if let Some(hosted) = &mut plan.hosted {
        hosted.access = access;
    }
    Ok(plan)
}

/// Free now. Should another process take it before the server does, the start fails with that reason.
fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

fn running(server: Server) -> Running {
    Running { addresses: vec![server.address], access: server.access.clone(), servers: vec![server] }
}

/// Work while the log cannot be written, and an orderly stop. Returns how many lines were dropped.
async fn fail_log(site: &Site, crew: &mut Crew, sink: Sink, options: &SurroundingsOptions) -> Result<u64> {
    let (reader, writer) = std::io::pipe()?;
    let mut plan = site.plan.clone();
    plan.arguments.extend(["--log".to_owned(), "trace".to_owned()]);
    plan.log = match sink {
        Sink::FullDisk => PathBuf::from("/dev/full"),
        Sink::ClosedPipe | Sink::UnreadPipe => PathBuf::from(format!("/proc/self/fd/{}", writer.as_raw_fd())),
    };
    // While it starts, somebody reads the pipe, as a terminal does. Its end closes or abandons it.
    let server = Server::start(&plan).await?;
    drop(writer);
    let kept = (sink == Sink::UnreadPipe).then_some(reader);
    let address = server.address;
    let running = running(server);
    let day = crew.begin_by_this_clock(&running);
    tokio::time::sleep(Duration::from_millis(options.work_ms)).await;
    ask_often(address).await?;
    crew.end(day).await?;
    crew.ensure_sound()?;
    crew.check(&running, true).await?;
    let dropped = log_lines_dropped(address).await?;
    ensure!(dropped > 0, "no line was dropped: nothing was tried");
    if let Some(mut reader) = kept {
        // Somebody reads again: the log goes on, and says once that lines are missing.
        let (told, tells) = std::sync::mpsc::channel();
        let reading = std::thread::spawn(move || {
            let mut text = Vec::new();
            let mut buffer = [0; 1 << 16];
            while let Ok(read @ 1..) = reader.read(&mut buffer) {
                text.extend_from_slice(&buffer[..read]);
                let _nobody_waits = count_of(&text, b"lines before this one are missing").gt(&0).then(|| told.send(()));
            }
            count_of(&text, b"lines before this one are missing")
        });
        let told = tokio::task::spawn_blocking(move || tells.recv_timeout(NOTICE_MAX)).await?;
        ensure!(told.is_ok(), "nothing in the log says that lines are missing");
        running.stop().await?;
        let said = reading.join().map_err(|_| anyhow::anyhow!("the reader"))?;
        ensure!(said == 1, "the log says {said} times that lines are missing");
    } else {
        running.stop().await?;
    }
    Ok(dropped)
}

fn count_of(text: &[u8], needle: &[u8]) -> usize {
    text.windows(needle.len()).filter(|window| *window == needle).count()
}

/// Asks until lines are dropped: a pipe that nobody reads takes some, and the queue behind it too.
async fn ask_often(address: SocketAddr) -> Result<()> {
    let begun = Instant::now();
    let mut connection = Connection::open(address).await?;
    loop {
        for _ in 0..REQUESTS {
            let answer = connection.exchange(&request("GET", "/healthz", &[], b"")).await?;
            ensure!(answer.status == 200, "/healthz answers {}", answer.status);
        }
        if log_lines_dropped(address).await? > 0 {
            return Ok(());
        }
        ensure!(begun.elapsed() < FILL_MAX, "no line is dropped");
    }
}

/// What was acknowledged must be there after a restart too.
async fn check_at_rest(site: &Site, crew: &mut Crew) -> Result<()> {
    let running = running(Server::start(&site.plan).await?);
    crew.check(&running, true).await?;
    crew.settle(&running).await?;
    crew.check_list(&running).await?;
    running.stop().await
}

/// Ends every part in both ways, one after the other.
async fn end_parts(site: &Site, crew: &mut Crew, conduct: &mut Conduct, options: &SurroundingsOptions) -> Result<()> {
    let of_store = match options.common.store {
        StoreKind::Sqlite => "store_writer",
        StoreKind::Postgres => "store_upkeep",
    };
    let server = Server::start(&site.plan).await?;
    let mut listed: Vec<String> = serde_json::from_slice(&get(server.address, "/fault-hooks").await?.body)?;
    server.stop().await?;
    listed.sort();
    let mut expected: Vec<_> = PARTS.iter().copied().chain([of_store]).collect();
    expected.sort_unstable();
    ensure!(listed == expected, "the parts are {listed:?}, expected were {expected:?}");
    // Parts that only some configurations have.
    let operators = free_address()?;
    let further = [
        ("schedule", "PASSBOOK_REFRESH__TIMES_PER_DAY", "4".to_owned()),
        ("operator_listener", "PASSBOOK_SERVER__OPERATOR_LISTEN", operators.to_string()),
    ];
    let mut slowest = Duration::ZERO;
    for how in [How::Panics, How::Returns] {
        for part in &expected {
            let took = end_part(site, &site.plan, crew, part, how, options).await;
            slowest = slowest.max(took.with_context(|| format!("{part} {how:?}"))?);
            conduct.rounds += 1;
        }
        for (part, name, value) in &further {
            let mut plan = site.plan.clone();
            plan.environment.push(((*name).to_owned(), value.clone()));
            let took = end_part(site, &plan, crew, part, how, options).await;
            slowest = slowest.max(took.with_context(|| format!("{part} {how:?}"))?);
            conduct.rounds += 1;
        }
    }
    let running = running(Server::start(&site.plan).await?);
    crew.settle(&running).await?;
    crew.check_list(&running).await?;
    running.stop().await?;
    ensure!(crew.tally().acked > 0, "no write was acknowledged: nothing was tried");
    conduct.figure("part_ended_to_process_ended_ms_max", milliseconds(slowest));
    Ok(())
}

/// Ends one part under load. Returns how long the process took to end.
async fn end_part(
    site: &Site,
    plan: &Plan,
    crew: &mut Crew,
    part: &str,
    how: How,
    options: &SurroundingsOptions,
) -> Result<Duration> {
    let server = Server::start_when_healthy(plan).await?;
    let address = server.address;
    let mut running = running(server);
    let day = crew.begin_by_this_clock(&running);
    tokio::time::sleep(Duration::from_millis(options.work_ms)).await;
    let how_word = match how {
        How::Panics => "panics",
        How::Returns => "returns",
    };
    let waiting = Instant::now();
    while day.steps() == 0 {
        ensure!(waiting.elapsed() < FILL_MAX, "nothing is written");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let mut hook = Connection::open(address).await?;
    let path = format!("/fault-hooks/{part}/{how_word}");
    let answer = hook.exchange(&request("POST", &path, &[], b"")).await?;
    ensure!(answer.status == 204, "the hook answers {}", answer.status);
    let begun = Instant::now();
    let server = running.servers.pop().context("a server")?;
    // A returned part is met by a stop as well: the process was told, so it ends with 0.
    let told = matches!(how, How::Returns);
    notice(address, part, begun).await?;
    if told {
        server.terminate()?;
    }
    let status = server.ended(END_MAX, async || claims_to_be_well(address).await).await?;
    let code = status.code();
    let expected = if told { 0 } else { i32::from(EXIT_CODE) };
    ensure!(code == Some(expected), "the process ended with {status}, expected {expected}");
    let took = begun.elapsed();
    crew.end(day).await?;
    let running = self::running(Server::start(&site.plan).await?);
    crew.check(&running, false).await?;
    running.stop().await?;
    let findings = crew.tally().findings;
    ensure!(findings.is_empty(), "{}", findings.join("; "));
    Ok(took)
}

/// Waits until the process says which part is missing.
async fn notice(address: SocketAddr, part: &str, begun: Instant) -> Result<()> {
    loop {
        let (health, readiness) = (get(address, "/healthz").await, get(address, "/readyz").await);
        // Nobody says anything where nobody listens any more.
        if part == "listener" && health.is_err() {
            return Ok(());
        }
        // Where readiness has a listener of its own, health says it all.
        if let Ok(health) = &health
            && health.status == 503
        {
            ensure!(String::from_utf8_lossy(&health.body).contains(part), "/healthz does not name {part}");
            if let Ok(readiness) = readiness
                && readiness.status != 404
            {
                let said: Value = readiness.json();
                let names = said["ended_parts"].as_array().is_some_and(|parts| parts.iter().any(|one| one == part));
                ensure!(readiness.status == 503 && names, "/readyz says {} {said}", readiness.status);
            }
            return Ok(());
        }
        ensure!(begun.elapsed() < NOTICE_MAX, "nothing says that {part} has ended");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// A process of which a part has ended answers nothing, or that it is not well.
async fn claims_to_be_well(address: SocketAddr) -> Result<()> {
    for path in ["/healthz", "/readyz"] {
        match get(address, path).await {
            Ok(answer) if answer.status == 200 => bail!("{path} answers 200 while a part is missing"),
            _ => {}
        }
    }
    Ok(())
}

async fn get(address: SocketAddr, path: &str) -> Result<Answer> {
    let ask = async {
        let mut connection = Connection::open(address).await?;
        anyhow::Ok(connection.exchange(&request("GET", path, &[], b"")).await?)
    };
    tokio::time::timeout(Duration::from_secs(2), ask).await?
}
