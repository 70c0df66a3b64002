//! Enrichment: applying the rules again, and what an app knows better.

use std::collections::HashSet;

use passbook_core::{
    enrichment::{self, Kind},
    ids::{AccountId, LinkId, TransactionId},
    link::Link,
    product::Product,
    reconcile::TransactionChanges,
    transaction::Transaction,
};

use super::{
    Actor, DECISIONS_MAX, Fault, Outcome, Services, changes_with_link,
    idempotency::Keep,
    links::{AccountFilter, LinkRefusal, check_readable, permitted_accounts},
    transaction_writes,
};

/// Most transactions that one correction changes, the corrected one included; the newest are.
pub const CORRECTED_MAX: usize = 1_000;

/// What a correction did.
pub struct Corrected {
    /// The link.
    pub link: Link,
    /// The transactions as they are now: the one that was named, then similar ones, newest first.
    pub transactions: Vec<Transaction>,
}

/// Why nothing was corrected.
#[derive(Debug, thiserror::Error)]
pub enum CorrectionRefusal {
    /// The link has no such transaction that may be shown.
    #[error("unknown transaction")]
    UnknownTransaction,
    /// The link cannot be read.
    #[error(transparent)]
    Link(#[from] LinkRefusal),
}

impl From<Fault> for CorrectionRefusal {
    fn from(fault: Fault) -> Self {
        Self::Link(fault.into())
    }
}

impl Services {
    /// Gives a transaction, and similar ones that are stored, the kind that the app says.
    ///
    /// # Errors
    /// [`CorrectionRefusal`].
    pub async fn correct_enrichment(
        &self,
        actor: &Actor,
        id: &LinkId,
        transaction_id: Option<&TransactionId>,
        kind: Kind,
        keep: &Keep<Corrected>,
    ) -> Result<Corrected, CorrectionRefusal> {
        for _ in 0..DECISIONS_MAX {
            let stored = self.load(actor, id).await?;
            check_readable(&stored, Product::Enrichment)?;
            let now = self.now(&actor.tenant).await?;
            let shown: HashSet<AccountId> =
                permitted_accounts(&stored, &AccountFilter::default()).map(|account| account.id.clone()).collect();
            let rows = self.store.load_transactions(&actor.tenant, id, None).await.map_err(Fault::from)?;
            let rows = rows.into_iter().filter(|row| shown.contains(&row.account_id)).collect();
            let found = transaction_id.and_then(|wanted| corrected(rows, wanted, kind));
            let transactions = found.ok_or(CorrectionRefusal::UnknownTransaction)?;
            let (mut link, version) = (stored.link, stored.version);
            link.announce_transactions(now);
            let rows = TransactionChanges { updated: transactions.clone(), ..TransactionChanges::default() };
            let writes = transaction_writes(&mut link, rows);
            let done = Corrected { link: link.clone(), transactions };
            let mut changes = changes_with_link(link, Some(version), None, |_| {});
            changes.transactions = writes;
            changes.audit.push(self.audit(actor, "correct_enrichment", Some(id)));
            keep.put(&mut changes, &done, Some(id));
            if let Outcome::Committed = self.try_commit(changes).await? {
                return Ok(done);
            }
        }
        Err(Fault::too_many_races().into())
    }

    /// Applies the rules to every stored transaction that `changes` does not write anyway.
    ///
    /// # Errors
    /// A fault.
    pub async fn enrich_stored(&self, link: &Link, changes: &mut TransactionChanges) -> Result<(), Fault> {
        let written: HashSet<TransactionId> =
            changes.updated.iter().chain(&changes.removed).map(|row| row.id.clone()).collect();
        for mut row in self.store.load_transactions(&link.tenant, &link.id, None).await? {
            if !written.contains(&row.id) && enrichment::refresh(&mut row) {
                changes.updated.push(row);
            }
        }
        Ok(())
    }
}

/// The transaction with this id and those like it, corrected; `None` when there is none with this id.
fn corrected(rows: Vec<Transaction>, wanted: &TransactionId, kind: Kind) -> Option<Vec<Transaction>> {
    let named = rows.iter().find(|row| row.id == *wanted)?.clone();
    let mut similar: Vec<_> =
        rows.into_iter().filter(|row| row.id != named.id && enrichment::are_similar(&named, row)).collect();
    similar.sort_by(|one, other| {
        (other.details.date, other.details.datetime, &other.id).cmp(&(one.details.date, one.details.datetime, &one.id))
    });
    similar.truncate(CORRECTED_MAX - 1);
    similar.insert(0, named);
    for row in &mut similar {
        enrichment::correct(row, kind);
    }
    Some(similar)
}
