//! What a link stores when it refreshes at a simulated bank as time passes, merged by the domain's own rules.

use std::collections::HashMap;

use jiff::{SignedDuration, Timestamp};
use passbook_core::{
    ids::{AppId, Derivation, LinkId, TransactionId},
    link::{Link, lifecycle::NewLink},
    reconcile::{NewAccounts, reconcile_accounts, reconcile_transactions},
    tenant::{Environment, Tenant},
    transaction::Transaction,
};

use crate::world::{self, Visitor, institution, noon};

/// A link with its stored transactions.
struct Stored {
    link: Link,
    rows: HashMap<TransactionId, Transaction>,
    derivation: Derivation,
}

/// What a refresh changed: created, updated, and removed posted rows.
#[derive(Debug, PartialEq, Eq)]
struct Changed {
    created: bool,
    updated: usize,
    removed_posted: usize,
}

impl Stored {
    fn new(bank: &str) -> Self {
        let link = Link::begin(NewLink {
            id: LinkId::from_bits(1),
            tenant: Tenant { app_id: AppId::from_bits(1), environment: Environment::Sandbox },
            customer_user_id: "customer-1".to_owned(),
            institution: &institution(bank),
            webhook: None,
            tags: Vec::new(),
            now: noon(),
        });
        Self { link, rows: HashMap::new(), derivation: Derivation::new(b"stored") }
    }

    async fn refresh(&mut self, bank: &world::Link, now: Timestamp) -> Changed {
        let accounts = bank.accounts(now).await;
        reconcile_accounts(&mut self.link, accounts, &NewAccounts::Permitted, true, &self.derivation);
        let reported = bank.transactions(now).await;
        let stored = self.rows.values().cloned().collect();
        let changes = reconcile_transactions(&mut self.link, stored, reported, &self.derivation);
        let mut removed_posted = 0;
        for removed in &changes.removed {
            let row = self.rows.remove(&removed.id).unwrap();
            removed_posted += usize::from(!row.details.pending);
        }
        let changed = Changed { created: !changes.created.is_empty(), updated: changes.updated.len(), removed_posted };
        self.rows.extend(changes.created.into_iter().map(|row| (row.id.clone(), row)));
        changed
    }
}

#[tokio::test]
async fn refreshes_add_news_and_never_disturb_what_has_posted() {
    for bank in ["credentials_bank", "credentials_bank_ca", "credentials_bank_gb"] {
        let world = Visitor::new(bank, "user_history").sign_in().await;
        let mut stored = Stored::new(bank);
        let mut now = noon();
        for hours in [0, 5, 24, 24 * 3, 24 * 30, 24 * 400] {
            now += SignedDuration::from_hours(hours);
            let changed = stored.refresh(&world, now).await;
            assert_eq!(changed, Changed { created: true, updated: 0, removed_posted: 0 }, "{bank} at {now}");
            // Everything the bank shows is stored, and what is older than its window is kept.
            let shown = world.transactions(now).await;
            let since = shown.complete_since.unwrap();
            let in_window = stored.rows.values().filter(|row| row.details.date >= since).count();
            assert_eq!(in_window, shown.items.len(), "{bank} at {now}");
        }
        assert!(stored.rows.len() > world.transactions(now).await.items.len(), "old items were kept");
    }
}

#[tokio::test]
async fn relinking_finds_the_same_accounts() {
    let first = Visitor::new("credentials_bank", "user_many").sign_in().await;
    let again = Visitor { now: world::at("2025-05-15T12:00:00Z"), ..Visitor::new("credentials_bank", "user_many") };
    let mut stored = Stored::new("credentials_bank");
    stored.refresh(&first, noon()).await;
    let ids: Vec<_> = stored.link.accounts.iter().map(|account| account.id.clone()).collect();
    stored.refresh(&again.sign_in().await, again.now).await;
    assert_eq!(ids, stored.link.accounts.iter().map(|account| account.id.clone()).collect::<Vec<_>>());
    assert!(stored.link.accounts.iter().all(|account| !account.closed));
}
