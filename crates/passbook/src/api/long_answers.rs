//! Long answers are rendered on the threads for long work ([`compute`]), where tenants take turns. A page is in memory until its client has taken it, so bytes are shared as well: a tenant holds at most half of what no
//! other one holds. One that asks for more without reading is refused.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use axum::response::Response;
use bytes::Bytes;
use http::StatusCode;
use passbook_core::tenant::Tenant;
use passbook_store::compute::{self, NoResult};
use serde::Serialize;

use super::{errors::ApiError, links::json_response};

/// Pages of at most this many items are rendered at once: handing them over would take longer.
const SHORT_ITEMS_MAX: usize = 50;
/// Bytes of pages that are rendered and not taken yet.
const UNTAKEN_BYTES_MAX: usize = 256 << 20;

/// Renders answers.
#[derive(Default)]
pub struct LongAnswers {
    untaken: Arc<Mutex<HashMap<Tenant, usize>>>,
}

impl LongAnswers {
    /// The answer 200 of the tenant's request with what `make` makes, a page of so many items, as JSON.
    ///
    /// # Errors
    /// The answer 500 when it cannot be rendered, 503 when its turn did not come in time.
    pub async fn render<T: Serialize>(
        &self,
        tenant: &Tenant,
        items: usize,
        make: impl FnOnce() -> T + Send + 'static,
    ) -> Result<Response, ApiError> {
        if items <= SHORT_ITEMS_MAX {
            return answer(serde_json::to_vec(&make()));
        }
        let json = compute::run(Some(tenant), move || serde_json::to_vec(&make())).await?;
        let json = json.map_err(|_| ApiError::internal())?;
        Ok(json_response(StatusCode::OK, Bytes::from_owner(self.keep(tenant, json)?)))
    }

    /// Counts the page for as long as anything has a part of it.
    fn keep(&self, tenant: &Tenant, json: Vec<u8>) -> Result<Untaken, ApiError> {
        let mut untaken = self.untaken.lock().unwrap_or_else(PoisonError::into_inner);
        let own = untaken.get(tenant).copied().unwrap_or_default();
        let of_others = untaken.values().sum::<usize>() - own;
        if own > 0 && own + json.len() > UNTAKEN_BYTES_MAX.saturating_sub(of_others) / 2 {
            return Err(ApiError::unavailable());
        }
        untaken.insert(tenant.clone(), own + json.len());
        Ok(Untaken { json, tenant: tenant.clone(), counts: self.untaken.clone() })
    }
}

impl From<NoResult> for ApiError {
    fn from(none: NoResult) -> Self {
        match none {
            NoResult::Busy => Self::unavailable(),
            NoResult::Panicked => Self::internal(),
        }
    }
}

/// A page that is not taken yet.
struct Untaken {
    json: Vec<u8>,
    tenant: Tenant,
    counts: Arc<Mutex<HashMap<Tenant, usize>>>,
}

impl AsRef<[u8]> for Untaken {
    fn as_ref(&self) -> &[u8] {
        &self.json
    }
}

impl Drop for Untaken {
    fn drop(&mut self) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&self.tenant) {
            *count -= self.json.len();
            if *count == 0 {
                counts.remove(&self.tenant);
            }
        }
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

    #[test]
    fn pages_that_a_tenant_does_not_take_are_counted_and_others_get_theirs() {
        let answers = LongAnswers::default();
        let tenant = |bits| Tenant { app_id: AppId::from_bits(bits), environment: Environment::Sandbox };
        let page = || vec![b'x'; UNTAKEN_BYTES_MAX / 8];
        let mut pages: Vec<_> = (0..4).map(|_| answers.keep(&tenant(1), page()).expect("its half")).collect();
        assert!(answers.keep(&tenant(1), page()).is_err());
        assert!(answers.keep(&tenant(2), page()).is_ok());
        let last = Bytes::from_owner(pages.pop().expect("a page"));
        let part = last.slice(..1);
        drop(last);
        assert!(answers.keep(&tenant(1), page()).is_err(), "a part of it is not taken yet");
        drop(part);
        assert!(answers.keep(&tenant(1), page()).is_ok());
        drop(pages);
        assert!(answers.untaken.lock().expect("sound").is_empty());
    }

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
