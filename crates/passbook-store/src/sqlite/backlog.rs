//! The `unfinished_work` table: what was begun and is done in several transactions.
//!
//! Every function here does a bounded amount and leaves the table saying what is left, so a crash between two
//! transactions loses nothing: the next opening finishes it before anything is served.

use passbook_core::ids::LinkId;
use rusqlite::{Connection, OptionalExtension as _, params};

use super::{failure::WriteError, links::give_up_place, undo};

/// Rows of each table that go at a time.
const ROWS_AT_ONCE: i64 = 500;
/// The tables that hold many rows of a link.
const ERASE: [&str; 3] = [
    "DELETE FROM transactions WHERE rowid IN (SELECT rowid FROM transactions WHERE link_id = ?1 LIMIT ?2)",
    "DELETE FROM transaction_changes WHERE link_id = ?1 AND position IN \
     (SELECT position FROM transaction_changes WHERE link_id = ?1 ORDER BY position LIMIT ?2)",
    "DELETE FROM investment_transactions WHERE rowid IN \
     (SELECT rowid FROM investment_transactions WHERE link_id = ?1 LIMIT ?2)",
];
const BEGIN: &str = "INSERT INTO unfinished_work (kind, subject, piece, data) VALUES (?1, ?2, ?3, ?4) \
    ON CONFLICT (kind, subject, piece) DO NOTHING";
const END: &str = "DELETE FROM unfinished_work WHERE kind = ?1 AND subject = ?2 AND piece = ?3";

const COMMIT: &str = "commit";
const UNDO: &str = "undo";
const ERASURE: &str = "erase";
const RETIMING: &str = "retime";
/// The link of an unfinished commit is new: all of its rows go. Otherwise there are `undo` rows.
const OF_NEW_LINK: &str = "new";
const OF_OLD_LINK: &str = "old";

/// Erases the first rows of a link whose key was just destroyed; whether the rest is left to [`work`].
pub(super) fn erase_rows_at_first(connection: &Connection, link: &LinkId) -> Result<bool, WriteError> {
    if erase_rows(connection, link.as_str())? {
        return Ok(false);
    }
    connection.prepare_cached(BEGIN)?.execute(params![ERASURE, link.as_str(), 0, ""])?;
    Ok(true)
}

/// Erases up to [`ROWS_AT_ONCE`] rows of each table; whether none is left.
fn erase_rows(connection: &Connection, link: &str) -> rusqlite::Result<bool> {
    let mut is_done = true;
    for sql in ERASE {
        let gone = connection.prepare_cached(sql)?.execute(params![link, ROWS_AT_ONCE])?;
        is_done &= (gone as i64) < ROWS_AT_ONCE;
    }
    Ok(is_done)
}

/// Remembers that rows of `link` are about to be written before their commit takes effect.
pub(super) fn begin_commit(connection: &Connection, link: &LinkId, is_new: bool) -> Result<(), WriteError> {
    // Of an earlier commit, which has taken effect: normally nothing, since no commit is begun before that is gone.
    forget_replaced(connection, link)?;
    let data = if is_new { OF_NEW_LINK } else { OF_OLD_LINK };
    connection.prepare_cached(BEGIN)?.execute(params![COMMIT, link.as_str(), 0, data])?;
    Ok(())
}

/// Forgets what earlier commits of the link replaced.
pub(super) fn forget_replaced(connection: &Connection, link: &LinkId) -> rusqlite::Result<()> {
    const SQL: &str = "DELETE FROM unfinished_work WHERE kind = 'undo' AND subject = ?1";
    connection.prepare_cached(SQL)?.execute([link.as_str()]).map(|_| ())
}

/// Remembers what the next piece of the commit replaced.
pub(super) fn add_undo(connection: &Connection, link: &LinkId, replaced: &undo::Replaced) -> Result<(), WriteError> {
    const SQL: &str = "INSERT INTO unfinished_work (kind, subject, piece, data) \
        SELECT 'undo', ?1, COALESCE(MAX(piece), 0) + 1, ?2 FROM unfinished_work WHERE kind = 'undo' AND subject = ?1";
    connection.prepare_cached(SQL)?.execute(params![link.as_str(), replaced.to_json()])?;
    Ok(())
}

/// The commit takes effect in this transaction; whether something of it is left to [`work`].
pub(super) fn end_commit(connection: &Connection, link: &LinkId) -> Result<bool, WriteError> {
    const LEFT: &str = "SELECT 1 FROM unfinished_work WHERE kind = 'undo' AND subject = ?1 LIMIT 1";
    connection.prepare_cached(END)?.execute(params![COMMIT, link.as_str(), 0])?;
    Ok(connection.prepare_cached(LEFT)?.exists([link.as_str()])?)
}

/// Takes back a part of a commit that does not take effect; whether all of it is gone.
pub(super) fn take_back(
    connection: &Connection,
    link: &str,
    is_time_up: &dyn Fn() -> bool,
) -> Result<bool, rusqlite::Error> {
    const BEGUN: &str = "SELECT data FROM unfinished_work WHERE kind = 'commit' AND subject = ?1";
    const LAST: &str = "SELECT piece, data FROM unfinished_work WHERE kind = 'undo' AND subject = ?1 \
        ORDER BY piece DESC LIMIT 1";
    let begun: Option<String> = connection.prepare_cached(BEGUN)?.query_row([link], |row| row.get(0)).optional()?;
    match begun.as_deref() {
        None => return Ok(true),
        Some(OF_NEW_LINK) => {
            while !erase_rows(connection, link)? {
                if is_time_up() {
                    return Ok(false);
                }
            }
            give_up_place(connection, link)?;
        }
        Some(_) => {
            let last: Option<(i64, String)> =
                connection.prepare_cached(LAST)?.query_row([link], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
            if let Some((piece, data)) = last {
                undo::put_back(connection, link, &data)?;
                connection.prepare_cached(END)?.execute(params![UNDO, link, piece])?;
                return Ok(false);
            }
        }
    }
    connection.prepare_cached(END)?.execute(params![COMMIT, link, 0])?;
    Ok(true)
}

/// Links with a commit that has not taken effect.
pub(super) fn list_unfinished_commits(connection: &Connection) -> rusqlite::Result<Vec<String>> {
    texts(connection, "SELECT subject FROM unfinished_work WHERE kind = 'commit' ORDER BY subject")
}

fn texts(connection: &Connection, sql: &str) -> rusqlite::Result<Vec<String>> {
    connection.prepare(sql)?.query_map([], |row| row.get(0))?.collect()
}

/// What a turn of [`work`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Worked {
    /// Nothing is left.
    pub is_done: bool,
    /// Rows of deleted links were erased.
    pub has_erased: bool,
}

/// Does some of what nobody waits for: erases rows of deleted links, and what commits kept in case they had to be taken
/// back.
pub(super) fn work(connection: &Connection, is_time_up: &dyn Fn() -> bool) -> rusqlite::Result<Worked> {
    const ERASED_NEXT: &str = "SELECT subject FROM unfinished_work WHERE kind = 'erase' ORDER BY subject LIMIT 1";
    const USELESS_NEXT: &str = "SELECT subject, piece FROM unfinished_work AS undo WHERE kind = 'undo' AND NOT EXISTS \
        (SELECT 1 FROM unfinished_work AS begun WHERE begun.kind = 'commit' AND begun.subject = undo.subject) LIMIT 1";
    let mut has_erased = false;
    loop {
        let next: Option<String> =
            connection.prepare_cached(ERASED_NEXT)?.query_row([], |row| row.get(0)).optional()?;
        let useless: Option<(String, i64)> = match next {
            Some(_) => None,
            None => connection
                .prepare_cached(USELESS_NEXT)?
                .query_row([], |row| Ok((row.get(0)?, row.get(1)?)))
                .optional()?,
        };
        match (next, useless) {
            (Some(link), _) => {
                has_erased = true;
                if erase_rows(connection, &link)? {
                    connection.prepare_cached(END)?.execute(params![ERASURE, link, 0])?;
                }
            }
            (None, Some((link, piece))) => {
                connection.prepare_cached(END)?.execute(params![UNDO, link, piece])?;
            }
            (None, None) => return Ok(Worked { is_done: true, has_erased }),
        }
        if is_time_up() {
            return Ok(Worked { is_done: false, has_erased });
        }
    }
}

/// Remembers that due times of the app have to be made to follow its clock. `number` tells several of them apart.
pub(super) fn begin_retiming(connection: &Connection, app: &str, number: i64) -> Result<(), WriteError> {
    connection.prepare_cached(BEGIN)?.execute(params![RETIMING, app, number, ""])?;
    Ok(())
}

/// All due times of the app follow its clock.
pub(super) fn end_retiming(connection: &Connection, app: &str, number: i64) -> Result<(), WriteError> {
    connection.prepare_cached(END)?.execute(params![RETIMING, app, number])?;
    Ok(())
}

/// Apps whose due times may not follow their clock, with the number of each change.
pub(super) fn list_retimings(connection: &Connection) -> rusqlite::Result<Vec<(String, i64)>> {
    let mut statement = connection.prepare("SELECT subject, piece FROM unfinished_work WHERE kind = 'retime'")?;
    statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
}
