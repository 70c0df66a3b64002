//! One link with very many transactions: following them from the beginning, and a page far down the list.
//!
//! Following is measured against a loop in this process that reads the same store by the same port and renders the same
//! rows: what the HTTP server, the client and the cursors add. A far page is measured against counting the link's
//! rows, which any list with a total has to do.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use passbook::{dev, instance::Instance, seed, views};
use passbook_core::{change_log::change_page, ids::LinkId, tenant::Tenant};
use passbook_store::port::{ChangeFilter, Store as _};
use passbook_store::sqlite::SqliteStore;
use rusqlite::{Connection, OpenFlags};

use super::pairs::Comparison;
use super::report::Report;
use super::seeding::{MADE_AT, open};
use super::{Bench, SEED};
use crate::api::Api;
use crate::process::rss_anon_kib;
use crate::server::Server;

/// Changes of one page.
const PAGE: u32 = 500;
/// Rows of one commit while the store is made.
const BATCH: u64 = 10_000;
/// Whole walks by each side.
const WALKS: usize = 3;
/// Far pages and counts.
const FAR_PAGES: usize = 9;
/// How often memory is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// What one walk over HTTP has shown.
struct Walk {
    seconds: f64,
    /// Seconds of each tenth of the pages.
    tenths: Vec<f64>,
}

/// Measures everything on one store.
pub async fn measure(bench: &Bench, report: &mut Report) -> Result<()> {
    let count = bench.scale.transactions;
    let plan = bench.plan("transactions");
    std::fs::create_dir_all(&plan.data)?;
    Server::start(&plan).await?.stop().await?;
    let (tenant, link) = fill(&plan.data, count).await?;
    let (mut walks, mut loops, mut grown) = (Vec::new(), Vec::new(), 0);
    for _ in 0..WALKS {
        let server = Server::start(&plan).await?;
        let memory = Memory::watch(server.pid())?;
        walks.push(walk(&server, &link, count).await?);
        grown = grown.max(memory.grown_kib().await?);
        server.stop().await?;
        loops.push(scan_and_render(&plan.data, &tenant, &link, count).await?);
    }
    let per_second = |seconds: f64| count as f64 / seconds;
    let pairs: Vec<_> =
        walks.iter().zip(&loops).map(|(walk, alone)| (per_second(walk.seconds), per_second(*alone))).collect();
    report.add(
        &format!("sync of {count} transactions of one link, {PAGE} a page / scan and render: rows per second"),
        &Comparison::of(&pairs, |rows| *rows),
    );
    let tenths: Vec<_> = walks.iter().map(|walk| (walk.tenths[9], walk.tenths[0])).collect();
    report.add("last tenth of that walk / first tenth: s", &Comparison::of(&tenths, |seconds| *seconds));

    let server = Server::start(&plan).await?;
    let memory = Memory::watch(server.pid())?;
    let pages = far_pages(&server, &link, count).await?;
    grown = grown.max(memory.grown_kib().await?);
    server.stop().await?;
    let counts = counts(&plan.data, &link, count)?;
    let pairs: Vec<_> = pages.into_iter().zip(counts).collect();
    let number = count / u64::from(PAGE);
    report.add(
        &format!("page {number} of {PAGE} of that link's list / COUNT(*) of its rows: ms"),
        &Comparison::of(&pairs, |ms| *ms),
    );
    report.note(&format!(
        "Anonymous memory of the server during these walks and pages: at most {:.1} MiB above idle.",
        grown as f64 / 1024.0
    ));
    Ok(())
}

/// Makes the link; gives what finds it.
async fn fill(data: &Path, count: u64) -> Result<(Tenant, LinkId)> {
    let store = open(data)?;
    let derivation = Instance::open_dev(store.as_ref(), SEED).await?.derivation;
    let tenant = dev::tenant(&derivation);
    let now = MADE_AT.parse().context("a timestamp")?;
    let id = seed::link_id(&derivation, &tenant, 1);
    store.bulk_load([seed::link_changes(&derivation, &tenant, 1, now)]).await?;
    for from in (0..count).step_by(BATCH as usize) {
        let stored = store.lookup_link(&tenant, &id).await?.context("the seeded link")?;
        let upto = (from + BATCH).min(count);
        store.bulk_load([seed::transaction_changes(&derivation, stored, from..upto)]).await?;
    }
    store.close().await;
    Ok((tenant, id))
}

/// Follows the link from the beginning.
async fn walk(server: &Server, link: &LinkId, count: u64) -> Result<Walk> {
    let mut api = Api::new(server);
    let pages = count.div_ceil(u64::from(PAGE));
    let (mut cursor, mut ends) = (String::new(), Vec::new());
    // The token is not part of the walk.
    api.token().await?;
    let begun = Instant::now();
    for page in 1..=pages {
        let path = format!("/links/{link}/transactions/sync?size={PAGE}&cursor={cursor}");
        let answer = api.get(&path).await?;
        ensure!(answer.status == 200, "a page answered {}", answer.status);
        let body = std::str::from_utf8(&answer.body)?;
        // Reading half a megabyte of JSON is the client's work and not measured here.
        let rest = body.rsplit_once("\"cursor\":{\"next\":\"").context("no cursor")?.1;
        cursor = rest.split_once('"').context("no cursor")?.0.to_owned();
        ensure!(rest.contains("\"has_more\":true") == (page < pages), "page {page} of {pages} is the last one");
        if page * 10 / pages > ends.len() as u64 {
            ends.push(begun.elapsed().as_secs_f64());
        }
    }
    let tenths = ends.iter().scan(0.0, |before, end| Some(end - std::mem::replace(before, *end))).collect();
    Ok(Walk { seconds: begun.elapsed().as_secs_f64(), tenths })
}

/// Seconds for reading the same rows and rendering them, without a server.
async fn scan_and_render(data: &Path, tenant: &Tenant, link: &LinkId, count: u64) -> Result<f64> {
    let store: Arc<SqliteStore> = open(data)?;
    let begun = Instant::now();
    let (mut after, mut rows, mut bytes) = (0, 0, 0);
    loop {
        let filter = ChangeFilter { after, accounts: None, limit: PAGE };
        let page = change_page(after, store.list_transaction_changes(tenant, link, &filter).await?);
        if page.position == after {
            break;
        }
        after = page.position;
        rows += page.created.len() as u64;
        let shown: Vec<_> = page.created.into_iter().map(views::transaction).collect();
        bytes += views::json(&shown).len();
    }
    let seconds = begun.elapsed().as_secs_f64();
    ensure!(rows == count && bytes > 0, "{rows} of {count} rows were read");
    store.close().await;
    Ok(seconds)
}

/// Milliseconds of the last page, again and again.
async fn far_pages(server: &Server, link: &LinkId, count: u64) -> Result<Vec<f64>> {
    let mut api = Api::new(server);
    let page = count / u64::from(PAGE);
    let path = format!("/links/{link}/transactions?size={PAGE}&page={page}");
    let mut pages = Vec::new();
    for _ in 0..=FAR_PAGES {
        let begun = Instant::now();
        let answer = api.get(&path).await?;
        pages.push(begun.elapsed().as_secs_f64() * 1000.0);
        ensure!(answer.json()["total"] == count, "the page answered {}", answer.status);
    }
    // The first one also got a token and warmed up.
    Ok(pages.split_off(1))
}

/// Milliseconds for counting the link's rows in the file.
fn counts(data: &Path, link: &LinkId, count: u64) -> Result<Vec<f64>> {
    let connection = Connection::open_with_flags(data.join("passbook.db"), OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    connection.pragma_update(None, "mmap_size", 1_i64 << 40)?;
    let mut statement = connection.prepare("SELECT COUNT(*) FROM transactions WHERE link_id = ?1")?;
    let mut counts = Vec::new();
    for _ in 0..=FAR_PAGES {
        let begun = Instant::now();
        let found: i64 = statement.query_row([link.as_str()], |row| row.get(0))?;
        counts.push(begun.elapsed().as_secs_f64() * 1000.0);
        ensure!(found.unsigned_abs() == count, "{found} of {count} rows");
    }
    Ok(counts.split_off(1))
}

/// Looks at a process's memory while something happens.
struct Memory {
    idle: u64,
    peak: Arc<AtomicU64>,
    over: Arc<AtomicBool>,
    watching: tokio::task::JoinHandle<Result<()>>,
}

impl Memory {
    fn watch(pid: u32) -> Result<Self> {
        let idle = rss_anon_kib(pid)?;
        let (peak, over) = (Arc::new(AtomicU64::new(idle)), Arc::new(AtomicBool::new(false)));
        let (seen, stop) = (Arc::clone(&peak), Arc::clone(&over));
        let watching = tokio::spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                seen.fetch_max(rss_anon_kib(pid)?, Ordering::Relaxed);
                tokio::time::sleep(LOOK_EVERY).await;
            }
            Ok(())
        });
        Ok(Self { idle, peak, over, watching })
    }

    async fn grown_kib(self) -> Result<u64> {
        self.over.store(true, Ordering::Relaxed);
        self.watching.await??;
        Ok(self.peak.load(Ordering::Relaxed) - self.idle)
    }
}
