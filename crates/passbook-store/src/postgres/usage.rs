//! The `link_usage` and `app_usage` tables: what an app's quota goes by.

use passbook_core::ids::AppId;

use super::{readers::Readers, values::values, work::Step};
use crate::{
    port::{AppUsage, StoreError},
    stored::{columns::Columns, usage::UsageChange},
};

// Before the link's own counters, whose average a removed row gives back.
const COUNT_APP_USAGE: &str = "INSERT INTO app_usage (app_id, shard, row_count, byte_count) \
    SELECT $1::TEXT, $2::BIGINT, $3::BIGINT - $4::BIGINT, $5::BIGINT - COALESCE((SELECT u.byte_count * $4::BIGINT \
    / u.row_count FROM link_usage u WHERE u.link_id = $6 AND u.row_count > 0), 0) ON CONFLICT (app_id, shard) \
    DO UPDATE SET row_count = app_usage.row_count + excluded.row_count, \
    byte_count = app_usage.byte_count + excluded.byte_count";
const COUNT_LINK_USAGE: &str = "INSERT INTO link_usage (link_id, app_id, shard, row_count, byte_count) \
    VALUES ($6, $1, $2, $3::BIGINT - $4::BIGINT, $5) ON CONFLICT (link_id) DO UPDATE SET \
    byte_count = link_usage.byte_count + excluded.byte_count - CASE WHEN link_usage.row_count > 0 \
    THEN link_usage.byte_count * $4::BIGINT / link_usage.row_count ELSE 0 END, \
    row_count = link_usage.row_count + excluded.row_count";
/// Gives back what the link $1 had; the next one forgets it.
pub(super) const GIVE_BACK_USAGE: &str = "INSERT INTO app_usage (app_id, shard, row_count, byte_count) \
    SELECT app_id, shard, -row_count, -byte_count FROM link_usage WHERE link_id = $1 ON CONFLICT (app_id, shard) \
    DO UPDATE SET row_count = app_usage.row_count + excluded.row_count, \
    byte_count = app_usage.byte_count + excluded.byte_count";
pub(super) const FORGET_USAGE: &str = "DELETE FROM link_usage WHERE link_id = $1";
const APP_USAGE: &str = "SELECT COALESCE(SUM(row_count), 0)::BIGINT, COALESCE(SUM(byte_count), 0)::BIGINT \
    FROM app_usage WHERE app_id = $1";

/// Counts what a commit changes.
pub(super) fn count(change: &UsageChange) -> [Step<'_>; 2] {
    [COUNT_APP_USAGE, COUNT_LINK_USAGE].map(|sql| {
        let values = values![
            change.tenant.app_id.as_str(),
            change.shard,
            change.added,
            change.removed,
            change.bytes,
            change.link.as_str(),
        ];
        Step::new(sql, values)
    })
}

pub(super) async fn app_usage(readers: &Readers, app: &AppId) -> Result<AppUsage, StoreError> {
    let Some(row) = readers.point(APP_USAGE, values![app.as_str()]).await? else { return Ok(AppUsage::default()) };
    let columns = Columns { row: &row, table: "app_usage", key: app.as_str() };
    Ok(AppUsage { rows: columns.integer(0, "row_count")?, bytes: columns.integer(1, "byte_count")? })
}
