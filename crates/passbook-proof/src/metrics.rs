//! What a running server counts about itself.

use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};

use crate::http::{Connection, request};

/// Runs of jobs that found their lease lost.
///
/// # Errors
/// When the server does not answer, or does not count jobs.
pub async fn leases_lost(address: SocketAddr) -> Result<u64> {
    count(address, "passbook_jobs_total{", "\"lost\"").await
}

/// Requests refused because too many were being worked on.
///
/// # Errors
/// When the server does not answer, or does not count them.
pub async fn requests_shed(address: SocketAddr) -> Result<u64> {
    count(address, "passbook_requests_shed_total ", "").await
}

/// Lines of the log that were dropped.
///
/// # Errors
/// When the server does not answer, or does not count them.
pub async fn log_lines_dropped(address: SocketAddr) -> Result<u64> {
    count(address, "passbook_log_lines_dropped_total ", "").await
}

/// The sum of a counter's series whose labels hold this text.
async fn count(address: SocketAddr, counter: &str, label: &str) -> Result<u64> {
    let mut connection = Connection::open(address).await?;
    let answer = connection.exchange(&request("GET", "/metrics", &[], b"")).await?;
    let text = String::from_utf8_lossy(&answer.body).into_owned();
    let series: Vec<_> = text.lines().filter(|line| line.starts_with(counter)).collect();
    ensure!(!series.is_empty(), "the metrics have no {counter}");
    let counts = series.iter().filter(|line| line.contains(label)).filter_map(|line| line.rsplit(' ').next());
    counts.map(|count| count.parse::<u64>().with_context(|| format!("{counter} {count}"))).sum()
}
