//! `passbook-proof crawl`: every operation is asked with everything that is right and wrong about a request, over links
//! in every state, and each answer is written down.
//!
//! Two servers that answer alike give equal transcripts, byte for byte: it is the proof that a restructuring changes no
//! answer. The seed and the clocks are fixed, one request follows another, and after each change the crawl waits until
//! everything that follows from it has happened. What is random all the same has names in place of values
//! ([`placeholders`]).

mod call;
mod changes;
mod clocks;
mod comparison;
mod crawler;
mod files;
mod operations;
mod people;
mod place;
mod placeholders;
mod reads;
mod requests;
mod settling;
mod tokens;
mod transcript;
mod world;
mod wrong_bodies;

use std::path::PathBuf;

use anyhow::{Context, Result, bail, ensure};
use clap::Args;

use self::comparison::differences;
use self::crawler::Crawler;
use self::place::Place;
use self::transcript::Transcript;
use self::world::World;
use crate::torture::StoreKind;

/// Where every clock stands still.
const FROZEN_AT: &str = "2026-01-15T09:00:00Z";

/// What becomes of the transcript.
#[derive(Args)]
#[group(id = "what", required = true, multiple = false)]
pub struct What {
    /// Write the transcript to this file.
    #[arg(long)]
    to: Option<PathBuf>,
    /// Compare with the transcript in this file.
    #[arg(long)]
    against: Option<PathBuf>,
}

/// Options of `crawl`.
#[derive(Args)]
pub struct Options {
    /// The server binary; by default the one built beside this program.
    #[arg(long)]
    server: Option<PathBuf>,
    /// Which store.
    #[arg(long, value_enum, default_value_t = StoreKind::Sqlite)]
    store: StoreKind,
    #[command(flatten)]
    what: What,
    /// Seed of people, numbers and ids.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Fail if fewer requests were asked.
    #[arg(long, default_value_t = 3_000)]
    requests_min: usize,
}

/// Crawls a server, and writes the transcript or compares it.
pub async fn run(options: Options) -> Result<()> {
    let transcript = crawl(&options).await?;
    let asked = transcript.exchanges.len();
    ensure!(asked >= options.requests_min, "{asked} requests were asked, fewer than {}", options.requests_min);
    eprintln!("{asked} requests were asked");
    if let Some(path) = &options.what.to {
        std::fs::write(path, transcript.render()).with_context(|| format!("{}", path.display()))?;
    }
    match &options.what.against {
        Some(path) => compare(&read(path)?, &transcript),
        None => Ok(()),
    }
}

fn read(path: &PathBuf) -> Result<Transcript> {
    let text = std::fs::read_to_string(path).with_context(|| format!("{}", path.display()))?;
    Ok(Transcript::parse(&text))
}

fn compare(recorded: &Transcript, transcript: &Transcript) -> Result<()> {
    let differences = differences(recorded, transcript);
    if differences.is_empty() {
        eprintln!("all answers are equal");
        return Ok(());
    }
    bail!("the answers differ (<: recorded, >: now)\n{}", differences.join("\n"))
}

async fn crawl(options: &Options) -> Result<Transcript> {
    let place = Place::new(options).await?;
    let mut crawler = Crawler::new(place.server.address);
    crawler.placeholders.value("secret of dev", &place.server.access.client_secret);
    let mut world = World::new(&place, &mut crawler, options.seed).await?;
    people::sign_in(&mut crawler, &mut world).await.context("signing in")?;
    files::import(&mut crawler, &mut world).await.context("importing")?;
    changes::prepare(&mut crawler, &mut world).await.context("changing links")?;
    reads::every_link(&mut crawler, &world).await.context("reading links")?;
    reads::pages(&mut crawler, &world).await.context("walking lists")?;
    tokens::ask(&mut crawler, &world).await.context("tokens")?;
    operations::every_operation(&mut crawler, &mut world).await.context("every operation")?;
    reads::made_by_requests(&mut crawler, &world).await.context("reading what requests made")?;
    changes::events(&mut crawler, &world).await.context("events")?;
    clocks::bank(&mut crawler, &world).await.context("edits of a bank")?;
    clocks::passing_time(&mut crawler, &world).await.context("moving a clock")?;
    place.server.stop().await?;
    Ok(crawler.transcript)
}
