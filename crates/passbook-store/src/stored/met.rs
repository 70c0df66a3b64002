//! Damage that was met while the store was used.

use std::sync::{Mutex, PoisonError};

use crate::{port::StoreError, sealing::UnwrapError};

/// Remembers the first damage, until the store is opened anew: what is damaged once is not to be trusted, even if the
/// next read of another row is fine.
#[derive(Default)]
pub(crate) struct MetDamage(Mutex<Option<String>>);

impl MetDamage {
    /// Damage that the database reports.
    pub(crate) fn note(&self, what: impl Into<String>) {
        let mut first = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if first.is_none() {
            let what = what.into();
            tracing::error!(
                what,
                "the store is damaged; sound rows are served on, and this process is not ready any more"
            );
            *first = Some(what);
        }
    }

    /// A read's outcome: a row that cannot be understood or opened is damage. A document of a newer release is not, nor is
    /// a row under a master key that this process has not been given yet.
    pub(crate) fn look<T>(&self, outcome: Result<T, StoreError>) -> Result<T, StoreError> {
        if let Err(error @ StoreError::Inconsistent { column, source, .. }) = &outcome
            && *column != "document_format"
            && !matches!(source.downcast_ref(), Some(UnwrapError::UnknownVersion(_)))
        {
            self.note(error.to_string());
        }
        outcome
    }

    /// The first damage that was met.
    pub(crate) fn first(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
