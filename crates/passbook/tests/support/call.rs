//! One request and its answer. Nothing is encoded or normalised on the way: what the test writes is what the router
//! gets.

use axum::{Router, body::Body};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri};
use http_body_util::BodyExt;
use serde_json::Value;
use tower::ServiceExt;

/// A request being built.
#[derive(Clone)]
pub struct Call {
    router: Router,
    method: Method,
    path: String,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Call {
    pub fn new(router: Router, method: &str, path: &str) -> Self {
        let method = Method::from_bytes(method.as_bytes()).expect("a method");
        Self { router, method, path: path.to_owned(), headers: HeaderMap::new(), body: Vec::new() }
    }

    /// Adds a header; a name given twice is sent twice.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        let name = HeaderName::from_bytes(name.as_bytes()).expect("a header name");
        self.headers.append(name, HeaderValue::from_bytes(value.as_bytes()).expect("a header value"));
        self
    }

    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    pub fn json(self, body: &Value) -> Self {
        self.header("content-type", "application/json").body(body.to_string())
    }

    pub fn form(self, body: &str) -> Self {
        self.header("content-type", "application/x-www-form-urlencoded").body(body)
    }

    /// The same call to another server.
    pub fn through(self, router: Router) -> Self {
        Self { router, ..self }
    }

    /// The call without the server that it was made for, which can then be stopped.
    pub fn unsent(self) -> Self {
        self.through(Router::new())
    }

    /// The answer, once the server takes the call, as a client does that comes again. A busy machine teaches the server
    /// that it has few places, and of many calls at once it refuses some.
    pub async fn send_until_admitted(self) -> Answer {
        loop {
            let answer = self.clone().send().await;
            if answer.status != 503 {
                return answer;
            }
            tokio::task::yield_now().await;
        }
    }

    pub async fn send(self) -> Answer {
        let uri = Uri::try_from(&self.path).unwrap_or_else(|error| panic!("{}: {error}", self.path));
        let mut request = Request::new(Body::from(self.body));
        *request.method_mut() = self.method;
        *request.uri_mut() = uri;
        *request.headers_mut() = self.headers;
        let response = self.router.oneshot(request).await.expect("the router always answers");
        let (parts, body) = response.into_parts();
        let body = body.collect().await.expect("the body is in memory").to_bytes().to_vec();
        Answer { status: parts.status.as_u16(), headers: parts.headers, body }
    }
}

/// An answer, read to its end.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    /// The contract's error code; empty for an answer without one.
    pub fn code(&self) -> String {
        let body: Value = serde_json::from_slice(&self.body).unwrap_or_default();
        body["error_code"].as_str().unwrap_or_default().to_owned()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// Status and code at once, which is what most cases are about.
    #[track_caller]
    pub fn expect(&self, status: u16, code: &str) -> &Self {
        assert_eq!((self.status, self.code().as_str()), (status, code), "{}", self.text());
        self
    }

    /// A success with a body.
    #[track_caller]
    pub fn ok(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.text());
        self.json()
    }

    /// Everything a caller can see that is not unique to the request.
    pub fn visible(&self) -> (u16, HeaderMap, Vec<u8>) {
        let mut headers = self.headers.clone();
        headers.remove("x-request-id");
        (self.status, headers, self.body.clone())
    }

    /// Dotted places of the validation errors.
    pub fn places(&self) -> Vec<String> {
        let body = self.json();
        let errors = body["validation_errors"].as_array().cloned().unwrap_or_default();
        let place = |error: &Value| {
            let steps = error["location"].as_array().cloned().unwrap_or_default();
            steps.iter().map(|step| step.as_str().map_or(step.to_string(), str::to_owned)).collect::<Vec<_>>().join(".")
        };
        errors.iter().map(place).collect()
    }
}
