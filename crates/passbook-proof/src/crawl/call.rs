//! One request of a crawl, before it is sent.

use serde_json::Value;

use crate::server::Access;

/// A client with its token.
#[derive(Clone, Default)]
pub struct Caller {
    /// What the transcript calls it.
    pub name: &'static str,
    /// Its id and secret.
    pub access: Access,
    /// An access token; empty before the first was asked for.
    pub token: String,
}

/// A request.
#[derive(Clone)]
pub struct Call {
    /// The method.
    pub method: String,
    /// The path with its query, as it is sent.
    pub path: String,
    /// Headers beside `host` and `content-length`. A `host` here goes before the usual one.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
    /// Messages to read of an event stream, which never ends.
    pub messages: usize,
}

impl Call {
    /// A request without credentials and body.
    pub fn new(method: &str, path: impl Into<String>) -> Self {
        Self { method: method.to_owned(), path: path.into(), headers: Vec::new(), body: Vec::new(), messages: 0 }
    }

    /// A read.
    pub fn get(path: impl Into<String>) -> Self {
        Self::new("GET", path)
    }

    /// A write with a JSON body.
    pub fn post(path: impl Into<String>, body: &Value) -> Self {
        Self::new("POST", path).json(body)
    }

    /// With a header.
    #[must_use]
    pub fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    /// With the token of `caller`.
    #[must_use]
    pub fn by(self, caller: &Caller) -> Self {
        self.header("authorization", format!("Bearer {}", caller.token))
    }

    /// With id and secret of `caller`, which no clock ends.
    #[must_use]
    pub fn by_secret(self, caller: &Caller) -> Self {
        self.header("x-client-id", &caller.access.client_id).header("x-client-secret", &caller.access.client_secret)
    }

    /// With a JSON body.
    #[must_use]
    pub fn json(self, body: &Value) -> Self {
        self.content("application/json", body.to_string())
    }

    /// With a body of this type.
    #[must_use]
    pub fn content(mut self, content_type: &str, body: impl Into<Vec<u8>>) -> Self {
        self.headers.retain(|(name, _)| name != "content-type");
        self.body = body.into();
        self.header("content-type", content_type)
    }

    /// With one more query parameter, written as it is.
    #[must_use]
    pub fn query(mut self, parameter: &str) -> Self {
        let separator = if self.path.contains('?') { '&' } else { '?' };
        self.path.push(separator);
        self.path.push_str(parameter);
        self
    }

    /// Whether the answer may be an event stream.
    pub fn is_stream(&self) -> bool {
        self.method == "GET" && self.path.starts_with("/passbook/events/stream")
    }

    /// The bytes to send.
    pub fn bytes(&self) -> Vec<u8> {
        let mut head = format!("{} {} HTTP/1.1\r\n", self.method, self.path);
        if self.headers.iter().all(|(name, _)| name != "host") {
            head.push_str("host: localhost\r\n");
        }
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if !self.body.is_empty() || self.method != "GET" {
            head.push_str(&format!("content-length: {}\r\n", self.body.len()));
        }
        head.push_str("\r\n");
        [head.as_bytes(), &self.body].concat()
    }
}

/// Percent-encoding of everything but letters, digits and a few signs.
pub fn encoded(text: &str) -> String {
    let byte = |byte: u8| match byte {
        b'-' | b'_' | b'.' => char::from(byte).to_string(),
        _ if byte.is_ascii_alphanumeric() => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(byte).collect()
}
