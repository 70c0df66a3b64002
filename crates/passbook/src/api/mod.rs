//! The HTTP API: one line per operation, one file per resource.
//!
//! Paths are never normalised, and ids are read from the raw path ([`path`]): whatever bytes a client puts there, an id
//! that is not known is an unknown id.

mod access_token;
mod account_numbers;
mod accounts;
mod allowance;
mod body;
pub mod caller;
mod demo;
mod enrichment;
pub mod errors;
mod events;
mod idempotency;
mod identity;
mod import_file;
mod import_link;
mod institutions;
mod investments;
mod jwks;
pub mod limits;
mod link_changes;
mod link_session;
mod link_session_request;
mod links;
pub mod long_answers;
pub mod observe;
pub mod operation;
mod operations;
mod path;
mod products;
mod query;
mod sandbox;
mod sandbox_edits;
pub mod shed;
pub mod standing;
pub mod streams;
mod transactions;
mod transactions_sync;
mod users;

use std::sync::Arc;

use self::{limits::Limits, observe::observed, operation::Operation as Op};
use crate::{metrics::Metrics, readiness::Readiness, services::Services};
use axum::{
    Router,
    extract::DefaultBodyLimit,
    routing::{get, post},
};

/// What every handler can reach.
pub struct Api {
    /// The use cases.
    pub services: Arc<Services>,
    /// Request limits; `None` when they are off.
    pub limits: Option<Limits>,
    /// Bounds what is worked on at once.
    pub shedder: shed::Shedder,
    /// Renders long pages.
    pub long_answers: long_answers::LongAnswers,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// The sandbox control calls exist.
    pub sandbox: bool,
    /// The places of event streams.
    pub streams: Arc<streams::Streams>,
    /// Whether this process should get requests.
    pub readiness: Readiness,
    /// Makes request ids.
    pub request_ids: observe::RequestIds,
}

/// The state type of every handler.
pub type State = axum::extract::State<Arc<Api>>;

/// The whole route table.
pub fn router(api: Arc<Api>) -> Router {
    Router::new()
        .route("/auth/token", post(observed(Op::CreateAccessToken, access_token::create_access_token)))
        .route("/auth/introspect", get(observed(Op::IntrospectClient, access_token::instrospect_client)))
        .route("/.well-known/jwks.json", get(observed(Op::GetWellKnownJwks, jwks::get_well_known_jwks)))
        .route("/institutions", get(observed(Op::GetInstitutions, institutions::get_institutions)))
        .route("/institutions/{id}", get(observed(Op::GetInstitution, institutions::get_institution)))
        .route("/link-session", post(observed(Op::CreateLinkSession, link_session::create_link_session)))
        .route("/link-session/exchange-token", post(observed(Op::ExchangeToken, link_session::exchange_token)))
        .route("/links", get(observed(Op::GetLinks, links::get_links)))
        .route(
            "/links/{id}",
            get(observed(Op::GetLink, links::get_link))
                .patch(observed(Op::UpdateLink, link_changes::update_link))
                .delete(observed(Op::DeleteLink, links::delete_link)),
        )
        .route("/links/import", post(observed(Op::ImportLink, import_link::import_link)))
        .route(
            "/links/{id}/import/transactions",
            post(observed(Op::ImportTransactions, import_link::import_transactions)),
        )
        .route("/links/{id}/reset", post(observed(Op::ResetLink, link_changes::reset_link)))
        .route("/links/{id}/products", post(observed(Op::RefreshProducts, products::refresh_products)))
        .route("/links/{id}/accounts", get(observed(Op::GetAccounts, accounts::get_accounts)))
        .route(
            "/links/{id}/accounts/numbers",
            get(observed(Op::GetAccountNumbers, account_numbers::get_account_numbers)),
        )
        .route("/links/{id}/accounts/{account_id}", get(observed(Op::GetAccount, accounts::get_account)))
        .route("/links/{id}/identity", get(observed(Op::GetIdentities, identity::get_identities)))
        .route("/links/{id}/transactions", get(observed(Op::GetTransactions, transactions::get_transactions)))
        .route(
            "/links/{id}/transactions/sync",
            get(observed(Op::GetTransactionsSync, transactions_sync::get_transactions_sync)),
        )
        .route(
            "/links/{id}/transactions/{txn_id}/enrichment",
            post(observed(Op::CorrectEnrichment, enrichment::correct_enrichment)),
        )
        .route("/links/{id}/investments/holdings", get(observed(Op::GetHoldings, investments::get_holdings)))
        .route(
            "/links/{id}/investments/transactions",
            get(observed(Op::GetInvestmentTransactions, investments::get_investment_transactions)),
        )
        .route("/users/{id}/links", get(observed(Op::GetUserLinks, users::get_user_links)))
        .route("/users/{id}/accounts", get(observed(Op::GetUserAccounts, users::get_user_accounts)))
        .route("/users/{id}/transactions", get(observed(Op::GetUserTransactions, users::get_user_transactions)))
        .route(
            "/webhooks/test/link/{id}",
            post(observed(Op::TriggerTestLinkWebhookEvent, link_changes::trigger_test_link_webhook_event)),
        )
        .route("/sandbox/links", post(observed(Op::CreateSandboxLink, sandbox::create_sandbox_link)))
        .route(
            "/sandbox/link-sessions/complete",
            post(observed(Op::CompleteLinkSession, sandbox::complete_link_session)),
        )
        .route("/sandbox/links/{id}/events", post(observed(Op::CreateSandboxEvent, link_changes::create_sandbox_event)))
        .route("/sandbox/links/{id}/edits", post(observed(Op::EditSandboxLink, sandbox_edits::edit_sandbox_link)))
        .route(
            "/sandbox/clock",
            get(observed(Op::GetSandboxClock, sandbox::get_sandbox_clock))
                .post(observed(Op::SetSandboxClock, sandbox::set_sandbox_clock)),
        )
        .route("/passbook/links/import-file", post(observed(Op::ImportFile, import_file::import_file)))
        .route("/passbook/events", get(observed(Op::GetEvents, events::get_events)))
        .route("/passbook/events/stream", get(observed(Op::StreamEvents, events::stream_events)))
        .route("/passbook/events/replay", post(observed(Op::ReplayEvents, events::replay_events)))
        .route("/healthz", get(observed(Op::GetHealth, operations::get_health)))
        .route("/readyz", get(observed(Op::GetReadiness, operations::get_readiness)))
        .route("/metrics", get(observed(Op::GetMetrics, operations::get_metrics)))
        .route("/openapi.yaml", get(observed(Op::GetOpenapi, operations::get_openapi)))
        .route("/demo", get(observed(Op::GetDemo, demo::get_demo)))
        .fallback(observed(Op::Unknown, operations::route_not_found))
        .method_not_allowed_fallback(observed(Op::Unknown, operations::method_not_allowed))
        // Bodies are read and limited by `body`, which answers in the contract's shape.
        .layer(DefaultBodyLimit::disable())
        .with_state(api)
}

/// What a process without the API answers: the operators' calls.
pub fn operator_router(api: Arc<Api>) -> Router {
    Router::new()
        .route("/healthz", get(observed(Op::GetHealth, operations::get_health)))
        .route("/readyz", get(observed(Op::GetReadiness, operations::get_readiness)))
        .route("/metrics", get(observed(Op::GetMetrics, operations::get_metrics)))
        .fallback(observed(Op::Unknown, operations::route_not_found))
        .method_not_allowed_fallback(observed(Op::Unknown, operations::method_not_allowed))
        .layer(DefaultBodyLimit::disable())
        .with_state(api)
}
