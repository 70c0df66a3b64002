//! The one mapping from what went wrong to the contract's status and body.
//!
//! Internal detail has no way to the client: a fault is logged here, once, and answered with a fixed text.

use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use http::{HeaderName, HeaderValue, StatusCode, header};
use moneykit::models::errors::{
    HTTPValidationError, LinkErrorBadStateResponse, ValidationError, ValidationErrorLocationInner,
};
use passbook_core::product::Product;
use serde::Serialize;

use crate::{
    services::{
        Fault,
        access::{AccessRefusal, TokenRefusal},
        enrichment::CorrectionRefusal,
        import_links::ImportLinkRefusal,
        imports::ImportRefusal,
        link_changes::TestEventRefusal,
        links::LinkRefusal,
        refresh::RefreshError,
        sandbox_clock::ClockError,
        sandbox_edits::EditError,
        sessions::{ExchangeRefusal, SessionRefusal},
        sign_in::SignInRefusal,
    },
    views,
};

/// Seconds after which a client should try again when the store is unavailable.
const UNAVAILABLE_RETRY_SECONDS: i64 = 2;

/// An error answer.
#[derive(Debug)]
pub struct ApiError(Box<Parts>);

#[derive(Debug)]
struct Parts {
    status: StatusCode,
    body: Vec<u8>,
    headers: Vec<(HeaderName, HeaderValue)>,
    lost_its_key: bool,
}

/// The three keys of every error.
#[derive(Serialize)]
struct ErrorBody<'a> {
    error_code: &'a str,
    error_message: &'a str,
    documentation_url: Option<&'a str>,
}

/// One problem of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where: `body`, `query` or `path`, then keys and indexes.
    pub location: Vec<Place>,
    /// What is wrong.
    pub message: String,
    /// Machine-readable kind.
    pub kind: &'static str,
}

/// A step of a location.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// A key.
    Key(String),
    /// An index.
    Index(usize),
}

impl Problem {
    /// A problem with one field of `part` (`body`, `query`).
    pub fn field(part: &str, field: &str, kind: &'static str, message: impl Into<String>) -> Self {
        let mut location = vec![Place::Key(part.to_owned())];
        location.extend(field.split('.').filter(|key| !key.is_empty()).map(|key| match key.parse() {
            Ok(index) => Place::Index(index),
            Err(_) => Place::Key(key.to_owned()),
        }));
        Self { location, message: message.into(), kind }
    }
}

impl ApiError {
    /// An error with the contract's three keys.
    pub fn new(status: StatusCode, code: &str, message: &str) -> Self {
        Self::with_body(status, &ErrorBody { error_code: code, error_message: message, documentation_url: None })
    }

    fn with_body(status: StatusCode, body: &impl Serialize) -> Self {
        Self(Box::new(Parts { status, body: views::json(body), headers: Vec::new(), lost_its_key: false }))
    }

    fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.0.headers.push((name, value));
        self
    }

    /// 401: anything wrong with the credentials but expiry.
    pub fn unauthorized(message: &str) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "api_error.auth.unauthorized", message)
            .header(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))
    }

    /// 401: the token has expired.
    pub fn expired_token() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "api_error.auth.expired_access_token", "Access token expired")
            .header(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer error=\"invalid_token\""))
    }

    /// 400 of the token call.
    pub fn malformed_credentials(message: &str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "api_error.auth.unauthorized", message)
    }

    /// 401: the scope does not cover a call that concerns a link.
    pub fn out_of_scope() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "link_error.unauthorized_access", "Unauthorized link access.")
    }

    /// 404 of a link, the same bytes for every reason.
    pub fn link_not_found() -> Self {
        Self::new(StatusCode::NOT_FOUND, "link_error.not_found", "Link not found.")
    }

    /// 404 of an institution.
    pub fn institution_not_found() -> Self {
        Self::new(StatusCode::NOT_FOUND, "institution_error.not_found", "Institution not found")
    }

    /// 404 of a route.
    pub fn route_not_found() -> Self {
        Self::new(StatusCode::NOT_FOUND, "api_error.not_found", "There is nothing at this path")
    }

    /// 405.
    pub fn method_not_allowed() -> Self {
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "api_error.method_not_allowed", "This path has no such method")
    }

    /// 413.
    pub fn too_large(limit: usize) -> Self {
        let problem = Problem::field("body", "", "value_error.too_large", format!("the body is over {limit} bytes"));
        Self::validation_as(StatusCode::PAYLOAD_TOO_LARGE, vec![problem])
    }

    /// 422 of a malformed request.
    pub fn validation(problems: Vec<Problem>) -> Self {
        Self::validation_as(StatusCode::UNPROCESSABLE_ENTITY, problems)
    }

    /// 422 of a body that did not arrive in time. The connection ends with it: what the client still sends is the rest of
    /// that body and no request. (HTTP/2 has no such header; there the stream alone ends, and it is left out.)
    pub fn too_slow() -> Self {
        Self::validation(vec![Problem::field("body", "", "value_error.timeout", "the body did not arrive in time")])
            .header(header::CONNECTION, HeaderValue::from_static("close"))
    }

    fn validation_as(status: StatusCode, problems: Vec<Problem>) -> Self {
        let validation_errors = problems
            .into_iter()
            .map(|problem| ValidationError {
                location: problem
                    .location
                    .into_iter()
                    .map(|place| match place {
                        Place::Key(key) => ValidationErrorLocationInner::Key(key),
                        Place::Index(index) => ValidationErrorLocationInner::Index(index as i64),
                    })
                    .collect(),
                message: problem.message,
                error_type: problem.kind.to_owned(),
            })
            .collect();
        Self::with_body(status, &HTTPValidationError::new(validation_errors))
    }

    /// 429.
    pub fn limited(message: &str, retry_after_seconds: i64) -> Self {
        Self::new(StatusCode::TOO_MANY_REQUESTS, "api_error.rate_limit_exceeded", message)
            .header(header::RETRY_AFTER, retry_after_seconds.into())
    }

    /// 503.
    pub fn unavailable() -> Self {
        let message = "The service is temporarily unavailable; nothing was changed";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "api_error.unavailable", message)
            .header(header::RETRY_AFTER, UNAVAILABLE_RETRY_SECONDS.into())
    }

    /// The end of a stream whose place another caller got.
    pub fn stream_displaced() -> Self {
        let message = "Every place was held, and another caller was below its share; try again later";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "stream_error.displaced", message)
    }

    /// The end of a stream whose time is over.
    pub fn stream_lifetime_over() -> Self {
        let message = "A stream lasts 15 minutes; open another one";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "stream_error.lifetime_over", message)
    }

    /// The end of a stream of a server that drains.
    pub fn stream_server_stopping() -> Self {
        let message = "The server stops; open another stream";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "stream_error.server_stopping", message)
    }

    /// 503 of a request whose idempotency key was taken over by another one.
    fn key_taken_over() -> Self {
        let mut error = Self::unavailable();
        error.0.lost_its_key = true;
        error
    }

    /// Whether it is no fault of the client's.
    pub fn is_server_error(&self) -> bool {
        self.0.status.is_server_error()
    }

    /// The JSON body.
    pub fn body(&self) -> &[u8] {
        &self.0.body
    }

    /// Whether the request lost its idempotency key to another one, whose answer is the one to give.
    pub fn lost_its_key(&self) -> bool {
        self.0.lost_its_key
    }

    /// 500.
    pub fn internal() -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "api_error.internal", "Internal error")
    }

    fn bad_state(code: &str) -> Self {
        let message = format!("The link is not usable: {code}");
        Self::with_body(StatusCode::UNPROCESSABLE_ENTITY, &LinkErrorBadStateResponse::new(message, code))
    }

    fn not_granted(product: Product) -> Self {
        let name = product.as_str().replace('_', " ");
        Self::forbidden(&format!("{}{} access not permitted", name[..1].to_uppercase(), &name[1..]))
    }

    fn forbidden(message: &str) -> Self {
        Self::new(StatusCode::FORBIDDEN, "link_error.forbidden_action", message)
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let parts = *self.0;
        let mut response = Response::new(Body::from(parts.body));
        *response.status_mut() = parts.status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.extend(parts.headers);
        response
    }
}

impl From<Fault> for ApiError {
    fn from(fault: Fault) -> Self {
        let chain = &fault as &dyn std::error::Error;
        match &fault {
            Fault::Unavailable(_) => {
                tracing::warn!(error = chain, cause = %causes(chain), "request refused: store unavailable");
                Self::unavailable()
            }
            Fault::KeyTakenOver => Self::key_taken_over(),
            // Not 503, which promises that nothing changed.
            Fault::OutcomeUnknown(_) | Fault::Internal(_) => {
                tracing::error!(error = chain, cause = %causes(chain), "request failed");
                Self::internal()
            }
        }
    }
}

/// The chain of causes, for the log only.
fn causes(error: &dyn std::error::Error) -> String {
    std::iter::successors(error.source(), |cause| cause.source())
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(": ")
}

impl From<AccessRefusal> for ApiError {
    fn from(refusal: AccessRefusal) -> Self {
        match refusal {
            AccessRefusal::Expired => Self::expired_token(),
            AccessRefusal::Unauthorized => Self::unauthorized("Invalid access token"),
            AccessRefusal::Fault(fault) => fault.into(),
        }
    }
}

impl From<TokenRefusal> for ApiError {
    fn from(refusal: TokenRefusal) -> Self {
        match refusal {
            TokenRefusal::WrongCredentials => Self::unauthorized("Invalid client credentials"),
            TokenRefusal::UnknownScope => Self::malformed_credentials("Unknown scope"),
            TokenRefusal::Fault(fault) => fault.into(),
        }
    }
}

impl From<LinkRefusal> for ApiError {
    fn from(refusal: LinkRefusal) -> Self {
        match refusal {
            LinkRefusal::NotFound => Self::link_not_found(),
            LinkRefusal::Deleted => {
                Self::new(StatusCode::GONE, "link_error.deleted", "This link was deleted at some earlier time.")
            }
            LinkRefusal::BadState(code) => Self::bad_state(code),
            LinkRefusal::Forbidden(message) => Self::forbidden(message),
            LinkRefusal::NotGranted(product) => Self::not_granted(product),
            LinkRefusal::Fault(fault) => fault.into(),
        }
    }
}

impl From<EditError> for ApiError {
    fn from(error: EditError) -> Self {
        let problem =
            |field: &str, message: &str| Self::validation(vec![Problem::field("body", field, "value_error", message)]);
        match error {
            EditError::Link(refusal) => refusal.into(),
            EditError::Unknown(number, field) => {
                problem(&format!("edits.{number}.{field}"), "the link has nothing with this id")
            }
            EditError::TooMany => problem("edits", "the bank keeps 1000 edits of a link at most"),
        }
    }
}

impl From<CorrectionRefusal> for ApiError {
    fn from(refusal: CorrectionRefusal) -> Self {
        match refusal {
            CorrectionRefusal::Link(refusal) => refusal.into(),
            // The one 404 that the operation has.
            CorrectionRefusal::UnknownTransaction => Self::link_not_found(),
        }
    }
}

impl From<TestEventRefusal> for ApiError {
    fn from(refusal: TestEventRefusal) -> Self {
        match refusal {
            TestEventRefusal::Link(refusal) => refusal.into(),
            TestEventRefusal::NoWebhook => {
                Self::new(StatusCode::BAD_REQUEST, "link_error.bad_config", "The link has no webhook URL")
            }
        }
    }
}

impl From<RefreshError> for ApiError {
    fn from(error: RefreshError) -> Self {
        match error {
            RefreshError::Link(refusal) => refusal.into(),
            RefreshError::Limited { product, retry_after_seconds } => {
                let name = product.as_str();
                let message = format!(
                    "{name} was refreshed too recently; try again in {retry_after_seconds} s \
                     (in the sandbox, POST /sandbox/clock moves the app's clock)"
                );
                Self::limited(&message, retry_after_seconds)
            }
        }
    }
}

impl From<SessionRefusal> for ApiError {
    fn from(refusal: SessionRefusal) -> Self {
        match refusal {
            SessionRefusal::ForbiddenConfig(message) => {
                Self::new(StatusCode::FORBIDDEN, "link_session_error.forbidden_config", message)
            }
            SessionRefusal::Fault(fault) => fault.into(),
        }
    }
}

impl From<ExchangeRefusal> for ApiError {
    fn from(refusal: ExchangeRefusal) -> Self {
        match refusal {
            ExchangeRefusal::InvalidToken => {
                let code = "link_session_error.invalid_token_exchange";
                Self::new(StatusCode::BAD_REQUEST, code, "Invalid token for link")
            }
            ExchangeRefusal::Fault(fault) => fault.into(),
        }
    }
}

impl From<SignInRefusal> for ApiError {
    fn from(refusal: SignInRefusal) -> Self {
        match refusal {
            SignInRefusal::InvalidSession => {
                let message = "the link session is unknown, expired or already used";
                Self::validation(vec![Problem::field("body", "link_session_token", "value_error", message)])
            }
            SignInRefusal::NotOffered { field, message } => {
                Self::validation(vec![Problem::field("body", field, "value_error", message)])
            }
            SignInRefusal::Failed { code, .. } => Self::bad_state(code.as_str()),
            SignInRefusal::Fault(fault) => fault.into(),
        }
    }
}

impl From<ImportLinkRefusal> for ApiError {
    fn from(refusal: ImportLinkRefusal) -> Self {
        match refusal {
            ImportLinkRefusal::UnknownInstitution => {
                let message = "no institution has this id";
                Self::validation(vec![Problem::field("body", "institution_id", "value_error", message)])
            }
            ImportLinkRefusal::UnknownAccount(index) => {
                let field = format!("transactions.{index}.account_id");
                Self::validation(vec![Problem::field("body", &field, "value_error", "must be an imported account")])
            }
            ImportLinkRefusal::NotImported => Self::new(
                StatusCode::FORBIDDEN,
                "link_error.forbidden_action",
                "Transactions can be imported only to an imported link that was not reconnected",
            ),
            ImportLinkRefusal::Link(refusal) => refusal.into(),
            ImportLinkRefusal::Fault(fault) => fault.into(),
        }
    }
}

impl From<ImportRefusal> for ApiError {
    fn from(refusal: ImportRefusal) -> Self {
        match refusal {
            ImportRefusal::File(refusal) => {
                Self::validation(vec![Problem::field("body", "", "value_error.statement_file", refusal.message)])
            }
            ImportRefusal::UnknownInstitution => {
                let message = "no institution has this id";
                Self::validation(vec![Problem::field("query", "institution_id", "value_error", message)])
            }
            ImportRefusal::Fault(fault) => fault.into(),
        }
    }
}

impl From<ClockError> for ApiError {
    fn from(error: ClockError) -> Self {
        match error {
            ClockError::Refused(refusal) => {
                Self::validation(vec![Problem::field("body", "", "value_error", refusal.to_string())])
            }
            ClockError::Fault(fault) => fault.into(),
        }
    }
}
