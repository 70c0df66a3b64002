//! Transitions of a link from first sign-in to deletion.

use jiff::Timestamp;

use super::{Counters, Link, LinkErrorCode, LinkInstitution, LinkState};
use crate::{
    event::{EventKind, TestEvent},
    ids::LinkId,
    institution::Institution,
    product::{Product, ProductRecord, ProductSet, ProductSettings},
    tenant::Tenant,
};

/// What a new link is made of.
pub struct NewLink<'a> {
    /// Derived id.
    pub id: LinkId,
    /// Owner.
    pub tenant: Tenant,
    /// The app's own id of the end user.
    pub customer_user_id: String,
    /// Where; `name` and `id` are kept with the link.
    pub institution: &'a Institution,
    /// Webhook URL.
    pub webhook: Option<String>,
    /// Tags.
    pub tags: Vec<String>,
    /// The app's instant.
    pub now: Timestamp,
}

/// What an app changes of a link.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LinkUpdate {
    /// The new webhook, or none any more.
    pub webhook: Option<Option<String>>,
    /// The new tags, all of them.
    pub tags: Option<Vec<String>>,
}

impl Link {
    /// A link in state `connecting`: the end user chose an institution.
    #[must_use]
    pub fn begin(new: NewLink<'_>) -> Self {
        Self {
            id: new.id,
            tenant: new.tenant,
            customer_user_id: new.customer_user_id,
            institution: LinkInstitution {
                id: new.institution.id.clone(),
                name: new.institution.name.clone(),
                color: new.institution.color.clone(),
            },
            connector: new.institution.connector.clone(),
            state: LinkState::Connecting,
            error: None,
            tags: new.tags,
            webhook: new.webhook,
            offered: new.institution.products,
            products: std::iter::once((Product::Accounts, ProductRecord::default())).collect(),
            accounts: Vec::new(),
            created_at: new.now,
            first_data_at: None,
            connected_at: None,
            deleted_at: None,
            changed_at: new.now,
            generation: 0,
            imported: false,
            counters: Counters::default(),
            withdrawn: std::collections::BTreeSet::new(),
            recorded: Vec::new(),
        }
    }

    /// Adds granted products. A product the institution does not have is not granted; `accounts` always is.
    pub fn grant(&mut self, products: &[(Product, ProductSettings)]) {
        for (product, settings) in products {
            if self.offered.contains(*product) && *product != Product::Accounts {
                let record = self.products.entry(*product).or_default();
                record.settings.get_or_insert_with(|| settings.clone());
            }
        }
        // It needs nothing of the bank, and nobody can ask for it alone.
        if self.products.contains_key(&Product::Transactions) {
            self.products.entry(Product::Enrichment).or_default();
        }
    }

    /// The end user signs in again: after a failed attempt of the same session, or to reconnect.
    pub fn retry_sign_in(&mut self, now: Timestamp) {
        self.generation += 1;
        self.enter(LinkState::Connecting, None, now);
    }

    /// The user reconnected through `institution`'s connector. A link that came from somewhere else (a statement file)
    /// is served by it from now on, and everything granted is to be fetched anew.
    pub fn adopt_connector(&mut self, institution: &Institution) -> ProductSet {
        self.offered = institution.products;
        if self.connector == institution.connector {
            return self.products_to_prefetch();
        }
        self.connector.clone_from(&institution.connector);
        for record in self.products.values_mut() {
            record.unavailable = None;
        }
        // Accounts were fetched to sign in, and enrichment comes with transactions.
        self.granted().without([Product::Accounts, Product::Enrichment].into_iter().collect())
    }

    /// Sign-in worked: the app may exchange its token.
    pub fn await_exchange(&mut self, now: Timestamp) {
        self.enter(LinkState::AwaitingTokenExchange, None, now);
    }

    /// Sign-in failed, or access ended.
    pub fn fail(&mut self, code: LinkErrorCode, now: Timestamp) {
        self.enter(LinkState::Error, Some(code), now);
    }

    /// The app exchanged the token, or a statement file made the link.
    pub fn connect(&mut self, now: Timestamp) {
        self.connected_at.get_or_insert(now);
        self.imported = false;
        self.enter(LinkState::Connected, None, now);
        self.note_first_data(now);
    }

    /// The end user permits these accounts, by upstream key. A grant is never withdrawn here.
    pub fn permit_accounts(&mut self, keys: &std::collections::BTreeSet<String>) {
        for account in self.accounts.iter_mut().filter(|account| keys.contains(&account.upstream_key)) {
            account.permitted = true;
        }
    }

    /// The token was not exchanged in time. Returns whether that changed anything.
    pub fn expire_exchange(&mut self, now: Timestamp) -> bool {
        let waiting = self.state == LinkState::AwaitingTokenExchange;
        if waiting {
            self.fail(LinkErrorCode::Incomplete, now);
        }
        waiting
    }

    /// Products to fetch as soon as the link is connected: those asked for, and accounts unless the sign-in has
    /// already read them.
    #[must_use]
    pub fn products_to_prefetch(&self) -> ProductSet {
        self.products
            .iter()
            .filter(|(product, record)| match &record.settings {
                Some(settings) => settings.fetches_on_linking() && record.refreshed_at.is_none(),
                None => **product == Product::Accounts && record.refreshed_at.is_none(),
            })
            .map(|(product, _)| *product)
            .collect()
    }

    /// The app changes where events go or how it labels the link; `None` keeps what is there.
    pub fn update(&mut self, change: LinkUpdate, now: Timestamp) {
        if let Some(webhook) = change.webhook {
            self.webhook = webhook;
        }
        if let Some(tags) = change.tags {
            self.tags = tags;
        }
        self.changed_at = self.changed_at.max(now);
    }

    /// Makes a usable link need a reconnect, so that an app can try what it does then. A link in error stays as it is.
    pub fn reset(&mut self, now: Timestamp) {
        if self.state == LinkState::Connected {
            self.fail(LinkErrorCode::AuthExpired, now);
        }
    }

    /// Records that the app asked for a simulated event. Nothing else changes.
    pub fn request_test_event(&mut self, test: TestEvent, now: Timestamp) {
        self.record(now, EventKind::TestRequested(test));
    }

    /// Removes everything but the contract's stub: ids, institution, state and tags.
    pub fn delete(&mut self, now: Timestamp) {
        self.enter(LinkState::Deleted, None, now);
        self.deleted_at = Some(now);
        self.customer_user_id.clear();
        self.webhook = None;
        self.products.clear();
        self.accounts.clear();
        self.withdrawn.clear();
    }

    pub(super) fn note_first_data(&mut self, now: Timestamp) {
        if self.connected_at.is_some() && self.last_synced_at().is_some() {
            self.first_data_at.get_or_insert(now);
        }
    }

    /// Moves to `state`. Steps of a first sign-in are not announced: no app knows the link yet, and the first event it
    /// sees is the one that says `connected` (or why linking failed).
    fn enter(&mut self, state: LinkState, error: Option<LinkErrorCode>, now: Timestamp) {
        let unchanged = self.state == state && self.error == error;
        let first_sign_in =
            self.connected_at.is_none() && matches!(state, LinkState::Connecting | LinkState::AwaitingTokenExchange);
        self.state = state;
        self.error = error;
        self.changed_at = self.changed_at.max(now);
        if !unchanged && !first_sign_in {
            self.record(now, EventKind::LinkStateChanged { state, error });
        }
    }
}
