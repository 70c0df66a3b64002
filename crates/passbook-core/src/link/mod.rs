//! The link aggregate: one end user's lasting authorisation at one institution.
//!
//! A link moves `connecting` → `awaiting_token_exchange` → `connected`, may fall into `error` and ends as `deleted`.
//! Every transition is a method here; each records the [`Event`]s that tell of it, and the store writes link and
//! events together. [`lifecycle`] holds the transitions, [`refresh`] the rules about fetching, [`state`] the
//! words.

pub mod lifecycle;
mod refresh;
mod state;

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

pub use self::{
    refresh::RefreshRefusal,
    state::{LinkErrorCode, LinkState, blocked_by},
};
use crate::{
    account::Account,
    account_numbers::AccountNumbers,
    event::{Event, EventKind},
    identity::Owner,
    ids::{AccountId, LinkId, TransactionId},
    product::{Product, ProductRecord, ProductSet},
    tenant::Tenant,
};

/// How long the stub of a deleted link stays readable (contract, section 2.3).
pub const STUB_LIFETIME: SignedDuration = SignedDuration::from_hours(90 * 24);
/// Most accounts a link may hold.
pub const ACCOUNTS_MAX: usize = 500;
/// Most owners kept of one account.
pub const OWNERS_MAX: usize = 20;

/// The institution of a link, as shown with it. Kept with the link so that a read needs nothing else.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkInstitution {
    /// Slug.
    pub id: String,
    /// Display name.
    pub name: String,
    /// Hex colour, for the avatar.
    pub color: Option<String>,
}

/// A link with everything that is not sealed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// Public id.
    pub id: LinkId,
    /// Owner.
    pub tenant: Tenant,
    /// The app's own id of the end user; emptied on delete.
    pub customer_user_id: String,
    /// Where.
    pub institution: LinkInstitution,
    /// Which connector serves it.
    pub connector: String,
    /// State.
    pub state: LinkState,
    /// Set exactly in state `error`.
    pub error: Option<LinkErrorCode>,
    /// Tags, in the app's order.
    pub tags: Vec<String>,
    /// Webhook URL.
    pub webhook: Option<String>,
    /// Everything the institution can give.
    pub offered: ProductSet,
    /// Granted products.
    pub products: BTreeMap<Product, ProductRecord>,
    /// Accounts, in the order in which they were first seen.
    pub accounts: Vec<Account>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it first was both connected and had data; only then is it listed.
    pub first_data_at: Option<Timestamp>,
    /// When it first connected.
    pub connected_at: Option<Timestamp>,
    /// When it was deleted.
    pub deleted_at: Option<Timestamp>,
    /// The last change; never before [`Link::created_at`].
    pub changed_at: Timestamp,
    /// Raised by every sign-in. An attempt that began under an older one fetched with a credential that was replaced
    /// since, and its word about access no longer counts.
    #[serde(default)]
    pub generation: u64,
    /// Made of data the app already had, and not reconnected since.
    #[serde(default)]
    pub imported: bool,
    /// Ordinals handed out so far.
    pub counters: Counters,
    /// Digests of upstream transaction keys that the bank withdrew or replaced, so that an older statement file cannot
    /// bring them back.
    pub withdrawn: BTreeSet<String>,
    /// Events recorded since the aggregate was loaded; written with it.
    #[serde(skip)]
    pub recorded: Vec<Event>,
}

/// Ordinals handed out within a link; see [`crate::ids`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "StoredCounters")]
pub struct Counters {
    /// Events recorded.
    pub events: u64,
    /// Accounts ever made.
    pub accounts: u64,
    /// Transactions ever made.
    pub transactions: u64,
    /// Positions of the change log; see [`crate::change_log`].
    pub changes: u64,
}

/// [`Counters`] as documents hold them, also those from before there was a change log.
#[derive(Deserialize)]
struct StoredCounters {
    events: u64,
    accounts: u64,
    transactions: u64,
    changes: Option<u64>,
}

impl From<StoredCounters> for Counters {
    fn from(stored: StoredCounters) -> Self {
        let StoredCounters { events, accounts, transactions, changes } = stored;
        // The migration that made the log gave the link's transactions the first positions, one each: not more than
        // transactions were ever made.
        Self { events, accounts, transactions, changes: changes.unwrap_or(transactions) }
    }
}

/// The sealed part of a link that answers are made of.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkSecrets {
    /// Payment numbers by account.
    pub numbers: BTreeMap<AccountId, AccountNumbers>,
    /// Owners by account.
    pub owners: BTreeMap<AccountId, Vec<Owner>>,
}

impl std::fmt::Debug for LinkSecrets {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("LinkSecrets[secret]")
    }
}

impl Link {
    /// The granted products.
    #[must_use]
    pub fn granted(&self) -> ProductSet {
        self.products.keys().copied().collect()
    }

    /// Products that a later session could add. Never `enrichment`: older official clients reject it here.
    #[must_use]
    pub fn available_products(&self) -> ProductSet {
        if self.state == LinkState::Deleted {
            return ProductSet::new();
        }
        self.offered.without(self.granted()).without([Product::Enrichment].into_iter().collect())
    }

    /// What blocks a refresh, and most product reads, in the contract's words (`link_error_code`); `None` when usable.
    #[must_use]
    pub fn blocked_by(&self) -> Option<&'static str> {
        blocked_by(self.state, self.error)
    }

    /// What blocks a product read, in the contract's words. Imported data stays readable, although its access has ended,
    /// until the link is reconnected.
    #[must_use]
    pub fn read_blocked_by(&self) -> Option<&'static str> {
        if self.is_readable_import() { None } else { self.blocked_by() }
    }

    /// Whether it holds imported data, was never reconnected and is in no sign-in.
    #[must_use]
    pub fn is_readable_import(&self) -> bool {
        self.imported && self.state == LinkState::Error
    }

    /// What blocks a change by the app, in the contract's words: a sign-in that is under way. A link in error can be
    /// changed.
    #[must_use]
    pub fn busy_with(&self) -> Option<&'static str> {
        match self.state {
            LinkState::Connected | LinkState::Error => None,
            LinkState::Connecting | LinkState::AwaitingTokenExchange | LinkState::Deleted => Some(self.state.as_str()),
        }
    }

    /// Whether even the stub is gone.
    #[must_use]
    pub fn is_gone(&self, now: Timestamp) -> bool {
        is_gone(self.deleted_at, now)
    }

    /// The account with this id.
    #[must_use]
    pub fn account(&self, id: &AccountId) -> Option<&Account> {
        self.accounts.iter().find(|account| account.id == *id)
    }

    /// The newest success of any product.
    #[must_use]
    pub fn last_synced_at(&self) -> Option<Timestamp> {
        self.products.values().filter_map(|record| record.refreshed_at).max()
    }

    /// Next ordinal for a transaction id.
    pub(crate) fn next_transaction_id(&mut self, derivation: &crate::ids::Derivation) -> TransactionId {
        self.counters.transactions += 1;
        let scope = [self.tenant.app_id.as_str(), self.id.as_str()];
        TransactionId::from_bits(derivation.bits("transaction", &scope, self.counters.transactions))
    }

    pub(crate) fn next_account_id(&mut self, derivation: &crate::ids::Derivation) -> AccountId {
        self.counters.accounts += 1;
        let scope = [self.tenant.app_id.as_str(), self.id.as_str()];
        AccountId::from_bits(derivation.bits("account", &scope, self.counters.accounts))
    }

    fn record(&mut self, at: Timestamp, kind: EventKind) {
        self.counters.events += 1;
        self.changed_at = self.changed_at.max(at);
        self.recorded.push(Event {
            link_id: self.id.clone(),
            sequence: self.counters.events,
            // Replicas' clocks differ a little; the events of a link are in order all the same.
            at: self.changed_at,
            tags: self.tags.clone(),
            kind,
            webhook: self.webhook.clone(),
        });
    }
}

/// [`Link::is_gone`] for callers that hold only the stored columns.
#[must_use]
pub fn is_gone(deleted_at: Option<Timestamp>, now: Timestamp) -> bool {
    deleted_at.is_some_and(|at| now.duration_since(at) >= STUB_LIFETIME)
}

/// The id of the link that a session makes.
#[must_use]
pub fn derive_link_id(derivation: &crate::ids::Derivation, tenant: &Tenant, kind: &str, ordinal: u64) -> LinkId {
    let scope = [tenant.app_id.as_str(), tenant.environment.as_str(), kind];
    LinkId::from_bits(derivation.bits("link", &scope, ordinal))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::{lifecycle::NewLink, *};
    use crate::{
        failure::{Failure, FailureClass},
        ids::{AppId, JobId},
        institution::{Country, Institution},
        product::{ProductErrorCode, ProductSettings},
        tenant::Environment,
    };

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_767_225_600 + seconds).unwrap()
    }

    fn set(products: &[Product]) -> ProductSet {
        products.iter().copied().collect()
    }

    fn sample_institution() -> Institution {
        Institution {
            id: "credentials_bank".into(),
            aliases: Vec::new(),
            name: "Credentials Bank".into(),
            country: Country::Us,
            domain: None,
            color: None,
            color_dark: None,
            is_featured: true,
            connector: "sandbox".into(),
            products: set(&[Product::Accounts, Product::AccountNumbers, Product::Transactions]),
        }
    }

    pub(crate) fn sample_link() -> Link {
        let institution = sample_institution();
        Link::begin(NewLink {
            id: LinkId::from_bits(1),
            tenant: Tenant { app_id: AppId::from_bits(1), environment: Environment::Sandbox },
            customer_user_id: "user-1".into(),
            institution: &institution,
            webhook: None,
            tags: vec!["blue".into()],
            now: at(0),
        })
    }

    fn connected_link() -> Link {
        let mut link = sample_link();
        let prefetch = ProductSettings { prefetch: true, ..ProductSettings::default() };
        link.grant(&[(Product::AccountNumbers, prefetch), (Product::Transactions, ProductSettings::default())]);
        link.grant(&[(Product::Identity, ProductSettings::default())]);
        link.note_fetched(Product::Accounts, at(1));
        link.await_exchange(at(1));
        link.connect(at(2));
        link
    }

    #[test]
    fn only_what_the_institution_has_is_granted() {
        let link = connected_link();
        let offered = [Product::Accounts, Product::AccountNumbers, Product::Transactions];
        // Enrichment needs nothing of the institution.
        assert_eq!(link.granted().without(set(&[Product::Enrichment])), set(&offered));
        assert!(link.granted().contains(Product::Enrichment));
        assert!(link.available_products().is_empty());
        assert_eq!(link.products_to_prefetch(), set(&[Product::AccountNumbers]));
        assert_eq!(link.first_data_at, Some(at(2)), "listed only once connected");
    }

    #[test]
    fn each_transition_records_one_event_in_sequence() {
        let mut link = connected_link();
        link.delete(at(3));
        let states: Vec<_> = link
            .recorded
            .iter()
            .map(|event| match &event.kind {
                EventKind::LinkStateChanged { state, .. } => state.as_str(),
                other => other.name(),
            })
            .collect();
        assert_eq!(states, ["connected", "deleted"], "a first sign-in is not announced");
        assert!(link.recorded.iter().zip(1..).all(|(event, n)| event.sequence == n));
    }

    #[test]
    fn a_reset_asks_for_a_reconnect_and_leaves_an_error_alone() {
        let mut link = connected_link();
        link.reset(at(3));
        assert_eq!((link.state, link.error), (LinkState::Error, Some(LinkErrorCode::AuthExpired)));
        let mut failed = connected_link();
        failed.fail(LinkErrorCode::InstitutionError, at(3));
        let before = failed.clone();
        failed.reset(at(4));
        assert_eq!(failed, before);
    }

    #[test]
    fn an_update_replaces_what_is_given_and_keeps_the_rest() {
        let mut link = connected_link();
        let events = link.recorded.len();
        let hook = Some("https://app.example/hook".to_owned());
        link.update(lifecycle::LinkUpdate { webhook: Some(hook.clone()), tags: None }, at(3));
        assert_eq!((&link.webhook, link.tags.as_slice()), (&hook, ["blue".to_owned()].as_slice()));
        link.update(lifecycle::LinkUpdate { webhook: None, tags: Some(Vec::new()) }, at(4));
        assert_eq!((&link.webhook, link.tags.len()), (&hook, 0));
        link.update(lifecycle::LinkUpdate { webhook: Some(None), tags: None }, at(5));
        assert_eq!((link.webhook.as_ref(), link.recorded.len()), (None, events));
    }

    #[test]
    fn a_refresh_is_accepted_once_per_window_and_a_refused_call_spends_nothing() {
        let mut link = connected_link();
        let job = JobId::from_bits(1);
        let numbers = set(&[Product::AccountNumbers]);
        link.accept_refresh(numbers, &job, at(10)).unwrap();
        let running = link.accept_refresh(numbers, &job, at(10)).unwrap_err();
        assert_eq!(running, RefreshRefusal::Limited { product: Product::AccountNumbers, retry_after_seconds: 86_400 });
        link.begin_attempt(numbers, &job, at(10));
        link.complete_product(Product::AccountNumbers, &JobId::from_bits(1), at(11));

        let both = set(&[Product::AccountNumbers, Product::Transactions]);
        assert!(link.accept_refresh(both, &job, at(20)).is_err(), "one limited product rejects the call");
        assert_eq!(link.products[&Product::Transactions].accepted_at, None);

        assert!(link.accept_refresh(numbers, &job, at(10 + 86_399)).is_err());
        assert!(link.accept_refresh(numbers, &job, at(10 + 86_400)).is_ok());
    }

    #[test]
    fn an_older_job_does_not_free_a_product_that_a_newer_one_has_taken() {
        let mut link = connected_link();
        let numbers = set(&[Product::AccountNumbers]);
        link.schedule(numbers, &JobId::from_bits(2), at(3));
        link.complete_product(Product::AccountNumbers, &JobId::from_bits(1), at(4));
        assert_eq!(link.products[&Product::AccountNumbers].running_job, Some(JobId::from_bits(2)));
        assert!(link.accept_refresh(numbers, &JobId::from_bits(3), at(5)).is_err());
    }

    #[test]
    fn a_prefetch_does_not_count_but_a_running_job_blocks() {
        let mut link = connected_link();
        let job = JobId::from_bits(1);
        let numbers = set(&[Product::AccountNumbers]);
        link.schedule(numbers, &job, at(3));
        assert!(matches!(
            link.accept_refresh(numbers, &job, at(3)),
            Err(RefreshRefusal::Limited { retry_after_seconds: 1, .. })
        ));
        link.begin_attempt(numbers, &job, at(3));
        link.complete_product(Product::AccountNumbers, &JobId::from_bits(1), at(4));
        assert!(link.accept_refresh(numbers, &job, at(5)).is_ok());
    }

    #[test]
    fn a_failed_attempt_keeps_data_and_returns_the_allowance_when_the_bank_was_down() {
        for (class, returned) in [
            (FailureClass::InstitutionDown, true),
            (FailureClass::Timeout, true),
            (FailureClass::Unexpected, true),
            (FailureClass::NotSupported, false),
            (FailureClass::RateLimited, false),
        ] {
            let mut link = connected_link();
            let job = JobId::from_bits(1);
            let numbers = set(&[Product::AccountNumbers]);
            link.complete_product(Product::AccountNumbers, &JobId::from_bits(1), at(4));
            let before = link.products[&Product::AccountNumbers].refreshed_at;
            link.accept_refresh(numbers, &job, at(5)).unwrap();
            link.begin_attempt(numbers, &job, at(6));
            link.fail_product(Product::AccountNumbers, &JobId::from_bits(1), &Failure::new(class, "no"), at(7));
            let record = &link.products[&Product::AccountNumbers];
            assert_eq!(record.refreshed_at, before);
            assert_eq!(record.last_attempted_at, Some(at(6)));
            assert_eq!(link.state, LinkState::Connected);
            assert_eq!(link.accept_refresh(numbers, &job, at(8)).is_ok(), returned, "{class:?}");
        }
    }

    #[test]
    fn ended_access_takes_the_link_to_error() {
        let mut link = connected_link();
        let failure = Failure::new(FailureClass::ConsentExpired, "consent ended");
        link.fail_product(Product::Transactions, &JobId::from_bits(1), &failure, at(5));
        assert_eq!((link.state, link.error), (LinkState::Error, Some(LinkErrorCode::AuthExpired)));
        assert_eq!(link.blocked_by(), Some("auth_expired"));
        let fault = link.products[&Product::Transactions].error.clone().unwrap();
        assert_eq!(fault.code, ProductErrorCode::AuthExpired);
    }

    #[test]
    fn a_reconnect_through_another_connector_fetches_everything_anew() {
        let mut link = connected_link();
        link.connector = "ofx".into();
        link.products.get_mut(&Product::Transactions).unwrap().unavailable = Some("only a newer file".into());
        let bank = sample_institution();
        assert_eq!(link.adopt_connector(&bank), set(&[Product::AccountNumbers, Product::Transactions]));
        assert_eq!(link.connector, "sandbox");
        assert_eq!(link.products[&Product::Transactions].unavailable, None);
        link.note_fetched(Product::AccountNumbers, at(5));
        assert!(link.adopt_connector(&bank).is_empty(), "the same connector again keeps what is there");
    }

    #[test]
    fn refreshed_at_rises_even_when_the_clock_stands_still() {
        let mut link = connected_link();
        link.complete_product(Product::Transactions, &JobId::from_bits(1), at(5));
        let first = link.products[&Product::Transactions].refreshed_at;
        link.complete_product(Product::Transactions, &JobId::from_bits(1), at(5));
        assert!(link.products[&Product::Transactions].refreshed_at > first);
    }

    #[test]
    fn a_stub_vanishes_after_ninety_days() {
        let mut link = connected_link();
        link.delete(at(0));
        assert!(link.products.is_empty() && link.accounts.is_empty() && link.webhook.is_none());
        assert!(link.available_products().is_empty());
        assert!(!link.is_gone(at(90 * 86_400 - 1)));
        assert!(link.is_gone(at(90 * 86_400)));
    }

    #[test]
    fn an_exchange_that_expires_leaves_the_link_incomplete_but_not_a_connected_one() {
        let mut link = sample_link();
        link.await_exchange(at(1));
        assert!(link.expire_exchange(at(2)));
        assert_eq!(link.blocked_by(), Some("incomplete"));
        assert!(!connected_link().expire_exchange(at(2)));
    }
}
