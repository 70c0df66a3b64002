//! What the database looks at to find deliveries, in a database without statistics.

use serde_json::Value;
use tokio_postgres::{Client, SimpleQueryMessage};

use crate::{Home, statements::statement};

/// Ten addresses with a head that is under way and 5,000 deliveries behind it each, ninety with one that is ready, one
/// with 5,000 that are ready, each of a link of its own; and a hundred thousand deliveries that have ended. Nobody makes
/// statistics behind the test's back.
const FILL: &str = "ALTER TABLE webhook_addresses SET (autovacuum_enabled = off); \
    ALTER TABLE deliveries SET (autovacuum_enabled = off); INSERT INTO webhook_addresses (address_id, app_id, environment, url, host) \
    SELECT 'address-' || n, 'app', 'live', '', '' FROM generate_series(0, 100) AS n; \
    INSERT INTO deliveries (token, link_id, sequence, address_id, app_id, environment, body, state, attempts, tries, \
    due_at, app_due_at, fence, stage) SELECT n || '/' || s, 'link-' || n, s, 'address-' || n, 'app', 'live', '', \
    'waiting', 0, 0, CASE WHEN n < 10 AND s = 0 THEN 1001 ELSE 999 END, 0, 0, \
    CASE WHEN n >= 10 THEN 'ready' WHEN s = 0 THEN 'scheduled' ELSE 'blocked' END \
    FROM generate_series(0, 99) AS n, generate_series(0, 5000) AS s WHERE n < 10 OR s = 0; \
    INSERT INTO deliveries (token, link_id, sequence, address_id, app_id, environment, body, state, attempts, tries, \
    due_at, app_due_at, fence, stage) SELECT 'many ' || s, 'many-' || s, 1, 'address-100', 'app', 'live', '', \
    'waiting', 0, 0, 999, 0, 0, 'ready' FROM generate_series(1, 5000) AS s; \
    INSERT INTO deliveries (token, link_id, sequence, address_id, app_id, environment, body, state, attempts, tries, \
    due_at, app_due_at, fence, stage) SELECT 'old ' || n || '/' || s, 'link-' || n, s + 10000, 'address-' || n, 'app', \
    'live', '', 'delivered', 1, 1, 999, 0, 0, NULL FROM generate_series(0, 99) AS n, generate_series(1, 1000) AS s";

/// Statements of every round of a courier and of the end of an attempt: name, types of its parameters, values, most rows.
const STATEMENTS: [(&str, &str, &str, u64); 11] = [
    // Each of ninety addresses once as the next one, once as itself, with one delivery; a row for each step between.
    ("LIST_READY", "TEXT[], TEXT[], TEXT[], BIGINT, BIGINT", "'{}', '{}', '{}', 256, 8", 1_500),
    (
        "CHOOSE_DELIVERIES",
        "TEXT[], TEXT[], TEXT[], BIGINT[]",
        "'{app,app}', '{live,live}', '{address-100,address-3}', '{8,8}'",
        60,
    ),
    ("NEXT_DELIVERY_AT", "", "", 10),
    ("WAKE_DELIVERIES", "BIGINT, BIGINT", "1000, 500", 10),
    ("UNBLOCK", "TEXT[], TEXT[], BIGINT", "'{link-3}', '{address-3}', 1000", 20),
    ("UNBLOCK", "TEXT[], TEXT[], BIGINT", "'{many-17}', '{address-100}', 1000", 20),
    (
        "ADD_DELIVERIES",
        "TEXT[], TEXT[], BIGINT[], TEXT[], TEXT[], BIGINT[], BIGINT[], BIGINT",
        "'{a,b}', '{new,link-3}', '{1,9000}', '{address-100,address-3}', '{x,x}', '{1,1}', '{1,1}', 1000",
        20,
    ),
    (
        "REPLAY_DELIVERIES",
        "TEXT[], BIGINT[], TEXT[], BIGINT[], BIGINT[]",
        "'{link-50}', '{10007}', '{address-50}', '{1}', '{1}'",
        20,
    ),
    ("LINE_UP", "TEXT[], TEXT[], BIGINT", "'{many-17}', '{address-100}', 1000", 20),
    ("LOCK_LINES", "TEXT[], BIGINT[], TEXT[]", "'{link-3}', '{6000}', '{address-3}'", 20),
    ("GIVE_UP", "TEXT[], BIGINT", "'{address-3}', 20", 200),
];

#[tokio::test]
async fn deliveries_that_wait_behind_others_or_have_ended_are_not_looked_at() {
    let Some(home) = Home::create().await else { return };
    let client = home.raw().await;
    client.batch_execute(FILL).await.unwrap();
    for mode in ["force_generic_plan", "force_custom_plan"] {
        client.batch_execute(&format!("SET plan_cache_mode = {mode}")).await.unwrap();
        for (name, types, values, most) in STATEMENTS {
            let plan = explain(&client, name, types, values).await;
            let (visited, removed) = rows_of(&plan[0]["Plan"]);
            assert!(
                visited <= most && removed <= 1.0,
                "{name}, {mode}: {visited} visited, {removed} removed: {plan:#}"
            );
        }
    }
    drop(client);
    home.database.remove().await;
}

/// Runs a statement, undoes it, and gives its plan with what each node did.
async fn explain(client: &Client, name: &str, types: &str, values: &str) -> Value {
    let list = |list: &str| if list.is_empty() { String::new() } else { format!("({list})") };
    let prepare = format!("PREPARE looked_at {} AS {}", list(types), statement(name));
    client.batch_execute(&prepare).await.unwrap_or_else(|error| panic!("{name}: {error:?}"));
    let explain = format!("BEGIN; EXPLAIN (ANALYZE, FORMAT JSON) EXECUTE looked_at {}; ROLLBACK", list(values));
    let messages = client.simple_query(&explain).await.unwrap_or_else(|error| panic!("{name}: {error:?}"));
    client.batch_execute("DEALLOCATE looked_at").await.unwrap();
    let plan = messages.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => row.get(0),
        _ => None,
    });
    serde_json::from_str(plan.unwrap()).unwrap()
}

/// Rows that the nodes of a plan gave or threw away, and those of tables that a filter removed: at most the head
/// itself, when it is not blocked.
fn rows_of(node: &Value) -> (u64, f64) {
    let number = |name: &str| node[name].as_f64().unwrap_or(0.0);
    let removed = number("Rows Removed by Filter") * number("Actual Loops");
    let mut sum = (number("Actual Rows") * number("Actual Loops") + removed, removed);
    // A subquery's condition on its own sum is no filter of a table.
    if node["Node Type"] == "Subquery Scan" || node["Node Type"] == "Aggregate" {
        sum.1 = 0.0;
    }
    for child in node["Plans"].as_array().into_iter().flatten() {
        let (visited, removed) = rows_of(child);
        sum = (sum.0 + visited as f64, sum.1 + removed);
    }
    (sum.0 as u64, sum.1)
}
