//! The HTTP API, as `tests/api` drives it, on PostgreSQL. The tests are the same, file by file.
//!
//! `cargo xtask test` runs this in a step of its own, which says how many they were; so a plain `cargo test` leaves it
//! out, and `cargo test -p passbook --test api_postgres` runs it. Left out:
//!
//! | file | because |
//! | --- | --- |
//! | `idempotency_cut_off` | reservations that end at a restart are the embedded store's promise; `torture kill` cuts calls off on PostgreSQL |

#[path = "support/mod.rs"]
mod support;

pub const STORE: support::home::StoreKind = support::home::StoreKind::Postgres;

#[path = "api/abandoned_jobs.rs"]
mod abandoned_jobs;
#[path = "api/access_token.rs"]
mod access_token;
#[path = "api/accounts.rs"]
mod accounts;
#[path = "api/admission.rs"]
mod admission;
#[path = "api/array_filters.rs"]
mod array_filters;
#[path = "api/catalogue.rs"]
mod catalogue;
#[path = "api/check_order.rs"]
mod check_order;
#[path = "api/connections.rs"]
mod connections;
#[path = "api/coverage.rs"]
mod coverage;
#[path = "api/documented_limits.rs"]
mod documented_limits;
#[path = "api/documents.rs"]
mod documents;
#[path = "api/enrichment.rs"]
mod enrichment;
#[path = "api/events.rs"]
mod events;
#[path = "api/exchange.rs"]
mod exchange;
#[path = "api/hostile_input.rs"]
mod hostile_input;
#[path = "api/idempotency.rs"]
mod idempotency;
#[path = "api/ignored_parameters.rs"]
mod ignored_parameters;
#[path = "api/import_accounts.rs"]
mod import_accounts;
#[path = "api/import_file.rs"]
mod import_file;
#[path = "api/import_link.rs"]
mod import_link;
#[path = "api/instance.rs"]
mod instance;
#[path = "api/institutions.rs"]
mod institutions;
#[path = "api/investments.rs"]
mod investments;
#[path = "api/link_changes.rs"]
mod link_changes;
#[path = "api/link_session.rs"]
mod link_session;
#[path = "api/links.rs"]
mod links;
#[path = "api/metrics.rs"]
mod metrics;
#[path = "api/numbers.rs"]
mod numbers;
#[path = "api/operations.rs"]
mod operations;
#[path = "api/outbound.rs"]
mod outbound;
#[path = "api/reconnect.rs"]
mod reconnect;
#[path = "api/refresh.rs"]
mod refresh;
#[path = "api/request_limits.rs"]
mod request_limits;
#[path = "api/retention.rs"]
mod retention;
#[path = "api/sandbox.rs"]
mod sandbox;
#[path = "api/sandbox_edits.rs"]
mod sandbox_edits;
#[path = "api/secrecy.rs"]
mod secrecy;
#[path = "api/states.rs"]
mod states;
#[path = "api/stopping.rs"]
mod stopping;
#[path = "api/stored_rows.rs"]
mod stored_rows;
#[path = "api/tenant_matrix.rs"]
mod tenant_matrix;
#[path = "api/tenant_walls.rs"]
mod tenant_walls;
#[path = "api/transactions.rs"]
mod transactions;
#[path = "api/transactions_sync.rs"]
mod transactions_sync;
#[path = "api/updates.rs"]
mod updates;
#[path = "api/users.rs"]
mod users;
#[path = "api/webhooks.rs"]
mod webhooks;
#[path = "api/withdrawn.rs"]
mod withdrawn;

/// Files of `tests/api` that are left out here; the module page says why.
const LEFT_OUT: &[&str] = &["idempotency_cut_off"];

#[test]
fn every_file_of_the_suite_runs_here_or_is_left_out_by_name() {
    let modules = |text: &'static str| {
        let names = text.lines().filter_map(|line| line.strip_prefix("mod ")?.strip_suffix(';'));
        names.filter(|name| *name != "support").collect::<std::collections::BTreeSet<_>>()
    };
    let (all, here) = (modules(include_str!("api/main.rs")), modules(include_str!("api_postgres.rs")));
    assert!(here.len() > 40, "the modules were found");
    let left_out: Vec<_> = all.difference(&here).copied().collect();
    assert_eq!(left_out, LEFT_OUT);
    assert!(here.is_subset(&all));
}
