//! What the investment accounts of a link hold and did, as last fetched.

use std::collections::HashSet;

use passbook_core::{
    ids::AccountId,
    investment::{Portfolio, Security},
};
use passbook_store::port::{InvestmentTransactionPage, StoredLink};

use super::{
    Actor, Fault, Services,
    links::{AccountFilter, TransactionQuery, permitted_accounts},
};

impl Services {
    /// What the link's accounts hold; empty when nothing was ever fetched.
    ///
    /// # Errors
    /// A fault.
    pub async fn portfolio(&self, actor: &Actor, stored: &StoredLink) -> Result<Portfolio, Fault> {
        Ok(self.store.lookup_portfolio(&actor.tenant, &stored.link.id).await?.unwrap_or_default())
    }

    /// One page of investment transactions of permitted accounts, and the securities that they may refer to.
    ///
    /// # Errors
    /// A fault.
    pub async fn list_investment_transactions(
        &self,
        actor: &Actor,
        stored: &StoredLink,
        query: TransactionQuery,
    ) -> Result<(InvestmentTransactionPage, Vec<Security>), Fault> {
        let filter = query.filter_of(stored);
        let page = self.store.list_investment_transactions(&actor.tenant, &stored.link.id, &filter).await?;
        // Read after the page: securities are added and never taken away.
        Ok((page, self.portfolio(actor, stored).await?.securities))
    }
}

/// Whose holdings to show: those of permitted accounts that are open, and of these only the wanted ones.
pub fn accounts_with_holdings(stored: &StoredLink, wanted: &AccountFilter) -> HashSet<AccountId> {
    let permitted = permitted_accounts(stored, wanted);
    permitted.filter(|account| account.is_visible()).map(|account| account.id.clone()).collect()
}
