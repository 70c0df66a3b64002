//! A database of its own for each test, copied from one that has the tables already.

use std::{
    hash::{DefaultHasher, Hash as _, Hasher as _},
    path::Path,
    sync::Arc,
};

use passbook_core::link::Link;
use passbook_store::{
    postgres::{Connections, OpenError, OpenOptions, PostgresStore},
    sealing::{MasterKey, random_bytes},
};
use tokio_postgres::{Client, NoTls};

use crate::examples::FixedClock;

/// A database and the master key of the store in it.
pub struct Database {
    server: String,
    pub name: String,
    pub key: MasterKey,
}

impl Database {
    /// A database with tables and no rows. `None` on a machine that has no PostgreSQL.
    pub async fn create() -> Option<Self> {
        let server = postgres_cluster::shared()?;
        let admin = connect(&server).await;
        let template = template(&admin, &server).await;
        Some(Self::copy(&admin, server, &template).await)
    }

    pub async fn copy(admin: &Client, server: String, template: &str) -> Self {
        let name = fresh_name("t");
        admin.batch_execute(&format!("CREATE DATABASE {name} TEMPLATE {template}")).await.expect("a database is made");
        Self { server, name, key: MasterKey::generate() }
    }

    /// Opens the store in it, with few connections.
    pub async fn open(&self, ledger: &Path) -> Result<PostgresStore, OpenError> {
        self.open_with(&self.url(), ledger, vec![self.key.clone()]).await
    }

    /// The same, with the time of [`FixedClock`] instead of the database's.
    #[allow(dead_code, reason = "not every test that shares this file needs it")]
    pub async fn open_standing_still(&self, ledger: &Path) -> Result<PostgresStore, OpenError> {
        let url = self.url();
        let options = options(&url, None, ledger, vec![self.key.clone()]);
        PostgresStore::open_with_clock(options, Arc::new(FixedClock)).await
    }

    pub async fn open_with(
        &self,
        url: &str,
        ledger: &Path,
        master_keys: Vec<MasterKey>,
    ) -> Result<PostgresStore, OpenError> {
        open(url, None, ledger, master_keys).await
    }

    pub fn url(&self) -> String {
        url_of(&self.server, &self.name)
    }

    /// Removes it, whoever is still connected.
    pub async fn remove(self) {
        let admin = connect(&self.server).await;
        admin.batch_execute(&format!("DROP DATABASE {} WITH (FORCE)", self.name)).await.expect("the database goes");
    }
}

/// Opens the store at `url`, with few connections.
pub async fn open(
    url: &str,
    tls_roots: Option<&str>,
    ledger: &Path,
    master_keys: Vec<MasterKey>,
) -> Result<PostgresStore, OpenError> {
    PostgresStore::open(options(url, tls_roots, ledger, master_keys)).await
}

fn options<'a>(url: &'a str, tls_roots: Option<&str>, ledger: &Path, master_keys: Vec<MasterKey>) -> OpenOptions<'a> {
    OpenOptions {
        url,
        tls_roots: tls_roots.map(|roots| roots.as_bytes().to_vec()),
        connections: Connections { point_reads: 2, long_reads: 2, writes: 6 },
        master_keys,
        deletion_ledger: ledger.to_owned(),
        wall_clock: Arc::new(FixedClock),
        renderer: 7,
        render_stub: &stub,
    }
}

fn stub(link: &Link) -> Vec<u8> {
    format!("stub of {} in state {}", link.id, link.state.as_str()).into_bytes()
}

/// A connection beside the store's own.
pub async fn connect(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.expect("the database answers");
    tokio::spawn(connection);
    client
}

/// The database that has the tables, made by whoever comes first.
async fn template(admin: &Client, server: &str) -> String {
    let mut hasher = DefaultHasher::new();
    migrations().hash(&mut hasher);
    let template = format!("template_{:016x}", hasher.finish());
    let found = admin.query_opt("SELECT 1 FROM pg_database WHERE datname = $1", &[&template]).await;
    if found.expect("the catalogue is read").is_some() {
        return template;
    }
    let own = fresh_name("making");
    admin.batch_execute(&format!("CREATE DATABASE {own} TEMPLATE template0")).await.expect("a database is made");
    PostgresStore::migrate(&url_of(server, &own), None).await.expect("the tables are made");
    // Connections end a moment after they were closed.
    let end = format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{own}'");
    loop {
        admin.batch_execute(&end).await.expect("sessions end");
        match admin.batch_execute(&format!("ALTER DATABASE {own} RENAME TO {template}")).await {
            Ok(()) => return template,
            Err(error) if error.code().is_some_and(|state| state.code() == "55006") => {}
            // Somebody else was first.
            Err(error) => {
                let is_there = error.code().is_some_and(|state| ["42P04", "23505"].contains(&state.code()));
                assert!(is_there, "{error:?}");
                admin.batch_execute(&format!("DROP DATABASE {own} WITH (FORCE)")).await.expect("the database goes");
                return template;
            }
        }
    }
}

fn migrations() -> Vec<String> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations/postgres");
    let files = std::fs::read_dir(directory).expect("the migrations are there").flatten();
    let mut texts: Vec<_> = files.map(|file| std::fs::read_to_string(file.path()).expect("a text")).collect();
    texts.sort();
    texts
}

fn fresh_name(prefix: &str) -> String {
    format!("{prefix}_{:032x}", u128::from_be_bytes(random_bytes()))
}

/// The URL of another database of the server.
fn url_of(server: &str, name: &str) -> String {
    let (address, _) = server.rsplit_once('/').expect("a URL that ends with a database");
    format!("{address}/{name}")
}
