//! The rules about fetching: when a refresh is accepted, how an attempt begins and how it ends.

use jiff::{SignedDuration, Timestamp};

use super::{Link, LinkErrorCode};
use crate::{
    event::{EventKind, RefreshState},
    failure::{Failure, FailureClass},
    ids::JobId,
    product::{Product, ProductFault, ProductSet},
    time::rising,
};

/// How soon a caller may ask again while a job still runs, in seconds. Jobs usually end within one.
const RUNNING_JOB_RETRY_SECONDS: i64 = 1;

/// Why a refresh was not accepted. Nothing changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RefreshRefusal {
    /// The end user did not grant it.
    #[error("{} access not permitted", .product.as_str())]
    NotGranted {
        /// The first product that is not granted.
        product: Product,
    },
    /// The product was refreshed, or is being refreshed, within its window.
    #[error("{} was refreshed too recently", .product.as_str())]
    Limited {
        /// The product with the longest wait.
        product: Product,
        /// Whole seconds by the app's clock until it may be asked again, at least 1.
        retry_after_seconds: i64,
    },
}

impl Link {
    /// Accepts a refresh of `products` as `job`. One limited product rejects the whole call.
    ///
    /// # Errors
    /// [`RefreshRefusal`]; the link is unchanged then.
    pub fn accept_refresh(&mut self, products: ProductSet, job: &JobId, now: Timestamp) -> Result<(), RefreshRefusal> {
        if let Some(product) = products.iter().find(|product| !self.products.contains_key(product)) {
            return Err(RefreshRefusal::NotGranted { product });
        }
        let longest = products.iter().filter_map(|product| Some((self.wait_seconds(product, now)?, product))).max();
        if let Some((retry_after_seconds, product)) = longest {
            return Err(RefreshRefusal::Limited { product, retry_after_seconds });
        }
        for product in products.iter() {
            if let Some(record) = self.products.get_mut(&product) {
                record.accepted_at = Some(now);
            }
        }
        self.schedule(products, job, now);
        Ok(())
    }

    /// Schedules a fetch that does not count against the limits: the prefetch after linking.
    pub fn schedule(&mut self, products: ProductSet, job: &JobId, now: Timestamp) {
        for product in products.iter() {
            if let Some(record) = self.products.get_mut(&product) {
                record.running_job = Some(job.clone());
                self.record_refresh(product, RefreshState::Pending, None, now);
            }
        }
    }

    /// A worker begins: the attempt is visible from here on.
    pub fn begin_attempt(&mut self, products: ProductSet, job: &JobId, now: Timestamp) {
        for product in products.iter() {
            let Some(record) = self.products.get_mut(&product) else { continue };
            if record.running_job.as_ref() == Some(job) {
                record.last_attempted_at = Some(rising(now, record.last_attempted_at));
                // The last attempt is this one now, and it has not failed: a poller must not take the old error for new.
                record.error = None;
                self.record_refresh(product, RefreshState::InProgress, None, now);
            }
        }
    }

    /// The attempt of `job` succeeded and its data is merged.
    pub fn complete_product(&mut self, product: Product, job: &JobId, now: Timestamp) {
        let Some(record) = self.products.get_mut(&product) else { return };
        record.refreshed_at = Some(rising(now, record.refreshed_at));
        record.last_attempted_at.get_or_insert(now);
        record.error = None;
        // A newer job may be waiting already; the product stays taken for that one.
        record.running_job.take_if(|running| running == job);
        self.note_first_data(now);
        self.record_refresh(product, RefreshState::Completed, None, now);
        if product == Product::Transactions && self.note_enriched(now) {
            self.record_refresh(Product::Enrichment, RefreshState::Completed, None, now);
        }
    }

    /// Enrichment accompanies transactions. `false` when it is not granted, or a job of its own will tell.
    fn note_enriched(&mut self, now: Timestamp) -> bool {
        let Some(record) = self.products.get_mut(&Product::Enrichment) else { return false };
        record.last_attempted_at = Some(rising(now, record.last_attempted_at));
        record.refreshed_at = Some(rising(now, record.refreshed_at));
        record.error = None;
        record.running_job.is_none()
    }

    /// Records a success outside a job: what a sign-in or a statement file brought.
    pub fn note_fetched(&mut self, product: Product, now: Timestamp) {
        if let Some(record) = self.products.get_mut(&product) {
            let refreshed_at = rising(now, record.refreshed_at);
            record.last_attempted_at = Some(rising(now, record.last_attempted_at));
            record.refreshed_at = Some(refreshed_at);
            record.error = None;
        }
        if product == Product::Transactions {
            self.note_enriched(now);
        }
        self.changed_at = self.changed_at.max(now);
        self.note_first_data(now);
    }

    /// The attempt of `job` failed. Stored data stays; an ended access takes the link to `error`.
    pub fn fail_product(&mut self, product: Product, job: &JobId, failure: &Failure, now: Timestamp) {
        let code = failure.class.product_error();
        let Some(record) = self.products.get_mut(&product) else { return };
        record.error = Some(ProductFault { code, message: failure.message.clone() });
        record.running_job.take_if(|running| running == job);
        if code.returns_allowance() {
            record.accepted_at = None;
        }
        self.record_refresh(product, RefreshState::Failed, Some(failure.message.clone()), now);
        if failure.class.ends_access() {
            let code = match failure.class {
                FailureClass::UserSetupRequired => LinkErrorCode::UserSetupRequired,
                _ => LinkErrorCode::AuthExpired,
            };
            self.fail(code, now);
        }
    }

    /// Tells that transactions changed.
    pub fn announce_transactions(&mut self, now: Timestamp) {
        self.record(now, EventKind::TransactionsUpdatesAvailable);
    }

    fn wait_seconds(&self, product: Product, now: Timestamp) -> Option<i64> {
        let record = self.products.get(&product)?;
        let window = SignedDuration::from_secs(product.refresh_window_seconds());
        let remaining = record.accepted_at.map(|at| window - now.duration_since(at)).filter(|left| left.is_positive());
        match remaining {
            // Rounded up: a caller that waits exactly this long must succeed.
            Some(left) => Some((left.as_micros() as u64).div_ceil(1_000_000) as i64),
            None if record.running_job.is_some() => Some(RUNNING_JOB_RETRY_SECONDS),
            None => None,
        }
    }

    fn record_refresh(&mut self, product: Product, state: RefreshState, error_message: Option<String>, now: Timestamp) {
        self.record(now, EventKind::ProductRefresh { product, state, error_message });
    }
}
