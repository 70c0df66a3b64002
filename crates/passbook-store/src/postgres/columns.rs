//! Rows of PostgreSQL as the shared decoding reads them.

use std::borrow::Cow;

use tokio_postgres::Row;

use super::values::read_text;
use crate::stored::columns::{Mismatch, StoredRow};

impl StoredRow for Row {
    fn optional_text(&self, index: usize) -> Result<Option<Cow<'_, str>>, Mismatch> {
        Ok(self.try_get::<_, Option<&str>>(index)?.map(read_text))
    }

    fn optional_bytes(&self, index: usize) -> Result<Option<&[u8]>, Mismatch> {
        Ok(self.try_get(index)?)
    }

    fn optional_integer(&self, index: usize) -> Result<Option<i64>, Mismatch> {
        Ok(self.try_get(index)?)
    }
}
