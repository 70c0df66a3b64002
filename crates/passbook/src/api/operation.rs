//! The table of operations: what each is called, which scope it needs and how often it may be called.

use passbook_core::tenant::Scope;

/// What a request limit counts by, beside the application.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Narrow {
    /// Nothing narrower.
    None,
    /// The link in the path.
    Link(u32),
    /// The end user named in the body; counted by the handler, which reads it.
    User(u32),
}

macro_rules! operations {
    ($( $variant:ident, $id:literal, $scope:expr, $link:literal, $app:literal, $narrow:expr; )+) => {
        /// An operation of the API.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Operation {
            $( #[doc = $id] $variant, )+
        }

        impl Operation {
            /// All of them.
            pub const ALL: &'static [Self] = &[ $( Self::$variant, )+ ];

            /// The operation id.
            pub fn id(self) -> &'static str {
                match self { $( Self::$variant => $id, )+ }
            }

            /// The scope it needs; `None` for operations without a token and for introspection.
            pub fn scope(self) -> Option<Scope> {
                match self { $( Self::$variant => $scope, )+ }
            }

            /// Whether it concerns a link, which decides the error of a missing scope.
            pub fn concerns_link(self) -> bool {
                match self { $( Self::$variant => $link, )+ }
            }

            /// Calls per minute and application (for tokens: and client); 0 is no limit.
            pub fn per_app(self) -> u32 {
                match self { $( Self::$variant => $app, )+ }
            }

            /// The narrower limit, calls per minute.
            pub fn narrow(self) -> Narrow {
                match self { $( Self::$variant => $narrow, )+ }
            }
        }
    };
}

// Limits: contract, section 4.3. Calls the contract's page no longer shows get 15 per link and 600 per app; our own
// sandbox calls have none, because they stand for a person and a clock, not for a client.
operations! {
    CreateAccessToken, "create_access_token", None, false, 300, Narrow::None;
    IntrospectClient, "instrospect_client", None, false, 600, Narrow::None;
    GetWellKnownJwks, "get_well_known_jwks", None, false, 0, Narrow::None;
    GetInstitutions, "get_institutions", Some(Scope::Institutions), false, 30, Narrow::None;
    GetInstitution, "get_institution", Some(Scope::Institutions), false, 400, Narrow::None;
    CreateLinkSession, "create_link_session", Some(Scope::LinkSession), false, 1200, Narrow::User(20);
    ExchangeToken, "exchange_token", Some(Scope::LinkSession), false, 600, Narrow::None;
    GetLinks, "get_links", Some(Scope::Links), false, 600, Narrow::None;
    GetLink, "get_link", Some(Scope::Links), true, 1000, Narrow::Link(15);
    UpdateLink, "update_link", Some(Scope::Links), true, 600, Narrow::Link(4);
    DeleteLink, "delete_link", Some(Scope::Links), true, 600, Narrow::None;
    ResetLink, "reset_link", Some(Scope::Links), true, 600, Narrow::Link(15);
    RefreshProducts, "refresh_products", Some(Scope::Products), true, 600, Narrow::Link(15);
    GetAccounts, "get_accounts", Some(Scope::Accounts), true, 600, Narrow::Link(4);
    GetAccount, "get_account", Some(Scope::Accounts), true, 600, Narrow::Link(15);
    GetAccountNumbers, "get_account_numbers", Some(Scope::AccountNumbers), true, 600, Narrow::Link(3);
    GetIdentities, "get_identities", Some(Scope::Identity), true, 600, Narrow::Link(3);
    GetTransactions, "get_transactions", Some(Scope::Transactions), true, 600, Narrow::Link(15);
    GetTransactionsSync, "get_transactions_sync", Some(Scope::Transactions), true, 600, Narrow::Link(15);
    CorrectEnrichment, "correct_enrichment", Some(Scope::Transactions), true, 600, Narrow::Link(15);
    GetHoldings, "get_holdings", Some(Scope::Investments), true, 600, Narrow::Link(15);
    GetInvestmentTransactions, "get_investment_transactions", Some(Scope::Investments), true, 600, Narrow::Link(15);
    ImportLink, "import_link", Some(Scope::Links), false, 60, Narrow::None;
    ImportTransactions, "import_transactions", Some(Scope::Links), true, 600, Narrow::Link(15);
    GetUserLinks, "get_user_links", Some(Scope::Links), false, 600, Narrow::None;
    GetUserAccounts, "get_user_accounts", Some(Scope::Accounts), false, 600, Narrow::None;
    GetUserTransactions, "get_user_transactions", Some(Scope::Transactions), false, 600, Narrow::None;
    TriggerTestLinkWebhookEvent, "trigger_test_link_webhook_event", Some(Scope::Webhooks), true, 600, Narrow::Link(15);
    CreateSandboxLink, "create_sandbox_link", Some(Scope::Sandbox), false, 0, Narrow::None;
    CompleteLinkSession, "complete_link_session", Some(Scope::Sandbox), false, 0, Narrow::None;
    EditSandboxLink, "edit_sandbox_link", Some(Scope::Sandbox), true, 0, Narrow::None;
    GetSandboxClock, "get_sandbox_clock", Some(Scope::Sandbox), false, 0, Narrow::None;
    SetSandboxClock, "set_sandbox_clock", Some(Scope::Sandbox), false, 0, Narrow::None;
    CreateSandboxEvent, "create_sandbox_event", Some(Scope::Sandbox), true, 0, Narrow::None;
    GetEvents, "get_events", Some(Scope::Webhooks), false, 600, Narrow::None;
    StreamEvents, "stream_events", Some(Scope::Webhooks), false, 60, Narrow::None;
    ReplayEvents, "replay_events", Some(Scope::Webhooks), false, 60, Narrow::None;
    ImportFile, "import_file", Some(Scope::Links), false, 60, Narrow::None;
    GetHealth, "get_health", None, false, 0, Narrow::None;
    GetReadiness, "get_readiness", None, false, 0, Narrow::None;
    GetMetrics, "get_metrics", None, false, 0, Narrow::None;
    GetOpenapi, "get_openapi", None, false, 0, Narrow::None;
    GetPassbookOpenapi, "get_passbook_openapi", None, false, 0, Narrow::None;
    GetDemo, "get_demo", None, false, 0, Narrow::None;
    Unknown, "unknown", None, false, 0, Narrow::None;
}

/// How much a request asks of the store; decides what is refused under overload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    /// Nothing, or one row by its key.
    Light,
    /// A commit or a scan.
    Short,
    /// Waits for a bank, a clock or a large file.
    Long,
}

impl Operation {
    /// What it asks of the store.
    pub fn work(self) -> Work {
        match self {
            Self::CreateAccessToken
            | Self::CreateLinkSession
            | Self::ExchangeToken
            | Self::GetLinks
            | Self::UpdateLink
            | Self::DeleteLink
            | Self::ResetLink
            | Self::TriggerTestLinkWebhookEvent
            | Self::RefreshProducts
            | Self::GetTransactions
            | Self::GetTransactionsSync
            | Self::CorrectEnrichment
            | Self::EditSandboxLink
            | Self::CreateSandboxEvent
            | Self::GetEvents
            | Self::StreamEvents
            | Self::GetHoldings
            | Self::GetInvestmentTransactions
            | Self::GetUserLinks
            | Self::GetUserAccounts
            | Self::GetUserTransactions => Work::Short,
            Self::CreateSandboxLink
            | Self::CompleteLinkSession
            | Self::SetSandboxClock
            | Self::ImportLink
            | Self::ImportTransactions
            | Self::ReplayEvents
            | Self::ImportFile => Work::Long,
            Self::IntrospectClient
            | Self::GetWellKnownJwks
            | Self::GetInstitutions
            | Self::GetInstitution
            | Self::GetLink
            | Self::GetAccounts
            | Self::GetAccount
            | Self::GetAccountNumbers
            | Self::GetIdentities
            | Self::GetSandboxClock
            | Self::GetHealth
            | Self::GetReadiness
            | Self::GetMetrics
            | Self::GetOpenapi
            | Self::GetPassbookOpenapi
            | Self::GetDemo
            | Self::Unknown => Work::Light,
        }
    }

    /// A second scope it needs: listings over all links of a user need the right to those beside that to their content.
    pub fn further_scope(self) -> Option<Scope> {
        match self {
            Self::GetUserLinks | Self::GetUserAccounts | Self::GetUserTransactions => Some(Scope::Users),
            _ => None,
        }
    }

    /// Sandbox control calls do not exist for live clients.
    pub fn sandbox_only(self) -> bool {
        self.scope() == Some(Scope::Sandbox)
    }
}
