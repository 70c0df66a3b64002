//! How much an app may store.
//!
//! A quota stops an app from adding links and imported data. It stops nothing that keeps what is there useful: reads,
//! refreshes of existing links, and deletions go on, so an app can be over its quota by what its banks report.

/// What an app may store; `None` for any amount.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Quota {
    /// Links that are not deleted, transactions and investment transactions together.
    pub rows: Option<u64>,
    /// Bytes that they take.
    pub bytes: Option<u64>,
}

impl Quota {
    /// Whether there is anything to check.
    #[must_use]
    pub fn is_limited(&self) -> bool {
        self.rows.is_some() || self.bytes.is_some()
    }

    /// Whether an app that stores `rows` in `bytes` may add `more` rows.
    #[must_use]
    pub fn allows(&self, rows: u64, bytes: u64, more: u64) -> bool {
        let has_rows = self.rows.is_none_or(|most| rows.saturating_add(more) <= most);
        let has_bytes = self.bytes.is_none_or(|most| bytes < most);
        has_rows && has_bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_row_fits_and_the_next_does_not() {
        let quota = Quota { rows: Some(100), bytes: None };
        assert!(quota.allows(90, u64::MAX, 10));
        assert!(!quota.allows(90, 0, 11));
        assert!(!quota.allows(u64::MAX, 0, 1), "a count that cannot be added is too much");
    }

    #[test]
    fn bytes_are_used_up_when_they_are_reached() {
        let quota = Quota { rows: None, bytes: Some(1_000) };
        assert!(quota.allows(u64::MAX, 999, 1));
        assert!(!quota.allows(0, 1_000, 0));
    }

    #[test]
    fn no_quota_allows_everything() {
        assert!(!Quota::default().is_limited());
        assert!(Quota::default().allows(u64::MAX, u64::MAX, u64::MAX));
    }
}
