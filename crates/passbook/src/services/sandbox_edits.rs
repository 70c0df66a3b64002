//! Edits of what a simulated bank holds for the person behind a link.

use std::collections::HashMap;

use jiff::{civil::Date, tz::Offset};
use passbook_connectors::{
    edits::{BankEdit, EditRefusal},
    port::Credential,
};
use passbook_core::{
    ids::{LinkId, TransactionId},
    link::Link,
};

use super::{Actor, DECISIONS_MAX, Fault, Outcome, Services, changes_with_link, idempotency::Keep, links::LinkRefusal};

/// An edit whose account or transaction is still to be found.
pub struct EditPlan {
    /// What it names.
    pub named: Named,
    /// Makes the edit of what was found, on this day of the app's clock.
    pub make: Box<dyn FnOnce(Place, Date) -> BankEdit + Send>,
}

/// What an edit names, by the ids that the app knows.
pub enum Named {
    /// Nothing, or everything.
    Nothing,
    /// An account.
    Account(String),
    /// A transaction.
    Transaction(String),
}

/// Upstream keys of what was named; empty where nothing was.
#[derive(Default)]
pub struct Place {
    /// The account.
    pub account: String,
    /// The transaction.
    pub transaction: String,
}

/// Why nothing was edited.
#[derive(Debug, thiserror::Error)]
pub enum EditError {
    /// This edit, from 0, names an account or transaction that the link does not have.
    #[error("edit {0} names something unknown")]
    Unknown(usize, &'static str),
    /// The bank keeps too many already.
    #[error("too many edits")]
    TooMany,
    /// The link cannot be edited.
    #[error(transparent)]
    Link(#[from] LinkRefusal),
}

impl From<Fault> for EditError {
    fn from(fault: Fault) -> Self {
        Self::Link(fault.into())
    }
}

impl Services {
    /// Hands edits to the simulated bank of a link; gives how many it keeps now.
    ///
    /// # Errors
    /// [`EditError`]; then nothing is edited.
    pub async fn edit_sandbox_link(
        &self,
        actor: &Actor,
        id: &LinkId,
        plans: Vec<EditPlan>,
        keep: &Keep<usize>,
    ) -> Result<usize, EditError> {
        let stored = self.load(actor, id).await?;
        let today = Offset::UTC.to_datetime(self.now(&actor.tenant).await?).date();
        let edits = self.find_named(actor, &stored.link, plans, today).await?;
        for _ in 0..DECISIONS_MAX {
            let stored = self.load(actor, id).await?;
            let credential = self.secrets_of(&stored.link).await?.credential;
            let connector = self.directory.connector(&stored.link.connector);
            let (Some(credential), Some(connector)) = (credential, connector) else { return Err(not_simulated()) };
            let edited = connector.edit(&Credential(credential), &edits);
            let (edited, kept) = edited.map_err(|refusal| match refusal {
                EditRefusal::NotSimulated => not_simulated(),
                EditRefusal::TooMany => EditError::TooMany,
                EditRefusal::Unreadable => Fault::Internal(Box::new(refusal)).into(),
            })?;
            let mut changes =
                changes_with_link(stored.link, Some(stored.version), None, |write| write.credential = Some(edited.0));
            changes.audit.push(self.audit(actor, "edit_sandbox_link", Some(id)));
            keep.put(&mut changes, &kept, Some(id));
            if let Outcome::Committed = self.try_commit(changes).await? {
                return Ok(kept);
            }
        }
        Err(Fault::too_many_races().into())
    }

    async fn find_named(
        &self,
        actor: &Actor,
        link: &Link,
        plans: Vec<EditPlan>,
        today: Date,
    ) -> Result<Vec<BankEdit>, EditError> {
        let accounts: HashMap<_, _> =
            link.accounts.iter().map(|account| (account.id.as_str(), account.upstream_key.clone())).collect();
        let names_transactions = plans.iter().any(|plan| matches!(plan.named, Named::Transaction(_)));
        let rows = match names_transactions {
            true => self.store.load_transactions(&actor.tenant, &link.id, None).await.map_err(Fault::from)?,
            false => Vec::new(),
        };
        let transactions: HashMap<&TransactionId, _> = rows.iter().map(|row| (&row.id, row)).collect();
        let place = |named: &Named| match named {
            Named::Nothing => Ok(Place::default()),
            Named::Account(id) => {
                let account = accounts.get(id.as_str()).ok_or("account_id")?.clone();
                Ok(Place { account, transaction: String::new() })
            }
            Named::Transaction(id) => {
                let row = TransactionId::parse(id).and_then(|id| transactions.get(&id).copied());
                let row = row.ok_or("transaction_id")?;
                let account = accounts.get(row.account_id.as_str()).ok_or("transaction_id")?.clone();
                Ok(Place { account, transaction: row.upstream_key.clone() })
            }
        };
        let edit = |(number, plan): (usize, EditPlan)| {
            let place = place(&plan.named).map_err(|field: &'static str| EditError::Unknown(number, field))?;
            Ok((plan.make)(place, today))
        };
        plans.into_iter().enumerate().map(edit).collect()
    }
}

fn not_simulated() -> EditError {
    LinkRefusal::Forbidden("Only links at simulated banks can be edited").into()
}
