//! How much of an app's storage a commit takes or gives back.
//!
//! Rows are exact: links that are not deleted, transactions and investment transactions. Bytes are an estimate that
//! needs no second look at what is stored: what a row takes on disk on average, and its own texts on top; a removed row
//! gives back the average of its link.

use passbook_core::{ids::LinkId, tenant::Tenant};

use super::prepare::PreparedLink;
use crate::port::Changes;

/// Rows into which the counters of an app are divided. Commits of one app wait for each other only when their links
/// share one, and then only for the commit itself.
const SHARDS: u32 = 64;
/// What a link takes with its accounts, numbers, owners and indexes (`bench/RESULTS.md`), in bytes.
const LINK_BYTES: i64 = 4_096;
/// What a transaction takes without its texts, with its indexes and its line in the change log.
const ROW_BYTES: i64 = 600;

/// The difference that a commit makes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct UsageChange {
    /// The link whose counters change.
    pub link: LinkId,
    /// Whose link.
    pub tenant: Tenant,
    /// Which of the app's counters.
    pub shard: i64,
    /// Rows added.
    pub added: i64,
    /// Rows removed.
    pub removed: i64,
    /// Bytes added.
    pub bytes: i64,
}

impl UsageChange {
    /// What a commit of `write` and `rest` adds and removes; `None` when its link counts as much as before. A destroyed
    /// link gives back all it has, which its own statements do.
    pub(super) fn of(write: Option<&PreparedLink>, rest: &Changes) -> Option<Self> {
        let write = write.filter(|write| !write.destroy)?;
        let is_new = write.expected_version.is_none();
        let mut change = Self {
            link: write.link.id.clone(),
            tenant: write.link.tenant.clone(),
            shard: shard(&write.link.id),
            added: i64::from(is_new),
            removed: 0,
            bytes: if is_new { LINK_BYTES } else { 0 },
        };
        if let Some(rows) = &rest.transactions {
            change.added += rows.created.len() as i64;
            change.removed += rows.removed.len() as i64;
            change.bytes += rows
                .created
                .iter()
                .map(|row| {
                    let texts = [row.details.description.as_deref(), row.details.raw_description.as_deref()];
                    let texts = texts.into_iter().flatten().chain([row.upstream_key.as_str()]);
                    ROW_BYTES + texts.map(|text| text.len() as i64).sum::<i64>()
                })
                .sum::<i64>();
        }
        if let Some(investments) = &rest.investments {
            change.added += investments.changes.created.len() as i64;
            change.removed += investments.changes.removed.len() as i64;
            change.bytes += ROW_BYTES * investments.changes.created.len() as i64;
        }
        (change.added != 0 || change.removed != 0).then_some(change)
    }
}

/// The same for a link on every machine and in every release.
fn shard(link: &LinkId) -> i64 {
    let hash =
        link.as_str().bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    i64::from(hash % SHARDS)
}
