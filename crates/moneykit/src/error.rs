//! The one error of this crate: opaque, so that new causes are no breaking change, with questions a caller can ask.
//!
//! An error may end in a log, so neither `Display` nor `Debug` shows anything a server wrote freely: no body, no
//! message, no header. [`Error::error_message`] and [`Error::validation_errors`] give that text to callers who ask.

use std::{error::Error as StdError, fmt, sync::Arc, time::Duration};

use http::StatusCode;

use crate::models::{LinkProductError, Product, errors::ValidationError};

/// What went wrong in a call. Cheap to clone.
#[derive(Clone)]
pub struct Error {
    inner: Arc<Inner>,
}

struct Inner {
    operation: &'static str,
    kind: Kind,
}

pub(crate) enum Kind {
    /// The client is not set up for this; nothing was sent.
    Config(&'static str),
    /// reqwest could not build its client.
    Setup(reqwest::Error),
    /// No connection, so nothing was sent.
    Connect(reqwest::Error),
    /// The connection was there, but the answer did not come in time.
    Timeout(reqwest::Error),
    /// The connection broke.
    Transport(reqwest::Error),
    /// The answer is larger than the client reads.
    TooLarge(Head),
    /// The answer is a success but not what the contract says. serde's own text may quote the body, so only the
    /// place is kept.
    Decode { head: Head, line: usize, column: usize },
    /// The answers contradict each other or the contract.
    Protocol(&'static str),
    /// The server answered with an error.
    Api { head: Head, retry_after: Option<Duration>, body: Box<Body> },
    /// A refresh that this client started failed for one product.
    RefreshFailed { product: Product, code: LinkProductError, message: Option<String> },
    /// The link stopped being usable while a refresh was awaited.
    LinkUnusable { code: String },
    /// A refresh did not end in time. It may still.
    RefreshTimeout,
}

/// What is kept of an answer's head.
#[derive(Clone)]
pub(crate) struct Head {
    pub status: StatusCode,
    pub request_id: Option<String>,
}

/// What is kept of an error body.
#[derive(Default)]
pub(crate) struct Body {
    pub error_code: Option<String>,
    pub error_message: Option<String>,
    pub documentation_url: Option<String>,
    pub link_error_code: Option<String>,
    pub validation_errors: Vec<ValidationError>,
}

impl Error {
    pub(crate) fn new(operation: &'static str, kind: Kind) -> Self {
        Self { inner: Arc::new(Inner { operation, kind }) }
    }

    pub(crate) fn config(problem: &'static str) -> Self {
        Self::new("client", Kind::Config(problem))
    }

    /// Sorts a reqwest failure. The URL is taken off: ids in it are nobody's business in a log.
    pub(crate) fn transport(operation: &'static str, error: reqwest::Error) -> Self {
        let error = error.without_url();
        // A connect timeout is both; "nothing was sent" is what decides about repeating.
        let kind = if error.is_connect() {
            Kind::Connect(error)
        } else if error.is_timeout() {
            Kind::Timeout(error)
        } else {
            Kind::Transport(error)
        };
        Self::new(operation, kind)
    }

    /// The server's dotted code, for example `link_error.bad_state`. `None` when no server answered, or it was not the
    /// API that answered (a proxy's own 502 page).
    #[must_use]
    pub fn error_code(&self) -> Option<&str> {
        self.body()?.error_code.as_deref()
    }

    /// The server's text for the developer. Not part of `Display`, because a server may write anything here.
    #[must_use]
    pub fn error_message(&self) -> Option<&str> {
        match &self.inner.kind {
            Kind::RefreshFailed { message, .. } => message.as_deref(),
            _ => self.body()?.error_message.as_deref(),
        }
    }

    /// A help page, when the server names one.
    #[must_use]
    pub fn documentation_url(&self) -> Option<&str> {
        self.body()?.documentation_url.as_deref()
    }

    /// Every problem of a request that failed validation (422); empty otherwise.
    #[must_use]
    pub fn validation_errors(&self) -> &[ValidationError] {
        self.body().map_or(&[], |body| &body.validation_errors)
    }

    /// What blocks a link (422 `link_error.bad_state`): its error code, or the name of its state.
    #[must_use]
    pub fn link_error_code(&self) -> Option<&str> {
        match &self.inner.kind {
            Kind::LinkUnusable { code } => Some(code),
            _ => self.body()?.link_error_code.as_deref(),
        }
    }

    /// The product whose refresh failed and why; only from
    /// [`refresh_and_wait`](crate::api::ProductsApi::refresh_and_wait).
    #[must_use]
    pub fn product_error(&self) -> Option<(&Product, &LinkProductError)> {
        match &self.inner.kind {
            Kind::RefreshFailed { product, code, .. } => Some((product, code)),
            _ => None,
        }
    }

    /// The status of the answer; `None` when there was none.
    #[must_use]
    pub fn status(&self) -> Option<StatusCode> {
        self.head().map(|head| head.status)
    }

    /// The `X-Request-Id` of the answer, for the server's operator.
    #[must_use]
    pub fn request_id(&self) -> Option<&str> {
        self.head()?.request_id.as_deref()
    }

    /// How long the server asked to wait, as it said it (`Retry-After`).
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match &self.inner.kind {
            Kind::Api { retry_after, .. } => *retry_after,
            _ => None,
        }
    }

    /// Whether the same call may succeed later without anybody changing anything: the server is busy, limited or down,
    /// or the network failed.
    ///
    /// Says nothing about whether the first call had an effect: after a timeout, look before repeating anything but a
    /// read or a call with an idempotency key. The client has already repeated what is safe to repeat.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match &self.inner.kind {
            Kind::Connect(_) | Kind::Timeout(_) | Kind::Transport(_) | Kind::RefreshTimeout => true,
            Kind::Api { head, .. } => matches!(head.status.as_u16(), 429 | 500 | 502 | 503 | 504),
            Kind::RefreshFailed { code, .. } => matches!(
                code,
                LinkProductError::RateLimit
                    | LinkProductError::Timeout
                    | LinkProductError::UnknownCause
                    | LinkProductError::InstitutionError
            ),
            Kind::Config(_)
            | Kind::Setup(_)
            | Kind::TooLarge(_)
            | Kind::Decode { .. }
            | Kind::Protocol(_)
            | Kind::LinkUnusable { .. } => false,
        }
    }

    /// Whether time ran out: of a request, or of waiting for a refresh.
    #[must_use]
    pub fn is_timeout(&self) -> bool {
        match &self.inner.kind {
            Kind::Timeout(_) | Kind::RefreshTimeout => true,
            Kind::Connect(error) => error.is_timeout(),
            _ => false,
        }
    }

    /// Whether no connection came about, which proves that nothing was sent.
    #[must_use]
    pub fn is_connect(&self) -> bool {
        matches!(self.inner.kind, Kind::Connect(_))
    }

    /// Whether the request may have arrived and its answer did not.
    pub(crate) fn is_lost_answer(&self) -> bool {
        matches!(self.inner.kind, Kind::Timeout(_) | Kind::Transport(_))
    }

    fn head(&self) -> Option<&Head> {
        match &self.inner.kind {
            Kind::Api { head, .. } | Kind::Decode { head, .. } | Kind::TooLarge(head) => Some(head),
            _ => None,
        }
    }

    fn body(&self) -> Option<&Body> {
        match &self.inner.kind {
            Kind::Api { body, .. } => Some(body),
            _ => None,
        }
    }

    /// The error code if it looks like one. A server that writes something else there does not get it into a log.
    pub(crate) fn printable_code(&self) -> Option<&str> {
        self.error_code().filter(|code| is_word(code))
    }

    fn printable_link_code(&self) -> Option<&str> {
        self.link_error_code().filter(|code| is_word(code))
    }
}

/// Whether the text is a dotted lower-case word, as all codes of the contract are.
fn is_word(text: &str) -> bool {
    // The contract's longest code has 37 characters; an access token has 64.
    const WORD_BYTES_MAX: usize = 48;
    text.len() <= WORD_BYTES_MAX
        && !text.is_empty()
        && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_' || byte == b'.')
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: ", self.inner.operation)?;
        match &self.inner.kind {
            Kind::Config(problem) | Kind::Protocol(problem) => formatter.write_str(problem)?,
            Kind::Setup(_) => formatter.write_str("the HTTP client could not be built")?,
            Kind::Connect(_) => formatter.write_str("could not connect; nothing was sent")?,
            Kind::Timeout(_) => formatter.write_str("the server did not answer in time")?,
            Kind::Transport(_) => formatter.write_str("the connection failed")?,
            Kind::TooLarge(_) => formatter.write_str("the answer is too large")?,
            Kind::Decode { head, line, column } => {
                write!(formatter, "unreadable answer (status {}, line {line} column {column})", head.status.as_u16())?;
            }
            Kind::Api { head, .. } => {
                write!(formatter, "the server answered {}", head.status.as_u16())?;
                if let Some(code) = self.printable_code() {
                    write!(formatter, " {code}")?;
                }
                if let Some(code) = self.printable_link_code() {
                    write!(formatter, " ({code})")?;
                }
            }
            Kind::RefreshFailed { product, code, .. } => {
                let code = Some(code.as_str()).filter(|code| is_word(code)).unwrap_or("unrecognised error");
                write!(formatter, "the refresh of {product} failed: {code}")?;
            }
            Kind::LinkUnusable { .. } => {
                let code = self.printable_link_code().unwrap_or("unrecognised state");
                write!(formatter, "the link became unusable during the refresh: {code}")?;
            }
            Kind::RefreshTimeout => formatter.write_str("the refresh did not end in time")?,
        }
        if let Some(request_id) = self.request_id() {
            write!(formatter, ", request {request_id}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = formatter.debug_struct("Error");
        shown.field("message", &self.to_string());
        if let Some(source) = self.source() {
            shown.field("source", &source);
        }
        shown.finish_non_exhaustive()
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match &self.inner.kind {
            Kind::Setup(error) | Kind::Connect(error) | Kind::Timeout(error) | Kind::Transport(error) => Some(error),
            _ => None,
        }
    }
}
