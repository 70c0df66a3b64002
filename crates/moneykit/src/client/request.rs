//! Calls that this crate has no method for: a server's own ones, or what a later contract adds.
//!
//! They are made like all others, with token, version, repetitions and errors. Only the types are missing.

use std::borrow::Cow;

use bytes::Bytes;
use http::Method;
use serde::{Serialize, de::DeserializeOwned};

use super::{
    ApiResponse, Client,
    exchange::{self, Call, Payload},
};
use crate::{Error, error::Kind};

/// What such a call is called in errors and spans.
const OPERATION: &str = "request";

/// A call by method and path; see [`Client::request`].
#[must_use = "nothing is sent before `send`"]
pub struct Request<'a> {
    client: &'a Client,
    method: Method,
    segments: Vec<Cow<'a, str>>,
    query: Vec<(Cow<'a, str>, String)>,
    /// The body, or that it could not be written.
    body: Result<Option<Bytes>, Error>,
}

impl Client {
    /// A call that this crate has no method for, by method and path under the base URL.
    ///
    /// The path is plain text, not encoded; each part between its slashes is encoded by itself. Ids do not belong into
    /// it: add them with [`segment`](Request::segment), which nothing can leave.
    ///
    /// ```no_run
    /// # async fn example(client: moneykit::Client) -> Result<(), moneykit::Error> {
    /// use moneykit::{http::Method, models::LinkCommon};
    ///
    /// let body = serde_json::json!({ "advance_seconds": 3600 });
    /// client.request(Method::POST, "/sandbox/clock").json(&body).send().await?;
    /// let link: LinkCommon =
    ///     client.request(Method::GET, "/links").segment("mk_eqkWN34UEoa2NxyALG8pcV").send_json().await?.data;
    /// # Ok(())
    /// # }
    /// ```
    pub fn request<'a>(&'a self, method: Method, path: &'a str) -> Request<'a> {
        let path = path.strip_prefix('/').unwrap_or(path);
        let segments = path.split('/').map(Cow::Borrowed).collect();
        Request { client: self, method, segments, query: Vec::new(), body: Ok(None) }
    }
}

impl<'a> Request<'a> {
    /// Adds one part to the path. Whatever it holds, it stays one part.
    pub fn segment(mut self, segment: impl Into<Cow<'a, str>>) -> Self {
        self.segments.push(segment.into());
        self
    }

    /// Adds a query parameter. A key may be added more than once.
    pub fn query(mut self, key: impl Into<Cow<'a, str>>, value: impl ToString) -> Self {
        self.query.push((key.into(), value.to_string()));
        self
    }

    /// Sends this as JSON.
    pub fn json<T: Serialize + ?Sized>(mut self, body: &T) -> Self {
        let unwritable = |_| Error::new(OPERATION, Kind::Config("the request cannot be written as JSON"));
        self.body = serde_json::to_vec(body).map(|json| Some(json.into())).map_err(unwritable);
        self
    }

    /// Makes the call and returns the answer's bytes.
    ///
    /// # Errors
    /// As every operation: no answer, or one that is not a success; see [`api`](crate::api). Also, before anything is
    /// sent, for a part of the path that is empty, `.` or `..`, and for a body that cannot be written.
    pub async fn send(self) -> Result<ApiResponse<Bytes>, Error> {
        let mut call = Call::new(OPERATION, self.method, self.segments).queries(self.query);
        if let Some(json) = self.body? {
            call = call.payload(Payload::Json(json));
        }
        self.client.call_raw(call).await
    }

    /// Makes the call and decodes the answer's JSON.
    ///
    /// # Errors
    /// Those of [`send`](Self::send), and for an answer that does not decode.
    pub async fn send_json<T: DeserializeOwned>(self) -> Result<ApiResponse<T>, Error> {
        exchange::decode(OPERATION, self.send().await?)
    }
}

impl std::fmt::Debug for Request<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Request").field("method", &self.method).finish_non_exhaustive()
    }
}
