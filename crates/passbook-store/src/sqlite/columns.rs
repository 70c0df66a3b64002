//! Rows of the embedded store as the shared decoding reads them.

use std::borrow::Cow;

use rusqlite::Row;

use crate::stored::columns::{Mismatch, StoredRow};

impl StoredRow for Row<'_> {
    fn optional_text(&self, index: usize) -> Result<Option<Cow<'_, str>>, Mismatch> {
        Ok(self.get_ref(index)?.as_str_or_null()?.map(Cow::Borrowed))
    }

    fn optional_bytes(&self, index: usize) -> Result<Option<&[u8]>, Mismatch> {
        Ok(self.get_ref(index)?.as_blob_or_null()?)
    }

    fn optional_integer(&self, index: usize) -> Result<Option<i64>, Mismatch> {
        Ok(self.get_ref(index)?.as_i64_or_null()?)
    }
}
