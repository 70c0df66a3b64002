//! Following the transactions of a link.

use passbook_core::{
    change_log::{ChangePage, change_page, log_permitted},
    ids::AccountId,
    link::Link,
};
use passbook_store::port::{ChangeFilter, StoredLink, TransactionWrites};

use super::{Actor, Fault, Services};

impl Services {
    /// What happened behind the position `after`, at most `size` changes of permitted accounts, and whether more wait.
    ///
    /// # Errors
    /// A fault.
    pub async fn sync_transactions(
        &self,
        actor: &Actor,
        stored: &StoredLink,
        after: u64,
        size: u32,
    ) -> Result<(ChangePage, bool), Fault> {
        let permitted = permitted(&stored.link);
        let all = permitted.len() == stored.link.accounts.len();
        let filter = ChangeFilter { after, accounts: (!all).then_some(permitted), limit: size + 1 };
        let mut changes = self.store.list_transaction_changes(&actor.tenant, &stored.link.id, &filter).await?;
        let more = changes.len() > size as usize;
        changes.truncate(size as usize);
        Ok((change_page(after, changes), more))
    }

    /// Shows what readers could not see so far: the transactions of accounts that `link` permits and `before` did not.
    ///
    /// # Errors
    /// A fault.
    pub(crate) async fn show_permitted(
        &self,
        before: &[AccountId],
        link: &mut Link,
    ) -> Result<Option<TransactionWrites>, Fault> {
        let new: Vec<_> = permitted(link).into_iter().filter(|id| !before.contains(id)).collect();
        if new.is_empty() {
            return Ok(None);
        }
        let mut rows = self.store.load_transactions(&link.tenant, &link.id, None).await?;
        rows.retain(|row| new.contains(&row.account_id));
        rows.sort_by(|a, b| (a.details.date, &a.id).cmp(&(b.details.date, &b.id)));
        let log = log_permitted(link, &rows);
        Ok(Some(TransactionWrites { link_id: Some(link.id.clone()), log, ..TransactionWrites::default() }))
    }
}

/// The accounts whose transactions are shown. Closed ones keep their history.
pub(crate) fn permitted(link: &Link) -> Vec<AccountId> {
    link.accounts.iter().filter(|account| account.permitted).map(|account| account.id.clone()).collect()
}
