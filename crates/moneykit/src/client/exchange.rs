//! One call: build the request, send it, repeat it if that is safe, read the answer.

use std::borrow::Cow;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{
    ApiResponse, Client, retry,
    token::{Token, Tokens, create_access_token},
    trace,
};
use crate::{
    Error,
    error::{Body, Head, Kind},
    models::errors::APIErrorAuthExpiredAccessTokenResponse,
};

/// The largest answer the client reads, in bytes. A page of 1000 transactions is well under 2 MiB.
const BODY_BYTES_MAX: usize = 64 * 1024 * 1024;

/// How long a stream may last; servers end theirs earlier.
const STREAM_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(24 * 60 * 60);

/// The longest request id worth keeping.
const REQUEST_ID_BYTES_MAX: usize = 128;

/// One operation with everything it sends.
pub(crate) struct Call<'a> {
    pub(crate) operation: &'static str,
    method: Method,
    segments: Vec<Cow<'a, str>>,
    query: Vec<(Cow<'a, str>, String)>,
    payload: Payload,
    authorization: Authorization,
}

/// What a call sends in its body. No `Debug`: it may hold secrets.
pub(crate) enum Payload {
    None,
    Json(Bytes),
    Form(Vec<(&'static str, String)>),
}

/// How a call proves who makes it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Authorization {
    /// With an access token.
    Bearer,
    /// With its own body.
    None,
    /// Public, but naming the client helps.
    ClientId,
}

impl<'a> Call<'a> {
    pub(crate) fn new(operation: &'static str, method: Method, segments: Vec<Cow<'a, str>>) -> Self {
        let authorization = Authorization::Bearer;
        Self { operation, method, segments, query: Vec::new(), payload: Payload::None, authorization }
    }

    pub(crate) fn get(operation: &'static str, segments: &[&'a str]) -> Self {
        Self::new(operation, Method::GET, segments.iter().map(|segment| Cow::Borrowed(*segment)).collect())
    }

    /// A `POST` that sends JSON.
    pub(crate) fn post<T: serde::Serialize>(
        operation: &'static str,
        segments: &[&'a str],
        body: &T,
    ) -> Result<Self, Error> {
        Self::json(Method::POST, operation, segments, body)
    }

    /// A call that sends JSON.
    pub(crate) fn json<T: serde::Serialize>(
        method: Method,
        operation: &'static str,
        segments: &[&'a str],
        body: &T,
    ) -> Result<Self, Error> {
        let json = serde_json::to_vec(body)
            .map_err(|_| Error::new(operation, Kind::Config("the request cannot be written as JSON")))?;
        let segments = segments.iter().map(|segment| Cow::Borrowed(*segment)).collect();
        Ok(Self::new(operation, method, segments).payload(Payload::Json(json.into())))
    }

    pub(crate) fn payload(mut self, payload: Payload) -> Self {
        self.payload = payload;
        self
    }

    pub(crate) fn authorization(mut self, authorization: Authorization) -> Self {
        self.authorization = authorization;
        self
    }

    /// Adds a query parameter unless the value is absent.
    pub(crate) fn query(mut self, key: &'static str, value: Option<impl ToString>) -> Self {
        self.query.extend(value.map(|value| (Cow::Borrowed(key), value.to_string())));
        self
    }

    /// Adds query parameters as they are.
    pub(super) fn queries(mut self, queries: Vec<(Cow<'a, str>, String)>) -> Self {
        self.query.extend(queries);
        self
    }

    /// Repeats a query parameter for each value.
    pub(crate) fn query_each<T: ToString>(mut self, key: &'static str, values: &[T]) -> Self {
        self.query.extend(values.iter().map(|value| (Cow::Borrowed(key), value.to_string())));
        self
    }
}

impl Client {
    /// Trades the client's credentials for a token, leaving the cached one alone.
    pub(crate) async fn call_create_access_token<T: DeserializeOwned>(&self) -> Result<ApiResponse<T>, Error> {
        let Tokens::Renewed(cache) = &self.inner.tokens else {
            return Err(Error::new("create_access_token", Kind::Config("the client has no client credentials")));
        };
        let call = create_access_token(cache.credentials());
        decode(call.operation, self.send(&call, None).await?)
    }

    /// Makes a call, inside of a span if there are spans.
    pub(super) async fn call_raw(&self, call: Call<'_>) -> Result<ApiResponse<Bytes>, Error> {
        trace::call(call.operation, &call.method, self.call_with_token(&call)).await
    }

    /// Makes a call with a fresh token, and once more when the server calls it expired after all.
    async fn call_with_token(&self, call: &Call<'_>) -> Result<ApiResponse<Bytes>, Error> {
        if call.authorization != Authorization::Bearer {
            return self.send(call, None).await;
        }
        match &self.inner.tokens {
            Tokens::None => Err(Error::new(call.operation, Kind::Config("the client has no credentials"))),
            Tokens::Fixed(token) => self.send(call, Some(token)).await,
            Tokens::Renewed(cache) => {
                let token = cache.get(self).await?;
                match self.send(call, Some(&token)).await {
                    // The refusal proves that the call had no effect, so even a POST is repeated.
                    Err(error) if is_expired_token(&error) => {
                        let token = cache.replace(self, &token).await?;
                        self.send(call, Some(&token)).await
                    }
                    result => result,
                }
            }
        }
    }

    /// Sends a call, repeating it while that is safe and may help.
    pub(super) async fn send(&self, call: &Call<'_>, token: Option<&Token>) -> Result<ApiResponse<Bytes>, Error> {
        let mut attempt = 0;
        loop {
            let error = match self.send_once(call, token).await {
                Ok(response) => return Ok(response),
                Err(error) => error,
            };
            if attempt >= self.inner.max_retries
                || !retry::may_repeat(&call.method, self.key_of(call).is_some(), &error)
            {
                return Err(error);
            }
            let delay = retry::delay(&error, attempt);
            trace::repetition(call.operation, attempt, delay, &error);
            tokio::time::sleep(delay).await;
            attempt += 1;
        }
    }

    /// The idempotency key that goes with a call: with a `POST` that acts, not with one for a token.
    fn key_of(&self, call: &Call<'_>) -> Option<&HeaderValue> {
        let acts = call.method == Method::POST && call.authorization == Authorization::Bearer;
        self.idempotency_key.as_ref().filter(|_| acts)
    }

    async fn send_once(&self, call: &Call<'_>, token: Option<&Token>) -> Result<ApiResponse<Bytes>, Error> {
        let request = self.build(call, token)?;
        let response = request.send().await.map_err(|error| Error::transport(call.operation, error))?;
        read(call.operation, response).await
    }

    /// Opens an answer that comes bit by bit, with a fresh token, and once more when the server calls it expired. Not
    /// bound by the client's timeout for requests.
    pub(super) async fn open(&self, call: &Call<'_>, last_event_id: Option<&str>) -> Result<reqwest::Response, Error> {
        match &self.inner.tokens {
            Tokens::None => Err(Error::new(call.operation, Kind::Config("the client has no credentials"))),
            Tokens::Fixed(token) => self.open_once(call, token, last_event_id).await,
            Tokens::Renewed(cache) => {
                let token = cache.get(self).await?;
                match self.open_once(call, &token, last_event_id).await {
                    Err(error) if is_expired_token(&error) => {
                        let token = cache.replace(self, &token).await?;
                        self.open_once(call, &token, last_event_id).await
                    }
                    result => result,
                }
            }
        }
    }

    async fn open_once(
        &self,
        call: &Call<'_>,
        token: &Token,
        last_event_id: Option<&str>,
    ) -> Result<reqwest::Response, Error> {
        let mut request = self.build(call, Some(token))?.timeout(STREAM_TIMEOUT);
        if let Some(id) = last_event_id {
            request = request.header("last-event-id", id);
        }
        let response = request.send().await.map_err(|error| Error::transport(call.operation, error))?;
        match response.status().is_success() {
            true => Ok(response),
            false => Err(match read(call.operation, response).await {
                Err(error) => error,
                Ok(answer) => {
                    let head = Head { status: answer.status, request_id: request_id(&answer.headers) };
                    Error::new(call.operation, Kind::Decode { head, line: 0, column: 0 })
                }
            }),
        }
    }

    fn build(&self, call: &Call<'_>, token: Option<&Token>) -> Result<reqwest::RequestBuilder, Error> {
        let segments: Vec<&str> = call.segments.iter().map(AsRef::as_ref).collect();
        let url = self.inner.base_url.join(call.operation, &segments, &call.query)?;
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        headers.insert("moneykit-version", self.inner.version.clone());
        if let Some(token) = token {
            headers.insert(header::AUTHORIZATION, token.header().clone());
        }
        if let Some(key) = self.key_of(call) {
            headers.insert("idempotency-key", key.clone());
        }
        if call.authorization == Authorization::ClientId
            && let Tokens::Renewed(cache) = &self.inner.tokens
            && let Ok(client_id) = HeaderValue::from_str(&cache.credentials().id)
        {
            headers.insert("x-client-id", client_id);
        }
        let request = self.inner.http.request(call.method.clone(), url).headers(headers);
        Ok(match &call.payload {
            Payload::None => request,
            Payload::Json(json) => request.header(header::CONTENT_TYPE, "application/json").body(json.clone()),
            Payload::Form(form) => request.form(form),
        })
    }
}

/// Reads an answer to its end and tells success from error.
async fn read(operation: &'static str, mut response: reqwest::Response) -> Result<ApiResponse<Bytes>, Error> {
    let status = response.status();
    let headers = std::mem::take(response.headers_mut());
    let head = Head { status, request_id: request_id(&headers) };
    let mut body = BytesMut::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| Error::transport(operation, error))? {
        if body.len() + chunk.len() > BODY_BYTES_MAX {
            return Err(Error::new(operation, Kind::TooLarge(head)));
        }
        body.extend_from_slice(&chunk);
    }
    if status.is_success() {
        return Ok(ApiResponse { status, headers, data: body.freeze() });
    }
    let retry_after = retry::retry_after(&headers);
    let body = Box::new(error_body(&body));
    Err(Error::new(operation, Kind::Api { head, retry_after, body }))
}

/// Decodes the JSON of a successful answer.
pub(super) fn decode<T: DeserializeOwned>(
    operation: &'static str,
    response: ApiResponse<Bytes>,
) -> Result<ApiResponse<T>, Error> {
    match serde_json::from_slice(&response.data) {
        Ok(data) => Ok(response.map(|_| data)),
        Err(problem) => {
            let head = Head { status: response.status, request_id: request_id(&response.headers) };
            Err(Error::new(operation, Kind::Decode { head, line: problem.line(), column: problem.column() }))
        }
    }
}

/// Takes what it can from an error body; a body of another kind (a proxy's page) gives nothing.
pub(super) fn error_body(bytes: &[u8]) -> Body {
    let body: Value = serde_json::from_slice(bytes).unwrap_or_default();
    let text = |key: &str| body.get(key).and_then(Value::as_str).map(str::to_owned);
    let validation_errors = body.get("validation_errors").cloned().unwrap_or_default();
    Body {
        error_code: text("error_code"),
        error_message: text("error_message"),
        documentation_url: text("documentation_url"),
        link_error_code: text("link_error_code"),
        validation_errors: serde_json::from_value(validation_errors).unwrap_or_default(),
    }
}

fn is_expired_token(error: &Error) -> bool {
    error.status() == Some(StatusCode::UNAUTHORIZED)
        && error.error_code() == Some(APIErrorAuthExpiredAccessTokenResponse::CODE)
}

/// The request id, if it is harmless to print.
pub(super) fn request_id(headers: &HeaderMap) -> Option<String> {
    let text = headers.get("x-request-id")?.to_str().ok()?;
    let printable = text.bytes().all(|byte| byte.is_ascii_graphic());
    (printable && !text.is_empty() && text.len() <= REQUEST_ID_BYTES_MAX).then(|| text.to_owned())
}
