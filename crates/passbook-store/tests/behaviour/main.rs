//! What every store must do, whichever database it runs on.
//!
//! Each case takes a fresh, empty store. A further backend is one more line in [`on_every_store`]; the cases stay.

mod answers;
mod changes;
mod clients;
#[path = "../postgres/database.rs"]
mod database;
mod deliveries;
mod examples;
mod group_commit;
mod history;
mod instance;
mod investments;
mod jobs;
mod large_commits;
mod links;
mod retention;
mod sessions;
mod transactions;
mod users;

/// An empty store, and what has to live as long as it.
struct Fresh {
    store: std::sync::Arc<dyn passbook_store::port::Store>,
    database: Option<database::Database>,
    directory: tempfile::TempDir,
}

impl Fresh {
    /// Changes rows behind the store's back.
    async fn damage(&self, sql: &str) {
        if let Some(database) = &self.database {
            let raw = database::connect(&database.url()).await;
            return raw.batch_execute(sql).await.expect("the statement runs");
        }
        let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_WRITE | rusqlite::OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let path = self.directory.path().join("passbook.db");
        let raw = rusqlite::Connection::open_with_flags_and_vfs(path, flags, "unix-excl").expect("the database opens");
        raw.execute_batch(sql).expect("the statement runs");
    }

    async fn end(self) {
        self.store.close().await;
        drop(self.store);
        if let Some(database) = self.database {
            database.remove().await;
        }
    }
}

fn sqlite() -> Fresh {
    use passbook_store::{
        sealing::MasterKey,
        sqlite::{OpenOptions, SqliteStore},
    };
    let directory = tempfile::tempdir().expect("a temporary directory");
    let store = SqliteStore::open(OpenOptions {
        path: directory.path().join("passbook.db"),
        master_keys: vec![MasterKey::generate()],
        deletion_ledger: directory.path().join("deletions.ledger"),
        clock: std::sync::Arc::new(examples::FixedClock),
        renderer: 1,
        render_stub: &|_| b"{}".to_vec(),
    })
    .expect("a new store opens");
    Fresh { store: std::sync::Arc::new(store), database: None, directory }
}

/// `None` on a machine that has no PostgreSQL; said in the test's output.
async fn postgres() -> Option<Fresh> {
    let database = database::Database::create().await?;
    let directory = tempfile::tempdir().expect("a temporary directory");
    let store = database.open(&directory.path().join("deletions.ledger")).await.expect("a new store opens");
    Some(Fresh { store: std::sync::Arc::new(store), database: Some(database), directory })
}

/// The same, with the time of [`examples::FixedClock`], as the embedded one has.
async fn postgres_standing_still() -> Option<Fresh> {
    let database = database::Database::create().await?;
    let directory = tempfile::tempdir().expect("a temporary directory");
    let store = database.open_standing_still(&directory.path().join("deletions.ledger")).await;
    let store = std::sync::Arc::new(store.expect("a new store opens"));
    Some(Fresh { store, database: Some(database), directory })
}

/// Makes one test per case and backend.
macro_rules! on_every_store {
    ($($case:ident),* $(,)?) => {
        mod on_sqlite {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
                async fn $case() {
                    let fresh = crate::sqlite();
                    super::$case(std::sync::Arc::clone(&fresh.store)).await;
                    fresh.end().await;
                }
            )*
        }
        mod on_postgres {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
                async fn $case() {
                    let Some(fresh) = crate::postgres().await else { return };
                    super::$case(std::sync::Arc::clone(&fresh.store)).await;
                    fresh.end().await;
                }
            )*
        }
    };
}
pub(crate) use on_every_store;

/// The same for cases that change rows behind the store's back.
macro_rules! on_every_damaged_store {
    ($($case:ident),* $(,)?) => {
        mod damaged_on_sqlite {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
                async fn $case() {
                    let fresh = crate::sqlite();
                    super::$case(&fresh).await;
                    fresh.end().await;
                }
            )*
        }
        mod damaged_on_postgres {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
                async fn $case() {
                    let Some(fresh) = crate::postgres().await else { return };
                    super::$case(&fresh).await;
                    fresh.end().await;
                }
            )*
        }
    };
}
pub(crate) use on_every_damaged_store;
