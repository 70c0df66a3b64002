//! Waiting for a refresh.
//!
//! The API has no handle for one refresh; a link only shows, per product, when the last attempt began
//! (`last_attempted_at`), when the last success was (`refreshed_at`), and how the last attempt failed (`error_code`). So
//! the wait remembers these before it asks, and compares. One thing is ambiguous: while an attempt runs, the error of
//! the attempt before it may still be shown beside the new `last_attempted_at`. An error that was there before counts
//! as new only once it has outlived [`REPEATED_ERROR_AFTER`], or when time is up.

use std::{future::Future, time::Duration};

use jiff::Timestamp;
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::{
    Client, Error,
    error::Kind,
    models::{LinkCommon, LinkId, LinkProductError, LinkProducts, Product, PublicLinkState, RefreshProductsRequest},
};

/// How long an attempt may show the error of the attempt before it. Fetches usually end within seconds.
const REPEATED_ERROR_AFTER: Duration = Duration::from_secs(30);

/// The first look comes sooner than `poll_interval`, because many fetches are done within a second. The pauses double
/// from here, which keeps the default within 15 looks a minute.
const FIRST_LOOK_AFTER: Duration = Duration::from_secs(1);

/// Polling faster than this only meets the rate limit.
const POLL_INTERVAL_MIN: Duration = Duration::from_millis(100);

/// No wait is longer; keeps the sum of now and a timeout within what an instant can hold.
const TIMEOUT_MAX: Duration = Duration::from_secs(24 * 60 * 60);

const OPERATION: &str = "refresh_and_wait";

/// How long and how often [`refresh_and_wait`](super::ProductsApi::refresh_and_wait) looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WaitOptions {
    /// When to give up, counted from the call; 2 minutes by default, at most a day.
    pub timeout: Duration,
    /// Pause between two looks; 5 seconds by default, at least 100 ms. The first looks come sooner, after 1, 2 and 4
    /// seconds. The API allows 15 looks per link and minute.
    pub poll_interval: Duration,
}

impl Default for WaitOptions {
    fn default() -> Self {
        Self { timeout: Duration::from_secs(120), poll_interval: Duration::from_secs(5) }
    }
}

/// What a product showed before the refresh.
#[derive(Clone, Default)]
struct Before {
    refreshed_at: Option<Timestamp>,
    last_attempted_at: Option<Timestamp>,
    error: Option<Failure>,
}

#[derive(Clone, PartialEq)]
struct Failure {
    code: LinkProductError,
    message: Option<String>,
}

/// What a product shows now, compared with before.
enum Progress {
    Pending,
    Done,
    Failed(Failure),
    /// The attempt began, and the error is the one that was there before: old, or the same again.
    PerhapsFailed(Failure),
}

pub(super) async fn refresh_and_wait(
    client: &Client,
    id: LinkId,
    products: Vec<Product>,
    options: WaitOptions,
) -> Result<LinkCommon, Error> {
    let deadline = Instant::now() + options.timeout.min(TIMEOUT_MAX);
    let poll_interval = options.poll_interval.clamp(POLL_INTERVAL_MIN, TIMEOUT_MAX);
    let links = client.links();
    let before_refresh = within(deadline, links.get_link(&id)).await?;
    let watched: Vec<_> = products.iter().map(|product| (product, before(&before_refresh.products, product))).collect();
    let request = RefreshProductsRequest { products: products.clone() };
    let mut link = within(deadline, client.products().refresh_products(&id, &request)).await?;
    let mut pause = FIRST_LOOK_AFTER.min(poll_interval);
    let mut repeated_error_since = None;
    loop {
        let mut perhaps_failed = None;
        let mut pending = false;
        for (product, before) in &watched {
            match progress(&link.products, product, before) {
                Progress::Done => {}
                Progress::Pending => pending = true,
                Progress::Failed(failure) => return Err(failed(product, failure)),
                Progress::PerhapsFailed(failure) => perhaps_failed = Some((*product, failure)),
            }
        }
        if !pending && perhaps_failed.is_none() {
            return Ok(link);
        }
        check_usable(&link)?;
        let next_look = Instant::now() + pause;
        match perhaps_failed {
            None => repeated_error_since = None,
            Some((product, failure)) => {
                let since = *repeated_error_since.get_or_insert_with(Instant::now);
                if since.elapsed() >= REPEATED_ERROR_AFTER || next_look >= deadline {
                    return Err(failed(product, failure));
                }
            }
        }
        link = look(&links, &id, next_look, poll_interval, deadline).await?;
        pause = (pause * 2).min(poll_interval);
    }
}

/// Reads the link at `at`; a read that fails in a retryable way is repeated until the deadline.
async fn look(
    links: &super::LinksApi,
    id: &LinkId,
    mut at: Instant,
    poll_interval: Duration,
    deadline: Instant,
) -> Result<LinkCommon, Error> {
    loop {
        if at >= deadline {
            sleep_until(deadline).await;
            return Err(Error::new(OPERATION, Kind::RefreshTimeout));
        }
        sleep_until(at).await;
        match within(deadline, links.get_link(id)).await {
            Err(error) if error.is_retryable() && Instant::now() < deadline => {
                let pause = error.retry_after().unwrap_or(poll_interval).clamp(poll_interval, TIMEOUT_MAX);
                at = Instant::now() + pause;
            }
            result => return result,
        }
    }
}

async fn within<T>(deadline: Instant, call: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    timeout_at(deadline, call).await.unwrap_or_else(|_| Err(Error::new(OPERATION, Kind::RefreshTimeout)))
}

fn before(products: &LinkProducts, product: &Product) -> Before {
    products.status(product).map_or_else(Before::default, |status| Before {
        refreshed_at: status.refreshed_at,
        last_attempted_at: status.last_attempted_at,
        error: status.error_code.map(|code| failure(code, status.error_message)),
    })
}

fn progress(products: &LinkProducts, product: &Product, before: &Before) -> Progress {
    let Some(now) = products.status(product) else { return Progress::Pending };
    if now.refreshed_at > before.refreshed_at {
        return Progress::Done;
    }
    let Some(code) = now.error_code else { return Progress::Pending };
    let failure = failure(code, now.error_message);
    if before.error.as_ref() != Some(&failure) {
        // A new error is a failed attempt even where a frozen sandbox clock keeps `last_attempted_at` in place.
        Progress::Failed(failure)
    } else if now.last_attempted_at > before.last_attempted_at {
        Progress::PerhapsFailed(failure)
    } else {
        Progress::Pending
    }
}

fn failure(code: &LinkProductError, message: Option<&str>) -> Failure {
    Failure { code: code.clone(), message: message.map(str::to_owned) }
}

fn failed(product: &Product, failure: Failure) -> Error {
    let Failure { code, message } = failure;
    Error::new(OPERATION, Kind::RefreshFailed { product: product.clone(), code, message })
}

/// A link that ended while we waited will not be refreshed any more.
fn check_usable(link: &LinkCommon) -> Result<(), Error> {
    let code = match (&link.state, &link.error_code) {
        (PublicLinkState::Error, Some(code)) => code.as_str(),
        (state @ (PublicLinkState::Error | PublicLinkState::Deleted), _) => state.as_str(),
        _ => return Ok(()),
    };
    Err(Error::new(OPERATION, Kind::LinkUnusable { code: code.to_owned() }))
}
