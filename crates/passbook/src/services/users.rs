//! Listings over all links of an end user. Each shows what the same call on every single link would show, and nothing of
//! links that cannot be read.

use passbook_core::{ids::AccountId, product::Product};
use passbook_store::port::{StoredLink, TransactionFilter, TransactionPage, UserTransactionFilter};

use super::{
    Actor, Fault, Services,
    links::{AccountFilter, check_readable},
};

impl Services {
    /// The links of an end user that are not deleted, in whatever state. An unknown user has none.
    ///
    /// # Errors
    /// A fault.
    pub async fn list_user_links(&self, actor: &Actor, customer_user_id: &str) -> Result<Vec<StoredLink>, Fault> {
        // Stubs of deleted links have no user any more.
        if customer_user_id.is_empty() {
            return Ok(Vec::new());
        }
        Ok(self.store.list_user_links(&actor.tenant, customer_user_id).await?)
    }

    /// Those of them whose `product` can be read.
    ///
    /// # Errors
    /// A fault.
    pub async fn list_readable_user_links(
        &self,
        actor: &Actor,
        customer_user_id: &str,
        product: Product,
    ) -> Result<Vec<StoredLink>, Fault> {
        let mut links = self.list_user_links(actor, customer_user_id).await?;
        links.retain(|stored| check_readable(stored, product).is_ok());
        Ok(links)
    }

    /// One page of transactions of permitted accounts of `links`, newest first.
    ///
    /// # Errors
    /// A fault.
    pub async fn list_user_transactions(
        &self,
        actor: &Actor,
        links: &[StoredLink],
        wanted: &AccountFilter,
        filter: TransactionFilter,
    ) -> Result<TransactionPage, Fault> {
        // Only permitted accounts are ever shown. Closed ones keep their history.
        let accounts: Vec<AccountId> = links
            .iter()
            .flat_map(|stored| &stored.link.accounts)
            .filter(|account| account.permitted && wanted.takes(account.id.as_str()))
            .map(|account| account.id.clone())
            .collect();
        if let [only] = links {
            // The listing of one link has an index in its order.
            let filter = TransactionFilter { accounts: Some(accounts), ..filter };
            return Ok(self.store.list_transactions(&actor.tenant, &only.link.id, &filter).await?);
        }
        let filter = UserTransactionFilter {
            links: links.iter().map(|stored| stored.link.id.clone()).collect(),
            accounts,
            start_date: filter.start_date,
            end_date: filter.end_date,
            offset: filter.offset,
            limit: filter.limit,
        };
        Ok(self.store.list_user_transactions(&actor.tenant, &filter).await?)
    }
}
