//! The `link_usage` and `app_usage` tables: what an app's quota goes by.

use passbook_core::ids::{AppId, LinkId};
use rusqlite::{Connection, params};

use super::{
    failure::{ReadError, WriteError},
    links::first,
};
use crate::{
    port::AppUsage,
    stored::{columns::Columns, usage::UsageChange},
};

/// Counts what a commit changes.
pub(super) fn count(connection: &Connection, change: &UsageChange) -> Result<(), WriteError> {
    // Before the link's own counters, whose average a removed row gives back.
    const APP: &str = "INSERT INTO app_usage (app_id, shard, row_count, byte_count) \
        SELECT ?1, ?2, ?3 - ?4, ?5 - COALESCE((SELECT byte_count * ?4 / row_count FROM link_usage \
        WHERE link_id = ?6 AND row_count > 0), 0) WHERE TRUE ON CONFLICT (app_id, shard) \
        DO UPDATE SET row_count = app_usage.row_count + excluded.row_count, \
        byte_count = app_usage.byte_count + excluded.byte_count";
    const LINK: &str = "INSERT INTO link_usage (link_id, app_id, shard, row_count, byte_count) \
        VALUES (?6, ?1, ?2, ?3 - ?4, ?5) ON CONFLICT (link_id) DO UPDATE SET \
        byte_count = link_usage.byte_count + excluded.byte_count - CASE WHEN link_usage.row_count > 0 \
        THEN link_usage.byte_count * ?4 / link_usage.row_count ELSE 0 END, \
        row_count = link_usage.row_count + excluded.row_count";
    for sql in [APP, LINK] {
        connection.prepare_cached(sql)?.execute(params![
            change.tenant.app_id.as_str(),
            change.shard,
            change.added,
            change.removed,
            change.bytes,
            change.link.as_str(),
        ])?;
    }
    Ok(())
}

/// Gives back what a destroyed link had.
pub(super) fn give_back(connection: &Connection, link: &LinkId) -> Result<(), WriteError> {
    const APP: &str = "INSERT INTO app_usage (app_id, shard, row_count, byte_count) \
        SELECT app_id, shard, -row_count, -byte_count FROM link_usage WHERE link_id = ?1 ON CONFLICT (app_id, shard) \
        DO UPDATE SET row_count = app_usage.row_count + excluded.row_count, \
        byte_count = app_usage.byte_count + excluded.byte_count";
    for sql in [APP, "DELETE FROM link_usage WHERE link_id = ?1"] {
        connection.prepare_cached(sql)?.execute([link.as_str()])?;
    }
    Ok(())
}

pub(super) fn app_usage(connection: &Connection, app: &AppId) -> Result<AppUsage, ReadError> {
    const SQL: &str =
        "SELECT COALESCE(SUM(row_count), 0), COALESCE(SUM(byte_count), 0) FROM app_usage WHERE app_id = ?1";
    let usage = first(connection, SQL, [app.as_str()], |row| {
        let columns = Columns { row, table: "app_usage", key: app.as_str() };
        Ok(AppUsage { rows: columns.integer(0, "row_count")?, bytes: columns.integer(1, "byte_count")? })
    })?;
    Ok(usage.unwrap_or_default())
}
