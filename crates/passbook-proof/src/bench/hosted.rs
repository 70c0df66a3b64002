//! The server on PostgreSQL: reads against the static answer, refreshes by two replicas, imports against plain inserts.
//!
//! Database, servers and load share the machine, so every figure here is one of a machine that does everything.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use jiff::Timestamp;
use passbook::{instance::Instance, seed, system::SystemClock, views};
use passbook_store::{
    port::Store as _,
    postgres::{Connections, OpenOptions, PostgresStore},
    sealing::KeyFile,
};
use serde_json::json;
use tokio::task::JoinSet;
use tokio_postgres::types::{ToSql, Type};

use super::Bench;
use super::import::{TRANSACTIONS, import};
use super::pairs::{Comparison, alternate};
use super::reads::{Subject, Yardstick, compare, numbers_requests, report_reads};
use super::report::Report;
use crate::api::{Api, Body, sandbox_link};
use crate::deployment::{DATABASE, Deployment, Shape};
use crate::process::cpu_seconds_of_children;
use crate::server::Server;

/// When the seeded links were made.
const MADE_AT: &str = "2026-01-01T00:00:00Z";
/// Commits under way at once while seeding.
const SEEDERS: usize = 24;
/// Links whose refresh is asked for, by so many clients at once.
const REFRESHED: usize = 3_000;
const CLIENTS: usize = 16;
/// How long all refreshes may take.
const REFRESH_MAX: Duration = Duration::from_secs(120);
/// Rows in one statement of the plain inserts.
const RAW_ROWS: usize = 100;

/// Measures everything and adds it to the report.
pub async fn measure(bench: &Bench, report: &mut Report) -> Result<()> {
    let directory = bench.path("hosted");
    std::fs::create_dir_all(&directory)?;
    let limits = format!("enabled = true\nfactor = {}", super::LIMIT_FACTOR);
    let shape = Shape {
        binary: bench.binary.clone(),
        directory: &directory,
        replicas: 2,
        under: &[],
        store: "",
        limits: &limits,
        settings: "",
    };
    let deployment = Deployment::new(&shape).await?;
    reads(bench, &deployment, &directory, report).await.context("reads")?;
    imports(bench, &deployment, report).await.context("imports")?;
    refreshes(&deployment, report).await.context("refreshes")
}

async fn reads(bench: &Bench, deployment: &Deployment, directory: &Path, report: &mut Report) -> Result<()> {
    let ids = fill(deployment, directory, bench.scale.usual).await.context("seeding")?;
    note_size(deployment, "links", "A link of three accounts without its transactions, jobs and events", report)
        .await?;
    let server = Server::start(&deployment.plans[0]).await?;
    let subject = Subject::of(&server, numbers_requests(&server, &ids).await?);
    let yardstick = Yardstick::start(bench, &server, &ids[0], Arc::clone(&subject.requests)).await?;
    let postmaster = deployment.cluster()?.postmaster_id().context("the database server does not run")?;
    let before = cpu_seconds_of_children(postmaster)?;
    let pairs = compare(bench, &subject, &yardstick.subject).await?;
    let used = cpu_seconds_of_children(postmaster)? - before;
    let title = format!("numbers read, PostgreSQL, {} links / static answer", bench.scale.usual);
    report_reads(report, &title, &pairs);
    let reads: f64 = pairs.iter().map(|(sample, _)| sample.per_second * bench.scale.seconds.as_secs_f64()).sum();
    report.note(&format!(
        "The database server itself used {:.1} us of processor time for each of these reads (warm-up counted).",
        used * 1e6 / reads
    ));
    server.stop().await
}

/// What one row of a table takes, with its indexes.
async fn note_size(deployment: &Deployment, table: &str, what: &str, report: &mut Report) -> Result<()> {
    let size = format!("SELECT pg_total_relation_size('{table}') / GREATEST(COUNT(*), 1) FROM {table}");
    let bytes = deployment.database().await?.number(&size).await?;
    report.note(&format!("{what} takes {bytes} bytes of the database, indexes counted."));
    Ok(())
}

/// Commits links to the database as a sign-in does, for the deployment's client.
async fn fill(deployment: &Deployment, directory: &Path, links: u64) -> Result<Vec<String>> {
    let url = deployment.cluster()?.url(DATABASE);
    let store = PostgresStore::open(OpenOptions {
        url: &url,
        tls_roots: None,
        connections: Connections { writes: SEEDERS, ..Connections::default() },
        master_keys: KeyFile::new(directory.join("master.key")).read()?,
        deletion_ledger: directory.join("seeding.ledger"),
        wall_clock: Arc::new(SystemClock),
        renderer: views::RENDERER,
        render_stub: &views::link_view,
    });
    let store = Arc::new(store.await?);
    let derivation = Instance::open(store.as_ref()).await?.derivation;
    let client = store.lookup_client(&deployment.access.client_id).await?.context("the deployment's client")?;
    let tenant = client.tenant;
    let now: Timestamp = MADE_AT.parse().context("a timestamp")?;
    let mut seeders = JoinSet::new();
    for seeder in 0..SEEDERS as u64 {
        let (store, derivation, tenant) = (Arc::clone(&store), derivation.clone(), tenant.clone());
        seeders.spawn(async move {
            for n in (1..=links).filter(|n| n % SEEDERS as u64 == seeder) {
                store.commit(seed::link_changes(&derivation, &tenant, n, now)).await?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(done) = seeders.join_next().await {
        done??;
    }
    store.close().await;
    Ok((1..=links).map(|n| seed::link_id(&derivation, &tenant, n).to_string()).collect())
}

/// Two replicas, many links: from the first accepted refresh to the end of the last one.
async fn refreshes(deployment: &Deployment, report: &mut Report) -> Result<()> {
    let servers = [Server::start(&deployment.plans[0]).await?, Server::start(&deployment.plans[1]).await?];
    let addresses: Vec<_> = servers.iter().map(|server| server.address).collect();
    let ids = in_parallel(
        REFRESHED,
        |number, mut api| async move {
            let answer =
                api.call_until_admitted("POST", "/sandbox/links", &sandbox_link(&format!("bench-{number}"))).await?;
            ensure!(answer.status == 201, "a sandbox link answered {}", answer.status);
            Ok(answer.json()["link_id"].as_str().context("no link id")?.to_owned())
        },
        &addresses,
        deployment,
    )
    .await?;
    // The hour's limit opens; nothing else is due.
    let mut api = Api::over(&addresses, &deployment.access, 0);
    api.call("POST", "/sandbox/clock", Body::Json(&json!({ "advance_seconds": 7_200 }))).await?;
    let ids = Arc::new(ids);
    let begun = Instant::now();
    in_parallel(
        REFRESHED,
        |number, mut api| {
            let ids = Arc::clone(&ids);
            async move {
                let path = format!("/links/{}/products", ids[number]);
                let answer = api.call_until_admitted("POST", &path, &json!({ "products": ["accounts"] })).await?;
                ensure!(answer.status == 202, "a refresh answered {}", answer.status);
                Ok(())
            }
        },
        &addresses,
        deployment,
    )
    .await?;
    let accepted_in = begun.elapsed();
    let database = deployment.database().await?;
    while database.number("SELECT COUNT(*) FROM jobs WHERE state = 'open' AND app_due_at IS NULL").await? > 0 {
        ensure!(begun.elapsed() < REFRESH_MAX, "the refreshes did not end");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let took = begun.elapsed();
    let failed = database.number("SELECT COUNT(*) FROM jobs WHERE state = 'failed'").await?;
    ensure!(failed == 0, "{failed} refreshes failed");
    report.note(&format!(
        "Two replicas on one database: {REFRESHED} refreshes accepted in {:.1} s and completed in {:.1} s, {:.0} a second.",
        accepted_in.as_secs_f64(),
        took.as_secs_f64(),
        REFRESHED as f64 / took.as_secs_f64()
    ));
    for server in servers {
        server.stop().await?;
    }
    Ok(())
}

/// Runs `work` for every number, with a few clients at once; gives the results in order.
async fn in_parallel<T, F>(
    count: usize,
    work: impl Fn(usize, Api) -> F,
    addresses: &[std::net::SocketAddr],
    deployment: &Deployment,
) -> Result<Vec<T>>
where
    F: Future<Output = Result<T>>,
{
    let mut results: Vec<Option<T>> = std::iter::repeat_with(|| None).take(count).collect();
    for first in (0..count).step_by(CLIENTS) {
        let batch = (first..count.min(first + CLIENTS))
            .map(|number| work(number, Api::over(addresses, &deployment.access, number)));
        for (offset, result) in futures_util::future::try_join_all(batch).await?.into_iter().enumerate() {
            results[first + offset] = Some(result);
        }
    }
    results.into_iter().collect::<Option<_>>().context("a result for each")
}

async fn imports(bench: &Bench, deployment: &Deployment, report: &mut Report) -> Result<()> {
    let server = Server::start(&deployment.plans[0]).await?;
    let mut api = Api::new(&server);
    let link_id = import(&mut api, 0).await?.0;
    note_size(deployment, "transactions", "A transaction", report).await?;
    let mut database = deployment.database().await?;
    let client = database.client();
    // The same columns and rows, without keys to other tables, so that another link's rows can be made up.
    client.batch_execute("CREATE TABLE plain (LIKE transactions INCLUDING ALL)").await?;
    let rows = client.query("SELECT * FROM transactions WHERE link_id = $1", &[&link_id]).await?;
    ensure!(rows.len() == TRANSACTIONS as usize, "{} rows were imported", rows.len());
    let columns: Vec<_> = rows[0].columns().iter().map(|column| column.name().to_owned()).collect();
    let (mut imported, mut inserted) = (0, 0);
    let pairs = alternate(
        bench.scale.pairs.max(5),
        async || {
            imported += 1;
            Ok(import(&mut api, imported).await?.1)
        },
        async || {
            inserted += 1;
            insert(client, &columns, &rows, inserted).await
        },
    )
    .await?;
    let title = format!("import of {TRANSACTIONS} transactions, PostgreSQL / raw multi-row insert: ms");
    report.add(&title, &Comparison::of(&pairs, |ms| *ms));
    server.stop().await
}

/// The rows under another link in one transaction; gives the milliseconds until they are durable.
async fn insert(
    client: &mut tokio_postgres::Client,
    columns: &[String],
    rows: &[tokio_postgres::Row],
    position: u32,
) -> Result<f64> {
    let link_id = format!("plain-{position}");
    let values: Vec<Vec<Box<dyn ToSql + Sync>>> =
        rows.iter().map(|row| copied(row, &link_id)).collect::<Result<_>>()?;
    let begun = Instant::now();
    let transaction = client.transaction().await?;
    for rows in values.chunks(RAW_ROWS) {
        let mark = |row: usize| {
            let marks: Vec<_> =
                (1..=columns.len()).map(|column| format!("${}", row * columns.len() + column)).collect();
            format!("({})", marks.join(", "))
        };
        let marks: Vec<_> = (0..rows.len()).map(mark).collect();
        let sql = format!("INSERT INTO plain ({}) VALUES {}", columns.join(", "), marks.join(", "));
        let parameters: Vec<_> = rows.iter().flatten().map(|value| value.as_ref() as &(dyn ToSql + Sync)).collect();
        transaction.execute(&sql, &parameters).await?;
    }
    transaction.commit().await?;
    Ok(begun.elapsed().as_secs_f64() * 1000.0)
}

fn copied(row: &tokio_postgres::Row, link_id: &str) -> Result<Vec<Box<dyn ToSql + Sync>>> {
    let copy = |(index, column): (usize, &tokio_postgres::Column)| -> Result<Box<dyn ToSql + Sync>> {
        Ok(match *column.type_() {
            _ if column.name() == "link_id" => Box::new(link_id.to_owned()),
            Type::INT8 => Box::new(row.try_get::<_, Option<i64>>(index)?),
            Type::BYTEA => Box::new(row.try_get::<_, Option<Vec<u8>>>(index)?),
            _ => Box::new(row.try_get::<_, Option<String>>(index)?),
        })
    };
    row.columns().iter().enumerate().map(copy).collect()
}
