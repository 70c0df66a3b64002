//! Query parameters: typed, with every problem reported at once.
//!
//! A query is read in one place of a handler, by [`Query::read`]. What was not asked for there is a parameter that the
//! operation does not know, and the response names it; see [`super::ignored`].

use axum::extract::Request;
use http::Uri;
use jiff::{Timestamp, civil::Date};
use passbook_store::port::TransactionFilter;

use super::{
    errors::{ApiError, Problem},
    ignored::{self, Ignored},
};
use crate::services::links::AccountFilter;

/// Largest page number.
pub const PAGE_MAX: u64 = u64::MAX;

/// The query of a request. Of a repeated parameter the last counts, except for lists.
pub struct Query {
    pairs: Vec<Pair>,
    problems: Vec<Problem>,
}

/// One `name=value`.
struct Pair {
    name: String,
    value: String,
    /// There was a `=`. What stands without one may be a value as well as a name.
    named: bool,
    /// The handler looked for it.
    asked: bool,
}

/// Whether an empty id may stand among the ids of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EmptyIds {
    /// It names nothing.
    NameNothing,
    /// It is refused.
    Refused,
}

impl Query {
    /// Reads the query of `request` by `take`, which asks for every parameter that the operation knows.
    ///
    /// # Errors
    /// 422 with every problem that `take` found.
    pub fn read<T>(request: &Request, take: impl FnOnce(&mut Self) -> T) -> Result<T, ApiError> {
        let mut query = Self::of(request.uri());
        let taken = take(&mut query);
        if let Some(ignored) = request.extensions().get::<Ignored>() {
            ignored.note(query.left_over());
        }
        if query.problems.is_empty() { Ok(taken) } else { Err(ApiError::validation(query.problems)) }
    }

    fn of(uri: &Uri) -> Self {
        let parts = uri.query().unwrap_or_default().split('&').filter(|part| !part.is_empty());
        let pairs = parts.flat_map(|part| {
            url::form_urlencoded::parse(part.as_bytes()).map(|(name, value)| Pair {
                name: name.into_owned(),
                value: value.into_owned(),
                named: part.contains('='),
                asked: false,
            })
        });
        Self { pairs: pairs.collect(), problems: Vec::new() }
    }

    /// What a handler that asks for nothing ignores of the query of `uri`.
    pub fn all_ignored(uri: &Uri) -> ignored::Names {
        Self::of(uri).left_over()
    }

    fn left_over(&self) -> ignored::Names {
        let names = self.pairs.iter().filter(|pair| !pair.asked);
        names.map(|pair| Some(pair.name.as_str()).filter(|_| pair.named)).collect()
    }

    /// The last value of `name`.
    pub fn text(&mut self, name: &str) -> Option<String> {
        let mut last = None;
        for pair in self.pairs.iter_mut().filter(|pair| pair.name == name) {
            pair.asked = true;
            last = Some(pair.value.as_str());
        }
        last.map(str::to_owned)
    }

    /// The accounts named by `account_ids` or by its older name `account_id`; without either, all. Named by nothing but
    /// empty ids, it is no account at all.
    pub fn accounts(&mut self, empty: EmptyIds) -> AccountFilter {
        let mut ids: Option<Vec<String>> = None;
        for name in ["account_ids", "account_id"] {
            if let Some(named) = self.list(name) {
                if empty == EmptyIds::Refused && named.iter().any(String::is_empty) {
                    self.problem(name, "value_error.empty", "must not be empty");
                }
                ids.get_or_insert_default().extend(named);
            }
        }
        ids.map_or(AccountFilter::default(), AccountFilter::of)
    }

    /// Every value of a list, in each form that official clients and common generators write: the name repeated,
    /// `name[]`, `name[0]`, values separated by commas, and any mixture. `None` when it is absent. What begins like it
    /// and is in no such form is a problem: read as another parameter, it would not narrow anything down.
    pub fn list(&mut self, name: &str) -> Option<Vec<String>> {
        let mut values: Option<Vec<String>> = None;
        let mut malformed = false;
        for pair in &mut self.pairs {
            let Some(index) = pair.name.strip_prefix(name) else { continue };
            if !index.is_empty() && !index.starts_with('[') {
                continue;
            }
            pair.asked = true;
            malformed |= !index.is_empty() && !is_index(index);
            let read = pair.value.split(',').map(|value| value.trim_ascii().to_owned());
            values.get_or_insert_default().extend(read);
        }
        if malformed {
            let message = format!("must be written {name}=a&{name}=b, {name}[]=a&{name}[]=b or {name}=a,b");
            self.problem(name, "value_error.list", message);
        }
        values
    }

    /// A whole number between bounds, in ASCII digits and nothing else: Rust would also read `+1`.
    pub fn number(&mut self, name: &str, min: u64, max: u64, default: u64) -> u64 {
        let read = |text: String| {
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
        match self.text(name).as_deref() {
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
        let text = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(&text);
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
}

/// `[]`, or `[0]` with a number.
fn is_index(text: &str) -> bool {
    let inner = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
    inner.is_some_and(|inner| inner.bytes().all(|byte| byte.is_ascii_digit()))
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
        let page = query.number("page", 1, PAGE_MAX, 1);
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
    use axum::{body::Body, response::IntoResponse};

    use super::*;

    fn request(text: &str) -> Request {
        Request::builder().uri(text).extension(Ignored::default()).body(Body::empty()).unwrap()
    }

    /// What `take` reads from `text`; `None` when it found a problem.
    fn read<T>(text: &str, take: impl FnOnce(&mut Query) -> T) -> Option<T> {
        Query::read(&request(text), take).ok()
    }

    #[test]
    fn values_are_typed_and_bounded() {
        let page = |query: &mut Query| (query.number("page", 1, PAGE_MAX, 1), query.number("size", 1, 1000, 50));
        assert_eq!(read("/x?page=2&size=7", page), Some((2, 7)));
        assert_eq!(read("/x", page), Some((1, 50)));
        assert_eq!(read("/x?page=2&page=3", page), Some((3, 50)), "the last one counts");
        assert_eq!(read("/x?featured=true", |query| query.boolean("featured")), Some(true));
        let date = read("/x?start_date=2026-01-31", |query| query.date("start_date"));
        assert_eq!(date, Some(Some(jiff::civil::date(2026, 1, 31))));
    }

    #[test]
    fn a_list_is_read_in_each_form_and_in_any_mixture() {
        let list = |text: &str| read(&format!("/x?{text}"), |query| query.list("id"));
        let of = |values: &[&str]| Some(Some(values.iter().map(ToString::to_string).collect::<Vec<_>>()));
        for two in [
            "id=a&id=b",
            "id[]=a&id[]=b",
            "id%5B%5D=a&id%5b%5d=b",
            "id=a,b",
            "id=a%2Cb",
            "id=a,+b",
            "id[]=a,b",
            "id=a&id[]=b",
            "id[0]=a&id%5B1%5D=b",
            "x=1&id=a&idle=2&id=b",
        ] {
            assert_eq!(list(two), of(&["a", "b"]), "{two}");
        }
        assert_eq!(list("id=a,b&id[]=c&id=d"), of(&["a", "b", "c", "d"]));
        assert_eq!(list("idle=a&di=b"), Some(None), "absent");
        for empty in ["id", "id=", "id[]", "id[]=", "id%5B%5D"] {
            assert_eq!(list(empty), of(&[""]), "{empty}");
        }
        for malformed in ["id[x]=a", "id[=a", "id[]]=a", "id[][]=a", "id[-1]=a", "id=a&id[x]=b"] {
            assert_eq!(list(malformed), None, "{malformed}");
        }
    }

    #[test]
    fn accounts_go_by_both_names_and_an_empty_filter_is_nobody() {
        let takes = |text: &str, empty: EmptyIds| {
            let filter = read(&format!("/x?{text}"), |query| query.accounts(empty))?;
            Some(["a", "b", "c", ""].iter().filter(|id| filter.takes(id)).map(ToString::to_string).collect::<String>())
        };
        let lenient = |text: &str| takes(text, EmptyIds::NameNothing);
        assert_eq!(lenient("").as_deref(), Some("abc"));
        assert_eq!(lenient("account_id=a&account_ids[]=b").as_deref(), Some("ab"));
        for empty in ["account_ids=", "account_ids[]", "account_id=", "account_ids=,", "account_ids"] {
            assert_eq!(lenient(empty).as_deref(), Some(""), "{empty}");
            assert_eq!(takes(empty, EmptyIds::Refused), None, "{empty}");
        }
        assert_eq!(lenient("account_ids=,a").as_deref(), Some("a"));
    }

    #[test]
    fn what_was_not_asked_for_is_noted_also_beside_a_problem() {
        let noted = |text: &str| {
            let request = request(text);
            let outcome = Query::read(&request, |query| (query.list("id"), query.number("page", 1, 9, 1)));
            let status = outcome.err().map_or(http::StatusCode::OK, |refusal| refusal.into_response().status());
            let ignored = request.extensions().get::<Ignored>().unwrap().told(request.uri(), status);
            ignored.map(|value| value.to_str().unwrap().to_owned())
        };
        assert_eq!(noted("/x?id=1&id[]=2&page=3"), None);
        assert_eq!(noted("/x?page[]=3&ids=4&id=1").as_deref(), Some("page[], ids"));
        assert_eq!(noted("/x?page=0&verbose=1").as_deref(), Some("verbose"));
        assert_eq!(noted("/x?page=1&s3cret").as_deref(), Some("*"), "what stands alone may be a value");
    }

    #[test]
    fn a_number_is_ascii_digits_and_nothing_else() {
        let page = |text: &str| read(&format!("/x?page={text}"), |query| query.number("page", 1, PAGE_MAX, 7));
        for text in ["%2B1", "+1", "1+", "-1", "%201", "0x1", "1_0", "1.0", "%D9%A1", "", "18446744073709551616"] {
            assert_eq!(page(text), None, "{text}");
        }
        assert_eq!(page("0002"), Some(2));
        assert_eq!(page("18446744073709551615"), Some(PAGE_MAX));
    }

    #[test]
    fn a_date_may_stand_in_quotation_marks() {
        let date = |text: &str| read(&format!("/x?d={text}"), |query| query.date("d"));
        assert_eq!(date("%222026-01-31%22"), Some(Some(jiff::civil::date(2026, 1, 31))));
        for text in ["%222026-01-31", "2026-01-31%22", "%22%222026-01-31%22%22", "%22%22", "%22", "'2026-01-31'"] {
            assert_eq!(date(text), None, "{text}");
        }
    }

    #[test]
    fn every_problem_is_reported_at_once() {
        let bad = "/x?page=0&size=1e3&featured=True&start_date=31.01.2026&end_date=2026-02-30";
        let refusal = Query::read(&request(bad), |query| {
            query.number("page", 1, PAGE_MAX, 1);
            query.number("size", 1, 1000, 50);
            query.boolean("featured");
            query.date("start_date");
            query.date("end_date");
            assert_eq!(query.problems.len(), 5);
        });
        assert!(refusal.is_err());
    }
}
