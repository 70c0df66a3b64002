//! Query parameters: typed, with every problem reported at once.

use http::Uri;
use jiff::{Timestamp, civil::Date};
use passbook_store::port::TransactionFilter;

use super::errors::{ApiError, Problem};

/// The query of a request. Unknown parameters are ignored; of a repeated one the last counts, except for lists.
pub struct Query {
    pairs: Vec<(String, String)>,
    problems: Vec<Problem>,
}

impl Query {
    /// Reads the query of `uri`.
    pub fn of(uri: &Uri) -> Self {
        let pairs = uri
            .query()
            .map(|query| url::form_urlencoded::parse(query.as_bytes()).into_owned().collect())
            .unwrap_or_default();
        Self { pairs, problems: Vec::new() }
    }

    /// The last value of `name`.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.pairs.iter().rev().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// Every value of a repeated parameter; `None` when it is absent.
    pub fn list(&self, name: &str) -> Option<Vec<String>> {
        let values: Vec<_> = self.pairs.iter().filter(|(key, _)| key == name).map(|(_, value)| value.clone()).collect();
        (!values.is_empty()).then_some(values)
    }

    /// Every value of a repeated parameter that holds ids, none of which may be empty.
    pub fn ids(&mut self, name: &str) -> Option<Vec<String>> {
        let ids = self.list(name)?;
        if ids.iter().any(String::is_empty) {
            self.problem(name, "value_error.empty", "must not be empty");
        }
        Some(ids)
    }

    /// A whole number between bounds, in ASCII digits and nothing else: Rust would also read `+1`.
    pub fn number(&mut self, name: &str, min: u64, max: u64, default: u64) -> u64 {
        let read = |text: &str| {
            let digits = text.bytes().all(|byte| byte.is_ascii_digit());
            digits.then(|| text.parse().ok()).flatten().filter(|number| (min..=max).contains(number))
        };
        match self.text(name).map(read) {
            None => default,
            Some(Some(number)) => number,
            Some(None) => {
                let bounds = if max == u64::MAX { format!("at least {min}") } else { format!("from {min} to {max}") };
                self.problem(name, "value_error.number", format!("must be a whole number {bounds}"));
                default
            }
        }
    }

    /// `true` or `false`.
    pub fn boolean(&mut self, name: &str) -> bool {
        match self.text(name) {
            None | Some("false") => false,
            Some("true") => true,
            Some(_) => {
                self.problem(name, "value_error.boolean", "must be true or false");
                false
            }
        }
    }

    /// An instant, with its offset.
    pub fn instant(&mut self, name: &str) -> Option<Timestamp> {
        let text = self.text(name)?;
        let instant = text.parse().ok();
        if instant.is_none() {
            self.problem(name, "value_error.datetime", "must be an instant such as 2026-01-31T09:30:00Z");
        }
        instant
    }

    /// A calendar date. Clients that write every value as JSON put it into quotation marks.
    pub fn date(&mut self, name: &str) -> Option<Date> {
        let text = self.text(name)?;
        let text = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text);
        let date = (text.len() == 10).then(|| text.parse().ok()).flatten();
        if date.is_none() {
            self.problem(name, "value_error.date", "must be a date such as 2026-01-31");
        }
        date
    }

    /// Adds a problem.
    pub fn problem(&mut self, name: &str, kind: &'static str, message: impl Into<String>) {
        self.problems.push(Problem::field("query", name, kind, message));
    }

    /// The 422 answer if anything was wrong.
    ///
    /// # Errors
    /// All problems at once.
    pub fn finish(&mut self) -> Result<(), ApiError> {
        if self.problems.is_empty() { Ok(()) } else { Err(ApiError::validation(std::mem::take(&mut self.problems))) }
    }
}

/// Which page of which days: the parameters that every listing of transactions takes.
pub struct TransactionRange {
    /// From 1.
    pub page: u64,
    size: u64,
    start_date: Option<Date>,
    end_date: Option<Date>,
}

impl TransactionRange {
    /// Reads `page`, `size`, `start_date` and `end_date`.
    pub fn of(query: &mut Query) -> Self {
        let page = query.number("page", 1, u64::MAX, 1);
        let size = query.number("size", 1, 1000, 50);
        let (start_date, end_date) = (query.date("start_date"), query.date("end_date"));
        if start_date.zip(end_date).is_some_and(|(start, end)| end < start) {
            query.problem("end_date", "value_error.date", "must not be before start_date");
        }
        Self { page, size, start_date, end_date }
    }

    /// What the store is asked for, of every account.
    pub fn filter(&self) -> TransactionFilter {
        TransactionFilter {
            accounts: None,
            start_date: self.start_date,
            end_date: self.end_date,
            offset: (self.page - 1).saturating_mul(self.size),
            limit: self.size as u32,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(text: &'static str) -> Query {
        Query::of(&Uri::from_static(text))
    }

    #[test]
    fn values_are_typed_and_bounded() {
        let mut good = query("/x?page=2&featured=true&start_date=2026-01-31&id=a&id=b");
        assert_eq!(good.number("page", 1, u64::MAX, 1), 2);
        assert_eq!(good.number("size", 1, 1000, 50), 50);
        assert!(good.boolean("featured"));
        assert_eq!(good.date("start_date"), Some(jiff::civil::date(2026, 1, 31)));
        assert_eq!(good.list("id"), Some(vec!["a".to_owned(), "b".to_owned()]));
        assert!(good.finish().is_ok());
    }

    #[test]
    fn a_number_is_ascii_digits_and_nothing_else() {
        for text in ["%2B1", "+1", "1+", "-1", "%201", "0x1", "1_0", "1.0", "%D9%A1", "", "18446744073709551616"] {
            let mut query = Query::of(&format!("/x?page={text}").parse().unwrap());
            assert_eq!(query.number("page", 1, u64::MAX, 7), 7, "{text}");
            assert!(query.finish().is_err(), "{text}");
        }
        assert_eq!(query("/x?page=0002").number("page", 1, u64::MAX, 7), 2);
    }

    #[test]
    fn a_date_may_stand_in_quotation_marks() {
        let quoted = Some(jiff::civil::date(2026, 1, 31));
        assert_eq!(query("/x?d=%222026-01-31%22").date("d"), quoted);
        for text in ["%222026-01-31", "2026-01-31%22", "%22%222026-01-31%22%22", "%22%22", "%22", "'2026-01-31'"] {
            let mut query = Query::of(&format!("/x?d={text}").parse().unwrap());
            assert_eq!(query.date("d"), None, "{text}");
            assert!(query.finish().is_err(), "{text}");
        }
    }

    #[test]
    fn every_problem_is_reported_at_once() {
        let mut bad = query("/x?page=0&size=1e3&featured=True&start_date=31.01.2026&end_date=2026-02-30");
        bad.number("page", 1, u64::MAX, 1);
        bad.number("size", 1, 1000, 50);
        bad.boolean("featured");
        bad.date("start_date");
        bad.date("end_date");
        assert_eq!(bad.problems.len(), 5);
        assert!(bad.finish().is_err());
    }
}
