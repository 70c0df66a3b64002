//! The HTTP API, driven in process through the real router. One file per resource or concern; see `support`.

#[path = "../support/mod.rs"]
mod support;

/// `tests/api_postgres.rs` has the same modules and another store.
pub const STORE: support::home::StoreKind = support::home::StoreKind::Embedded;

mod abandoned_jobs;
mod access_token;
mod accounts;
mod admission;
mod array_filters;
mod catalogue;
mod check_order;
mod connections;
mod coverage;
mod documented_limits;
mod documents;
mod enrichment;
mod events;
mod exchange;
mod hostile_input;
mod idempotency;
mod idempotency_cut_off;
mod ignored_parameters;
mod import_accounts;
mod import_file;
mod import_link;
mod instance;
mod institutions;
mod investments;
mod link_changes;
mod link_session;
mod links;
mod metrics;
mod numbers;
mod operations;
mod outbound;
mod reconnect;
mod refresh;
mod request_limits;
mod retention;
mod sandbox;
mod sandbox_edits;
mod secrecy;
mod states;
mod stopping;
mod stored_rows;
mod tenant_matrix;
mod tenant_walls;
mod transactions;
mod transactions_sync;
mod updates;
mod users;
mod webhooks;
mod withdrawn;
