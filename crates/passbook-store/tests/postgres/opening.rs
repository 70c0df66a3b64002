//! Opening, refusing to open, and starting many at once.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use passbook_core::secret::SecretBytes;
use passbook_store::{
    port::{Changes, CommitError, LinkWrite, Store as _, StoreError, Upkeep as _},
    postgres::{OpenError, PostgresStore},
    sealing::MasterKey,
};

use crate::{Home, examples::*};

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn five_that_start_at_once_on_an_empty_database_agree() {
    let Some(home) = Home::create_empty().await else { return };
    let home = Arc::new(home);
    let opening: Vec<_> = (0..5)
        .map(|_| {
            let home = Arc::clone(&home);
            tokio::spawn(async move { home.database.open(&home.ledger()).await })
        })
        .collect();
    let mut stores = Vec::new();
    for one in opening {
        stores.push(one.await.unwrap().unwrap());
    }
    // One master key, one lookup root: what one seals, the others open.
    let set = vec![("seed".into(), SecretBytes::new(b"7".to_vec()))];
    stores[0].commit(Changes { instance_values: set, ..Changes::default() }).await.unwrap();
    let hash = stores[0].keys().hash_client_secret("secret");
    for store in &stores {
        assert_eq!(store.lookup_instance_value("seed").await.unwrap().unwrap().expose(), b"7");
        assert_eq!(store.keys().hash_client_secret("secret"), hash);
    }
    let raw = home.raw().await;
    let history = raw.query("SELECT version FROM refinery_schema_history ORDER BY version", &[]).await.unwrap();
    let versions: Vec<i32> = history.iter().map(|row| row.get(0)).collect();
    assert!(versions.windows(2).all(|pair| pair[0] < pair[1]), "each migration once: {versions:?}");
    let (stored, known) = PostgresStore::schema_version(&home.database.url(), None).await.unwrap();
    assert_eq!((versions.last().copied(), stored), (Some(known), known));
    for store in stores {
        store.close().await;
    }
}

#[tokio::test]
async fn a_database_without_tables_beside_a_ledger_is_a_lost_store() {
    let Some(home) = Home::create_empty().await else { return };
    std::fs::write(home.ledger(), "").unwrap();
    let refused = home.database.open(&home.ledger()).await;
    let Err(OpenError::Lost { trace }) = refused else { panic!("it was opened") };
    assert_eq!(trace, home.ledger());
    let (stored, _) = PostgresStore::schema_version(&home.database.url(), None).await.unwrap();
    assert_eq!(stored, 0, "nothing was made in its place");
    std::fs::remove_file(home.ledger()).unwrap();
    home.database.open(&home.ledger()).await.unwrap().close().await;
    home.database.remove().await;
}

#[tokio::test]
async fn a_migration_that_was_cut_off_is_done_by_the_next_one() {
    let Some(home) = Home::create_empty().await else { return };
    PostgresStore::migrate(&home.database.url(), None).await.unwrap();
    // As a process leaves it that was killed in the middle of the second migration: the first is there, and its open
    // transaction and its guard end with its connection.
    let raw = home.raw().await;
    let undo = "DROP TABLE unfinished_work; DROP TABLE app_usage; DROP TABLE link_usage; DROP INDEX jobs_by_link; DROP INDEX audit_by_time; \
        ALTER TABLE apps DROP COLUMN disabled_at; ALTER TABLE link_sessions DROP COLUMN seen_at; DROP TABLE watched_time; DROP TABLE commit_marks; DROP TABLE kept_answers; DROP INDEX jobs_one_lease_per_link; \
        DROP INDEX links_of_master_key; DROP TABLE transaction_changes; ALTER TABLE transactions DROP COLUMN pending_id; ALTER TABLE transactions DROP COLUMN enrichment; \
        DROP INDEX links_of_user; DROP TABLE holdings; DROP TABLE investment_transactions; \
        DROP TABLE deliveries; DROP TABLE webhook_addresses; DROP INDEX events_waiting; DROP INDEX events_by_position; \
        DROP INDEX events_of_link; DROP INDEX events_of_kind; \
        ALTER TABLE events DROP COLUMN webhook; ALTER TABLE events DROP COLUMN event_id; DELETE FROM refinery_schema_history WHERE version > 1";
    raw.batch_execute(undo).await.unwrap();
    let killed = home.raw().await;
    let half = "BEGIN; SELECT guard_id FROM schema_guard WHERE guard_id = 1 FOR UPDATE; \
        CREATE TABLE kept_answers (half BIGINT)";
    killed.batch_execute(half).await.unwrap();
    let database = home.database.url();
    let waiting = tokio::spawn(async move { PostgresStore::migrate(&database, None).await });
    drop(killed);
    let (_, known) = PostgresStore::schema_version(&home.database.url(), None).await.unwrap();
    assert_eq!(waiting.await.unwrap().unwrap(), known);
    let store = home.open().await;
    stored_link(&store, 1).await;
    store.close().await;
    home.database.remove().await;
}

#[tokio::test]
async fn an_older_release_refuses_a_newer_schema_and_leaves_it() {
    let Some(home) = Home::create().await else { return };
    let raw = home.raw().await;
    raw.batch_execute("INSERT INTO refinery_schema_history VALUES (999, 'later', '2026-01-01T00:00:00Z', '1')")
        .await
        .unwrap();
    raw.batch_execute("DROP TABLE schema_guard").await.unwrap();
    let refused = home.database.open(&home.ledger()).await;
    assert!(matches!(refused, Err(OpenError::NewerSchema { found: 999, .. })));
    let refused = PostgresStore::migrate(&home.database.url(), None).await;
    assert!(matches!(refused, Err(OpenError::NewerSchema { found: 999, .. })));
    let guard = raw.query_opt("SELECT 1 FROM pg_class WHERE relname = 'schema_guard'", &[]).await.unwrap();
    assert!(guard.is_none(), "nothing was touched");
    let keys: i64 = raw.query_one("SELECT COUNT(*) FROM master_keys", &[]).await.unwrap().get(0);
    assert_eq!(keys, 0);
    home.database.remove().await;
}

#[tokio::test]
async fn a_server_that_may_lose_acknowledged_writes_is_refused() {
    let Some(home) = Home::create().await else { return };
    let careless = format!("ALTER DATABASE {} SET synchronous_commit = off", home.database.name);
    home.raw().await.batch_execute(&careless).await.unwrap();
    let refused = home.database.open(&home.ledger()).await;
    assert!(matches!(refused, Err(OpenError::NotDurable { setting: "synchronous_commit" })));
    home.database.remove().await;
}

#[tokio::test]
async fn a_wrong_or_missing_master_key_is_refused() {
    let Some(home) = Home::create().await else { return };
    home.open().await.close().await;
    let url = home.database.url();
    let missing = home.database.open_with(&url, &home.ledger(), Vec::new()).await;
    assert!(matches!(missing, Err(OpenError::MissingMasterKey)));
    let wrong = home.database.open_with(&url, &home.ledger(), vec![MasterKey::generate()]).await;
    assert!(matches!(wrong, Err(OpenError::WrongMasterKey)));
    home.open().await.close().await;
    home.database.remove().await;
}

#[tokio::test]
async fn a_url_is_never_quoted() {
    let Some(home) = Home::create().await else { return };
    let keys = || vec![home.database.key.clone()];
    for url in ["postgres://user:hunter2@h:port/x", "postgres://u:hunter2@127.0.0.1:1/x", "host=h hunter2=1"] {
        let Err(error) = home.database.open_with(url, &home.ledger(), keys()).await else { panic!("{url} opened") };
        let source = std::error::Error::source(&error).map(ToString::to_string);
        assert!(!format!("{error} {error:?} {source:?}").contains("hunter2"));
    }
    let demanding = format!("{}?sslmode=require", home.database.url());
    let refused = home.database.open_with(&demanding, &home.ledger(), keys()).await;
    assert!(matches!(refused, Err(OpenError::NoTlsRoots)));
    home.database.remove().await;
}

#[tokio::test]
async fn the_stores_time_is_the_databases_and_starts_no_earlier_than_what_it_holds() {
    let Some(home) = Home::create().await else { return };
    let store = home.open().await;
    let raw = home.raw().await;
    let row = raw.query_one("SELECT clock_timestamp()", &[]).await.unwrap();
    let theirs = Timestamp::try_from(row.get::<_, std::time::SystemTime>(0)).unwrap();
    let apart = store.now().duration_since(theirs);
    assert!(apart.abs() < SignedDuration::from_secs(5), "{apart}");
    // The wall clock of these tests stands at a fixed instant.
    assert!((store.skew() + store.now().duration_since(second(-1))).abs() < SignedDuration::from_secs(5));
    store.close().await;
    raw.batch_execute("INSERT INTO apps VALUES ('app', 'n', '{}', '[]')").await.unwrap();
    let later = theirs + SignedDuration::from_hours(3);
    let audit = "INSERT INTO audit (app_id, at, entry_id, environment, actor, action) VALUES ('app', $1, 'e', 'live', 'a', 'b')";
    raw.execute(audit, &[&later.as_microsecond()]).await.unwrap();
    let store = home.open().await;
    assert!(store.now().as_microsecond() >= later.as_microsecond());
    store.close().await;
    home.database.remove().await;
}

#[tokio::test]
async fn a_document_of_a_newer_release_is_read_but_not_replaced() {
    let Some(home) = Home::create().await else { return };
    let store = home.open().await;
    let link = stored_link(&store, 1).await;
    let newer = "UPDATE links SET document_format = 2, document = convert_to(replace(convert_from(document, 'UTF8'), \
        '{\"format\":1,', '{\"format\":2,\"later\":[],'), 'UTF8')";
    home.raw().await.batch_execute(newer).await.unwrap();
    let stored = store.lookup_link(&tenant(), &link.id).await.unwrap().unwrap();
    assert_eq!(stored.link.tags, link.tags);
    let write = LinkWrite { credential: Some(SecretBytes::new(b"x".to_vec())), ..replacement(link, stored.version) };
    let refused = store.commit(changes(write)).await;
    let Err(CommitError::Store(StoreError::Inconsistent { column, .. })) = refused else { panic!("{refused:?}") };
    assert_eq!(column, "document_format");
    store.close().await;
    home.database.remove().await;
}

#[tokio::test]
async fn another_process_follows_a_rotation_of_the_master_key() {
    let Some(home) = Home::create().await else { return };
    let keys = vec![home.database.key.clone(), home.database.key.successor()];
    let url = home.database.url();
    let first = home.open().await;
    stored_link(&first, 1).await;
    first.close().await;
    let one = home.database.open_with(&url, &home.ledger(), keys.clone()).await.unwrap();
    let other = home.database.open_with(&url, &home.ledger(), keys.clone()).await.unwrap();
    let audit = || passbook_store::port::AuditEntry {
        tenant: tenant(),
        actor: "operator".into(),
        action: "rotate",
        link_id: None,
        at: second(0),
    };
    one.activate_master_key(2, audit()).await.unwrap();
    one.activate_master_key(2, audit()).await.unwrap();
    assert!(matches!(one.activate_master_key(1, audit()).await, Err(CommitError::Conflict(_))));
    assert_eq!(other.follow_active_key().await.unwrap(), 2);
    assert!(matches!(one.retire_master_key(1, audit()).await, Err(CommitError::Conflict(_))));
    let done = one.rewrap_keys(None, 100).await.unwrap();
    assert_eq!((done.unreadable, done.next), (0, None));
    assert!(done.rewrapped >= 2, "a link and the lookup root");
    one.retire_master_key(1, audit()).await.unwrap();
    let uses = other.list_master_keys().await.unwrap();
    assert_eq!(uses.iter().map(|key| (key.version, key.active, key.links)).collect::<Vec<_>>(), [(2, true, 1)]);
    let seen = other.examine().await.unwrap();
    assert_eq!((seen.schema_version, seen.undestroyed), (seen.schema_known, 0));
    assert!(seen.bytes > 0);
    one.close().await;
    other.close().await;
    let last = home.database.open_with(&url, &home.ledger(), vec![keys[1].clone()]).await.unwrap();
    assert!(last.lookup_secrets(&tenant(), &link(1).id).await.unwrap().is_some());
    last.close().await;
    home.database.remove().await;
}

#[tokio::test]
async fn a_server_that_accepts_and_says_nothing_is_given_up() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("postgres://u:hunter2@{}/x", silent.local_addr().unwrap());
    let directory = tempfile::tempdir().unwrap();
    let ledger = directory.path().join("deletions.ledger");
    let opening = crate::database::open(&url, None, &ledger, vec![MasterKey::generate()]);
    let opened = tokio::time::timeout(std::time::Duration::from_secs(30), opening).await.expect("it gives up");
    let Err(OpenError::Database(cause)) = opened else { panic!("it opened, or said something else") };
    assert_eq!(cause.to_string(), "the database did not answer in time");
}

/// Statistics of the tables of `links` and of those that stay empty, by columns.
async fn statistics(home: &Home) -> (i64, i64) {
    let sql = "SELECT COUNT(*) FILTER (WHERE tablename = 'links'), COUNT(*) FILTER (WHERE tablename = 'events') \
        FROM pg_stats WHERE schemaname = current_schema()";
    let row = home.raw().await.query_one(sql, &[]).await.unwrap();
    (row.get(0), row.get(1))
}

#[tokio::test]
async fn a_start_that_finds_no_statistics_makes_them_once() {
    let Some(home) = Home::create().await else { return };
    let store = home.open().await;
    stored_link(&store, 1).await;
    // What this start has begun would otherwise go on in the database.
    store.statistics_settled().await;
    store.close().await;
    // As after a restore: rows, and nothing known about them. Nobody else is to make statistics meanwhile.
    let forget = "ALTER TABLE links SET (autovacuum_enabled = false); \
        DELETE FROM pg_statistic WHERE starelid = 'links'::regclass";
    home.raw().await.batch_execute(forget).await.unwrap();
    assert_eq!(statistics(&home).await, (0, 0));
    let store = home.open().await;
    store.statistics_settled().await;
    store.close().await;
    let (links, events) = statistics(&home).await;
    assert!(links > 20, "every column: {links}");
    assert_eq!(events, 0, "an empty table is left alone");
    let written = "SELECT MAX(xmin::TEXT::BIGINT) FROM pg_statistic WHERE starelid = 'links'::regclass";
    let count = || async { home.raw().await.query_one(written, &[]).await.unwrap().get::<_, i64>(0) };
    let before = count().await;
    let store = home.open().await;
    store.statistics_settled().await;
    store.close().await;
    assert_eq!(count().await, before, "what is known is not looked for again");
    home.database.remove().await;
}

#[tokio::test]
async fn a_column_without_statistics_is_analysed_at_the_next_start() {
    let Some(home) = Home::create().await else { return };
    let store = home.open().await;
    stored_link(&store, 1).await;
    store.close().await;
    let raw = home.raw().await;
    raw.batch_execute("ANALYZE links; ALTER TABLE links ADD COLUMN added TEXT").await.unwrap();
    let store = home.open().await;
    store.statistics_settled().await;
    let known = "SELECT COUNT(*) FROM pg_stats WHERE tablename = 'links' AND attname = 'added'";
    assert_eq!(raw.query_one(known, &[]).await.unwrap().get::<_, i64>(0), 1);
    store.close().await;
    home.database.remove().await;
}
