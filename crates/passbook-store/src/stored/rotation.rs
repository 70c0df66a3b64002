//! A batch of data keys and sealed values, wrapped anew under the active master key.

use passbook_core::ids::LinkId;

use super::columns::{Columns, StoredRow};
use crate::{
    port::{KeyPosition, Rewrapped, StoreError},
    sealing::{Keys, SealedUnder},
};

/// Rows with what is to be stored in them.
#[derive(Default)]
pub(crate) struct Batch {
    pub links: Vec<Replacement>,
    pub instance_values: Vec<Replacement>,
    unreadable: u64,
    next: Option<KeyPosition>,
    seen: u32,
}

/// One value wrapped anew. It is stored only if the row still holds `old`.
pub(crate) struct Replacement {
    pub key: String,
    pub old: SealedUnder<Vec<u8>>,
    pub new: SealedUnder<Vec<u8>>,
}

impl Batch {
    /// Takes a link in: `link_id, app_id, environment, key_version, wrapped_key`.
    pub(crate) fn add_link(&mut self, row: &impl StoredRow, keys: &Keys) -> Result<(), StoreError> {
        let columns = Columns { row, table: "links", key: "" };
        let (link_id, tenant): (LinkId, _) = (columns.link_id(0)?, columns.tenant(1)?);
        let key_version = columns.integer(3, "key_version")?;
        let wrapped = columns.optional_bytes(4, "wrapped_key")?.unwrap_or_default();
        let new = keys.rewrap_data_key(&tenant.app_id, &link_id, key_version, wrapped).ok();
        self.seen += 1;
        self.unreadable += u64::from(new.is_none());
        self.links.extend(new.map(|new| Replacement {
            key: link_id.to_string(),
            old: SealedUnder { key_version, value: wrapped.to_vec() },
            new,
        }));
        self.next = Some(KeyPosition { key_version, link_id });
        Ok(())
    }

    /// Takes a value of the instance in: `name, key_version, value`.
    pub(crate) fn add_instance_value(&mut self, row: &impl StoredRow, keys: &Keys) -> Result<(), StoreError> {
        let columns = Columns { row, table: "instance_values", key: "" };
        let (name, key_version) = (columns.text(0, "name")?, columns.integer(1, "key_version")?);
        let sealed = columns.bytes(2, "value")?;
        let new = keys.reseal_instance_value(&name, key_version, sealed).ok();
        self.unreadable += u64::from(new.is_none());
        self.instance_values.extend(new.map(|new| Replacement {
            key: name.into_owned(),
            old: SealedUnder { key_version, value: sealed.to_vec() },
            new,
        }));
        Ok(())
    }

    /// Ends the walk when fewer than `limit` links were left.
    pub(crate) fn finished(mut self, limit: u32) -> Self {
        if self.seen < limit {
            self.next = None;
        }
        self
    }

    /// Whether there is nothing to store.
    pub(crate) fn is_empty(&self) -> bool {
        self.links.is_empty() && self.instance_values.is_empty()
    }

    /// What was done when `rewrapped` rows were stored.
    pub(crate) fn outcome(&self, rewrapped: u64) -> Rewrapped {
        Rewrapped { rewrapped, unreadable: self.unreadable, next: self.next.clone() }
    }
}
