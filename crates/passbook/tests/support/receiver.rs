//! A receiver of webhooks on this machine, which answers as the test says and keeps what came.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    response::{IntoResponse, Response},
};
use http::{HeaderMap, StatusCode};
use serde_json::Value;
use tokio::{net::TcpListener, sync::watch};

/// Longest wait; far above what any delivery takes.
const PATIENCE: Duration = Duration::from_secs(30);

/// One attempt as it arrived.
#[derive(Clone)]
pub struct Attempt {
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

impl Attempt {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).unwrap_or_else(|| panic!("no {name}")).to_str().expect("text")
    }

    /// Its number, as the sender counts.
    pub fn number(&self) -> u32 {
        self.header("moneykit-delivery-attempt").parse().expect("a number")
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("JSON")
    }
}

/// See the module page.
pub struct Receiver {
    pub url: String,
    state: Arc<Inner>,
}

struct Inner {
    replies: Mutex<VecDeque<(u16, Option<String>)>>,
    attempts: watch::Sender<Vec<Attempt>>,
}

impl Receiver {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}/webhooks", listener.local_addr().expect("an address"));
        let state = Arc::new(Inner { replies: Mutex::default(), attempts: watch::Sender::default() });
        let app = Router::new().fallback(receive).with_state(state.clone());
        tokio::spawn(async move { axum::serve(listener, app).await });
        Self { url, state }
    }

    /// How the next attempts are answered; later ones with 204.
    pub fn reply(&self, statuses: impl IntoIterator<Item = u16>) {
        self.replies().extend(statuses.into_iter().map(|status| (status, None)));
    }

    /// Answers the next attempt so, with a header `Retry-After` or `Location`.
    pub fn reply_with(&self, status: u16, header: &str) {
        self.replies().push_back((status, Some(header.to_owned())));
    }

    fn replies(&self) -> std::sync::MutexGuard<'_, VecDeque<(u16, Option<String>)>> {
        self.state.replies.lock().expect("nobody panicked")
    }

    /// Everything that came so far.
    pub fn attempts(&self) -> Vec<Attempt> {
        self.state.attempts.borrow().clone()
    }

    /// Waits until so many attempts came, and gives them.
    pub async fn wait_for(&self, count: usize) -> Vec<Attempt> {
        let mut attempts = self.state.attempts.subscribe();
        let waited = tokio::time::timeout(PATIENCE, attempts.wait_for(|came| came.len() >= count)).await;
        assert!(waited.is_ok(), "{} of {count} attempts came", self.attempts().len());
        self.attempts()
    }
}

async fn receive(State(state): State<Arc<Inner>>, headers: HeaderMap, body: Bytes) -> Response {
    state.attempts.send_modify(|came| came.push(Attempt { headers, body: body.to_vec() }));
    let (status, header) = state.replies.lock().expect("nobody panicked").pop_front().unwrap_or((204, None));
    let name = if (300..400).contains(&status) { "location" } else { "retry-after" };
    let status = StatusCode::from_u16(status).expect("a status");
    match header {
        Some(value) => (status, [(name, value)]).into_response(),
        None => status.into_response(),
    }
}
