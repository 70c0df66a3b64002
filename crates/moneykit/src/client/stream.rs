//! A stream of events: server-sent events (WHATWG HTML, section 9.2), read message by message.

use std::time::Duration;

use http::StatusCode;

use super::{Call, Client, exchange::error_body};
use crate::{
    Error,
    api::StreamEventsQuery,
    error::{Body, Head, Kind},
    models::{LedgerEvent, errors::APIErrorAuthExpiredAccessTokenResponse},
};

const OPERATION: &str = "stream_events";
/// Longest message, in bytes; an event is a few hundred.
const MESSAGE_BYTES_MAX: usize = 1024 * 1024;
/// Pause before a stream that ended is opened again.
const PAUSE: Duration = Duration::from_millis(500);
/// The name of the message with which a server ends a stream; its data is an error.
const ENDED: &[u8] = b"stream.ended";
/// A server sends a sign of life every ten seconds; without one for so long, the connection is dead.
const SILENCE_MAX: Duration = Duration::from_secs(35);

/// Events as they happen; made by [`stream_events`](crate::api::EventsApi::stream_events).
pub struct EventStream {
    client: Client,
    query: StreamEventsQuery,
    open: Option<reqwest::Response>,
    /// What came and is no whole message yet.
    buffer: Vec<u8>,
    /// The last position that was told, behind which a new connection goes on.
    last: Option<String>,
}

/// A whole message.
enum Message {
    Event(Box<LedgerEvent>),
    /// Nothing for the reader.
    SignOfLife,
    /// The server ends the stream and says why.
    End(Box<Body>),
}

impl EventStream {
    pub(crate) fn new(client: Client, query: StreamEventsQuery) -> Self {
        Self { client, query, open: None, buffer: Vec::new(), last: None }
    }

    /// The next event; waits for it. A stream has no end: when its connection ends or breaks, it is opened again behind
    /// the last event that was read, so that none is missing and none comes twice.
    ///
    /// # Errors
    /// When the stream cannot be opened (again), when the server ended it because the client's access was withdrawn
    /// (401, as a call would be answered), or when what comes is no event. The next call tries again.
    pub async fn next(&mut self) -> Result<LedgerEvent, Error> {
        loop {
            if let Some(message) = self.take_message()? {
                match self.read_message(&message)? {
                    Message::Event(event) => return Ok(*event),
                    Message::SignOfLife => {}
                    Message::End(reason) if is_final(&reason) => {
                        self.close();
                        let head = Head { status: StatusCode::UNAUTHORIZED, request_id: None };
                        return Err(Error::new(OPERATION, Kind::Api { head, retry_after: None, body: reason }));
                    }
                    Message::End(_) => {
                        self.close();
                        tokio::time::sleep(PAUSE).await;
                    }
                }
                continue;
            }
            match &mut self.open {
                None => self.open = Some(self.client.open(&self.call(), self.last.as_deref()).await?),
                Some(response) => match tokio::time::timeout(SILENCE_MAX, response.chunk()).await {
                    Ok(Ok(Some(chunk))) => self.buffer.extend_from_slice(&chunk),
                    Ok(Ok(None) | Err(_)) | Err(_) => {
                        self.close();
                        tokio::time::sleep(PAUSE).await;
                    }
                },
            }
        }
    }

    fn call(&self) -> Call<'static> {
        Call::get(OPERATION, &["passbook", "events", "stream"])
            .query("cursor", self.query.cursor.as_ref())
            .query("link_id", self.query.link_id.as_ref())
            .query("webhook_event", self.query.webhook_event.as_ref())
            .query("signed", self.query.signed)
    }

    fn close(&mut self) {
        self.open = None;
        self.buffer.clear();
    }

    /// A whole message, if there is one.
    fn take_message(&mut self) -> Result<Option<Vec<u8>>, Error> {
        let Some(end) = self.buffer.windows(2).position(|pair| pair == b"\n\n") else {
            if self.buffer.len() > MESSAGE_BYTES_MAX {
                self.close();
                return Err(Error::new(OPERATION, Kind::TooLarge(no_head())));
            }
            return Ok(None);
        };
        let rest = self.buffer.split_off(end + 2);
        Ok(Some(std::mem::replace(&mut self.buffer, rest)))
    }

    fn read_message(&mut self, message: &[u8]) -> Result<Message, Error> {
        let field = |name: &[u8]| {
            let lines = message.split(|byte| *byte == b'\n');
            let value = lines.filter_map(|line| line.strip_prefix(name)).next();
            value.map(|value| value.strip_prefix(b" ").unwrap_or(value))
        };
        if let Some(id) = field(b"id:").and_then(|id| std::str::from_utf8(id).ok()) {
            self.last = Some(id.to_owned());
        }
        let Some(data) = field(b"data:") else { return Ok(Message::SignOfLife) };
        if field(b"event:") == Some(ENDED) {
            return Ok(Message::End(Box::new(error_body(data))));
        }
        let event: LedgerEvent = serde_json::from_slice(data).map_err(|problem| {
            let (line, column) = (problem.line(), problem.column());
            Error::new(OPERATION, Kind::Decode { head: no_head(), line, column })
        })?;
        self.last = Some(event.position.to_string());
        Ok(Message::Event(Box::new(event)))
    }
}

/// Whether another connection would be refused: the client's access was withdrawn. A token that has expired is renewed.
fn is_final(reason: &Body) -> bool {
    let code = reason.error_code.as_deref().unwrap_or_default();
    let is_refusal = code.starts_with("api_error.auth.") || code == "link_error.unauthorized_access";
    is_refusal && code != APIErrorAuthExpiredAccessTokenResponse::CODE
}

/// What goes wrong inside of a stream has no head of its own.
fn no_head() -> Head {
    Head { status: StatusCode::OK, request_id: None }
}

impl std::fmt::Debug for EventStream {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("EventStream").field("last", &self.last).finish_non_exhaustive()
    }
}
