//! A link whose document cannot be read, made up from the columns beside it: enough to delete it, and for nothing else.

use std::collections::{BTreeMap, BTreeSet};

use passbook_core::{
    ids::LinkId,
    link::{Counters, Link, LinkErrorCode, LinkInstitution, LinkState},
    product::ProductSet,
};

use super::columns::{Columns, StoredRow};
use crate::port::{StoreError, StoredLink};

/// `version, app_id, environment, institution_id, created_at, first_data_at, deleted_at, changed_at`, and the highest
/// number of an event, which the next one must not take.
pub(crate) fn remains(row: &impl StoredRow, id: &LinkId) -> Result<StoredLink, StoreError> {
    let columns = Columns { row, table: "links", key: id.as_str() };
    let institution = columns.text(3, "institution_id")?.into_owned();
    let link = Link {
        id: id.clone(),
        tenant: columns.tenant(1)?,
        customer_user_id: String::new(),
        institution: LinkInstitution { id: institution.clone(), name: institution, color: None },
        connector: String::new(),
        state: LinkState::Error,
        error: Some(LinkErrorCode::SystemError),
        tags: Vec::new(),
        webhook: None,
        offered: ProductSet::default(),
        products: BTreeMap::new(),
        accounts: Vec::new(),
        created_at: columns.instant(4, "created_at")?,
        first_data_at: columns.optional_instant(5, "first_data_at")?,
        connected_at: None,
        deleted_at: columns.optional_instant(6, "deleted_at")?,
        changed_at: columns.instant(7, "changed_at")?,
        generation: 0,
        imported: false,
        counters: Counters { events: columns.integer(8, "sequence")?, ..Counters::default() },
        withdrawn: BTreeSet::new(),
        recorded: Vec::new(),
    };
    Ok(StoredLink { link, version: columns.integer(0, "version")? })
}
