//! Accepting refreshes.

use passbook_core::{
    ids::{JobId, LinkId},
    link::RefreshRefusal,
    product::{Product, ProductSet},
};
use passbook_store::port::{JobState, JobWork, NewJob};

use super::{Actor, DECISIONS_MAX, Fault, Outcome, Services, changes_with_link, idempotency::Keep, links::LinkRefusal};
use crate::{system::random_bits, views};

/// Why a refresh was not accepted.
#[derive(Debug, thiserror::Error)]
pub enum RefreshError {
    /// The link.
    #[error(transparent)]
    Link(#[from] LinkRefusal),
    /// Refreshed too recently, or being refreshed.
    #[error("{} refreshed too recently", .product.as_str())]
    Limited {
        /// Which product.
        product: Product,
        /// Seconds by the app's clock, at least 1.
        retry_after_seconds: i64,
    },
}

impl Services {
    /// Accepts a refresh: the job and the changed link are stored before this returns the link object.
    ///
    /// # Errors
    /// [`RefreshError`]; a refused call spends nothing.
    pub async fn refresh_products(
        &self,
        actor: &Actor,
        id: &LinkId,
        products: ProductSet,
        keep: &Keep<Vec<u8>>,
    ) -> Result<Vec<u8>, RefreshError> {
        for _ in 0..DECISIONS_MAX {
            let stored = self.load(actor, id).await?;
            if let Some(code) = stored.link.blocked_by() {
                return Err(LinkRefusal::BadState(code).into());
            }
            let now = self.now(&actor.tenant).await.map_err(LinkRefusal::from)?;
            let mut link = stored.link;
            let job = self.refresh_job(actor, id, products);
            link.accept_refresh(products, &job.id, now).map_err(|refusal| match refusal {
                RefreshRefusal::NotGranted { product } => LinkRefusal::NotGranted(product).into(),
                RefreshRefusal::Limited { product, retry_after_seconds } => {
                    RefreshError::Limited { product, retry_after_seconds }
                }
            })?;
            let view = views::link_view(&link);
            let mut changes = changes_with_link(link, Some(stored.version), None, |_| {});
            changes.jobs.push(job);
            changes.audit.push(self.audit(actor, "refresh_products", Some(id)));
            keep.put(&mut changes, &view, Some(id));
            if let Outcome::Committed = self.try_commit(changes).await.map_err(LinkRefusal::from)? {
                return Ok(view);
            }
        }
        Err(LinkRefusal::from(Fault::too_many_races()).into())
    }

    /// A job that fetches `products`, due at once. Not stored yet.
    pub fn refresh_job(&self, actor: &Actor, link_id: &LinkId, products: ProductSet) -> NewJob {
        NewJob {
            id: JobId::from_bits(random_bits()),
            tenant: actor.tenant.clone(),
            link_id: link_id.clone(),
            work: JobWork::RefreshProducts { products },
            due_at: self.store.now(),
            app_due_at: None,
        }
    }

    /// Waits until the job has ended, at most `patience`. Returns whether it has.
    ///
    /// # Errors
    /// A fault.
    pub async fn wait_for_job(&self, job: &JobId, patience: std::time::Duration) -> Result<bool, Fault> {
        // Jobs that end on another replica ring no bell here; for those the state is looked at now and then.
        const LOOK_EVERY: std::time::Duration = std::time::Duration::from_millis(100);
        let mut ended = self.job_ended.subscribe();
        let deadline = tokio::time::Instant::now() + patience;
        loop {
            ended.borrow_and_update();
            if self.store.lookup_job_state(job).await? != Some(JobState::Open) {
                return Ok(true);
            }
            let look_again = (tokio::time::Instant::now() + LOOK_EVERY).min(deadline);
            let _ = tokio::time::timeout_at(look_again, ended.changed()).await;
            if tokio::time::Instant::now() >= deadline {
                return Ok(false);
            }
        }
    }
}
