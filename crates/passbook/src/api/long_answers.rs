//! Long answers are rendered away from the runtime's threads.
//!
//! Rendering a page of a thousand items takes milliseconds. On a thread of the runtime that would keep every other
//! request waiting, refusals and reads of account numbers among them. On threads of their own, as many as there are
//! cores, the operating system shares the processor out between them and the runtime. Tenants share those threads
//! fairly: the pages of one do not queue in front of everybody else's.

use std::{sync::Arc, time::Duration};

use axum::response::Response;
use http::StatusCode;
use passbook_core::{shares::Bounds, tenant::Tenant};
use serde::Serialize;

use super::{errors::ApiError, links::json_response};
use crate::places::Places;

/// Pages of at most this many items are rendered at once: handing them over would take longer.
const SHORT_ITEMS_MAX: usize = 50;
/// Pages of one tenant that wait for a thread.
const WAITING_MAX: u32 = 256;
/// How long a page waits for a thread.
const PATIENCE: Duration = Duration::from_secs(10);

/// Renders answers.
pub struct LongAnswers {
    threads: Arc<Places<Tenant>>,
}

impl Default for LongAnswers {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let limit = u32::try_from(cores).unwrap_or(u32::MAX);
        let bounds = Bounds { limit, reserve: 0, patient_below: u32::MAX, waiting_max: WAITING_MAX };
        Self { threads: Places::new(bounds, PATIENCE) }
    }
}

impl LongAnswers {
    /// The answer 200 of the tenant's request with what `make` makes, a page of so many items, as JSON.
    ///
    /// # Errors
    /// The answer 500 when it cannot be rendered, 503 when no thread came free in time.
    pub async fn render<T: Serialize>(
        &self,
        tenant: &Tenant,
        items: usize,
        make: impl FnOnce() -> T + Send + 'static,
    ) -> Result<Response, ApiError> {
        if items <= SHORT_ITEMS_MAX {
            return answer(serde_json::to_vec(&make()));
        }
        let place = self.threads.enter(tenant).await.map_err(|_| ApiError::unavailable())?;
        let rendered = tokio::task::spawn_blocking(move || {
            let _place = place;
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

    use passbook_core::{ids::AppId, tenant::Environment};

    use super::*;

    #[tokio::test]
    async fn a_long_page_is_rendered_on_another_thread_and_a_short_one_here() {
        let (answers, here) = (LongAnswers::default(), thread::current().id());
        let tenant = Tenant { app_id: AppId::from_bits(1), environment: Environment::Sandbox };
        for (items, stays) in [(SHORT_ITEMS_MAX, true), (SHORT_ITEMS_MAX + 1, false)] {
            let make = move || (thread::current().id() == here).to_string();
            let answer = answers.render(&tenant, items, make).await.expect("an answer");
            let body = axum::body::to_bytes(answer.into_body(), 100).await.expect("a body");
            assert_eq!(body, format!("\"{stays}\"").as_bytes(), "{items}");
        }
    }
}
