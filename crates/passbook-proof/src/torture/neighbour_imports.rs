//! `torture neighbour-imports`: what a tenant's large import does to the writes of another.
//!
//! One tenant imports statement files of 49,000 transactions, one after the other. Another one opens link
//! sessions meanwhile, and each of these writes is timed. First it is timed alone.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::NeighbourImportsOptions;
use super::conduct::Conduct;
use super::store_files::{Jobs, check_store};
use crate::api::{Api, Body, import_file_path};
use crate::deployment::operate;
use crate::server::{Access, Server};
use crate::statement::Account;

/// How long an import may take.
const IMPORT_MAX: Duration = Duration::from_secs(120);
/// Writes that are timed without an import.
const ALONE: usize = 200;

/// Runs the experiment.
pub async fn run(options: NeighbourImportsOptions) -> Result<()> {
    let conduct = Conduct::new(&options.common, &[])?;
    conduct
        .run("R12-neighbour-imports-embedded", &options.common, async |conduct| experiment(conduct, &options).await)
        .await
}

async fn experiment(conduct: &mut Conduct, options: &NeighbourImportsOptions) -> Result<()> {
    let server = Server::start(&conduct.plan).await?;
    let neighbour = other_tenant(conduct, &server)?;
    let mut writer = Api::over(&[server.address], &neighbour, 0);
    let mut alone = Vec::new();
    for _ in 0..ALONE {
        alone.push(write(&mut writer).await?);
    }
    let (mut beside, mut imports) = (Vec::new(), Vec::new());
    for number in 0..options.imports {
        let is_over = Arc::new(AtomicBool::new(false));
        let (access, transactions) = (server.access.clone(), options.transactions);
        let import = tokio::spawn(import(server.address, access, number, transactions, Arc::clone(&is_over)));
        let begun = Instant::now();
        while !is_over.load(Ordering::Acquire) && begun.elapsed() < IMPORT_MAX {
            beside.push(write(&mut writer).await?);
        }
        imports.push(import.await??);
        conduct.rounds += 1;
    }
    server.stop().await?;
    check_store(&conduct.plan.data, Jobs::HaveEnded)?;
    conduct.tally.acked = (alone.len() + beside.len()) as u64;
    alone.sort_unstable();
    beside.sort_unstable();
    let longest = beside.last().copied().unwrap_or_default();
    conduct.figure("transactions", options.transactions);
    conduct.figure("writes_beside", beside.len());
    conduct.figure("alone_ms_p99", tenths(quantile(&alone, 99)));
    conduct.figure("alone_ms_max", tenths(alone.last().copied().unwrap_or_default()));
    conduct.figure("beside_ms_p50", tenths(quantile(&beside, 50)));
    conduct.figure("beside_ms_p99", tenths(quantile(&beside, 99)));
    conduct.figure("beside_ms_max", tenths(longest));
    conduct.figure("import_ms_max", tenths(imports.into_iter().max().unwrap_or_default()));
    let wanted = options.writes_min;
    ensure!(beside.len() >= wanted, "only {} writes were timed beside imports, wanted {wanted}", beside.len());
    ensure!(
        longest <= Duration::from_millis(options.longest_ms_max),
        "a neighbour's write took {} ms beside an import",
        longest.as_millis()
    );
    Ok(())
}

/// A client of another app of the same server.
fn other_tenant(conduct: &Conduct, server: &Server) -> Result<Access> {
    operate(&conduct.plan, &["apps", "add", "neighbour", "--origin", "http://localhost:*"])?;
    let client = operate(&conduct.plan, &["clients", "add", "--app", "neighbour", "--environment", "sandbox"])?;
    let field = |name: &str| client[name].as_str().map(ToOwned::to_owned).with_context(|| format!("no {name}"));
    Ok(Access {
        api_url: server.access.api_url.clone(),
        client_id: field("client_id")?,
        client_secret: field("client_secret")?,
        link_id: String::new(),
    })
}

/// Opens a link session; how long that took until it was durable.
async fn write(api: &mut Api) -> Result<Duration> {
    // The token is not part of the write.
    api.token().await?;
    let body = session();
    let begun = Instant::now();
    let answer = api.call("POST", "/link-session", Body::Json(&body)).await?;
    let took = begun.elapsed();
    ensure!(answer.status == 201, "a session answered {}: {}", answer.status, answer.json());
    Ok(took)
}

fn session() -> Value {
    json!({
        "customer_user": { "id": "neighbour" },
        "redirect_uri": "http://localhost/done",
        "settings": { "link_permissions": { "requested": [{ "product": "accounts", "reason": "to see them", "required": true }] } },
    })
}

/// Imports a file of one account.
async fn import(
    address: std::net::SocketAddr,
    access: Access,
    number: u32,
    transactions: u32,
    is_over: Arc<AtomicBool>,
) -> Result<Duration> {
    let mut api = Api::over(&[address], &access, 0);
    api.set_patience(IMPORT_MAX);
    api.token().await?;
    let file = Account::new(1, number).statement(0..transactions);
    let path = import_file_path(&format!("large-{number}"));
    let begun = Instant::now();
    let answer = api.call("POST", &path, Body::Statement(&file)).await;
    is_over.store(true, Ordering::Release);
    let (answer, took) = (answer?, begun.elapsed());
    let body = answer.json();
    ensure!(answer.status == 201 && body["created"] == transactions, "the import answered {}: {body}", answer.status);
    Ok(took)
}

fn quantile(sorted: &[Duration], percent: usize) -> Duration {
    sorted.get(sorted.len() * percent / 100).or(sorted.last()).copied().unwrap_or_default()
}

fn tenths(span: Duration) -> f64 {
    (span.as_secs_f64() * 10_000.0).round() / 10.0
}
