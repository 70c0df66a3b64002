//! The operations, one blocking group for each group of [`api`](crate::api).
//!
//! Every method has the name, the parameters, the answer and the errors of the async one that it waits for. The
//! `…_with_http_info` variants are not repeated here: [`Client::wait`] waits for any of them.

use super::{Client, Pages};
use crate::{
    Error,
    api::{
        GetEventsQuery, GetInstitutionsQuery, GetInvestmentTransactionsQuery, GetLinksQuery, GetTransactionsQuery,
        GetTransactionsSyncQuery, GetUserTransactionsQuery, WaitOptions,
    },
    models::*,
};

/// Defines the blocking twin of an API group.
macro_rules! group {
    (
        $(#[$meta:meta])*
        $name:ident, $accessor:ident {
            $( fn $operation:ident($($argument:ident: $type:ty),*) -> $answer:ty; )*
            $( pages $pages:ident($($pages_argument:ident: $pages_type:ty),*) -> $page:ty; )?
            $( and pages $more:ident($($more_argument:ident: $more_type:ty),*) -> $more_page:ty; )?
        }
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone)]
        pub struct $name {
            client: Client,
            api: crate::api::$name,
        }

        impl Client {
            $(#[$meta])*
            #[must_use]
            pub fn $accessor(&self) -> $name {
                $name { client: self.clone(), api: self.client.$accessor() }
            }
        }

        impl $name {
            $(
                #[doc = concat!("Waits for [`", stringify!($operation), "`](crate::api::", stringify!($name), "::",
                    stringify!($operation), ").\n\n# Errors\nThe same.")]
                pub fn $operation(&self, $($argument: $type),*) -> Result<$answer, Error> {
                    self.client.wait(self.api.$operation($($argument),*))
                }
            )*
            $(
                #[doc = concat!("The pages of [`", stringify!($pages), "`](crate::api::", stringify!($name), "::",
                    stringify!($pages), ") as an iterator.")]
                pub fn $pages(&self, $($pages_argument: $pages_type),*) -> Pages<$page> {
                    Pages::new(&self.client, self.api.$pages($($pages_argument),*))
                }
            )?
            $(
                #[doc = concat!("The pages of [`", stringify!($more), "`](crate::api::", stringify!($name), "::",
                    stringify!($more), ") as an iterator.")]
                pub fn $more(&self, $($more_argument: $more_type),*) -> Pages<$more_page> {
                    Pages::new(&self.client, self.api.$more($($more_argument),*))
                }
            )?
        }
    };
}

group! {
    /// Access tokens, the client behind one, and the keys that sign webhooks.
    AccessTokenApi, access_token {
        fn create_access_token() -> CreateAccessTokenResponse;
        fn instrospect_client() -> AppClientResponse;
        fn get_well_known_jwks() -> JWKSet;
    }
}

group! {
    /// Payment numbers.
    AccountNumbersApi, account_numbers {
        fn get_account_numbers(id: impl Into<LinkId>) -> GetAccountNumbersResponse;
    }
}

group! {
    /// Accounts and balances.
    AccountsApi, accounts {
        fn get_accounts(id: impl Into<LinkId>, account_ids: &[AccountId]) -> GetAccountsResponse;
        fn get_account(id: impl Into<LinkId>, account_id: impl Into<AccountId>) -> GetAccountResponse;
    }
}

group! {
    /// Account owners.
    IdentityApi, identity {
        fn get_identities(id: impl Into<LinkId>, account_ids: &[AccountId]) -> IdentityResponse;
    }
}

group! {
    /// The institution directory.
    InstitutionsApi, institutions {
        fn get_institutions(query: &GetInstitutionsQuery) -> GetInstitutionsResponse;
        fn get_institution(institution_id: impl Into<InstitutionId>) -> Institution;
        pages get_institutions_pages(query: &GetInstitutionsQuery) -> GetInstitutionsResponse;
    }
}

group! {
    /// Holdings and investment transactions.
    InvestmentsApi, investments {
        fn get_holdings(id: impl Into<LinkId>, account_ids: &[AccountId]) -> GetHoldingsResponse;
        fn get_investment_transactions(id: impl Into<LinkId>, query: &GetInvestmentTransactionsQuery) -> GetInvestmentTransactionsResponse;
        pages get_investment_transactions_pages(id: impl Into<LinkId>, query: &GetInvestmentTransactionsQuery) -> GetInvestmentTransactionsResponse;
    }
}

group! {
    /// Link sessions and token exchange.
    LinkSessionApi, link_session {
        fn create_link_session(request: &CreateLinkSessionRequest) -> CreateLinkSessionResponse;
        fn exchange_token(request: &ExchangeTokenRequest) -> ExchangeTokenResponse;
    }
}

group! {
    /// Links.
    LinksApi, links {
        fn get_links(query: &GetLinksQuery) -> GetLinksResponse;
        fn get_link(id: impl Into<LinkId>) -> LinkCommon;
        fn update_link(id: impl Into<LinkId>, request: &UpdateLinkRequest) -> LinkCommon;
        fn delete_link(id: impl Into<LinkId>) -> ();
        fn reset_link(id: impl Into<LinkId>) -> LinkCommon;
        fn import_link(request: &ImportLinkRequest) -> LinkCommon;
        fn import_transactions(id: impl Into<LinkId>, request: &ImportTransactionsRequest) -> LinkCommon;
        pages get_links_pages(query: &GetLinksQuery) -> GetLinksResponse;
    }
}

group! {
    /// Refreshes.
    ProductsApi, products {
        fn refresh_products(id: impl Into<LinkId>, request: &RefreshProductsRequest) -> LinkCommon;
        fn refresh_and_wait(id: impl Into<LinkId>, products: impl IntoIterator<Item = Product>, options: WaitOptions) -> LinkCommon;
    }
}

group! {
    /// Transactions.
    TransactionsApi, transactions {
        fn get_transactions(id: impl Into<LinkId>, query: &GetTransactionsQuery) -> GetTransactionsResponse;
        fn get_transactions_sync(id: impl Into<LinkId>, query: &GetTransactionsSyncQuery) -> TransactionSyncResponse;
        fn correct_enrichment(id: impl Into<LinkId>, transaction_id: impl Into<TransactionId>, category: &BudCategory) -> CorrectEnrichmentResponse;
        pages get_transactions_pages(id: impl Into<LinkId>, query: &GetTransactionsQuery) -> GetTransactionsResponse;
        and pages get_transactions_sync_pages(id: impl Into<LinkId>, query: &GetTransactionsSyncQuery) -> TransactionSyncResponse;
    }
}

group! {
    /// What an end user has over all links.
    UsersApi, users {
        fn get_user_links(id: impl Into<CustomerUserId>) -> GetUserLinksResponse;
        fn get_user_accounts(id: impl Into<CustomerUserId>, account_ids: &[AccountId]) -> GetUserAccountsResponse;
        fn get_user_transactions(id: impl Into<CustomerUserId>, query: &GetUserTransactionsQuery) -> GetUserTransactionsResponse;
        pages get_user_transactions_pages(id: impl Into<CustomerUserId>, query: &GetUserTransactionsQuery) -> GetUserTransactionsResponse;
    }
}

group! {
    /// What happened to the links of the app: Passbook's event ledger.
    EventsApi, events {
        fn get_events(query: &GetEventsQuery) -> GetEventsResponse;
        fn replay_events(request: &ReplayEvents) -> ReplayEventsResponse;
    }
}

group! {
    /// Trying out webhooks.
    WebhooksApi, webhooks {
        fn trigger_test_link_webhook_event(id: impl Into<LinkId>, request: &WebhookTestLinkRequest) -> WebhookTestLinkResponse;
    }
}
