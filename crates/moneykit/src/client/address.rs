//! URLs that ids cannot escape from: every path segment is percent-encoded on its own.

use std::{borrow::Cow, fmt};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use url::Url;

use crate::{Error, error::Kind};

/// Everything but the unreserved characters of RFC 3986 section 2.3 is encoded.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Where the server is: scheme, host, and a path prefix without a closing slash.
pub(super) struct BaseUrl(String);

impl BaseUrl {
    pub(super) fn parse(text: &str) -> Result<Self, Error> {
        let url = Url::parse(text).map_err(|_| Error::config("the base URL is not a URL"))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(Error::config("the base URL must be http or https"));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(Error::config("the base URL must not carry credentials"));
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(Error::config("the base URL must not have a query or a fragment"));
        }
        Ok(Self(url.as_str().trim_end_matches('/').to_owned()))
    }

    pub(super) fn is_https(&self) -> bool {
        self.0.starts_with("https:")
    }

    /// The URL of a path under the base, with its query.
    ///
    /// # Errors
    /// A segment that is empty, `.` or `..`: no encoding keeps those from being removed on the way, which would turn
    /// the call into another one.
    pub(super) fn join(
        &self,
        operation: &'static str,
        segments: &[&str],
        query: &[(Cow<'_, str>, String)],
    ) -> Result<Url, Error> {
        let mut text = self.0.clone();
        for segment in segments {
            if matches!(*segment, "" | "." | "..") {
                return Err(Error::new(operation, Kind::Config("an id must not be empty, `.` or `..`")));
            }
            text.push('/');
            text.extend(utf8_percent_encode(segment, SEGMENT));
        }
        let mut url = Url::parse(&text).map_err(|_| Error::new(operation, Kind::Config("no URL can be built")))?;
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        Ok(url)
    }
}

impl fmt::Debug for BaseUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, formatter)
    }
}

#[cfg(test)]
mod tests {
    use super::BaseUrl;

    #[test]
    fn strange_ids_stay_one_segment() {
        let base = BaseUrl::parse("http://127.0.0.1:9/api/v1/").unwrap();
        for (id, encoded) in [
            ("mk_ok-1.2~3", "mk_ok-1.2~3"),
            ("../admin", "..%2Fadmin"),
            ("..\\admin", "..%5Cadmin"),
            ("a/../../b", "a%2F..%2F..%2Fb"),
            ("%2e%2e", "%252e%252e"),
            ("%00", "%2500"),
            ("\0", "%00"),
            ("a?b=c#d", "a%3Fb%3Dc%23d"),
            ("é\r\nHost: x", "%C3%A9%0D%0AHost%3A%20x"),
            ("...", "..."),
        ] {
            let url = base.join("test", &["links", id, "accounts"], &[]).unwrap();
            assert_eq!(url.as_str(), format!("http://127.0.0.1:9/api/v1/links/{encoded}/accounts"));
        }
        for id in ["", ".", ".."] {
            assert!(base.join("test", &["links", id, "accounts"], &[]).is_err(), "{id:?}");
        }
    }

    #[test]
    fn queries_are_encoded_and_may_repeat_a_key() {
        let base = BaseUrl::parse("https://host.example").unwrap();
        let query = [("account_ids".into(), "a&b".to_owned()), ("account_ids".into(), "c d".to_owned())];
        let url = base.join("test", &["links"], &query).unwrap();
        assert_eq!(url.as_str(), "https://host.example/links?account_ids=a%26b&account_ids=c+d");
    }

    #[test]
    fn unsafe_base_urls_are_refused() {
        for text in ["", "host", "ftp://h", "file:///etc", "https://user:pw@h", "https://h?x=1", "https://h/#f"] {
            assert!(BaseUrl::parse(text).is_err(), "{text}");
        }
    }
}
