//! Both stores have the same migrations and the same tables.

use std::collections::BTreeMap;

use passbook_store::{
    retention::{OWN_RULES, RULES},
    sealing::MasterKey,
    sqlite::{OpenOptions, SqliteStore},
};
use rusqlite::Connection;

use crate::{Home, examples::FixedClock};

/// Kept by the runner of migrations, or by one store for itself.
const OWN: [&str; 2] = ["refinery_schema_history", "schema_guard"];

/// A table: its columns with kind and whether nothing may be in them, its primary key, its unique indexes.
#[derive(Debug, PartialEq, Eq, Default)]
struct Table {
    columns: Vec<(String, String, bool)>,
    primary_key: Vec<String>,
    unique: Vec<(Vec<String>, bool)>,
}

type Schema = BTreeMap<String, Table>;

fn embedded() -> (Schema, Vec<(i32, String)>) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("passbook.db");
    drop(SqliteStore::open(OpenOptions {
        path: path.clone(),
        master_keys: vec![MasterKey::generate()],
        deletion_ledger: directory.path().join("ledger"),
        clock: std::sync::Arc::new(FixedClock),
        renderer: 1,
        render_stub: &|_| Vec::new(),
    }));
    let connection = Connection::open(&path).unwrap();
    let texts = |sql: &str| -> Vec<String> {
        let mut statement = connection.prepare(sql).unwrap();
        statement.query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap()
    };
    let mut schema = Schema::new();
    for table in texts("SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'") {
        let mut found = Table::default();
        let mut statement = connection
            .prepare(&format!("SELECT name, type, \"notnull\", pk FROM pragma_table_info('{table}')"))
            .unwrap();
        let mut rows = statement.query([]).unwrap();
        let mut key: Vec<(i64, String)> = Vec::new();
        while let Some(row) = rows.next().unwrap() {
            let (name, kind, required, place): (String, String, bool, i64) =
                (row.get(0).unwrap(), row.get(1).unwrap(), row.get(2).unwrap(), row.get(3).unwrap());
            if place > 0 {
                key.push((place, name.clone()));
            }
            found.columns.push((
                name,
                kind.to_lowercase().replace("blob", "bytea").replace("bigint", "int8"),
                !required,
            ));
        }
        key.sort();
        found.primary_key = key.into_iter().map(|(_, name)| name).collect();
        let indexes = format!(
            "SELECT name || '/' || partial FROM pragma_index_list('{table}') WHERE \"unique\" = 1 AND origin <> 'pk'"
        );
        for index in texts(&indexes) {
            let (name, partial) = index.rsplit_once('/').unwrap();
            let columns = texts(&format!("SELECT name FROM pragma_index_info('{name}') ORDER BY seqno"));
            found.unique.push((columns, partial == "1"));
        }
        schema.insert(table, found);
    }
    let mut statement =
        connection.prepare("SELECT version, name FROM refinery_schema_history ORDER BY version").unwrap();
    let history = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    (schema, history.collect::<Result<_, _>>().unwrap())
}

async fn networked(home: &Home) -> (Schema, Vec<(i32, String)>) {
    let raw = home.raw().await;
    let mut schema = Schema::new();
    let columns = "SELECT table_name::TEXT, column_name::TEXT, udt_name::TEXT, is_nullable = 'YES' \
        FROM information_schema.columns WHERE table_schema = 'public' ORDER BY table_name, ordinal_position";
    for row in raw.query(columns, &[]).await.unwrap() {
        let table: &mut Table = schema.entry(row.get(0)).or_default();
        table.columns.push((row.get(1), row.get(2), row.get(3)));
    }
    let keys = "SELECT c.relname::TEXT, i.indisprimary, i.indpred IS NOT NULL, \
        ARRAY(SELECT a.attname::TEXT FROM unnest(i.indkey) WITH ORDINALITY AS k (number, place) \
        JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.number ORDER BY k.place) \
        FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid JOIN pg_namespace n ON n.oid = c.relnamespace \
        WHERE n.nspname = 'public' AND i.indisunique";
    for row in raw.query(keys, &[]).await.unwrap() {
        let table = schema.get_mut(row.get::<_, &str>(0)).unwrap();
        match row.get(1) {
            true => table.primary_key = row.get(3),
            false => table.unique.push((row.get(3), row.get(2))),
        }
    }
    let history = raw.query("SELECT version, name FROM refinery_schema_history ORDER BY version", &[]).await.unwrap();
    (schema, history.iter().map(|row| (row.get(0), row.get(1))).collect())
}

#[tokio::test]
async fn both_stores_have_the_same_migrations_and_tables() {
    let Some(home) = Home::create().await else { return };
    let ((mut ours, our_history), (mut theirs, their_history)) = (embedded(), networked(&home).await);
    assert_eq!(our_history, their_history, "versions and names of the migrations");
    assert!(our_history.len() >= 4);
    let ruled: Vec<_> = RULES.iter().chain(&OWN_RULES).map(|rule| rule.table).collect();
    for table in ours.keys().chain(theirs.keys()) {
        assert!(ruled.contains(&table.as_str()), "{table} needs a rule in src/retention.rs");
    }
    for schema in [&mut ours, &mut theirs] {
        schema.retain(|name, _| !OWN.contains(&name.as_str()));
        for table in schema.values_mut() {
            table.unique.sort();
        }
    }
    assert!(ours.len() >= 14, "{:?}", ours.keys());
    assert_eq!(ours.keys().collect::<Vec<_>>(), theirs.keys().collect::<Vec<_>>());
    for (name, table) in &ours {
        assert_eq!(*table, theirs[name], "{name}");
    }
    home.database.remove().await;
}

#[tokio::test]
async fn texts_compare_by_bytes_whatever_the_database_is_collated_by() {
    let Some(home) = Home::create().await else { return };
    let raw = home.raw().await;
    let others = "SELECT COUNT(*) FROM information_schema.columns WHERE table_schema = 'public' \
        AND udt_name = 'text' AND collation_name IS DISTINCT FROM 'C'";
    let count: i64 = raw.query_one(others, &[]).await.unwrap().get(0);
    assert_eq!(count, 0);
    home.database.remove().await;
}
