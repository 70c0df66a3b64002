//! Waiting, after a change, until everything that follows from it has happened and can be read. Without that, what an
//! answer shows, and in which order the ledger has the events, would depend on how quick the machine is.
//!
//! Events are put into the ledger by a worker, all that wait at once, ordered by their times. So a link of an app whose
//! clock stands in the far future gets an event: when that can be read, every event that was committed before it can be
//! read. Then the ledger tells whether a refresh has not ended, or a webhook was not delivered. None of this is part of
//! the transcript.

use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::call::{Call, Caller};
use super::crawler::Crawler;

/// Later than any other clock of a crawl.
const FAR_FUTURE: &str = "2100-01-01T00:00:00Z";
/// An event that a link without accounts never has by itself.
const MARK: &str = "transactions.updates_available";
/// How long everything may take, and how often it is looked at.
const SETTLED_MAX: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(2);

/// What the waiting has to know.
#[derive(Default)]
pub struct Settling {
    /// The app in the far future.
    future: Caller,
    /// Its link.
    link: String,
    /// The position of its newest mark that was read.
    position: u64,
    /// How far the ledgers of the others were read, by their names.
    read: HashMap<&'static str, Reading>,
}

/// How far a ledger was read.
#[derive(Default)]
struct Reading {
    /// Up to here every webhook was delivered.
    cursor: u64,
    /// Links and products whose refresh has not ended.
    refreshes: BTreeSet<(String, String)>,
}

impl Crawler {
    /// Makes the link in the far future, for a client of an app of its own.
    pub async fn prepare_settling(&mut self, future: Caller) -> Result<()> {
        let freeze = Call::post("/sandbox/clock", &json!({ "freeze_at": FAR_FUTURE })).by_secret(&future);
        self.look(&freeze).await?;
        let body = json!({ "customer_user": { "id": "crawl-future" }, "username": "user_noaccounts" });
        let made = self.look(&Call::post("/sandbox/links", &body).by_secret(&future)).await?;
        let link = made["link_id"].as_str().context("no link in the far future")?.to_owned();
        self.settling = Settling { future, link, ..Settling::default() };
        Ok(())
    }

    /// Waits until nothing is under way in the app of `caller`.
    pub async fn settle(&mut self, caller: &Caller) -> Result<()> {
        let begun = Instant::now();
        while !self.is_settled(caller).await? {
            ensure!(begun.elapsed() < SETTLED_MAX, "work in the background does not end");
            tokio::time::sleep(PAUSE).await;
        }
        Ok(())
    }

    /// Reads the ledger from its beginning next time, because deliveries that had ended may wait again.
    pub fn forget_deliveries(&mut self, caller: &Caller) {
        self.settling.read.remove(caller.name);
    }

    async fn is_settled(&mut self, caller: &Caller) -> Result<bool> {
        let clock = self.look(&Call::get("/sandbox/clock").by_secret(caller)).await?;
        if clock["pending_jobs"] != 0 {
            return Ok(false);
        }
        self.wait_for_events().await?;
        self.read_on(caller).await
    }

    /// Waits until every event that is committed now can be read.
    async fn wait_for_events(&mut self) -> Result<()> {
        let path = format!("/sandbox/links/{}/events", self.settling.link);
        let event = Call::post(path, &json!({ "webhook_event": MARK }));
        let event = event.by_secret(&self.settling.future);
        let token = self.look(&event).await?["delivery_token"].clone();
        ensure!(token.is_string(), "no event in the far future");
        let begun = Instant::now();
        while !self.has_new_mark().await? {
            ensure!(begun.elapsed() < SETTLED_MAX, "events do not become readable");
            tokio::time::sleep(PAUSE).await;
        }
        Ok(())
    }

    async fn has_new_mark(&mut self) -> Result<bool> {
        let path = format!("/passbook/events?cursor={}&webhook_event={MARK}", self.settling.position);
        let page = self.look(&Call::get(path).by_secret(&self.settling.future)).await?;
        let position = page["events"][0]["position"].as_u64();
        self.settling.position = position.unwrap_or(self.settling.position);
        Ok(position.is_some())
    }

    /// Reads the ledger of `caller` to its end, and tells whether everything in it has ended.
    async fn read_on(&mut self, caller: &Caller) -> Result<bool> {
        let mut reading = self.settling.read.remove(caller.name).unwrap_or_default();
        let mut cursor = Some(reading.cursor);
        let mut all_delivered = true;
        while let Some(behind) = cursor {
            let path = format!("/passbook/events?limit=1000&cursor={behind}");
            let page = self.look(&Call::get(path).by_secret(caller)).await?;
            for event in page["events"].as_array().context("no page of the ledger")? {
                all_delivered = all_delivered && is_delivered(event);
                reading.note(event, all_delivered);
            }
            cursor = page["cursors"]["next"].as_str().and_then(|next| next.parse().ok());
        }
        let is_settled = all_delivered && reading.refreshes.is_empty();
        self.settling.read.insert(caller.name, reading);
        Ok(is_settled)
    }
}

impl Reading {
    fn note(&mut self, event: &Value, all_delivered: bool) {
        if all_delivered {
            self.cursor = event["position"].as_u64().unwrap_or(self.cursor);
        }
        let payload = &event["payload"];
        let text = |name: &str| payload[name].as_str().unwrap_or_default().to_owned();
        let refresh = (text("link_id"), text("product"));
        match text("state").as_str() {
            "pending" | "in_progress" => drop(self.refreshes.insert(refresh)),
            "completed" | "failed" => drop(self.refreshes.remove(&refresh)),
            // The refreshes of a deleted link end without an event.
            "deleted" => self.refreshes.retain(|(link, _)| *link != refresh.0),
            _ => {}
        }
    }
}

fn is_delivered(event: &Value) -> bool {
    event["deliveries"].as_array().into_iter().flatten().all(|delivery| delivery["state"] != "waiting")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(position: u64, state: &str) -> Value {
        let payload = json!({ "link_id": "mk_1", "product": "identity", "state": state });
        json!({ "position": position, "payload": payload, "deliveries": [] })
    }

    #[test]
    fn a_refresh_is_under_way_until_it_ends_or_its_link_is_deleted() {
        for (last, is_over) in [("in_progress", false), ("completed", true), ("failed", true), ("deleted", true)] {
            let mut reading = Reading::default();
            reading.note(&event(1, "pending"), true);
            reading.note(&event(2, last), true);
            assert_eq!(reading.refreshes.is_empty(), is_over, "{last}");
        }
    }

    #[test]
    fn the_ledger_is_read_again_from_what_was_not_delivered() {
        let mut reading = Reading::default();
        reading.note(&event(1, "connected"), true);
        reading.note(&event(2, "connected"), false);
        assert_eq!(reading.cursor, 1);
        assert!(!is_delivered(&json!({ "deliveries": [{ "state": "delivered" }, { "state": "waiting" }] })));
        assert!(is_delivered(&json!({ "deliveries": [{ "state": "dead" }] })));
    }
}
