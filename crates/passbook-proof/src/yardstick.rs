//! The yardstick: the same HTTP stack as the server, answering the same bytes, and doing nothing else.
//!
//! What the server costs beyond this is its own work.

use std::sync::Arc;

use anyhow::{Context, Result};
use axum::Router;
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::routing::get;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// One captured answer.
#[derive(Serialize, Deserialize)]
pub struct Captured {
    /// Headers but those the HTTP library writes itself (`content-length`, `date`, `connection`).
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: String,
}

impl Captured {
    /// Captures what the yardstick has to repeat of an answer.
    pub fn of(answer: &crate::http::Answer) -> Self {
        let written_by_the_library = ["content-length", "date", "connection", "transfer-encoding"];
        let headers = answer.head.lines().skip(1).filter_map(|line| line.split_once(':'));
        let headers = headers.map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()));
        Self {
            headers: headers.filter(|(name, _)| !written_by_the_library.contains(&name.as_str())).collect(),
            body: String::from_utf8_lossy(&answer.body).into_owned(),
        }
    }
}

/// Serves the captured answer on a free port of the loopback, which it prints, until it is killed.
pub async fn serve(captured: Captured) -> Result<()> {
    let mut headers = HeaderMap::new();
    for (name, value) in captured.headers {
        headers.append(HeaderName::from_bytes(name.as_bytes())?, HeaderValue::from_str(&value)?);
    }
    let answer = Arc::new((headers, Bytes::from(captured.body)));
    let router = Router::new().route(
        "/links/{id}/accounts/numbers",
        get(move || {
            let answer = Arc::clone(&answer);
            async move { (answer.0.clone(), answer.1.clone()) }
        }),
    );
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.context("binding")?;
    println!("{}", listener.local_addr()?);
    axum::serve(listener, router).await.context("serving")
}
