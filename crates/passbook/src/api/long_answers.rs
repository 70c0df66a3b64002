//! Long answers are rendered away from the runtime's threads.
//!
//! Rendering a page of a thousand items takes milliseconds. On a thread of the runtime that would keep every other
//! request waiting, refusals and reads of account numbers among them. On threads of their own, as many as there are
//! cores, the operating system shares the processor out between them and the runtime.

use std::sync::Arc;

use axum::response::Response;
use http::StatusCode;
use serde::Serialize;
use tokio::sync::Semaphore;

use super::{errors::ApiError, links::json_response};

/// Pages of at most this many items are rendered at once: handing them over would take longer.
const SHORT_ITEMS_MAX: usize = 50;

/// Renders answers.
pub struct LongAnswers {
    threads: Arc<Semaphore>,
}

impl Default for LongAnswers {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self { threads: Arc::new(Semaphore::new(cores)) }
    }
}

impl LongAnswers {
    /// The answer 200 with what `make` makes, a page of so many items, as JSON.
    ///
    /// # Errors
    /// The answer 500 when it cannot be rendered.
    pub async fn render<T: Serialize>(
        &self,
        items: usize,
        make: impl FnOnce() -> T + Send + 'static,
    ) -> Result<Response, ApiError> {
        if items <= SHORT_ITEMS_MAX {
            return answer(serde_json::to_vec(&make()));
        }
        // Never closed, so a permit always comes.
        let permit = Arc::clone(&self.threads).acquire_owned().await;
        let rendered = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            serde_json::to_vec(&make())
        });
        answer(rendered.await.map_err(|_| ApiError::internal())?)
    }
}

fn answer(json: serde_json::Result<Vec<u8>>) -> Result<Response, ApiError> {
    Ok(json_response(StatusCode::OK, json.map_err(|_| ApiError::internal())?))
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[tokio::test]
    async fn a_long_page_is_rendered_on_another_thread_and_a_short_one_here() {
        let (answers, here) = (LongAnswers::default(), thread::current().id());
        for (items, stays) in [(SHORT_ITEMS_MAX, true), (SHORT_ITEMS_MAX + 1, false)] {
            let make = move || (thread::current().id() == here).to_string();
            let answer = answers.render(items, make).await.expect("an answer");
            let body = axum::body::to_bytes(answer.into_body(), 100).await.expect("a body");
            assert_eq!(body, format!("\"{stays}\"").as_bytes(), "{items}");
        }
    }
}
