//! Who did what. Written in the transaction of the change itself.

use passbook_core::ids::LinkId;
use passbook_store::port::AuditEntry;

use super::{Actor, Services};

impl Services {
    /// An audit row for a change by `actor`.
    pub fn audit(&self, actor: &Actor, action: &'static str, link_id: Option<&LinkId>) -> AuditEntry {
        AuditEntry {
            tenant: actor.tenant.clone(),
            actor: actor.client_id.clone(),
            action,
            link_id: link_id.cloned(),
            at: self.clocks.real_now(),
        }
    }
}
