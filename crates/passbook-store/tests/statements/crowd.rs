//! Many links of one application, as statements that both dialects understand.

use passbook_core::ids::LinkId;

/// Links of the crowd.
pub const LINKS: u128 = 10_000;

/// The statements that copy the link `template`, which must be there with its application, into [`LINKS`] links with rows
/// in every table. What they have to do is due in a far future, so that nobody reads it. `bytes` says how the dialect makes bytes of a text.
pub fn statements(template: &LinkId, bytes: impl Fn(&str) -> String) -> Vec<String> {
    let rows: Vec<_> = (1..=LINKS).map(|n| format!("('{}', {n})", LinkId::from_bits(n << 64))).collect();
    let mut statements = vec!["CREATE TEMPORARY TABLE crowd (id TEXT, n BIGINT)".to_owned()];
    statements.extend(rows.chunks(1_000).map(|rows| format!("INSERT INTO crowd (id, n) VALUES {}", rows.join(", "))));
    let token = bytes("'token ' || n");
    let from = format!("FROM crowd CROSS JOIN links l WHERE l.link_id = '{template}'");
    let owner = "l.app_id, l.environment";
    let fewer = format!("{from} AND n <= 3000");
    let fifty = format!("{from} AND n <= 50");
    for (table, columns, values, from) in [
        (
            "links",
            "link_id, app_id, environment, state, error, granted, renderer, key_version, wrapped_key, link_view, \
             numbers_view, version, customer_user_id, institution_id, created_at, first_data_at, changed_at, newest_at, \
             import_key, document_format, document, numbers, owners, credential",
            format!(
                "id, {owner}, l.state, l.error, l.granted, l.renderer, l.key_version, l.wrapped_key, l.link_view, \
                 l.numbers_view, l.version, 'user ' || n, l.institution_id, l.created_at + n, l.first_data_at, \
                 l.changed_at, l.newest_at, 'file ' || n, l.document_format, l.document, l.numbers, l.owners, \
                 l.credential"
            ),
            &from,
        ),
        (
            "transactions",
            "link_id, transaction_id, account_id, upstream_key, amount, direction, currency, date, pending",
            "id, 'txn ' || n, 'acc', 'key', '1', 'debit', 'USD', '2024-04-01', 0".to_owned(),
            &from,
        ),
        (
            "transaction_changes",
            "link_id, position, transaction_id, kind, account_id",
            "id, 1, 'txn ' || n, 'created', 'acc'".to_owned(),
            &from,
        ),
        ("holdings", "link_id, portfolio", "id, '{}'".to_owned(), &from),
        (
            "investment_transactions",
            "link_id, investment_transaction_id, account_id, upstream_key, date, details",
            "id, 'inv ' || n, 'acc', 'key', '2024-04-01', '{}'".to_owned(),
            &from,
        ),
        (
            "jobs",
            "job_id, app_id, environment, link_id, work, due_at, state, fence",
            format!(
                "'job ' || n, {owner}, id, '{{\"kind\":\"follow_schedule\",\"failures\":0}}', {FAR} + n, 'open', 0"
            ),
            &from,
        ),
        (
            "jobs",
            "job_id, app_id, environment, link_id, work, due_at, state, fence, finished_at",
            format!("'done ' || n, {owner}, id, '{{}}', n, 'done', 1, {FAR} + n"),
            &from,
        ),
        (
            "events",
            "link_id, sequence, app_id, environment, at, kind, body, position, positioned_at, event_id",
            format!("id, 1, {owner}, n, 'link.state_changed', '{{}}', n, {FAR} + n, 'event ' || n"),
            &from,
        ),
        (
            "webhook_addresses",
            "address_id, app_id, environment, url",
            format!("'address ' || n, {owner}, 'https://app.example/' || n"),
            &fewer,
        ),
        (
            "deliveries",
            "token, link_id, sequence, address_id, app_id, environment, body, state, attempts, tries, due_at, \
             app_due_at, fence",
            format!(
                "'delivery ' || n, id, 1, 'address ' || (n % 100 + 1), {owner}, '{{}}', 'waiting', 1, 1, {FAR} + n, {FAR} + n, 1"
            ),
            &from,
        ),
        (
            "link_sessions",
            "session_id, app_id, environment, ordinal, version, created_at, expires_at, link_id, progress, \
             exchange_hash, request",
            format!("'session ' || n, {owner}, n, 1, n, {FAR} + n, id, 'open', {token}, l.wrapped_key"),
            &from,
        ),
        (
            "clients",
            "client_id, app_id, environment, name, secret_hashes, scopes",
            format!("'client ' || n, {owner}, 'Backend', l.wrapped_key, 1"),
            &fewer,
        ),
        (
            "access_tokens",
            "token_hash, client_id, app_id, environment, scopes, created_at, expires_at, purge_after",
            format!("{token}, 'client 1', {owner}, 1, n, {FAR} + n, {FAR} + n"),
            &from,
        ),
        (
            "kept_answers",
            "app_id, environment, key_hash, request_hash, fence, expires_at, status, body, link_id",
            format!("{owner}, 'key ' || n, l.wrapped_key, n, {FAR} + n, 201, l.wrapped_key, id"),
            &from,
        ),
        (
            "audit",
            "app_id, at, entry_id, environment, actor, action, link_id",
            format!("l.app_id, n, {token}, l.environment, 'walk', 'exchange_token', id"),
            &from,
        ),
        (
            "app_institutions",
            "app_id, environment, institution_id, name, country",
            format!("{owner}, 'bank ' || n, 'A bank', 'US'"),
            &fifty,
        ),
        ("commit_marks", "mark, outcome, at", format!("{token}, 'committed', {FAR} + n"), &from),
        ("ordinals", "app_id, kind, value", "l.app_id, 'kind ' || n, n".to_owned(), &from),
    ] {
        statements.push(format!("INSERT INTO {table} ({columns}) SELECT {values} {from}"));
    }
    statements.push(format!(
        "INSERT INTO ordinals (app_id, kind, value) SELECT app_id, 'event:sandbox', {LINKS} FROM links \
         WHERE link_id = '{template}'"
    ));
    statements
}

/// In microseconds: the year 2200.
const FAR: i64 = 7_258_118_400_000_000;
