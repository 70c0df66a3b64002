//! What an app may store, checked before something is added.

use jiff::SignedDuration;
use passbook_core::{quota::Quota, tenant::Tenant};

use super::{Fault, Services};

/// How long records are kept, and how much an app may store.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// How long the audit trail is kept.
    pub audit: SignedDuration,
    /// What each app may store.
    pub quota: Quota,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { audit: SignedDuration::from_hours(400 * 24), quota: Quota::default() }
    }
}

impl Services {
    /// Refuses to add `rows` to what the app stores when its quota has no room for them. Requests that are decided at
    /// the same moment do not see each other: together they may exceed the quota by what they add.
    pub(super) async fn check_quota(&self, tenant: &Tenant, rows: usize) -> Result<(), Fault> {
        let quota = self.bounds.quota;
        if !quota.is_limited() || rows == 0 {
            return Ok(());
        }
        let usage = self.store.app_usage(&tenant.app_id).await?;
        match quota.allows(usage.rows, usage.bytes, rows as u64) {
            true => Ok(()),
            false => Err(Fault::QuotaExceeded),
        }
    }
}
