//! What a subscriber sees: which operation, how it ended, and nothing that is secret or personal.

use std::{
    io::{self, Write},
    sync::{Arc, Mutex},
};

use tracing::level_filters::LevelFilter;
use tracing_subscriber::fmt::{MakeWriter, format::FmtSpan};

use crate::support::{Reply, SECRET, Server, connected_link};

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

impl Log {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_is_a_span_and_a_repetition_an_event_without_ids_or_secrets() {
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(LevelFilter::TRACE)
        .with_span_events(FmtSpan::CLOSE)
        .with_ansi(false)
        .with_writer(log.clone())
        .finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let server = Server::start_with_tokens(|request| match request.target.as_str() {
        "/links/mk_PERSONAL" => Reply::json(200, connected_link()).header("X-Request-Id", "req-1"),
        _ => Reply::error(503, "api_error.unavailable", "PERSONAL message").header("Retry-After", "0"),
    })
    .await;
    let client = server.client();
    client.links().get_link("mk_PERSONAL").await.unwrap();
    client.identity().get_identities("mk_PERSONAL", &["acc_PERSONAL".into()]).await.unwrap_err();
    client.request(moneykit::http::Method::GET, "/PERSONAL").query("PERSONAL", "PERSONAL").send().await.unwrap_err();
    let text = log.text();
    for expected in [
        "moneykit.call{operation=\"get_link\"",
        "http.method=\"GET\"",
        "http.status=200",
        "request_id=\"req-1\"",
        "moneykit.call{operation=\"get_identities\"",
        "error_code=\"api_error.unavailable\"",
        "repeating call",
        "moneykit.call{operation=\"request\"",
    ] {
        assert!(text.contains(expected), "{expected} is not in {text}");
    }
    for secret in ["PERSONAL", SECRET, "token-1", "Credentials Bank"] {
        let ours: Vec<_> = text.lines().filter(|line| line.contains("moneykit")).collect();
        assert!(!ours.iter().any(|line| line.contains(secret)), "{secret} is in {ours:?}");
    }
}
