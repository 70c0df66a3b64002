//! `torture overload`: five times as many requests as the server can do.
//!
//! The server has one core and the generator the other. First its capacity is found by a closed loop; then five times as
//! much is offered by an open loop. Most of it must be refused, quickly and with a time to come back; what is accepted
//! must still be quick, and nearly as much as before must get done. Health is asked for all the time and an operator
//! withdraws a client in the middle: neither is ever refused.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rusqlite::Connection as Database;
use serde_json::{Value, json};

use super::OverloadOptions;
use super::conduct::{Conduct, milliseconds};
use super::store_files::{Jobs, check_store, databases_in};
use super::work::numbers_path;
use crate::api::{Api, Body, import_file_path};
use crate::deployment::operate;
use crate::http::{Connection, request};
use crate::load::{Load, Requests, Until};
use crate::open_loop::{self, Offer, Outcome, Request};
use crate::process::rss_anon_kib;
use crate::server::{Access, Server};
use crate::statement::Account;

/// How many times the capacity is offered.
const FACTOR: f64 = 5.0;
const RSS_GROWTH_KIB_MAX: u64 = 256 * 1024;
/// How soon an undisturbed request must be quick again, and what quick means.
const NORMAL_AFTER_MAX: Duration = Duration::from_secs(5);
const NORMAL: Duration = Duration::from_millis(50);
/// How long a withdrawn client's token may still be good.
const WITHDRAWN_AFTER_MAX: Duration = Duration::from_secs(2);
/// How long a client may have to ask for a token.
const ADMITTED_MAX: Duration = Duration::from_secs(5);
/// Connections of the closed loops; the one that gets most done shows the capacity. With many of them refusals are
/// repeated at once, which costs what they would have got done.
const CLOSED: [usize; 3] = [4, 8, 32];
/// Connections of the open loop at most.
const OPEN_MAX: usize = 900;

/// Transactions of a long page.
const LISTED: u32 = 500;

/// Runs the experiment.
pub async fn run(options: OverloadOptions) -> Result<()> {
    let mut conduct = Conduct::new(&options.common, &[])?;
    conduct.plan.under = ["taskset", "-c", "0"].map(ToOwned::to_owned).to_vec();
    conduct.run("R12-overload-embedded", &options.common, async |conduct| experiment(conduct, &options).await).await
}

async fn experiment(conduct: &mut Conduct, options: &OverloadOptions) -> Result<()> {
    pin_to_the_other_core()?;
    let server = Server::start(&conduct.plan).await?;
    let requests = Arc::new(requests(&server).await?);
    let duration = Duration::from_secs(options.secs);
    let capacity = capacity(&server, &requests, duration, conduct.seed).await?;
    let withdrawn = withdrawn_client(conduct, &server).await?;
    let before = rss_anon_kib(server.pid())?;
    let watch = Watch::start(&server);
    let offer = Offer {
        address: server.address,
        requests: Arc::clone(&requests),
        per_second: capacity * FACTOR,
        duration,
        connections: OPEN_MAX,
        seed: conduct.seed,
    };
    let offered = tokio::spawn(open_loop::run(offer));
    tokio::time::sleep(duration / 3).await;
    let withdrawn_in = withdraw(conduct, &server, &withdrawn).await.context("in the middle of the overload")?;
    let outcome = offered.await?;
    let after = rss_anon_kib(server.pid())?;
    let normal_in = wait_until_normal(&server, &requests).await?;
    let (health, unwell) = watch.stop().await?;
    server.stop().await?;
    check_store(&conduct.plan.data, Jobs::HaveEnded)?;
    conduct.rounds = 1;
    conduct.tally.acked = outcome.done_total();
    conduct.figure("health_checks", health);
    conduct.figure("withdrawn_in_ms", milliseconds(withdrawn_in));
    conduct.figure("normal_in_ms", milliseconds(normal_in));
    conduct.figure("rss_growth_kib", after.saturating_sub(before));
    ensure!(health >= options.secs && unwell == 0, "{unwell} of {health} health checks failed");
    ensure!(after <= before + RSS_GROWTH_KIB_MAX, "memory grew by {} KiB", after - before);
    compare_sessions(conduct, &outcome)?;
    judge(conduct, options, capacity, &outcome)
}

/// Compares with the bars.
fn judge(conduct: &mut Conduct, options: &OverloadOptions, capacity: f64, outcome: &Outcome) -> Result<()> {
    let per_second = |count: u64| count as f64 / outcome.took.as_secs_f64();
    let goodput = per_second(outcome.done_total()) / capacity;
    let offered = per_second(outcome.sent) / capacity;
    let accepted_p99 = outcome.done_in.quantile_us(0.99) / 1000.0;
    let refused_p99 = outcome.refused_in.quantile_us(0.99) / 1000.0;
    let tenth = |value: f64| (value * 10.0).round() / 10.0;
    conduct.figure("capacity_per_second", capacity.round());
    conduct.figure("offered_factor", tenth(offered));
    conduct.figure("goodput_percent", (goodput * 100.0).round());
    conduct.figure("accepted_p99_ms", tenth(accepted_p99));
    conduct.figure("refused", outcome.refused);
    conduct.figure("refused_p50_ms", tenth(outcome.refused_in.quantile_us(0.5) / 1000.0));
    conduct.figure("refused_p99_ms", tenth(refused_p99));
    conduct.figure("unsent", outcome.unsent);
    outcome.wrong.iter().for_each(|wrong| conduct.tally.find(wrong.clone()));
    ensure!(offered >= options.offered_factor_min, "only {offered:.1} times the capacity was offered");
    ensure!(goodput * 100.0 >= options.goodput_percent_min, "goodput fell to {:.0} %", goodput * 100.0);
    ensure!(accepted_p99 <= options.accepted_p99_ms_max, "what was accepted took {accepted_p99:.0} ms");
    ensure!(refused_p99 <= options.refused_p99_ms_max, "refusals took {refused_p99:.0} ms");
    Ok(())
}

/// Leaves the first core to the server.
pub fn pin_to_the_other_core() -> Result<()> {
    pin_to("1")
}

/// Leaves this process, and what it starts from now on, these cores.
pub fn pin_to(cores: &str) -> Result<()> {
    let status = Command::new("taskset")
        .args(["-a", "-c", "-p", cores, &std::process::id().to_string()])
        .stdout(std::process::Stdio::null())
        .status()
        .context("taskset")?;
    ensure!(status.success(), "this machine has no second core");
    Ok(())
}

/// What apps ask of a server: sessions begun, tokens, long lists of transactions, account numbers.
///
/// Mostly what can be refused: reads by key cost little more than refusing them, so they are never refused.
async fn requests(server: &Server) -> Result<Vec<Request>> {
    let mut api = Api::new(server);
    let listed = link_of_many_transactions(&mut api).await?;
    let bearer = format!("Bearer {}", api.token().await?);
    let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
    let link_id = server.access.link_id.as_str();
    let session = json!({
        "customer_user": { "id": "overload" },
        "redirect_uri": "http://localhost/done",
        "settings": { "link_permissions": { "requested": [{ "product": "accounts", "reason": "to see them", "required": true }] } },
    });
    let sessions = || Request {
        bytes: request("POST", "/link-session", &headers, session.to_string().as_bytes()),
        expected: 201,
        holds: "link_session_token".to_owned(),
        name: "link-session",
    };
    let access = &server.access;
    let form =
        format!("grant_type=client_credentials&client_id={}&client_secret={}", access.client_id, access.client_secret);
    let form_type = [("content-type", "application/x-www-form-urlencoded")];
    let token = Request {
        bytes: request("POST", "/auth/token", &form_type, form.as_bytes()),
        expected: 201,
        holds: "access_token".to_owned(),
        name: "token",
    };
    let path = format!("/links/{listed}/transactions?size={LISTED}");
    let transactions = || Request {
        bytes: request("GET", &path, &headers, b""),
        expected: 200,
        holds: "\"transactions\"".to_owned(),
        name: "transactions",
    };
    let numbers = Request {
        bytes: request("GET", &numbers_path(link_id), &headers, b""),
        expected: 200,
        holds: "account_number".to_owned(),
        name: "numbers",
    };
    let lists = [transactions(), transactions(), transactions()];
    let requests = [sessions(), sessions(), sessions(), token, numbers].into_iter().chain(lists).collect::<Vec<_>>();
    for one in &requests {
        let answer = Connection::open(server.address).await?.exchange(&one.bytes).await?;
        let body = String::from_utf8_lossy(&answer.body);
        ensure!(answer.status == one.expected && body.contains(&one.holds), "{}: {} {body}", one.name, answer.status);
    }
    Ok(requests)
}

/// A link whose transactions fill one long page.
async fn link_of_many_transactions(api: &mut Api) -> Result<String> {
    let statement = Account::new(0, 0).statement(0..LISTED);
    let path = import_file_path("overload");
    let answer = api.call("POST", &path, Body::Statement(&statement)).await?;
    answer.json()["link_id"].as_str().map(ToOwned::to_owned).with_context(|| format!("no link in {path}'s answer"))
}

/// Requests a second that closed loops get done at best.
async fn capacity(server: &Server, requests: &[Request], duration: Duration, seed: u64) -> Result<f64> {
    let bytes = Arc::new(Requests::new(b"", requests.iter().map(|request| &request.bytes), b""));
    let mut best = 0.0_f64;
    for connections in CLOSED {
        let until = Until::Elapsed(duration / CLOSED.len() as u32);
        let load = Load { address: server.address, requests: Arc::clone(&bytes), connections, until, seed };
        let outcome = crate::load::run(load).await?;
        let done: u64 = [200, 201].iter().filter_map(|status| outcome.statuses.get(status)).sum();
        best = best.max(done as f64 / outcome.took.as_secs_f64());
    }
    ensure!(best > 0.0, "nothing got done");
    Ok(best)
}

/// A client of the first app with a token, to be withdrawn.
async fn withdrawn_client(conduct: &Conduct, server: &Server) -> Result<Access> {
    let apps = operate(&conduct.plan, &["apps", "list"])?;
    let app = find_text(&apps, "app_id").context("no app")?;
    let added = operate(&conduct.plan, &["clients", "add", "--app", &app, "--environment", "sandbox"])?;
    let client_id = find_text(&added, "client_id").context("no client id")?;
    let client_secret = find_text(&added, "client_secret").context("no client secret")?;
    Ok(Access { client_id, client_secret, ..server.access.clone() })
}

/// Withdraws the client and waits until its token is refused; a refusal for another reason is no answer to that.
async fn withdraw(conduct: &Conduct, server: &Server, client: &Access) -> Result<Duration> {
    let token = admitted_token(server, client).await?;
    let bearer = format!("Bearer {token}");
    let read = request("GET", "/institutions/credentials_bank", &[("authorization", &bearer)], b"");
    let mut connection = Connection::open(server.address).await?;
    let first = connection.exchange_status(&read).await?;
    ensure!(first == 200, "the client's token was answered {first} before it was withdrawn");
    let begun = Instant::now();
    let (plan, id) = (conduct.plan.clone(), client.client_id.clone());
    // On a thread of its own: the load goes on.
    tokio::task::spawn_blocking(move || operate(&plan, &["clients", "revoke", &id])).await??;
    let withdrawn = Instant::now();
    while connection.exchange_status(&read).await? != 401 {
        ensure!(withdrawn.elapsed() < WITHDRAWN_AFTER_MAX, "a withdrawn client still gets in");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(begun.elapsed())
}

/// A token, asked for until the request is not refused: under overload that is what a client does.
async fn admitted_token(server: &Server, client: &Access) -> Result<String> {
    let begun = Instant::now();
    loop {
        let refused = match Api::over(&[server.address], client, 0).token().await {
            Ok(token) => return Ok(token),
            Err(refused) => refused,
        };
        ensure!(begun.elapsed() < ADMITTED_MAX, "no token under overload: {refused}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The first text of this name, however deep.
fn find_text(value: &Value, name: &str) -> Option<String> {
    match value {
        Value::Object(fields) => match fields.get(name) {
            Some(Value::String(text)) => Some(text.clone()),
            _ => fields.values().find_map(|field| find_text(field, name)),
        },
        Value::Array(items) => items.iter().find_map(|item| find_text(item, name)),
        _ => None,
    }
}

/// Asks for the server's health all the time.
struct Watch {
    stop: Arc<AtomicBool>,
    checks: Arc<AtomicU64>,
    task: tokio::task::JoinHandle<Result<u64>>,
}

impl Watch {
    fn start(server: &Server) -> Self {
        let (stop, checks) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (address, stopped, counted) = (server.address, Arc::clone(&stop), Arc::clone(&checks));
        let task = tokio::spawn(async move {
            let mut connection = Connection::open(address).await?;
            let mut unwell = 0;
            while !stopped.load(Ordering::Relaxed) {
                for path in ["/healthz", "/readyz"] {
                    let status = connection.exchange_status(&request("GET", path, &[], b"")).await?;
                    unwell += u64::from(status != 200);
                    counted.fetch_add(1, Ordering::Relaxed);
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            Ok(unwell)
        });
        Self { stop, checks, task }
    }

    /// How many checks there were, and how many went wrong.
    async fn stop(self) -> Result<(u64, u64)> {
        self.stop.store(true, Ordering::Relaxed);
        let unwell = self.task.await??;
        Ok((self.checks.load(Ordering::Relaxed), unwell))
    }
}

/// Waits until one request of every kind is answered well and quickly.
async fn wait_until_normal(server: &Server, requests: &[Request]) -> Result<Duration> {
    let begun = Instant::now();
    let mut connection = Connection::open(server.address).await?;
    loop {
        let mut is_normal = true;
        for one in requests {
            let sent = Instant::now();
            let status = connection.exchange_status(&one.bytes).await?;
            is_normal &= status == one.expected && sent.elapsed() <= NORMAL;
        }
        if is_normal {
            return Ok(begun.elapsed());
        }
        ensure!(begun.elapsed() < NORMAL_AFTER_MAX, "requests are still slow or refused");
    }
}

/// 201 means there is a session and 503 that there is none: exactly the accepted ones are stored.
fn compare_sessions(conduct: &mut Conduct, outcome: &Outcome) -> Result<()> {
    let databases = databases_in(&conduct.plan.data)?;
    let connection = Database::open(databases.first().context("no database")?)?;
    // The customer of the load is sealed, so the sessions are counted by the operator's record of who asked for them.
    let stored: i64 =
        connection
            .query_row("SELECT COUNT(*) FROM audit WHERE action = 'create_link_session'", [], |row| row.get(0))?;
    let accepted = outcome.done.get("link-session").copied().unwrap_or_default();
    conduct.figure("sessions_accepted", accepted);
    ensure!(u64::try_from(stored)? >= accepted, "{accepted} sessions were accepted and {stored} are stored");
    Ok(())
}
