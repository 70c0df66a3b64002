//! Importing 4,000 transactions, by a statement file or by `POST /links/import`, against inserting the same rows and
//! nothing else.

use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use rusqlite::Connection;
use rusqlite::types::Value;
use serde_json::json;

use super::Bench;
use super::pairs::{Comparison, alternate};
use super::report::Report;
use crate::api::{Api, Body, import_file_path};
use crate::server::Server;
use crate::statement::Account;
use crate::torture::databases_in;

/// Transactions in the file.
pub const TRANSACTIONS: u32 = 4_000;

/// The rows one import wrote into one table.
struct Rows {
    table: String,
    columns: Vec<String>,
    rows: Vec<Vec<Value>>,
}

/// Measures both ways, each on stores of the same content.
pub async fn measure(bench: &Bench, report: &mut Report) -> Result<()> {
    let title = format!("import of {TRANSACTIONS} transactions / raw insert: ms");
    measure_way(bench, report, ("import", &title), import).await?;
    let title = format!("`POST /links/import` of {TRANSACTIONS} transactions / raw insert: ms");
    measure_way(bench, report, ("import-link", &title), import_link).await
}

async fn measure_way(
    bench: &Bench,
    report: &mut Report,
    (name, title): (&str, &str),
    import: impl AsyncFn(&mut Api, u32) -> Result<(String, f64)>,
) -> Result<()> {
    let plan = bench.plan(name);
    std::fs::create_dir_all(&plan.data)?;
    let server = Server::start(&plan).await?;
    let link_id = import(&mut Api::new(&server), 0).await?.0;
    server.stop().await?;
    let mut raw = RawStore::open(&plan.data, &link_id)?;
    let server = Server::start(&plan).await?;
    let mut api = Api::new(&server);
    let (mut imported, mut inserted) = (0, 0);
    let pairs = alternate(
        bench.scale.pairs.max(5),
        async || {
            imported += 1;
            Ok(import(&mut api, imported).await?.1)
        },
        async || {
            inserted += 1;
            raw.insert(inserted)
        },
    )
    .await?;
    report.add(title, &Comparison::of(&pairs, |ms| *ms));
    server.stop().await
}

/// Imports a link with one account; gives its id and the milliseconds until the durable answer.
async fn import_link(api: &mut Api, position: u32) -> Result<(String, f64)> {
    let row = |n: u32| {
        json!({
            "account_id": "a", "transaction_id": format!("t{n}"), "amount": format!("-{}.{:02}", n % 900 + 1, n % 100),
            "date": format!("20{:02}-{:02}-{:02}", n / 336 % 20, n / 28 % 12 + 1, n % 28 + 1),
            "description": format!("Payee number {n}"),
        })
    };
    let body = json!({
        "customer_user": { "id": format!("bench-link-{position}") }, "institution_id": "credentials_bank",
        "accounts": [{ "account_id": "a", "name": "A", "type": "checking", "mask": "1234", "balances": {} }],
        "transactions": (0..TRANSACTIONS).map(row).collect::<Vec<_>>(),
    });
    // The token is not part of an import.
    api.token().await?;
    let begun = Instant::now();
    let answer = api.call("POST", "/links/import", Body::Json(&body)).await?;
    let took = begun.elapsed().as_secs_f64() * 1000.0;
    let body = answer.json();
    ensure!(answer.status == 200, "the import answered {}: {body}", answer.status);
    Ok((body["link_id"].as_str().context("no link id")?.to_owned(), took))
}

/// Imports a new account's file; gives the link's id and the milliseconds until the durable answer.
pub async fn import(api: &mut Api, position: u32) -> Result<(String, f64)> {
    let file = Account::new(0, position).statement(0..TRANSACTIONS);
    let path = import_file_path(&format!("bench-import-{position}"));
    // The token is not part of an import.
    api.token().await?;
    let begun = Instant::now();
    let answer = api.call("POST", &path, Body::Statement(&file)).await?;
    let took = begun.elapsed().as_secs_f64() * 1000.0;
    let body = answer.json();
    ensure!(answer.status == 201 && body["created"] == TRANSACTIONS, "the import answered {}: {body}", answer.status);
    Ok((body["link_id"].as_str().context("no link id")?.to_owned(), took))
}

/// A copy of the store, written without the server.
struct RawStore {
    connection: Connection,
    rows: Vec<Rows>,
    link_id: String,
    _directory: tempfile::TempDir,
}

impl RawStore {
    fn open(data: &Path, link_id: &str) -> Result<Self> {
        // On the same disk: syncing is the larger part of both.
        let directory = tempfile::tempdir_in(data.parent().context("a parent")?)?;
        crate::torture::copy_files(data, directory.path())?;
        let databases = databases_in(directory.path())?;
        let connection = Connection::open(databases.first().context("no database")?)?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        let rows = rows_of(&connection, link_id)?;
        Ok(Self { connection, rows, link_id: link_id.to_owned(), _directory: directory })
    }

    /// Inserts the same rows for another link in one transaction; gives the milliseconds until they are durable.
    fn insert(&mut self, position: u32) -> Result<f64> {
        let link_id = format!("{}{position:06}", &self.link_id[..self.link_id.len() - 6]);
        self.copy_link(&link_id)?;
        let begun = Instant::now();
        let transaction = self.connection.transaction()?;
        for Rows { table, columns, rows } in &self.rows {
            let marks = vec!["?"; columns.len()].join(", ");
            let sql = format!("INSERT INTO {table} ({}) VALUES ({marks})", columns.join(", "));
            let mut statement = transaction.prepare(&sql)?;
            for row in rows {
                let moved = columns.iter().zip(row).map(|(column, value)| match column.as_str() {
                    "link_id" => Value::Text(link_id.clone()),
                    _ => value.clone(),
                });
                statement.execute(rusqlite::params_from_iter(moved))?;
            }
        }
        transaction.commit()?;
        Ok(begun.elapsed().as_secs_f64() * 1000.0)
    }

    /// The parent that the rows' foreign keys ask for; not part of the measurement.
    fn copy_link(&self, link_id: &str) -> Result<()> {
        let columns = columns_of(&self.connection, "links")?;
        let values = columns.iter().map(|column| match column.as_str() {
            "link_id" => "?1",
            // Unique: the key by which a later file finds its link.
            "import_key" => "NULL",
            other => other,
        });
        let values = values.collect::<Vec<_>>().join(", ");
        let sql = format!("INSERT INTO links ({}) SELECT {values} FROM links WHERE link_id = ?2", columns.join(", "));
        self.connection.execute(&sql, [link_id, &self.link_id])?;
        Ok(())
    }
}

fn columns_of(connection: &Connection, table: &str) -> Result<Vec<String>> {
    let mut statement = connection.prepare("SELECT name FROM pragma_table_info(?1)")?;
    let names = statement.query_map([table], |row| row.get(0))?;
    names.collect::<rusqlite::Result<_>>().context("the columns of a table")
}

/// Every row of the link in the tables that hold one row for each transaction.
fn rows_of(connection: &Connection, link_id: &str) -> Result<Vec<Rows>> {
    let mut tables = connection.prepare(
        "SELECT m.name FROM sqlite_schema AS m JOIN pragma_table_info(m.name) AS c
         WHERE m.type = 'table' AND c.name = 'link_id' ORDER BY m.name",
    )?;
    let tables = tables.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<Vec<String>>>()?;
    let mut found = Vec::new();
    for table in tables {
        let mut statement = connection.prepare(&format!("SELECT * FROM {table} WHERE link_id = ?1"))?;
        let columns: Vec<String> = statement.column_names().map(ToOwned::to_owned).collect();
        let read = |row: &rusqlite::Row<'_>| (0..columns.len()).map(|column| row.get(column)).collect();
        let rows = statement.query_map([link_id], read)?.collect::<rusqlite::Result<Vec<Vec<Value>>>>()?;
        if rows.len() >= TRANSACTIONS as usize {
            found.push(Rows { table, columns, rows });
        }
    }
    ensure!(!found.is_empty(), "no table of the store holds the imported transactions");
    Ok(found)
}
