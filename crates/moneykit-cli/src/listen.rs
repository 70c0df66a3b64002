//! `moneykit listen`: the ledger as it grows, sent on to an address on this machine. The server signs; this only passes on.

use std::{
    io::Write as _,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use moneykit::{
    Client, Error,
    api::StreamEventsQuery,
    models::{LedgerEvent, SignedWebhook},
};

use crate::{arguments::Listen, output::printable};

/// How long a receiver may take, as the server itself allows.
const FORWARD_TIMEOUT: Duration = Duration::from_secs(10);
/// Failures in a row after which it is not tried again.
const FAILURES_MAX: u32 = 60;
/// Pause after a failure.
const PAUSE: Duration = Duration::from_secs(1);

/// Shows and forwards events, until it is stopped or has seen enough.
pub async fn run(client: &Client, arguments: Listen, json: bool) -> anyhow::Result<()> {
    let forward = arguments.forward_to.map(Forward::new).transpose()?;
    let query = StreamEventsQuery {
        cursor: arguments.after.map(|position| position.to_string()),
        link_id: arguments.link.map(Into::into),
        signed: forward.is_some().then_some(true),
        ..StreamEventsQuery::default()
    };
    let mut stream = client.events().stream_events(&query);
    let target = forward.as_ref().map_or_else(String::new, |forward| format!(", sending them to {}", forward.url));
    note!("listening{target}");
    if !json {
        print_line(&format!("{:<27}  {:<31}  {:<25}  {:<24}  RESULT", "TIME", "EVENT", "LINK", "WHAT"))?;
    }
    let (mut seen, mut failures) = (0, 0);
    while arguments.count.is_none_or(|count| seen < count) {
        let event = match stream.next().await {
            Ok(event) => event,
            Err(error) if failures < FAILURES_MAX && may_pass(&error) => {
                failures += 1;
                note!("waiting for the server: {error}");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        (seen, failures) = (seen + 1, 0);
        let result = match (&forward, &event.signed) {
            (Some(forward), Some(signed)) => forward.send(signed).await,
            (Some(_), None) => "the server did not sign it".to_owned(),
            (None, _) => "-".to_owned(),
        };
        print_line(&if json { serde_json::to_string(&event)? } else { row(&event, &result) })?;
        if json && forward.is_some() {
            note!("{}: {result}", printable(&event.event_id));
        }
    }
    Ok(())
}

/// Whether the server may only be away for a while.
fn may_pass(error: &Error) -> bool {
    error.status().is_none_or(|status| status.is_server_error())
}

fn row(event: &LedgerEvent, result: &str) -> String {
    let field = |name: &str| event.payload.get(name).and_then(serde_json::Value::as_str);
    let what: Vec<_> = [field("product"), field("state"), field("error")].into_iter().flatten().collect();
    let cells = [event.occurred_at.to_string(), event.webhook_event.clone(), event.link_id.to_string(), what.join(" ")];
    let [time, name, link, what] = cells.map(|cell| printable(&cell));
    format!("{time:<27}  {name:<31}  {link:<25}  {what:<24}  {result}")
}

fn print_line(line: &str) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()
}

/// Where events go.
struct Forward {
    http: reqwest::Client,
    url: reqwest::Url,
}

impl Forward {
    fn new(url: String) -> anyhow::Result<Self> {
        let url = reqwest::Url::parse(&url).context("--forward-to is not a URL")?;
        let http = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .timeout(FORWARD_TIMEOUT)
            .build()?;
        Ok(Self { http, url })
    }

    /// Sends it once and says what came of it. A receiver that failed sees it again by a replay.
    async fn send(&self, signed: &SignedWebhook) -> String {
        let began = Instant::now();
        let sent = self
            .http
            .post(self.url.clone())
            .header("content-type", "application/json")
            .header("moneykit-signature", &signed.signature)
            .header("moneykit-delivery-token", &signed.delivery_token)
            .header("moneykit-delivery-attempt", "1")
            .body(signed.body.clone())
            .send()
            .await;
        match sent {
            Ok(response) => format!("{} in {} ms", response.status().as_u16(), began.elapsed().as_millis()),
            Err(error) if error.is_connect() => "nobody listens there".to_owned(),
            Err(error) if error.is_timeout() => "no answer in time".to_owned(),
            Err(_) => "the connection broke".to_owned(),
        }
    }
}
