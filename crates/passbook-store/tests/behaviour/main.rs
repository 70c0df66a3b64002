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
mod instance;
mod investments;
mod jobs;
mod large_commits;
mod links;
mod sessions;
mod transactions;
mod users;

/// An empty store, and what has to live as long as it.
struct Fresh {
    store: std::sync::Arc<dyn passbook_store::port::Store>,
    database: Option<database::Database>,
    _directory: tempfile::TempDir,
}

impl Fresh {
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
    Fresh { store: std::sync::Arc::new(store), database: None, _directory: directory }
}

/// `None` on a machine that has no PostgreSQL; said in the test's output.
async fn postgres() -> Option<Fresh> {
    let database = database::Database::create().await?;
    let directory = tempfile::tempdir().expect("a temporary directory");
    let store = database.open(&directory.path().join("deletions.ledger")).await.expect("a new store opens");
    Some(Fresh { store: std::sync::Arc::new(store), database: Some(database), _directory: directory })
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
