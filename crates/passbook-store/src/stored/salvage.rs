//! A link whose document cannot be read, made up from the columns beside it: enough to delete it, and for nothing else.

use jiff::Timestamp;
use passbook_core::{
    ids::LinkId,
    link::{Counters, Link, LinkErrorCode, LinkInstitution, LinkState},
    product::ProductSet,
    tenant::Tenant,
};

/// What the columns of a link and the numbers of its events say.
pub(crate) struct Remains {
    pub id: LinkId,
    pub tenant: Tenant,
    pub institution_id: String,
    pub created_at: Timestamp,
    pub first_data_at: Option<Timestamp>,
    pub deleted_at: Option<Timestamp>,
    pub changed_at: Timestamp,
    /// The highest number of an event; the next one must not be taken.
    pub events: u64,
}

impl Remains {
    /// The aggregate of which nothing else is known.
    pub(crate) fn into_link(self) -> Link {
        Link {
            institution: LinkInstitution { id: self.institution_id.clone(), name: self.institution_id, color: None },
            id: self.id,
            tenant: self.tenant,
            customer_user_id: String::new(),
            connector: String::new(),
            state: LinkState::Error,
            error: Some(LinkErrorCode::SystemError),
            tags: Vec::new(),
            webhook: None,
            offered: ProductSet::default(),
            products: std::collections::BTreeMap::new(),
            accounts: Vec::new(),
            created_at: self.created_at,
            first_data_at: self.first_data_at,
            connected_at: None,
            deleted_at: self.deleted_at,
            changed_at: self.changed_at,
            generation: 0,
            counters: Counters { events: self.events, ..Counters::default() },
            withdrawn: std::collections::BTreeSet::new(),
            recorded: Vec::new(),
        }
    }
}
