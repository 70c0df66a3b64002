//! Decoding of stored columns: whatever is in the file, the answer is a value or
//! [`StoreError::Inconsistent`](crate::port::StoreError), never a panic.

use jiff::{Timestamp, civil::Date};
use passbook_core::ids::{AccountId, AppId, JobId, LinkId, SessionId, TransactionId};
use rusqlite::{Row, types::ValueRef};

use super::failure::ReadError;
use crate::stored::values::{JsonPlace, Unexpected, inconsistent, word};
use passbook_core::tenant::{Environment, Tenant};

/// A row being decoded.
pub(super) struct Columns<'a> {
    /// The row.
    pub row: &'a Row<'a>,
    /// Its table.
    pub table: &'static str,
    /// Its key, for error messages; never a secret.
    pub key: &'a str,
}

impl<'a> Columns<'a> {
    pub(super) fn wrong(
        &self,
        column: &'static str,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> ReadError {
        inconsistent(self.table, column, self.key, source).into()
    }

    fn value(&self, index: usize, column: &'static str) -> Result<ValueRef<'a>, ReadError> {
        self.row.get_ref(index).map_err(|error| self.wrong(column, error))
    }

    pub(super) fn optional_text(&self, index: usize, column: &'static str) -> Result<Option<&'a str>, ReadError> {
        self.value(index, column)?.as_str_or_null().map_err(|error| self.wrong(column, error))
    }

    pub(super) fn text(&self, index: usize, column: &'static str) -> Result<&'a str, ReadError> {
        self.optional_text(index, column)?.ok_or_else(|| self.wrong(column, Unexpected))
    }

    pub(super) fn optional_bytes(&self, index: usize, column: &'static str) -> Result<Option<&'a [u8]>, ReadError> {
        self.value(index, column)?.as_blob_or_null().map_err(|error| self.wrong(column, error))
    }

    pub(super) fn bytes(&self, index: usize, column: &'static str) -> Result<&'a [u8], ReadError> {
        self.optional_bytes(index, column)?.ok_or_else(|| self.wrong(column, Unexpected))
    }

    pub(super) fn hash(&self, index: usize, column: &'static str) -> Result<[u8; 32], ReadError> {
        self.bytes(index, column)?.try_into().map_err(|error| self.wrong(column, error))
    }

    pub(super) fn optional_integer(&self, index: usize, column: &'static str) -> Result<Option<i64>, ReadError> {
        self.value(index, column)?.as_i64_or_null().map_err(|error| self.wrong(column, error))
    }

    pub(super) fn integer<T: TryFrom<i64>>(&self, index: usize, column: &'static str) -> Result<T, ReadError> {
        let number = self.optional_integer(index, column)?.ok_or_else(|| self.wrong(column, Unexpected))?;
        T::try_from(number).map_err(|_| self.wrong(column, Unexpected))
    }

    pub(super) fn optional_instant(&self, index: usize, column: &'static str) -> Result<Option<Timestamp>, ReadError> {
        self.optional_integer(index, column)?
            .map(|micros| Timestamp::from_microsecond(micros).map_err(|error| self.wrong(column, error)))
            .transpose()
    }

    pub(super) fn instant(&self, index: usize, column: &'static str) -> Result<Timestamp, ReadError> {
        self.optional_instant(index, column)?.ok_or_else(|| self.wrong(column, Unexpected))
    }

    pub(super) fn date(&self, index: usize, column: &'static str) -> Result<Date, ReadError> {
        self.parsed(index, column, |text| text.parse().ok())
    }

    /// A text that `parse` understands.
    pub(super) fn parsed<T>(
        &self,
        index: usize,
        column: &'static str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<T, ReadError> {
        parse(self.text(index, column)?).ok_or_else(|| self.wrong(column, Unexpected))
    }

    /// A JSON column.
    pub(super) fn json<T: serde::de::DeserializeOwned>(
        &self,
        index: usize,
        column: &'static str,
    ) -> Result<T, ReadError> {
        serde_json::from_str(self.text(index, column)?).map_err(|error| self.wrong(column, JsonPlace::from(&error)))
    }

    /// One of the words of an enum that serialises as a string.
    pub(super) fn optional_word<T: serde::de::DeserializeOwned>(
        &self,
        index: usize,
        column: &'static str,
    ) -> Result<Option<T>, ReadError> {
        self.optional_text(index, column)?
            .map(|text| word(text).ok_or_else(|| self.wrong(column, Unexpected)))
            .transpose()
    }

    pub(super) fn word<T: serde::de::DeserializeOwned>(
        &self,
        index: usize,
        column: &'static str,
    ) -> Result<T, ReadError> {
        self.optional_word(index, column)?.ok_or_else(|| self.wrong(column, Unexpected))
    }

    pub(super) fn environment(&self, index: usize, column: &'static str) -> Result<Environment, ReadError> {
        self.text(index, column)?.parse().map_err(|_| self.wrong(column, Unexpected))
    }

    /// The application at `index` and the environment in the next column.
    pub(super) fn tenant(&self, index: usize) -> Result<Tenant, ReadError> {
        Ok(Tenant {
            app_id: self.parsed(index, "app_id", AppId::parse)?,
            environment: self.environment(index + 1, "environment")?,
        })
    }

    pub(super) fn link_id(&self, index: usize) -> Result<LinkId, ReadError> {
        self.parsed(index, "link_id", LinkId::parse)
    }

    pub(super) fn account_id(&self, index: usize) -> Result<AccountId, ReadError> {
        self.parsed(index, "account_id", AccountId::parse)
    }

    pub(super) fn transaction_id(&self, index: usize) -> Result<TransactionId, ReadError> {
        self.parsed(index, "transaction_id", TransactionId::parse)
    }

    pub(super) fn job_id(&self, index: usize) -> Result<JobId, ReadError> {
        self.parsed(index, "job_id", JobId::parse)
    }

    pub(super) fn session_id(&self, index: usize) -> Result<SessionId, ReadError> {
        self.parsed(index, "session_id", SessionId::parse)
    }
}
