//! Decoding of stored columns: whatever is in the database, the answer is a value or
//! [`StoreError::Inconsistent`], never a panic.

use std::borrow::Cow;

use jiff::{Timestamp, civil::Date};
use passbook_core::{
    ids::{AccountId, AppId, JobId, LinkId, SessionId, TransactionId},
    tenant::{Environment, Tenant},
};

use super::values::{JsonPlace, Unexpected, inconsistent, word};
use crate::port::StoreError;

/// Why a column does not give what was asked for. Never quotes what is stored.
pub(crate) type Mismatch = Box<dyn std::error::Error + Send + Sync>;

/// A row of any database: the three kinds of value that the stores keep.
pub(crate) trait StoredRow {
    /// Text, or nothing.
    fn optional_text(&self, index: usize) -> Result<Option<Cow<'_, str>>, Mismatch>;
    /// Bytes, or nothing.
    fn optional_bytes(&self, index: usize) -> Result<Option<&[u8]>, Mismatch>;
    /// A whole number, or nothing.
    fn optional_integer(&self, index: usize) -> Result<Option<i64>, Mismatch>;
}

/// A row being decoded.
pub(crate) struct Columns<'a, R: StoredRow> {
    /// The row.
    pub row: &'a R,
    /// Its table.
    pub table: &'static str,
    /// Its key, for error messages; never a secret.
    pub key: &'a str,
}

impl<'a, R: StoredRow> Columns<'a, R> {
    pub(crate) fn wrong(&self, column: &'static str, source: impl Into<Mismatch>) -> StoreError {
        inconsistent(self.table, column, self.key, source)
    }

    pub(crate) fn optional_text(&self, index: usize, column: &'static str) -> Result<Option<Cow<'a, str>>, StoreError> {
        self.row.optional_text(index).map_err(|error| self.wrong(column, error))
    }

    pub(crate) fn text(&self, index: usize, column: &'static str) -> Result<Cow<'a, str>, StoreError> {
        self.optional_text(index, column)?.ok_or_else(|| self.wrong(column, Unexpected))
    }

    pub(crate) fn optional_bytes(&self, index: usize, column: &'static str) -> Result<Option<&'a [u8]>, StoreError> {
        self.row.optional_bytes(index).map_err(|error| self.wrong(column, error))
    }

    pub(crate) fn bytes(&self, index: usize, column: &'static str) -> Result<&'a [u8], StoreError> {
        self.optional_bytes(index, column)?.ok_or_else(|| self.wrong(column, Unexpected))
    }

    pub(crate) fn hash(&self, index: usize, column: &'static str) -> Result<[u8; 32], StoreError> {
        self.bytes(index, column)?.try_into().map_err(|error| self.wrong(column, error))
    }

    pub(crate) fn optional_integer(&self, index: usize, column: &'static str) -> Result<Option<i64>, StoreError> {
        self.row.optional_integer(index).map_err(|error| self.wrong(column, error))
    }

    pub(crate) fn integer<T: TryFrom<i64>>(&self, index: usize, column: &'static str) -> Result<T, StoreError> {
        let number = self.optional_integer(index, column)?.ok_or_else(|| self.wrong(column, Unexpected))?;
        T::try_from(number).map_err(|_| self.wrong(column, Unexpected))
    }

    pub(crate) fn optional_instant(&self, index: usize, column: &'static str) -> Result<Option<Timestamp>, StoreError> {
        self.optional_integer(index, column)?
            .map(|micros| Timestamp::from_microsecond(micros).map_err(|error| self.wrong(column, error)))
            .transpose()
    }

    pub(crate) fn instant(&self, index: usize, column: &'static str) -> Result<Timestamp, StoreError> {
        self.optional_instant(index, column)?.ok_or_else(|| self.wrong(column, Unexpected))
    }

    pub(crate) fn date(&self, index: usize, column: &'static str) -> Result<Date, StoreError> {
        self.parsed(index, column, |text| text.parse().ok())
    }

    /// A text that `parse` understands.
    pub(crate) fn parsed<T>(
        &self,
        index: usize,
        column: &'static str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<T, StoreError> {
        parse(&self.text(index, column)?).ok_or_else(|| self.wrong(column, Unexpected))
    }

    /// A JSON column.
    pub(crate) fn json<T: serde::de::DeserializeOwned>(
        &self,
        index: usize,
        column: &'static str,
    ) -> Result<T, StoreError> {
        serde_json::from_str(&self.text(index, column)?).map_err(|error| self.wrong(column, JsonPlace::from(&error)))
    }

    /// A JSON column, or nothing.
    pub(crate) fn optional_json<T: serde::de::DeserializeOwned>(
        &self,
        index: usize,
        column: &'static str,
    ) -> Result<Option<T>, StoreError> {
        match self.optional_text(index, column)? {
            None => Ok(None),
            Some(_) => self.json(index, column).map(Some),
        }
    }

    /// One of the words of an enum that serialises as a string.
    pub(crate) fn optional_word<T: serde::de::DeserializeOwned>(
        &self,
        index: usize,
        column: &'static str,
    ) -> Result<Option<T>, StoreError> {
        self.optional_text(index, column)?
            .map(|text| word(&text).ok_or_else(|| self.wrong(column, Unexpected)))
            .transpose()
    }

    pub(crate) fn word<T: serde::de::DeserializeOwned>(
        &self,
        index: usize,
        column: &'static str,
    ) -> Result<T, StoreError> {
        self.optional_word(index, column)?.ok_or_else(|| self.wrong(column, Unexpected))
    }

    pub(crate) fn environment(&self, index: usize, column: &'static str) -> Result<Environment, StoreError> {
        self.text(index, column)?.parse().map_err(|_| self.wrong(column, Unexpected))
    }

    /// The application at `index` and the environment in the next column.
    pub(crate) fn tenant(&self, index: usize) -> Result<Tenant, StoreError> {
        Ok(Tenant {
            app_id: self.parsed(index, "app_id", AppId::parse)?,
            environment: self.environment(index + 1, "environment")?,
        })
    }

    pub(crate) fn link_id(&self, index: usize) -> Result<LinkId, StoreError> {
        self.parsed(index, "link_id", LinkId::parse)
    }

    pub(crate) fn account_id(&self, index: usize) -> Result<AccountId, StoreError> {
        self.parsed(index, "account_id", AccountId::parse)
    }

    pub(crate) fn transaction_id(&self, index: usize) -> Result<TransactionId, StoreError> {
        self.parsed(index, "transaction_id", TransactionId::parse)
    }

    pub(crate) fn job_id(&self, index: usize) -> Result<JobId, StoreError> {
        self.parsed(index, "job_id", JobId::parse)
    }

    pub(crate) fn session_id(&self, index: usize) -> Result<SessionId, StoreError> {
        self.parsed(index, "session_id", SessionId::parse)
    }
}
