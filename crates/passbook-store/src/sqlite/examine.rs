//! Looking the store over, for `passbook doctor`.

use jiff::Timestamp;
use rusqlite::{Connection, params};

use super::{failure::ReadError, open::known_schema_version};
use crate::port::Examination;

/// Lines of damage that are reported.
const DAMAGE_MAX: usize = 100;
/// A job that was begun this often does not get anywhere.
const STRUGGLING_FENCE: i64 = 5;

pub(super) fn examine(connection: &Connection, now: Timestamp) -> Result<Examination, ReadError> {
    let number = |sql: &str| connection.query_row(sql, [], |row| row.get::<_, i64>(0));
    let size = |sql: &str| Ok::<_, rusqlite::Error>(u64::try_from(number(sql)?).unwrap_or_default());
    let page = size("PRAGMA page_size")?;
    let oldest: Option<i64> = connection.query_row(
        "SELECT MIN(due_at) FROM jobs WHERE state = 'open' AND due_at <= ?1 AND NOT EXISTS \
         (SELECT 1 FROM apps WHERE apps.app_id = jobs.app_id AND apps.disabled_at <= ?1)",
        [now.as_microsecond()],
        |row| row.get(0),
    )?;
    Ok(Examination {
        schema_version: connection
            .query_row("SELECT MAX(version) FROM refinery_schema_history", [], |row| row.get(0))?,
        schema_known: known_schema_version(),
        damage: damage(connection)?,
        damage_searched: true,
        jobs_open: size("SELECT COUNT(*) FROM jobs WHERE state = 'open'")?,
        jobs_struggling: connection.query_row(
            "SELECT COUNT(*) FROM jobs WHERE state = 'open' AND fence >= ?1",
            params![STRUGGLING_FENCE],
            |row| row.get::<_, i64>(0).map(i64::unsigned_abs),
        )?,
        oldest_due_at: oldest.and_then(|micros| Timestamp::from_microsecond(micros).ok()),
        undestroyed: size("SELECT COUNT(*) FROM links WHERE deleted_at IS NOT NULL AND wrapped_key IS NOT NULL")?,
        bytes: page * size("PRAGMA page_count")?,
        bytes_unused: page * size("PRAGMA freelist_count")?,
    })
}

/// What SQLite finds wrong with the file, and rows whose parent is missing.
pub(super) fn damage(connection: &Connection) -> Result<Vec<String>, ReadError> {
    let mut damage = Vec::new();
    let mut integrity = connection.prepare(&format!("PRAGMA integrity_check({DAMAGE_MAX})"))?;
    let mut rows = integrity.query([])?;
    while let Some(row) = rows.next()? {
        let line: String = row.get(0)?;
        if line != "ok" {
            damage.push(line);
        }
    }
    let mut orphans =
        connection.prepare("SELECT \"table\", parent, COUNT(*) FROM pragma_foreign_key_check GROUP BY 1, 2")?;
    let mut rows = orphans.query([])?;
    while let Some(row) = rows.next()? {
        let (child, parent, count): (String, String, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
        damage.push(format!("{count} rows of {child} have no row in {parent}"));
    }
    damage.truncate(DAMAGE_MAX);
    Ok(damage)
}
