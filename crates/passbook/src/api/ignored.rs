//! Query parameters that an operation does not know: the response names them in `Passbook-Ignored-Parameters`.
//!
//! A client whose filter is spelt in another way would otherwise get everything and never learn why. Names alone are
//! told, never values, and only names that look like names of parameters: a token that somebody put into the URL without
//! a name must not come back in a header.

use std::sync::{Arc, Mutex, PoisonError};

use http::{HeaderName, HeaderValue, StatusCode, Uri};

use super::query::Query;

/// The header that names them.
pub const IGNORED_PARAMETERS: HeaderName = HeaderName::from_static("passbook-ignored-parameters");

/// Most names in the header.
const NAMES_MAX: usize = 16;
/// Longest name in the header.
const NAME_MAX: usize = 40;
/// Stands for what is not listed.
const REST: &str = "*";

/// Names that were ignored, once each, in the order they were sent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Names {
    listed: Vec<String>,
    /// There are more, or some that cannot be listed.
    more: bool,
}

impl<'a> FromIterator<Option<&'a str>> for Names {
    /// `None` is a parameter that has no name to list.
    fn from_iter<I: IntoIterator<Item = Option<&'a str>>>(names: I) -> Self {
        let mut found = Self::default();
        for name in names {
            match name.filter(|name| can_be_listed(name)) {
                Some(name) if found.listed.iter().any(|listed| listed == name) => {}
                Some(name) if found.listed.len() < NAMES_MAX => found.listed.push(name.to_owned()),
                _ => found.more = true,
            }
        }
        found
    }
}

impl Names {
    fn header_value(&self) -> Option<HeaderValue> {
        let names: Vec<&str> = self.listed.iter().map(String::as_str).chain(self.more.then_some(REST)).collect();
        // Only letters, digits and a few signs are listed, so this cannot fail.
        if names.is_empty() { None } else { HeaderValue::from_str(&names.join(", ")).ok() }
    }
}

/// Letters, digits, `_`, `-`, `.`, `[` and `]`, a letter first; nothing that could end a header or a list.
fn can_be_listed(name: &str) -> bool {
    let safe = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.' | b'[' | b']');
    name.len() <= NAME_MAX && name.starts_with(|first: char| first.is_ascii_alphabetic()) && name.bytes().all(safe)
}

/// Where a handler that reads the query notes what it ignored. Goes with the request.
#[derive(Debug, Clone, Default)]
pub struct Ignored(Arc<Mutex<Option<Names>>>);

impl Ignored {
    /// Notes what a reading of the query left over.
    pub fn note(&self, names: Names) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(names);
    }

    /// The header's value for a response of this status to a request for `uri`. A handler that succeeded without a look
    /// at the query ignored all of it; one that failed before its look ignored nothing yet.
    pub fn told(&self, uri: &Uri, status: StatusCode) -> Option<HeaderValue> {
        let noted = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        match noted {
            Some(names) => names.header_value(),
            None if status.is_success() => Query::all_ignored(uri).header_value(),
            None => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(query: &str, status: StatusCode) -> Option<String> {
        let uri = format!("/x?{query}").parse().unwrap();
        Ignored::default().told(&uri, status).map(|value| value.to_str().unwrap().to_owned())
    }

    #[test]
    fn who_never_looks_ignores_everything_and_who_failed_before_looking_nothing() {
        assert_eq!(told("a=1&b=2&a=3", StatusCode::OK).as_deref(), Some("a, b"));
        assert_eq!(told("a=1", StatusCode::NOT_FOUND), None);
        assert_eq!(told("", StatusCode::OK), None);
        assert_eq!(told("&&", StatusCode::OK), None);
    }

    #[test]
    fn names_are_bounded_in_number_and_length() {
        let many: Vec<String> = (0..100).map(|n| format!("p{n}=1")).collect();
        let value = told(&many.join("&"), StatusCode::OK).unwrap();
        assert_eq!(value.split(", ").count(), NAMES_MAX + 1);
        assert!(value.ends_with(", p15, *"), "{value}");
        let longest = "n".repeat(NAME_MAX);
        assert_eq!(told(&format!("{longest}=1"), StatusCode::OK), Some(longest.clone()));
        assert_eq!(told(&format!("{longest}n=1"), StatusCode::OK).as_deref(), Some("*"));
    }

    #[test]
    fn no_value_comes_back_and_nothing_ends_the_header() {
        for unsafe_name in [
            "s3cret",
            "eyJhbGciOiJub25lIn0",
            "a%0D%0ASet-Cookie:%20x=1",
            "a%00=1",
            "a,b=1",
            "%C3%A9=1",
            "%FF=1",
            "a%22=1",
            "a;b=1",
            "=value",
            "1=2",
            "a%20b=1",
        ] {
            assert_eq!(told(unsafe_name, StatusCode::OK).as_deref(), Some("*"), "{unsafe_name}");
        }
        assert_eq!(told("filter[a.b]-c=s3cret", StatusCode::OK).as_deref(), Some("filter[a.b]-c"));
    }
}
