//! The operations of the API, in the groups and under the names the official SDKs use.
//!
//! Each group is a cheap handle made from a [`Client`](crate::Client): `LinksApi::new(&client)` or `client.links()`. An
//! operation is named by its operation id in the contract and returns the decoded answer; its `…_with_http_info`
//! variant returns an [`ApiResponse`](crate::ApiResponse) with status and headers. Ids are taken as typed ids or as
//! text.
//!
//! Lists come in pages. The operation itself gives one page; its `…_pages` variant gives them all, one after the other,
//! as a [`Stream`](futures_util::Stream) and by [`next_page`](Pages::next_page).
//!
//! # Errors
//!
//! Every operation can fail because the network or the server does, because credentials are refused (401), or because
//! of a rate limit (429); the docs of an operation name only what is particular to it. Calls under `/links/{id}` share:
//! 404 `link_error.not_found`, 410 `link_error.deleted`, 401 `link_error.unauthorized_access` (the token's scope does
//! not cover the call), and, for products, 403 `link_error.forbidden_action` (not granted) and 422
//! `link_error.bad_state` (see [`Error::link_error_code`](crate::Error::link_error_code)). Those do not go away by
//! repeating.

mod access_token;
mod account_numbers;
mod accounts;
mod events;
mod identity;
mod institutions;
mod investments;
mod link_session;
mod links;
mod paging;
mod products;
mod refresh;
mod transactions;
mod users;
mod webhooks;

pub use access_token::AccessTokenApi;
pub use account_numbers::AccountNumbersApi;
pub use accounts::AccountsApi;
pub use events::{EventsApi, GetEventsQuery, StreamEventsQuery};
pub use identity::IdentityApi;
pub use institutions::{GetInstitutionsQuery, InstitutionsApi};
pub use investments::{GetInvestmentTransactionsQuery, InvestmentsApi};
pub use link_session::LinkSessionApi;
pub use links::{GetLinksQuery, LinksApi};
pub use paging::{Items, List, Page, Pages};
pub use products::ProductsApi;
pub use refresh::WaitOptions;
pub use transactions::{GetTransactionsQuery, GetTransactionsSyncQuery, TransactionsApi};
pub use users::{GetUserTransactionsQuery, UsersApi};
pub use webhooks::WebhooksApi;

/// Defines an API group: a handle that keeps a client.
macro_rules! api_group {
    ($(#[$meta:meta])* $name:ident) => {
        $(#[$meta])*
        #[derive(Debug, Clone)]
        pub struct $name {
            client: $crate::Client,
        }

        impl $name {
            /// A group that calls through this client.
            #[must_use]
            pub fn new(client: &$crate::Client) -> Self {
                Self { client: client.clone() }
            }
        }
    };
}
pub(crate) use api_group;

/// Defines the query of an operation: optional parameters, each a public field and a method that sets it.
macro_rules! query {
    (
        $(#[$meta:meta])*
        $name:ident {
            $( $(#[$one_meta:meta])* $one:ident: $one_type:ty, )*
        }
        $( each { $(#[$many_meta:meta])* $many:ident: $many_type:ty } )?
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Default, PartialEq, Eq)]
        pub struct $name {
            $( $(#[$many_meta])* pub $many: Vec<$many_type>, )?
            $( $(#[$one_meta])* pub $one: Option<$one_type>, )*
        }

        impl $name {
            /// Without any parameter.
            #[must_use]
            pub fn new() -> Self {
                Self::default()
            }

            $(
                $(#[$one_meta])*
                #[must_use]
                pub fn $one(mut self, $one: impl Into<$one_type>) -> Self {
                    self.$one = Some($one.into());
                    self
                }
            )*

            $(
                $(#[$many_meta])*
                #[must_use]
                pub fn $many<T: Into<$many_type>>(mut self, $many: impl IntoIterator<Item = T>) -> Self {
                    self.$many = $many.into_iter().map(Into::into).collect();
                    self
                }
            )?
        }
    };
}
pub(crate) use query;
