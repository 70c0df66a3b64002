//! Where a test's server keeps its rows: a file, or a database of its own in a PostgreSQL cluster that all tests share.

use std::{
    future::Future,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    path::Path,
    sync::Arc,
};

use passbook::views;
use passbook_core::time::Clock;
use passbook_store::{
    port::Store,
    postgres::{self, Connections, PostgresStore},
    sealing::{Keys, MasterKey, random_bytes},
    sqlite::{self, SqliteStore, load_or_create_master_keys},
};
use tempfile::TempDir;
use tokio_postgres::{Client, NoTls, types::ToSql};

/// Which store the tests of a run use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreKind {
    Embedded,
    Postgres,
}

impl StoreKind {
    /// The embedded one, unless `PASSBOOK_TEST_STORE` says `postgres`, as the step `api-postgres` does.
    #[expect(clippy::disallowed_methods, reason = "a setting of the test run, which the server never sees")]
    pub fn of_this_run() -> Self {
        match std::env::var("PASSBOOK_TEST_STORE").as_deref() {
            Err(_) | Ok("embedded") => Self::Embedded,
            Ok("postgres") => Self::Postgres,
            Ok(other) => panic!("PASSBOOK_TEST_STORE is embedded or postgres, not {other}"),
        }
    }
}

/// A value of a row, or of a parameter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cell {
    Null,
    Integer(i64),
    Text(String),
    Bytes(Vec<u8>),
}

/// The files of a server, and its database if that is not one of them.
pub struct Home {
    directory: TempDir,
    database: Option<Database>,
}

impl Home {
    /// Without PostgreSQL on this machine the embedded store takes its place, which the test's output says.
    pub async fn new(kind: StoreKind) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let database = match kind {
            StoreKind::Embedded => None,
            StoreKind::Postgres => Database::create().await,
        };
        Self { directory, database }
    }

    pub async fn open(&self, clock: Arc<dyn Clock>) -> (Arc<dyn Store>, Arc<Keys>) {
        let path = self.directory.path().join("passbook.db");
        let deletion_ledger = self.directory.path().join("deletions.ledger");
        let key_file = self.directory.path().join("master.key");
        let Some(database) = &self.database else {
            let master_keys = load_or_create_master_keys(&key_file, &path, &deletion_ledger).expect("master keys");
            let store = SqliteStore::open(sqlite::OpenOptions {
                path,
                master_keys,
                deletion_ledger,
                clock,
                renderer: views::RENDERER,
                render_stub: &views::link_view,
            });
            let store = store.expect("an empty store opens");
            let keys = Arc::clone(store.keys());
            return (Arc::new(store), keys);
        };
        let options = postgres::OpenOptions {
            url: &database.url,
            tls_roots: None,
            connections: Connections { point_reads: 1, long_reads: 2, writes: 4 },
            master_keys: database.master_keys.clone(),
            deletion_ledger,
            wall_clock: Arc::clone(&clock),
            renderer: views::RENDERER,
            render_stub: &views::link_view,
        };
        let store = PostgresStore::open_with_clock(options, clock).await.expect("an empty store opens");
        let keys = Arc::clone(store.keys());
        (Arc::new(store), keys)
    }

    fn file(&self) -> rusqlite::Connection {
        rusqlite::Connection::open(self.directory.path().join("passbook.db")).expect("the store's file")
    }

    /// Runs a statement with parameters `?1`, `?2`, … beside the server: its rows, or how many it changed.
    pub fn sql(&self, sql: &str, parameters: &[Cell]) -> Answered {
        match &self.database {
            None => of_sqlite(&self.file(), sql, parameters),
            Some(database) => {
                let sql = translated(sql);
                let parameters = parameters.to_vec();
                let url = database.url.clone();
                apart(async move { of_postgres(&connect(&url).await, &sql, &parameters).await })
            }
        }
    }

    /// What orders rows by when they were written last.
    pub fn written_order(&self) -> &'static str {
        if self.database.is_none() { "rowid" } else { "xmin::TEXT::BIGINT" }
    }

    /// Every byte of every file of the store; of a database, all that its tables hold.
    pub fn bytes(&self) -> Vec<u8> {
        let files = std::fs::read_dir(self.directory.path()).expect("the directory");
        let mut bytes: Vec<u8> =
            files.flat_map(|file| std::fs::read(file.expect("a file").path()).expect("its bytes")).collect();
        if let Some(database) = &self.database {
            let url = database.url.clone();
            bytes.extend(apart(async move { everything(&connect(&url).await).await }));
        }
        bytes
    }
}

/// What a statement gave.
pub struct Answered {
    pub rows: Vec<Vec<Cell>>,
    pub changed: u64,
}

impl Answered {
    /// The one whole number of a query.
    pub fn number(&self) -> i64 {
        match self.rows.as_slice() {
            [row] => row[0].integer(),
            rows => panic!("{} rows", rows.len()),
        }
    }
}

impl Cell {
    pub fn integer(&self) -> i64 {
        let Self::Integer(number) = self else { panic!("not a number: {self:?}") };
        *number
    }

    pub fn text(&self) -> String {
        let Self::Text(text) = self else { panic!("not a text: {self:?}") };
        text.clone()
    }
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<&String> for Cell {
    fn from(text: &String) -> Self {
        Self::Text(text.clone())
    }
}

fn of_sqlite(file: &rusqlite::Connection, sql: &str, parameters: &[Cell]) -> Answered {
    use rusqlite::types::Value;
    let mut statement = file.prepare(sql).unwrap_or_else(|error| panic!("{sql}: {error}"));
    let parameters = rusqlite::params_from_iter(parameters.iter().map(|cell| match cell {
        Cell::Null => Value::Null,
        Cell::Integer(number) => Value::Integer(*number),
        Cell::Text(text) => Value::Text(text.clone()),
        Cell::Bytes(bytes) => Value::Blob(bytes.clone()),
    }));
    let columns = statement.column_count();
    if columns == 0 {
        return Answered {
            rows: Vec::new(),
            changed: statement.execute(parameters).expect("the statement runs") as u64,
        };
    }
    let cell = |row: &rusqlite::Row<'_>, at| match row.get(at)? {
        Value::Null => Ok(Cell::Null),
        Value::Integer(number) => Ok(Cell::Integer(number)),
        Value::Text(text) => Ok(Cell::Text(text)),
        Value::Blob(bytes) => Ok(Cell::Bytes(bytes)),
        Value::Real(number) => panic!("a real number: {number}"),
    };
    let rows = statement.query_map(parameters, |row| (0..columns).map(|at| cell(row, at)).collect());
    Answered { rows: rows.and_then(Iterator::collect).expect("the rows are read"), changed: 0 }
}

/// The same statement in the words of PostgreSQL: `?1` is `$1`, and bytes are written otherwise.
fn translated(sql: &str) -> String {
    let mut sql = sql.replace('?', "$");
    while let Some(at) = sql.find("X'") {
        let end = at + 2 + sql[at + 2..].find('\'').expect("bytes end");
        sql = format!("{}'\\x{}'::BYTEA{}", &sql[..at], &sql[at + 2..end], &sql[end + 1..]);
    }
    sql
}

async fn of_postgres(client: &Client, sql: &str, parameters: &[Cell]) -> Answered {
    let parameters: Vec<&(dyn ToSql + Sync)> = parameters
        .iter()
        .map(|cell| match cell {
            Cell::Null => &None::<i64> as &(dyn ToSql + Sync),
            Cell::Integer(number) => number,
            Cell::Text(text) => text,
            Cell::Bytes(bytes) => bytes,
        })
        .collect();
    let statement = client.prepare(sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    if statement.columns().is_empty() {
        let changed = client.execute(&statement, &parameters).await.expect("the statement runs");
        return Answered { rows: Vec::new(), changed };
    }
    let cell = |row: &tokio_postgres::Row, at: usize| match row.columns()[at].type_().name() {
        "int8" => row.get::<_, Option<i64>>(at).map_or(Cell::Null, Cell::Integer),
        "int4" => row.get::<_, Option<i32>>(at).map_or(Cell::Null, |number| Cell::Integer(number.into())),
        "bytea" => row.get::<_, Option<Vec<u8>>>(at).map_or(Cell::Null, Cell::Bytes),
        _ => row.get::<_, Option<String>>(at).map_or(Cell::Null, Cell::Text),
    };
    let rows = client.query(&statement, &parameters).await.expect("the rows are read");
    let rows = rows.iter().map(|row| (0..row.len()).map(|at| cell(row, at)).collect()).collect();
    Answered { rows, changed: 0 }
}

async fn everything(client: &Client) -> Vec<u8> {
    // Readable bytes stay readable.
    client.batch_execute("SET bytea_output = 'escape'").await.expect("the setting is known");
    let tables = "SELECT tablename::TEXT FROM pg_tables WHERE schemaname = 'public'";
    let mut bytes = Vec::new();
    for table in client.query(tables, &[]).await.expect("the catalogue is read") {
        let table: String = table.get(0);
        for row in client.query(&format!("SELECT t::TEXT FROM {table} t"), &[]).await.expect("the rows are read") {
            bytes.extend(row.get::<_, String>(0).into_bytes());
        }
    }
    bytes
}

/// Runs a future to its end on a thread of its own, for callers that cannot wait.
fn apart<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> T {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    std::thread::spawn(move || runtime().block_on(work)).join().expect("the work is done")
}

/// A database that goes with its owner.
struct Database {
    server: String,
    name: String,
    url: String,
    /// What the operator of a server over a database gives it at every start.
    master_keys: Vec<MasterKey>,
}

impl Database {
    async fn create() -> Option<Self> {
        let server = postgres_cluster::shared()?;
        let admin = connect(&server).await;
        let template = template(&admin, &server).await;
        let name = fresh_name("api");
        admin.batch_execute(&format!("CREATE DATABASE {name} TEMPLATE {template}")).await.expect("a database is made");
        Some(Self { url: url_of(&server, &name), master_keys: vec![MasterKey::generate()], server, name })
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let (server, drop) = (self.server.clone(), format!("DROP DATABASE {} WITH (FORCE)", self.name));
        // A database that stays goes with the cluster.
        apart(async move {
            let _left_to_the_cluster = connect(&server).await.batch_execute(&drop).await;
        });
    }
}

async fn connect(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.expect("the database answers");
    tokio::spawn(connection);
    client
}

/// The database that has the tables, made by whoever comes first.
async fn template(admin: &Client, server: &str) -> String {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../passbook-store/migrations/postgres");
    let files = std::fs::read_dir(directory).expect("the migrations are there").flatten();
    let mut texts: Vec<_> = files.map(|file| std::fs::read_to_string(file.path()).expect("a text")).collect();
    texts.sort();
    let mut hasher = DefaultHasher::new();
    texts.hash(&mut hasher);
    let template = format!("api_template_{:016x}", hasher.finish());
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
            Err(_) => {
                admin.batch_execute(&format!("DROP DATABASE {own} WITH (FORCE)")).await.expect("the database goes");
                return template;
            }
        }
    }
}

fn fresh_name(prefix: &str) -> String {
    format!("{prefix}_{:032x}", u128::from_be_bytes(random_bytes()))
}

/// The URL of another database of the server.
fn url_of(server: &str, name: &str) -> String {
    let (address, _) = server.rsplit_once('/').expect("a URL that ends with a database");
    format!("{address}/{name}")
}
