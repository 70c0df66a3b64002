//! Events on their way to the apps: positions and deliveries for those that were just committed, the ledger that apps
//! read, and what is sent again.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use jiff::Timestamp;
use passbook_core::{
    event::{Event, EventKind},
    ids::{EventId, LinkId},
    tenant::{Environment, Tenant},
};
use passbook_store::port::{
    Address, DispatchedEvent, EventFilter, LedgerEvent, LedgerPage, NewDelivery, StoreError, UndispatchedEvent,
};

use super::{Actor, Fault, Services, ledgers::Tail};
use crate::{
    signing::Signer,
    system::{hex, sha256},
    views::webhooks::webhook_body,
};

/// Events that get their positions in one commit.
const DISPATCH_MAX: u32 = 500;
/// Events that are made due again in one commit.
const REPLAY_BATCH: u32 = 200;
/// Events that one call may replay.
pub const REPLAY_MAX: usize = 10_000;

/// What is to be replayed.
pub enum Replay {
    /// These events.
    Events(Vec<EventId>),
    /// All that match.
    Matching(EventFilter),
}

/// A URL that takes webhooks of this tenant.
pub fn address(tenant: &Tenant, url: &str) -> Address {
    // The parts before the URL cannot hold a line break, so no two tenants share an address.
    let text = format!("{}\n{}\n{url}", tenant.app_id, tenant.environment.as_str());
    let id = hex(&sha256(text.as_bytes())[..16]);
    Address { host: host_of(url).unwrap_or_else(|| id.clone()), url: url.to_owned(), id }
}

/// Host and port of a URL; `None` when it has none, which the guard of outbound calls refuses.
fn host_of(url: &str) -> Option<String> {
    let url = url::Url::parse(url).ok()?;
    let (host, port) = (url.host_str()?, url.port_or_known_default()?);
    Some(format!("{}:{port}", host.trim_end_matches('.')))
}

impl Services {
    /// Gives committed events their positions and makes their deliveries; `true` when there may be more.
    ///
    /// # Errors
    /// A fault of the store; then nothing is lost, and the next call goes on.
    pub async fn dispatch(&self) -> Result<bool, StoreError> {
        let waiting = self.store.list_undispatched(DISPATCH_MAX).await?;
        if waiting.is_empty() {
            return Ok(false);
        }
        let is_full = waiting.len() == DISPATCH_MAX as usize;
        let now = self.store.now();
        let mut events = Vec::with_capacity(waiting.len());
        for UndispatchedEvent { tenant, event } in waiting {
            let url = event.webhook.clone().filter(|_| self.is_sent(&event));
            let app_now = self.clocks.now(&tenant).await?;
            events.push(self.dispatched(tenant, &event, url.as_deref(), now, app_now));
        }
        let tenants: HashSet<Tenant> = events.iter().map(|event| event.tenant.clone()).collect();
        // Lost to another process, which then did it.
        let was_first = self.store.dispatch_events(events).await?;
        tenants.iter().for_each(|tenant| self.ledgers.ring(tenant));
        Ok(is_full || !was_first)
    }

    fn is_sent(&self, event: &Event) -> bool {
        match &event.kind {
            EventKind::ProductRefresh { state, .. } => state.is_final() || !self.webhooks.final_states_only,
            _ => true,
        }
    }

    fn dispatched(
        &self,
        tenant: Tenant,
        event: &Event,
        url: Option<&str>,
        now: Timestamp,
        app_now: Timestamp,
    ) -> DispatchedEvent {
        let delivery = url.map(|url| NewDelivery {
            token: event.delivery_token(&self.derivation, url),
            address: address(&tenant, url),
            body: String::from_utf8(webhook_body(event, &self.derivation)).expect("JSON is UTF-8"),
            due_at: now,
            app_due_at: app_now,
        });
        DispatchedEvent {
            tenant,
            link_id: event.link_id.clone(),
            sequence: event.sequence,
            event_id: event.id(&self.derivation),
            delivery,
        }
    }

    /// A page of the ledger, and the position behind which the next one begins; `None` when this one is the last. A page
    /// may be empty and not the last: one read looks at a bounded part of the ledger.
    ///
    /// # Errors
    /// A fault.
    pub async fn list_events(
        &self,
        actor: &Actor,
        filter: &EventFilter,
        limit: u32,
    ) -> Result<(Vec<LedgerEvent>, Option<u64>), Fault> {
        let LedgerPage { mut events, read_to, is_last } =
            self.store.list_events(&actor.tenant, filter, limit + 1).await?;
        let has_more = events.len() > limit as usize;
        events.truncate(limit as usize);
        let next = match has_more {
            true => events.last().map(|last| last.position),
            false => (!is_last).then_some(read_to),
        };
        Ok((events, next))
    }

    /// The newest part of the caller's ledger, for whoever follows it.
    ///
    /// # Errors
    /// A fault.
    pub async fn follow_ledger(&self, actor: &Actor) -> Result<Arc<Tail>, Fault> {
        Ok(self.ledgers.follow(&self.store, &actor.tenant).await?)
    }

    /// The next events of a follower that is further behind than the newest part.
    ///
    /// # Errors
    /// A fault.
    pub async fn catch_up(&self, actor: &Actor, filter: &EventFilter, limit: u32) -> Result<LedgerPage, Fault> {
        Ok(self.store.list_events(&actor.tenant, filter, limit).await?)
    }

    /// Sends events again, to the webhook that their link has now; one without any, deleted ones among them, to where each
    /// event was sent. Gives how many. Events that went nowhere are passed over. Addresses that were switched off are
    /// switched on.
    ///
    /// # Errors
    /// A fault; then some may be due again already.
    pub async fn replay(&self, actor: &Actor, replay: Replay) -> Result<usize, Fault> {
        match replay {
            Replay::Events(ids) => {
                let found = self.store.find_events(&actor.tenant, &ids).await?;
                self.send_again(actor, found).await
            }
            Replay::Matching(mut filter) => {
                let mut sent = 0;
                // What happens from here on is not part of it.
                let newest = self.store.newest_position(&actor.tenant).await?;
                while sent < REPLAY_MAX && filter.after < newest {
                    let mut page = self.store.list_events(&actor.tenant, &filter, REPLAY_BATCH).await?;
                    filter.after = page.read_to;
                    page.events.retain(|one| one.position <= newest);
                    sent += self.send_again(actor, page.events).await?;
                }
                Ok(sent)
            }
        }
    }

    async fn send_again(&self, actor: &Actor, events: Vec<LedgerEvent>) -> Result<usize, Fault> {
        let (now, app_now) = (self.store.now(), self.now(&actor.tenant).await?);
        let mut again = Vec::new();
        let mut webhooks: HashMap<&LinkId, Option<String>> = HashMap::new();
        for LedgerEvent { event, .. } in &events {
            if !webhooks.contains_key(&event.link_id) {
                webhooks.insert(&event.link_id, self.webhook_of(actor, &event.link_id).await?);
            }
            let url = webhooks[&event.link_id].as_ref().or(event.webhook.as_ref());
            again.extend(url.map(|url| self.dispatched(actor.tenant.clone(), event, Some(url), now, app_now)));
        }
        let count = again.len();
        if count > 0 {
            self.store.replay_deliveries(again).await?;
            self.event_bell.notify_one();
        }
        Ok(count)
    }

    async fn webhook_of(&self, actor: &Actor, link: &LinkId) -> Result<Option<String>, Fault> {
        Ok(self.store.lookup_link(&actor.tenant, link).await?.and_then(|stored| stored.link.webhook))
    }

    /// The signature of a body that is sent now.
    ///
    /// # Errors
    /// When the keys cannot be read.
    pub async fn sign_webhook(&self, environment: Environment, body: &[u8]) -> Result<String, Fault> {
        let signer = self.signer(environment).await?;
        signer.sign(body, self.clocks.real_now()).map_err(|error| Fault::Internal(error.into()))
    }

    /// What signs bodies that are sent about now.
    ///
    /// # Errors
    /// When the keys cannot be read.
    pub async fn signer(&self, environment: Environment) -> Result<Signer, Fault> {
        let signer = self.signing_keys.signer(environment, self.clocks.real_now()).await;
        signer.map_err(|error| Fault::Unavailable(error.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_of_one_host_and_port_have_one_host() {
        for url in ["https://App.example/a", "https://app.example:443/b?c#d", "https://app.example./"] {
            assert_eq!(host_of(url).as_deref(), Some("app.example:443"), "{url}");
        }
        assert_eq!(host_of("http://[::1]:8080/").as_deref(), Some("[::1]:8080"));
        assert_ne!(host_of("https://app.example:8443/"), host_of("https://app.example/"));
        assert_eq!(host_of("not a URL"), None);
    }
}
