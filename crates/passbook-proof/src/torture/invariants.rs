//! What must be true of the stored rows after every experiment, whatever happened to the server.
//!
//! Each rule counts the rows that break it, in SQL that both stores understand. The numbers are those of the security
//! guide's invariants. The rest of them are not about rows: what was acknowledged is there (I1), imports are whole (I2),
//! and a list read page by page gives every transaction once (I6; there is no `sync` operation yet) are checked through
//! the API by [`super::check`]; the store's own soundness (I7) by [`super::store_files`].

use anyhow::Result;
use rusqlite::Connection;

use crate::database::Database;

/// A rule and the query that counts what breaks it.
struct Rule {
    name: &'static str,
    sql: &'static str,
    /// Whether it only holds once every accepted job has ended.
    at_rest: bool,
}

const fn always(name: &'static str, sql: &'static str) -> Rule {
    Rule { name, sql, at_rest: false }
}

const fn at_rest(name: &'static str, sql: &'static str) -> Rule {
    Rule { name, sql, at_rest: true }
}

/// `{counter}` is the link's own count of its events, `{document}` its stored form as text.
const RULES: &[Rule] = &[
    always(
        "I3: a link made by more than one session",
        "SELECT COUNT(*) FROM (SELECT link_id FROM link_sessions WHERE link_id IS NOT NULL
         GROUP BY link_id HAVING COUNT(*) > 1) AS twice",
    ),
    always(
        "I3: a connected link whose session's token can still be spent",
        "SELECT COUNT(*) FROM link_sessions AS s JOIN links AS l ON l.link_id = s.link_id
         WHERE l.state = 'connected' AND s.exchange_hash IS NOT NULL AND s.progress NOT LIKE '%xchanged%'",
    ),
    always(
        "I4: an ended job that is still under a lease or has no end",
        "SELECT COUNT(*) FROM jobs WHERE state NOT IN ('open', 'done', 'failed')
         OR (state <> 'open' AND (lease_until IS NOT NULL OR finished_at IS NULL))
         OR (state = 'open' AND finished_at IS NOT NULL)",
    ),
    always(
        "I4: two jobs of one link under a lease",
        "SELECT COUNT(*) FROM (SELECT link_id FROM jobs WHERE state = 'open' AND lease_until IS NOT NULL
         GROUP BY link_id HAVING COUNT(*) > 1) AS twice",
    ),
    always(
        "I4: a product that waits for a job which is not open",
        "SELECT COUNT(*) FROM links AS l WHERE {document} LIKE '%\"running_job\":\"%'
         AND NOT EXISTS (SELECT 1 FROM jobs AS j WHERE j.link_id = l.link_id AND j.state = 'open')",
    ),
    at_rest(
        "I4: an accepted refresh that did not end",
        "SELECT COUNT(*) FROM jobs WHERE state = 'open' AND work LIKE '%efresh%'",
    ),
    always(
        "I5: a link whose events are not numbered 1 to its own count of them",
        "SELECT COUNT(*) FROM links AS l LEFT JOIN (SELECT link_id, COUNT(*) AS held, MIN(sequence) AS oldest,
         MAX(sequence) AS newest FROM events GROUP BY link_id) AS e ON e.link_id = l.link_id
         WHERE COALESCE(e.held, 0) <> {counter} OR COALESCE(e.newest, 0) <> {counter} OR COALESCE(e.oldest, 1) <> 1",
    ),
    always(
        "I5: a readable event with a webhook and without its delivery",
        "SELECT COUNT(*) FROM events AS e WHERE e.position IS NOT NULL AND e.webhook IS NOT NULL
         AND NOT EXISTS (SELECT 1 FROM deliveries AS d WHERE d.link_id = e.link_id AND d.sequence = e.sequence)",
    ),
    always(
        "I5: a delivery without its event, or of another tenant",
        "SELECT COUNT(*) FROM deliveries AS d LEFT JOIN events AS e ON e.link_id = d.link_id
         AND e.sequence = d.sequence AND e.app_id = d.app_id AND e.environment = d.environment
         AND e.position IS NOT NULL WHERE e.link_id IS NULL",
    ),
    always(
        "I5: a delivery that waits for nothing",
        "SELECT COUNT(*) FROM deliveries AS d WHERE d.stage = 'blocked' AND NOT EXISTS (SELECT 1 FROM deliveries AS o
         WHERE o.link_id = d.link_id AND o.address_id = d.address_id AND o.sequence < d.sequence
         AND o.state = 'waiting' AND o.tries = 0)",
    ),
    always(
        "I5: a delivery that waits and has no stage, or has one and does not wait",
        "SELECT COUNT(*) FROM deliveries AS d WHERE (d.state = 'waiting') <> (d.stage IS NOT NULL)",
    ),
    always(
        "I5: positions that are not numbered without a gap",
        "SELECT COUNT(*) FROM (SELECT app_id, environment, COUNT(*) AS held, MAX(position) AS newest FROM events
         WHERE position IS NOT NULL GROUP BY app_id, environment) AS e WHERE held <> newest",
    ),
    always(
        "I8: a client without its app",
        "SELECT COUNT(*) FROM clients AS c WHERE NOT EXISTS (SELECT 1 FROM apps AS a WHERE a.app_id = c.app_id)",
    ),
    always(
        "I8: a token of another tenant than its client",
        "SELECT COUNT(*) FROM access_tokens AS t LEFT JOIN clients AS c ON c.client_id = t.client_id
         AND c.app_id = t.app_id AND c.environment = t.environment WHERE c.client_id IS NULL",
    ),
    always(
        "I8: a link without its app",
        "SELECT COUNT(*) FROM links AS l WHERE NOT EXISTS (SELECT 1 FROM apps AS a WHERE a.app_id = l.app_id)",
    ),
    always(
        "I8: a job of another tenant than its link",
        "SELECT COUNT(*) FROM jobs AS j LEFT JOIN links AS l ON l.link_id = j.link_id AND l.app_id = j.app_id
         AND l.environment = j.environment WHERE l.link_id IS NULL",
    ),
    always(
        "I8: an event of another tenant than its link",
        "SELECT COUNT(*) FROM events AS e LEFT JOIN links AS l ON l.link_id = e.link_id AND l.app_id = e.app_id
         AND l.environment = e.environment WHERE l.link_id IS NULL",
    ),
    always(
        "I8: a session of another tenant than its link",
        "SELECT COUNT(*) FROM link_sessions AS s LEFT JOIN links AS l ON l.link_id = s.link_id AND l.app_id = s.app_id
         AND l.environment = s.environment WHERE s.link_id IS NOT NULL AND l.link_id IS NULL",
    ),
    always(
        "I8: an audit entry of another tenant than its link",
        "SELECT COUNT(*) FROM audit AS a LEFT JOIN links AS l ON l.link_id = a.link_id AND l.app_id = a.app_id
         AND l.environment = a.environment WHERE a.link_id IS NOT NULL AND l.link_id IS NULL",
    ),
    always(
        "I8: a transaction without its link",
        "SELECT COUNT(*) FROM transactions AS t WHERE NOT EXISTS (SELECT 1 FROM links AS l WHERE l.link_id = t.link_id)",
    ),
];

/// How a store reads the parts of a link's stored form.
struct Dialect {
    counter: &'static str,
    document: &'static str,
}

const SQLITE: Dialect = Dialect {
    counter: "json_extract(CAST(l.document AS TEXT), '$.link.counters.events')",
    document: "CAST(l.document AS TEXT)",
};

const POSTGRES: Dialect = Dialect {
    // A text may hold a NUL, which the database's JSON cannot.
    counter: "CAST(CAST(replace(convert_from(l.document, 'UTF8'), '\\u0000', '\\u0001') AS jsonb) \
              #>> '{link,counters,events}' AS bigint)",
    document: "convert_from(l.document, 'UTF8')",
};

/// The rules as queries of one dialect, each with its name.
fn queries(dialect: &Dialect, with_rest: bool) -> impl Iterator<Item = (&'static str, String)> {
    let rules = RULES.iter().filter(move |rule| with_rest || !rule.at_rest);
    rules
        .map(|rule| (rule.name, rule.sql.replace("{counter}", dialect.counter).replace("{document}", dialect.document)))
}

/// What breaks a rule in this database; `with_rest` when no accepted job may be open.
///
/// # Errors
/// When the database cannot be read.
pub fn broken_in_sqlite(connection: &Connection, with_rest: bool) -> Result<Vec<String>> {
    let mut broken = Vec::new();
    for (name, sql) in queries(&SQLITE, with_rest) {
        let count: i64 = connection.query_row(&sql, [], |row| row.get(0))?;
        if count > 0 {
            broken.push(format!("{name} ({count})"));
        }
    }
    Ok(broken)
}

/// As [`broken_in_sqlite`], for a PostgreSQL database that nobody writes to.
///
/// # Errors
/// When the database cannot be read.
pub async fn broken_in_postgres(database: &Database, with_rest: bool) -> Result<Vec<String>> {
    let mut broken = Vec::new();
    for (name, sql) in queries(&POSTGRES, with_rest) {
        let count = database.number(&sql).await?;
        if count > 0 {
            broken.push(format!("{name} ({count})"));
        }
    }
    Ok(broken)
}
