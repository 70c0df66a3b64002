//! Every statement the store can issue, read from its sources: what must not be in one, and which are on a hot path.
//!
//! Distributed engines that speak the protocol lack some of what PostgreSQL has, and are slow at the rest. A statement
//! that is issued for each request, job or fetch must find its rows by the key of a link or an application, or by the
//! whole key of one row. **A new statement has to be put into one of the two tables below.**

use std::collections::BTreeSet;

use crate::sources::{Statement, directory, statements_of};

/// Statements of requests, jobs and fetches, with the text that shows their key.
pub const HOT: &[(&str, &str)] = &[
    ("LOOKUP_NUMBERS_ANSWER", "WHERE link_id = $1"),
    ("LOOKUP_LINK_ANSWER", "WHERE link_id = $1"),
    ("LOOKUP_LINK", "WHERE link_id = $1"),
    ("LOOKUP_SECRETS", "WHERE link_id = $1"),
    ("LOOKUP_DATA_KEY", "WHERE link_id = $1"),
    ("FIND_LINK_BY_IMPORT_KEY", "WHERE app_id = $1"),
    ("FIND_CONNECTED_LINK", "WHERE (app_id || '/' || environment || '/' || customer_user_id) = $1"),
    ("LIST_LINKS", "WHERE app_id = $1"),
    ("LIST_USER_LINKS", "WHERE (app_id || '/' || environment || '/' || customer_user_id) = $1"),
    ("LIST_USER_TRANSACTIONS", "WHERE t.link_id = ANY($1) AND l.app_id IS NOT DISTINCT FROM $2"),
    ("INSERT_LINK", "INTO links (link_id, app_id,"),
    ("UPDATE_LINK", "WHERE link_id = $1 AND app_id IS NOT DISTINCT FROM $2"),
    ("DESTROY_KEYS", "WHERE link_id = $1"),
    ("DESTROY_TRANSACTIONS", "WHERE link_id = $1"),
    ("DESTROY_INVESTMENTS", "WHERE link_id = $1"),
    ("DESTROY_HOLDINGS", "WHERE link_id = $1"),
    ("DESTROY_CHANGES", "WHERE link_id = $1"),
    ("DESTROY_ANSWERS", "WHERE link_id = $1"),
    ("DESTROY_REQUESTS", "WHERE link_id = $1"),
    ("LIST_TRANSACTIONS", "WHERE t.link_id = $1 AND l.app_id IS NOT DISTINCT FROM $2"),
    ("LIST_TRANSACTIONS_OF_ACCOUNTS", "WHERE t.link_id = $1 AND l.app_id IS NOT DISTINCT FROM $2"),
    ("LOAD_TRANSACTIONS", "WHERE t.link_id = $1 AND l.app_id IS NOT DISTINCT FROM $2"),
    ("LIST_CHANGES", "WHERE c.link_id = $1 AND l.app_id IS NOT DISTINCT FROM $2"),
    ("LIST_CHANGES_OF_ACCOUNTS", "WHERE c.link_id = $1 AND l.app_id IS NOT DISTINCT FROM $2"),
    ("DROP_CHANGES", "WHERE link_id = $1"),
    ("LOG_REMOVED", "ON c.link_id = $1"),
    ("FORGET_REMOVED", "WHERE link_id = $1"),
    ("LOG_UPDATED", "INTO transaction_changes (link_id,"),
    ("LOG_CREATED", "INTO transaction_changes (link_id,"),
    ("DELETE_TRANSACTIONS", "WHERE link_id = $1"),
    ("PARK_TRANSACTIONS", "WHERE link_id = $1"),
    ("UPDATE_TRANSACTIONS", "WHERE transactions.link_id = $1"),
    ("INSERT_TRANSACTIONS", "INTO transactions (link_id,"),
    ("LOOKUP_PORTFOLIO", "WHERE h.link_id = $1 AND l.app_id IS NOT DISTINCT FROM $2"),
    ("LIST_INVESTMENT_TRANSACTIONS", "WHERE t.link_id = $1 AND l.app_id IS NOT DISTINCT FROM $2"),
    ("LOAD_INVESTMENT_TRANSACTIONS", "WHERE t.link_id = $1 AND l.app_id IS NOT DISTINCT FROM $2"),
    ("WRITE_PORTFOLIO", "INTO holdings (link_id,"),
    ("DELETE_INVESTMENT_TRANSACTIONS", "WHERE link_id = $1"),
    ("UPDATE_INVESTMENT_TRANSACTIONS", "WHERE investment_transactions.link_id = $1"),
    ("INSERT_INVESTMENT_TRANSACTIONS", "INTO investment_transactions (link_id,"),
    ("INSERT_EVENTS", "l.link_id = n.link_id"),
    ("TAKE_POSITIONS", "INTO ordinals (app_id,"),
    ("GIVE_POSITIONS", "events.link_id = n.link_id"),
    ("ADD_ADDRESSES", "INTO webhook_addresses (address_id,"),
    ("ADD_DELIVERIES", "INTO deliveries (token, link_id,"),
    ("LOCK_LINES", "o.link_id = n.link_id AND o.address_id = n.address_id"),
    ("REPLAY_DELIVERIES", "deliveries.link_id = n.link_id"),
    ("LINE_UP", "deliveries.link_id = n.link_id"),
    ("UNBLOCK", "o.link_id = n.link_id AND o.address_id = n.address_id"),
    ("CHOOSE_DELIVERIES", "c.app_id = n.app_id"),
    ("SWITCH_ON", "WHERE address_id = ANY($1)"),
    ("LEASE_DELIVERIES", "WHERE token = ANY($1)"),
    ("END_ATTEMPT", "WHERE token = $1"),
    ("MARK_WELL", "WHERE address_id = $1"),
    ("MARK_FAILING", "WHERE address_id = $1"),
    ("SWITCH_OFF", "WHERE address_id = $1"),
    ("GIVE_UP", "WHERE o.address_id = n.address_id"),
    ("LIST_EVENTS", "WHERE e.app_id = $1"),
    ("LIST_EVENTS_OF_LINK", "WHERE e.link_id = $1"),
    ("LIST_EVENTS_OF_KIND", "WHERE (e.app_id || ' ' || e.environment) = $1"),
    ("FIND_END", "WHERE e.app_id = $1"),
    ("FIND_END_OF_LINK", "WHERE e.link_id = $1"),
    ("FIND_END_OF_KIND", "WHERE (e.app_id || ' ' || e.environment) = $1"),
    ("FIND_EVENTS", "WHERE e.event_id = ANY($1)"),
    ("LIST_DELIVERIES", "d.link_id = n.link_id"),
    ("NEWEST_POSITION", "WHERE app_id = $1"),
    ("INSERT_AUDIT", "INTO audit (app_id,"),
    ("INSERT_JOB", "app_id, environment, link_id"),
    ("FINISH_JOB", "WHERE job_id = $1"),
    ("CHECK_LEASE", "WHERE job_id = $1"),
    ("RENEW_LEASE", "WHERE job_id = $1"),
    ("RELEASE_JOB", "WHERE job_id = $1"),
    ("LEASE_JOBS", "WHERE job_id = ANY($1)"),
    ("END_EXPIRED_LEASES", "WHERE link_id = ANY($1)"),
    ("LOOKUP_JOB_STATE", "WHERE job_id = $1"),
    ("COUNT_DUE_JOBS", "WHERE app_id = $1"),
    ("LOOKUP_SESSION", "WHERE session_id = $1"),
    ("FIND_SESSION_BY_EXCHANGE_HASH", "WHERE exchange_hash = $1"),
    ("INSERT_SESSION", "INTO link_sessions (session_id, app_id,"),
    ("UPDATE_SESSION", "WHERE session_id = $1 AND app_id IS NOT DISTINCT FROM $2"),
    ("LOOKUP_APP", "WHERE app_id = $1"),
    ("LOOKUP_CLIENT", "WHERE c.client_id = $1"),
    ("FIND_TOKEN_BY_HASH", "WHERE t.token_hash = $1"),
    ("INSERT_TOKEN", "WHERE client_id = $2"),
    ("TAKE_ORDINAL", "INTO ordinals (app_id,"),
    ("LIST_APP_INSTITUTIONS", "WHERE app_id = $1"),
    ("WRITE_APP_INSTITUTION", "INTO app_institutions (app_id,"),
    ("RESERVE_ANSWER", "(app_id, environment, key_hash,"),
    ("LOOKUP_ANSWER", "WHERE app_id = $1"),
    ("KEEP_ANSWER", "WHERE app_id = $1"),
    ("RELEASE_ANSWER", "WHERE app_id = $1"),
    ("LOOKUP_INSTANCE_VALUE", "WHERE name = $1"),
    ("COUNT_APP_USAGE", "INTO app_usage (app_id,"),
    ("COUNT_LINK_USAGE", "INTO link_usage (link_id,"),
    ("GIVE_BACK_USAGE", "WHERE link_id = $1"),
    ("FORGET_USAGE", "WHERE link_id = $1"),
    ("APP_USAGE", "WHERE app_id = $1"),
    ("ADD_COMMIT_MARK", "INTO commit_marks (mark,"),
    ("BEGIN", "BEGIN"),
    ("COMMIT", "COMMIT"),
    ("ROLLBACK", "ROLLBACK"),
];

/// Statements of starting, of operators, of upkeep, and of workers that look for work among all links.
const COLD: &[&str] = &[
    "ADD_FENCE_MARK",
    "ADD_GUARD",
    "ANALYZE",
    "CHOOSE_JOBS",
    "CHOOSE_JOBS_OF_APPS",
    "CHECK_APP",
    "CHECK_CLIENT",
    "CLAIM_CLIENT",
    "CLEANUP_ADDRESSES",
    "CLEANUP_ANSWERS",
    "CLEANUP_DELIVERIES",
    "CLEANUP_EVENTS",
    "CLEANUP_JOBS",
    "CLEANUP_MARKS",
    "CLEANUP_TOKENS",
    "CREATE_GUARD",
    "DATABASE_SIZE",
    "DELETE_TOKENS_OF_WITHDRAWN_SECRETS",
    "END",
    "EXAMINE",
    "FIRST_WATCHED_TIME",
    "FORGET_AUDIT",
    "FORGET_MASTER_KEY",
    "FORGET_SESSIONS",
    "FORGET_STUBS",
    "HAS_ROWS",
    "IMPATIENCE",
    "INSERT_INSTANCE_VALUE",
    "INSERT_MASTER_KEY",
    "INSERT_ROOT_VALUE",
    "LIST_ALIVE",
    "LIST_APPS",
    "LIST_CLIENTS",
    "LIST_DELETED",
    "LIST_DISABLED_APPS",
    "LIST_FAILING_ADDRESSES",
    "LIST_MASTER_KEYS",
    "LIST_MASTER_KEY_USES",
    "LIST_OLD_DATA_KEYS",
    "LIST_OLD_INSTANCE_VALUES",
    "LIST_READY",
    "LIST_SWITCHED_OFF",
    "LIST_TIMED_JOBS",
    "LIST_UNDISPATCHED",
    "LIST_UNSCHEDULED_LINKS",
    "LIST_WAITING",
    "LIST_WITHOUT_STATISTICS",
    "LONGEST_DUE",
    "LOOKUP_ACTIVE_VERSION",
    "LOOKUP_CHECK_VALUE",
    "LOOKUP_DOCUMENT_FORMAT",
    "LOOKUP_LINK_REMAINS",
    "LOOKUP_LINK_UNSCOPED",
    "LOOKUP_MARK",
    "LOOKUP_ROOT_VALUE",
    "LOOKUP_SCHEMA_VERSION",
    "LOOKUP_WATCHED_TIME",
    "NEWEST_REAL_TIME",
    "NEWEST_TIME",
    "NEXT_DELIVERY_AT",
    "NEXT_FREE",
    "NEXT_FREE_OF_APPS",
    "NEXT_LEASED",
    "NEXT_WATCHED_TIME",
    "PATIENCE",
    "PING",
    "READ_CLOCK",
    "REMEMBER_MASTER_KEY",
    "RESEAL_INSTANCE_VALUES",
    "RETIME_DELIVERIES",
    "RETIME_JOBS",
    "REWRAP_DATA_KEYS",
    "SEE_SESSIONS",
    "SETTINGS",
    "SET_CLOCK",
    "SHOW_DURABILITY",
    "SHOW_ENCODING",
    "SHOW_VERSION",
    "STATISTICS_PATIENCE",
    "STATISTICS_TIMEOUT",
    "TAKE_GUARD",
    "UPDATE_CLIENT",
    "WAKE_DELIVERIES",
    "WIPE_EXPIRED_SESSIONS",
    "WRITE_APP",
];

/// What no statement and no migration may contain, in lower case.
const FORBIDDEN: &[&str] = &[
    "listen",
    "notify",
    "advisory",
    "serial",
    "create sequence",
    "nextval",
    "identity",
    "isolation",
    "serializable",
    "repeatable read",
    "->",
    "#>",
    "@>",
    "jsonb",
    "for share",
    "lock table",
    "create trigger",
    "create function",
];

/// The statement that a constant holds.
pub(super) fn statement(name: &str) -> String {
    let found = statements().into_iter().find(|statement| statement.name == name);
    found.unwrap_or_else(|| panic!("no statement {name}")).text
}

pub fn statements() -> Vec<Statement> {
    directory("src/postgres").iter().flat_map(|(_, source)| statements_of(source)).collect()
}

fn forbidden_in(text: &str) -> Option<&'static str> {
    let text = text.to_lowercase();
    FORBIDDEN.iter().find(|forbidden| text.contains(**forbidden)).copied()
}

#[test]
fn the_reader_of_sources_finds_statements_and_whatever_hides_one() {
    let source = "// const NO: &str = \"SELECT 0\";\nconst ONE: &str = \"SELECT \\\n    1 \\\"x\\\"\";\n\
        fn f() { g(\"DELETE FROM a\"); h(\"not one\") }\nconst TWO: [&str; 2] = [\"BEGIN\", \"COMMIT\"];";
    let found: Vec<_> = statements_of(source).into_iter().map(|statement| (statement.name, statement.text)).collect();
    let expected = [("ONE", "SELECT 1 \\\"x\\\""), ("", "DELETE FROM a"), ("TWO", "BEGIN"), ("TWO", "COMMIT")];
    assert_eq!(found, expected.map(|(name, text)| (name.to_owned(), text.to_owned())));
    assert_eq!(forbidden_in("SELECT pg_try_ADVISORY_lock(1)"), Some("advisory"));
    assert_eq!(forbidden_in("SELECT 1"), None);
}

#[test]
fn every_statement_is_a_constant_and_in_one_table() {
    let statements = statements();
    assert!(statements.len() > 100, "{}", statements.len());
    for statement in &statements {
        assert!(!statement.name.is_empty(), "not a constant: {}", statement.text);
        let name = statement.name.as_str();
        let (hot, cold) = (HOT.iter().any(|(hot, _)| *hot == name), COLD.contains(&name));
        assert!(hot != cold, "{name} must be in one of the two tables");
    }
    let names: BTreeSet<&str> = statements.iter().map(|statement| statement.name.as_str()).collect();
    for listed in HOT.iter().map(|(name, _)| *name).chain(COLD.iter().copied()) {
        assert!(names.contains(listed), "{listed} does not exist any more");
    }
}

#[test]
fn no_statement_and_no_migration_uses_what_other_engines_lack() {
    for statement in statements() {
        let found = forbidden_in(&statement.text);
        assert!(found.is_none(), "{found:?} in {}: {}", statement.name, statement.text);
    }
    let migrations = directory("migrations/postgres");
    assert!(migrations.len() >= 4);
    for (name, text) in migrations {
        let code: String =
            text.lines().map(|line| line.split("--").next().unwrap_or_default()).collect::<Vec<_>>().join("\n");
        let found = forbidden_in(&code);
        assert!(found.is_none(), "{found:?} in {name}");
    }
}

#[test]
fn every_statement_of_a_hot_path_has_its_key() {
    for statement in statements() {
        if let Some((name, key)) = HOT.iter().find(|(name, _)| *name == statement.name) {
            assert!(statement.text.contains(key), "{name} lacks `{key}`: {}", statement.text);
        }
    }
}

#[test]
fn no_transaction_is_begun_at_an_isolation_level_of_its_own() {
    for (name, source) in directory("src/postgres") {
        for forbidden in ["build_transaction", "isolation_level", "IsolationLevel"] {
            assert!(!source.contains(forbidden), "{name} uses {forbidden}");
        }
    }
}

#[test]
fn every_table_has_its_statistics_or_never_holds_many_rows() {
    const NEVER_MANY: [&str; 5] = ["instance_values", "master_keys", "unfinished_work", "write_probe", "watched_time"];
    // Marks live for an hour and are asked for by their key.
    const OTHERS: [&str; 1] = ["commit_marks"];
    let analysed: Vec<_> = statements().into_iter().filter(|one| one.name == "ANALYZE").map(|one| one.text).collect();
    let mut tables = 0;
    for (_, migration) in directory("migrations/postgres") {
        for table in migration.split("CREATE TABLE ").skip(1).filter_map(|rest| rest.split_whitespace().next()) {
            tables += 1;
            let is_listed = analysed.contains(&format!("ANALYZE {table}"));
            let is_exempt = NEVER_MANY.contains(&table) || OTHERS.contains(&table);
            assert!(is_listed != is_exempt, "{table} belongs into `statistics.rs` or into this list");
        }
    }
    assert_eq!(analysed.len() + NEVER_MANY.len() + OTHERS.len(), tables);
}
