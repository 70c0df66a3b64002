//! What a piece of a commit replaced, in case the commit does not take effect.
//!
//! Rows are kept as they are, by the names of their columns, so that a store that crashed under an older schema can be
//! put right under a newer one.

use rusqlite::{Connection, params_from_iter, types::Value};
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

/// Tables whose rows are written before their commit takes effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Table {
    Transactions,
    TransactionChanges,
    InvestmentTransactions,
}

impl Table {
    fn name(self) -> &'static str {
        match self {
            Self::Transactions => "transactions",
            Self::TransactionChanges => "transaction_changes",
            Self::InvestmentTransactions => "investment_transactions",
        }
    }

    /// By which rows of one link are found.
    fn key(self) -> &'static str {
        match self {
            Self::Transactions | Self::TransactionChanges => "transaction_id",
            Self::InvestmentTransactions => "investment_transaction_id",
        }
    }

    /// The rows of a link that have one of some ids, which go as JSON: the statement is the same for any number of them.
    fn touched_rows(self) -> String {
        let (name, key) = (self.name(), self.key());
        match self {
            // By the whole key of the index that has the id: by a part of it, the search would go through every row of
            // the link by the primary key.
            Self::TransactionChanges => format!(
                "SELECT t.* FROM (SELECT DISTINCT value AS id FROM json_each(?2)) AS touched \
                 CROSS JOIN (SELECT 'created' AS kind UNION ALL SELECT 'updated' UNION ALL SELECT 'removed') AS told \
                 CROSS JOIN {name} AS t ON t.link_id = ?1 AND t.{key} = touched.id AND t.kind = told.kind"
            ),
            Self::Transactions | Self::InvestmentTransactions => format!(
                "SELECT t.* FROM (SELECT DISTINCT value AS id FROM json_each(?2)) AS touched \
                 CROSS JOIN {name} AS t ON t.link_id = ?1 AND t.{key} = touched.id"
            ),
        }
    }
}

/// The rows of one table that a piece touched: after it is taken back, those with these ids are these rows.
#[derive(Debug, Serialize, Deserialize)]
struct Touched {
    table: Table,
    ids: Vec<String>,
    columns: Vec<String>,
    rows: Vec<Vec<Json>>,
}

/// What a piece replaced, in its order.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Replaced(Vec<Touched>);

impl Replaced {
    /// Notes the rows with these ids, which are about to be written.
    pub(super) fn note<'a>(
        &mut self,
        connection: &Connection,
        link: &str,
        table: Table,
        ids: impl Iterator<Item = &'a str>,
    ) -> rusqlite::Result<()> {
        let ids: Vec<String> = ids.map(ToOwned::to_owned).collect();
        let mut statement = connection.prepare_cached(&table.touched_rows())?;
        let columns: Vec<String> = statement.column_names().map(ToOwned::to_owned).collect();
        let mut found = statement.query((link, serde_json::to_string(&ids).expect("texts serialise")))?;
        let mut rows = Vec::new();
        while let Some(row) = found.next()? {
            rows.push((0..columns.len()).map(|place| Ok(json(row.get(place)?))).collect::<rusqlite::Result<_>>()?);
        }
        self.0.push(Touched { table, ids, columns, rows });
        Ok(())
    }

    /// Whether nothing was noted.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn to_json(&self) -> String {
        serde_json::to_string(self).expect("texts and numbers serialise")
    }
}

/// Puts back what [`Replaced::to_json`] of a piece says. Later pieces must have been taken back already.
pub(super) fn put_back(connection: &Connection, link: &str, replaced: &str) -> rusqlite::Result<()> {
    let Replaced(touched) = serde_json::from_str(replaced).map_err(not_understood)?;
    for Touched { table, ids, columns, rows } in touched.into_iter().rev() {
        let (name, key) = (table.name(), table.key());
        let ids = serde_json::to_string(&ids).expect("texts serialise");
        connection
            .prepare_cached(&format!(
                "DELETE FROM {name} WHERE link_id = ?1 AND {key} IN (SELECT value FROM json_each(?2))"
            ))?
            .execute((link, ids))?;
        let names: Vec<_> = columns.iter().map(|column| format!("\"{}\"", column.replace('"', "\"\""))).collect();
        let places: Vec<_> = (1..=columns.len()).map(|place| format!("?{place}")).collect();
        let sql = format!("INSERT INTO {name} ({}) VALUES ({})", names.join(", "), places.join(", "));
        let mut insert = connection.prepare_cached(&sql)?;
        for row in rows {
            let values = row.into_iter().map(value).collect::<rusqlite::Result<Vec<_>>>()?;
            insert.execute(params_from_iter(values))?;
        }
    }
    Ok(())
}

/// The tables hold texts and whole numbers only.
fn json(value: Value) -> Json {
    match value {
        Value::Null => Json::Null,
        Value::Integer(number) => number.into(),
        Value::Real(number) => number.into(),
        Value::Text(text) => text.into(),
        Value::Blob(bytes) => bytes.into(),
    }
}

fn value(json: Json) -> rusqlite::Result<Value> {
    match json {
        Json::Null => Ok(Value::Null),
        Json::String(text) => Ok(Value::Text(text)),
        Json::Number(number) => match number.as_i64() {
            Some(whole) => Ok(Value::Integer(whole)),
            None => Ok(Value::Real(number.as_f64().unwrap_or_default())),
        },
        Json::Array(bytes) => Ok(Value::Blob(
            bytes.iter().filter_map(|byte| byte.as_u64().and_then(|byte| u8::try_from(byte).ok())).collect(),
        )),
        other => Err(not_understood(format!("{other} is no column"))),
    }
}

fn not_understood(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(0, rusqlite::types::Type::Text, error.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_touched_is_found_by_an_index_that_has_the_id() {
        let connection = Connection::open_in_memory().unwrap();
        connection.execute_batch(include_str!("../../migrations/sqlite/V1__create_store.sql")).unwrap();
        connection.execute_batch(include_str!("../../migrations/sqlite/V6__follow_changes.sql")).unwrap();
        connection.execute_batch(include_str!("../../migrations/sqlite/V8__keep_investments.sql")).unwrap();
        for table in [Table::Transactions, Table::TransactionChanges, Table::InvestmentTransactions] {
            let sql = format!("EXPLAIN QUERY PLAN {}", table.touched_rows());
            let mut statement = connection.prepare(&sql).unwrap();
            let plan: Vec<String> =
                statement.query_map(("link", "[]"), |row| row.get(3)).unwrap().collect::<Result<_, _>>().unwrap();
            let wanted = format!("(link_id=? AND {}=?", table.key());
            assert!(plan.iter().any(|line| line.contains(&wanted)), "{plan:?}");
            assert!(!plan.iter().any(|line| line.contains("(link_id=?)")), "{plan:?}");
        }
    }
}
