//! Reading, listing and deleting links.

use std::{collections::HashSet, time::Duration};

use jiff::Timestamp;
use passbook_connectors::port::{Credential, Fetch};
use passbook_core::{
    account::Account,
    ids::{AccountId, LinkId},
    link::{self, LinkState},
    product::Product,
    secret::SecretBytes,
};
use passbook_store::port::{
    LinkAnswer, LinkPosition, NumbersAnswer, StoreError, StoredLink, TransactionFilter, TransactionPage,
};

use super::{Actor, DECISIONS_MAX, Fault, Outcome, Services, changes_with_link};
use crate::views::{self, RENDERER};

/// How long an upstream may take to revoke access. The link is gone for the app either way.
const REVOKE_DEADLINE: Duration = Duration::from_secs(5);

/// Why a link cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum LinkRefusal {
    /// Unknown, of another tenant, or gone for good.
    #[error("link not found")]
    NotFound,
    /// Deleted less than 90 days ago.
    #[error("link deleted")]
    Deleted,
    /// Not usable in its state.
    #[error("link is not usable: {0}")]
    BadState(&'static str),
    /// Not for this link, whatever was granted.
    #[error("{0}")]
    Forbidden(&'static str),
    /// The end user did not grant it.
    #[error("{} not granted", .0.as_str())]
    NotGranted(Product),
    /// The store failed.
    #[error(transparent)]
    Fault(#[from] Fault),
}

/// Which accounts a caller asked for; all of them by default.
#[derive(Debug, Clone, Default)]
pub struct AccountFilter(Option<HashSet<String>>);

impl AccountFilter {
    /// The accounts with these ids, none when there are none. An id that nothing has names nothing.
    pub fn of(ids: impl IntoIterator<Item = String>) -> Self {
        Self(Some(ids.into_iter().filter(|id| !id.is_empty()).collect()))
    }

    /// Whether the account with this id was asked for.
    pub fn takes(&self, id: &str) -> bool {
        self.0.as_ref().is_none_or(|ids| ids.contains(id))
    }

    /// Whether nobody narrowed anything down.
    pub fn takes_all(&self) -> bool {
        self.0.is_none()
    }
}

/// What a page of transactions is asked for by.
pub struct TransactionQuery {
    /// Of which accounts.
    pub accounts: AccountFilter,
    /// The rest.
    pub filter: TransactionFilter,
}

impl TransactionQuery {
    /// What the store is asked for. Closed accounts keep their history.
    pub fn filter_of(self, stored: &StoredLink) -> TransactionFilter {
        let permitted: Vec<AccountId> =
            permitted_accounts(stored, &self.accounts).map(|account| account.id.clone()).collect();
        let all = self.accounts.takes_all() && permitted.len() == stored.link.accounts.len();
        TransactionFilter { accounts: (!all).then_some(permitted), ..self.filter }
    }
}

/// The accounts that may be shown, open or closed; of these only the wanted ones.
pub fn permitted_accounts<'a>(stored: &'a StoredLink, wanted: &'a AccountFilter) -> impl Iterator<Item = &'a Account> {
    let permitted = stored.link.accounts.iter().filter(|account| account.permitted);
    permitted.filter(|account| wanted.takes(account.id.as_str()))
}

impl Services {
    /// The rendered link object; a deleted link shows its stub.
    ///
    /// # Errors
    /// [`LinkRefusal::NotFound`] or a fault.
    pub async fn get_link(&self, actor: &Actor, id: &LinkId) -> Result<Vec<u8>, LinkRefusal> {
        let answer = self.store.lookup_link_answer(&actor.tenant, id).await.map_err(Fault::from)?;
        let answer = answer.ok_or(LinkRefusal::NotFound)?;
        if answer.deleted_at.is_some() && link::is_gone(answer.deleted_at, self.now(&actor.tenant).await?) {
            return Err(LinkRefusal::NotFound);
        }
        self.current_view(actor, id, answer).await
    }

    /// Both halves of the numbers answer. Never causes a fetch. The hot path: one row, one decryption, no decoding.
    ///
    /// # Errors
    /// [`LinkRefusal`].
    pub async fn get_account_numbers(&self, actor: &Actor, id: &LinkId) -> Result<NumbersAnswer, LinkRefusal> {
        let answer = self.store.lookup_numbers_answer(&actor.tenant, id).await.map_err(Fault::from)?;
        let mut answer = answer.ok_or(LinkRefusal::NotFound)?;
        self.refuse_deleted(actor, answer.link.deleted_at).await?;
        if link::blocked_by(answer.link.state, answer.link.error).is_some() {
            // The columns do not say whether it was imported.
            check_readable(&self.load(actor, id).await?, Product::AccountNumbers)?;
        }
        if !answer.link.granted.contains(Product::AccountNumbers) {
            return Err(LinkRefusal::NotGranted(Product::AccountNumbers));
        }
        if answer.link.renderer != RENDERER {
            let stored = self.load(actor, id).await?;
            let secrets = self.secrets_of(&stored.link).await?.secrets;
            answer.accounts = views::numbers_view(&stored.link, &secrets);
            answer.link.link_view = views::link_view(&stored.link);
        }
        Ok(answer)
    }

    /// The aggregate, for a read of `product`.
    ///
    /// # Errors
    /// [`LinkRefusal`].
    pub async fn open_for_read(&self, actor: &Actor, id: &LinkId, product: Product) -> Result<StoredLink, LinkRefusal> {
        let stored = self.load(actor, id).await?;
        check_readable(&stored, product)?;
        Ok(stored)
    }

    /// The aggregate of a link that is not deleted, whatever its state.
    ///
    /// # Errors
    /// [`LinkRefusal::NotFound`], [`LinkRefusal::Deleted`] or a fault.
    pub async fn load(&self, actor: &Actor, id: &LinkId) -> Result<StoredLink, LinkRefusal> {
        let stored = self.store.lookup_link(&actor.tenant, id).await.map_err(Fault::from)?;
        let stored = stored.ok_or(LinkRefusal::NotFound)?;
        self.refuse_deleted(actor, stored.link.deleted_at).await?;
        Ok(stored)
    }

    /// One page of transactions of permitted accounts.
    ///
    /// # Errors
    /// A fault.
    pub async fn list_transactions(
        &self,
        actor: &Actor,
        stored: &StoredLink,
        query: TransactionQuery,
    ) -> Result<TransactionPage, Fault> {
        let filter = query.filter_of(stored);
        Ok(self.store.list_transactions(&actor.tenant, &stored.link.id, &filter).await?)
    }

    /// One page of active links with the position after it, if more wait.
    ///
    /// # Errors
    /// A fault.
    pub async fn list_links(
        &self,
        actor: &Actor,
        after: Option<&LinkPosition>,
        limit: u32,
    ) -> Result<(Vec<LinkPosition>, bool), Fault> {
        let mut page = self.store.list_links(&actor.tenant, after, limit + 1).await?;
        let more = page.len() > limit as usize;
        page.truncate(limit as usize);
        Ok((page, more))
    }

    /// Deletes a link: its key is destroyed with the commit, upstream access is revoked after it.
    ///
    /// # Errors
    /// [`LinkRefusal::NotFound`], [`LinkRefusal::Deleted`] or a fault.
    pub async fn delete_link(&self, actor: &Actor, id: &LinkId) -> Result<(), LinkRefusal> {
        for _ in 0..DECISIONS_MAX {
            let stored = self.load_to_delete(actor, id).await?;
            let before = stored.link.clone();
            let credential = self.credential_to_revoke(&before).await?;
            let mut link = stored.link;
            link.delete(self.now(&actor.tenant).await?);
            let mut changes = changes_with_link(link, Some(stored.version), None, |write| write.destroy = true);
            changes.audit.push(self.audit(actor, "delete_link", Some(id)));
            if let Outcome::Committed = self.try_commit(changes).await? {
                // After the commit: a bank that does not answer must not keep the link alive, and from here on we no
                // longer hold the credential, so this is the only chance to use it.
                if let Some(credential) = credential {
                    self.revoke(&before, Credential(credential)).await;
                }
                return Ok(());
            }
        }
        Err(Fault::too_many_races().into())
    }

    /// The aggregate, or what its columns say: a link that cannot be read can be deleted all the same.
    async fn load_to_delete(&self, actor: &Actor, id: &LinkId) -> Result<StoredLink, LinkRefusal> {
        let stored = match self.store.lookup_link(&actor.tenant, id).await {
            Err(error @ StoreError::Inconsistent { .. }) => {
                tracing::error!(link.id = %id, error = &error as &dyn std::error::Error, "deleting a link unread");
                self.store.lookup_link_remains(&actor.tenant, id).await
            }
            read => read,
        };
        let stored = stored.map_err(Fault::from)?.ok_or(LinkRefusal::NotFound)?;
        self.refuse_deleted(actor, stored.link.deleted_at).await?;
        Ok(stored)
    }

    /// What upstream access can be revoked with; none when it cannot be opened.
    async fn credential_to_revoke(&self, link: &link::Link) -> Result<Option<SecretBytes>, Fault> {
        match self.store.lookup_secrets(&link.tenant, &link.id).await {
            Ok(stored) => Ok(stored.and_then(|stored| stored.credential)),
            Err(error @ StoreError::Inconsistent { .. }) => {
                tracing::error!(link.id = %link.id, error = &error as &dyn std::error::Error, "not revoked upstream");
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn revoke(&self, link: &link::Link, credential: Credential) {
        let Some(connector) = self.directory.connector(&link.connector) else { return };
        let institution = self.directory.of_link(link);
        let now = self.clocks.real_now();
        let fetch = Fetch { institution: &institution, credential: &credential, now, derivation: &self.derivation };
        match tokio::time::timeout(REVOKE_DEADLINE, connector.revoke(&fetch)).await {
            Ok(Ok(())) => {}
            Ok(Err(failure)) => tracing::warn!(link.id = %link.id, class = ?failure.class, "upstream did not revoke"),
            Err(_) => tracing::warn!(link.id = %link.id, "upstream did not answer a revocation in time"),
        }
    }

    async fn refuse_deleted(&self, actor: &Actor, deleted_at: Option<Timestamp>) -> Result<(), LinkRefusal> {
        match deleted_at {
            None => Ok(()),
            Some(_) if link::is_gone(deleted_at, self.now(&actor.tenant).await?) => Err(LinkRefusal::NotFound),
            Some(_) => Err(LinkRefusal::Deleted),
        }
    }

    /// The stored view, or a new one when another renderer made it.
    async fn current_view(&self, actor: &Actor, id: &LinkId, answer: LinkAnswer) -> Result<Vec<u8>, LinkRefusal> {
        if answer.renderer == RENDERER {
            return Ok(answer.link_view);
        }
        let stored = self.store.lookup_link(&actor.tenant, id).await.map_err(Fault::from)?;
        Ok(views::link_view(&stored.ok_or(LinkRefusal::NotFound)?.link))
    }
}

/// State, then grant: the contract's order.
pub fn check_readable(stored: &StoredLink, product: Product) -> Result<(), LinkRefusal> {
    debug_assert!(stored.link.state != LinkState::Deleted, "load refuses deleted links");
    if let Some(code) = stored.link.read_blocked_by() {
        return Err(LinkRefusal::BadState(code));
    }
    if stored.link.granted().contains(product) { Ok(()) } else { Err(LinkRefusal::NotGranted(product)) }
}
