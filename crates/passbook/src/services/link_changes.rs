//! What an app changes of a link: webhook and tags, the test aid that asks for a reconnect, and simulated events.
//!
//! None of it is possible while a sign-in is under way. Nothing here reaches a bank.

use passbook_core::{
    event::{SimulatedEvent, TestEvent},
    ids::LinkId,
    link::{Link, lifecycle::LinkUpdate},
    tenant::Environment,
};
use passbook_store::port::StoredLink;

use super::{
    Actor, DECISIONS_MAX, Fault, Outcome, Services, changes_with_link, events, idempotency::Keep, links::LinkRefusal,
};
use crate::{system::random_hex, views};

/// Why no event was simulated.
#[derive(Debug, thiserror::Error)]
pub enum TestEventRefusal {
    /// The link.
    #[error(transparent)]
    Link(#[from] LinkRefusal),
    /// Nobody would hear of it.
    #[error("the link has no webhook")]
    NoWebhook,
}

impl Services {
    /// Changes webhook and tags and gives the link object.
    ///
    /// # Errors
    /// [`LinkRefusal`].
    pub async fn update_link(
        &self,
        actor: &Actor,
        id: &LinkId,
        update: &LinkUpdate,
        keep: &Keep<Vec<u8>>,
    ) -> Result<Vec<u8>, LinkRefusal> {
        for _ in 0..DECISIONS_MAX {
            let stored = self.load_to_change(actor, id).await?;
            let now = self.now(&actor.tenant).await?;
            let mut link = stored.link;
            link.update(update.clone(), now);
            // Whoever sets a webhook, were it the same, wants it to be called again.
            let set = update.webhook.as_ref().and_then(Option::as_ref);
            let on = set.map(|url| events::address(&actor.tenant, url).id).into_iter().collect();
            if let Some(view) = self.store_change(actor, "update_link", link, stored.version, on, keep).await? {
                return Ok(view);
            }
        }
        Err(Fault::too_many_races().into())
    }

    /// Makes a sandbox link need a reconnect and gives the link object. A link in error stays as it is.
    ///
    /// # Errors
    /// [`LinkRefusal`].
    pub async fn reset_link(&self, actor: &Actor, id: &LinkId, keep: &Keep<Vec<u8>>) -> Result<Vec<u8>, LinkRefusal> {
        for _ in 0..DECISIONS_MAX {
            let stored = self.load_to_change(actor, id).await?;
            if actor.tenant.environment == Environment::Live {
                return Err(LinkRefusal::Forbidden("Only links of the sandbox can be reset"));
            }
            let now = self.now(&actor.tenant).await?;
            let mut link = stored.link;
            link.reset(now);
            if let Some(view) = self.store_change(actor, "reset_link", link, stored.version, Vec::new(), keep).await? {
                return Ok(view);
            }
        }
        Err(Fault::too_many_races().into())
    }

    /// Accepts a simulated event of a sandbox link and gives its delivery token. The event is stored as every other one
    /// is; the link object does not change.
    ///
    /// # Errors
    /// [`TestEventRefusal`].
    pub async fn request_test_event(
        &self,
        actor: &Actor,
        id: &LinkId,
        simulates: SimulatedEvent,
        idempotency_key: &str,
        keep: &Keep<String>,
    ) -> Result<String, TestEventRefusal> {
        for _ in 0..DECISIONS_MAX {
            let stored = self.load_to_change(actor, id).await?;
            if actor.tenant.environment == Environment::Live {
                return Err(LinkRefusal::Forbidden("Only links of the sandbox have test webhooks").into());
            }
            if stored.link.webhook.is_none() {
                return Err(TestEventRefusal::NoWebhook);
            }
            let action = "trigger_test_link_webhook_event";
            let key = idempotency_key.to_owned();
            if let Some(token) = self.record_simulated(actor, action, stored, simulates, key, keep).await? {
                return Ok(token);
            }
        }
        Err(LinkRefusal::from(Fault::too_many_races()).into())
    }

    /// Records a simulated event of a sandbox link, with or without a webhook, and gives its delivery token.
    ///
    /// # Errors
    /// [`LinkRefusal`].
    pub async fn simulate_event(
        &self,
        actor: &Actor,
        id: &LinkId,
        simulates: SimulatedEvent,
        keep: &Keep<String>,
    ) -> Result<String, LinkRefusal> {
        for _ in 0..DECISIONS_MAX {
            let stored = self.load_to_change(actor, id).await?;
            let (action, key) = ("create_sandbox_event", random_hex());
            if let Some(token) = self.record_simulated(actor, action, stored, simulates, key, keep).await? {
                return Ok(token);
            }
        }
        Err(Fault::too_many_races().into())
    }

    /// Commits the event; `None` when somebody else was first.
    async fn record_simulated(
        &self,
        actor: &Actor,
        action: &'static str,
        stored: StoredLink,
        simulates: SimulatedEvent,
        idempotency_key: String,
        keep: &Keep<String>,
    ) -> Result<Option<String>, LinkRefusal> {
        let now = self.now(&actor.tenant).await?;
        let (mut link, id) = (stored.link.clone(), &stored.link.id);
        let delivery_token = random_hex();
        link.request_test_event(TestEvent { simulates, idempotency_key, delivery_token: delivery_token.clone() }, now);
        let mut changes = changes_with_link(link, Some(stored.version), None, |_| {});
        changes.audit.push(self.audit(actor, action, Some(id)));
        keep.put(&mut changes, &delivery_token, Some(id));
        let outcome = self.try_commit(changes).await?;
        Ok(matches!(outcome, Outcome::Committed).then_some(delivery_token))
    }

    /// The aggregate of a link that its app may change now.
    async fn load_to_change(&self, actor: &Actor, id: &LinkId) -> Result<StoredLink, LinkRefusal> {
        let stored = self.load(actor, id).await?;
        match stored.link.busy_with() {
            Some(code) => Err(LinkRefusal::BadState(code)),
            None => Ok(stored),
        }
    }

    /// Commits the changed link; `None` when somebody else was first.
    async fn store_change(
        &self,
        actor: &Actor,
        action: &'static str,
        link: Link,
        version: u64,
        switched_on: Vec<String>,
        keep: &Keep<Vec<u8>>,
    ) -> Result<Option<Vec<u8>>, LinkRefusal> {
        let (id, view) = (link.id.clone(), views::link_view(&link));
        let mut changes = changes_with_link(link, Some(version), None, |_| {});
        changes.switched_on = switched_on;
        changes.audit.push(self.audit(actor, action, Some(&id)));
        keep.put(&mut changes, &view, Some(&id));
        match self.try_commit(changes).await? {
            Outcome::Committed => Ok(Some(view)),
            Outcome::LostRace(_) => Ok(None),
        }
    }
}
