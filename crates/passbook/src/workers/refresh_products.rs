//! Fetches products of a link and merges them.
//!
//! At most one fetch per product and attempt: a lost race with another writer of the link merges the same snapshots
//! again, it never asks the bank twice.

use std::time::Duration;

use jiff::Timestamp;
use passbook_connectors::port::{Credential, Fetch};
use passbook_core::{
    failure::{Failure, FailureClass},
    link::{Link, LinkSecrets, LinkState},
    numbers::{Verdict, check_account_numbers},
    product::{Product, ProductSet},
    reconcile::{
        InvestmentChanges, NewAccounts, TransactionChanges, compared_since, reconcile_accounts, reconcile_investments,
        reconcile_numbers, reconcile_owners, reconcile_transactions,
    },
    secret::SecretBytes,
    snapshot::Snapshot,
};
use passbook_store::port::{
    Changes, FinishedJob, Guard, InvestmentWrites, JobState, LeasedJob, StoreError, StoredLink, StoredSecrets,
};

use super::{Ended, lease_until};
use crate::services::{DECISIONS_MAX, Fault, Outcome, Services, changes_with_link, transaction_writes};

/// How long a bank may take for one product. Shorter than a lease.
const FETCH_DEADLINE: Duration = Duration::from_secs(60);

/// What the bank answered, product by product.
struct Fetched {
    results: Vec<(Product, Result<Snapshot, Failure>)>,
    /// Enrichment was asked for. It needs the rules of this server and nothing of the bank.
    enriches: bool,
    renewed_credential: Option<SecretBytes>,
}

/// What merging made of it, beside the link and its secrets.
#[derive(Default)]
struct Merged {
    transactions: TransactionChanges,
    investments: Option<InvestmentChanges>,
}

impl Fetched {
    /// The user signed in again meanwhile: a credential renewed from the old one must not replace the new one, and
    /// that the old access had ended says nothing about the new one. Data is data, and stays.
    fn outlive_a_reconnect(&mut self) {
        self.renewed_credential = None;
        for (_, result) in &mut self.results {
            if let Err(failure) = result
                && failure.class.ends_access()
            {
                *failure = Failure::new(FailureClass::Unexpected, "The link was reconnected during the refresh");
            }
        }
    }
}

impl Services {
    /// Runs the job.
    pub(super) async fn run_refresh(&self, job: &LeasedJob, products: ProductSet) -> Result<Ended, Fault> {
        let Some(link) = self.begin_attempt(job, products).await? else { return self.end_without_effect(job).await };
        let Some(fetched) = self.fetch_products(job, &link, products).await? else { return Ok(Ended::Lost) };
        self.store_attempt(job, &link, fetched).await
    }

    /// Ends a refresh that cannot succeed: the products show an error, and the app may ask again.
    pub(super) async fn abandon_refresh(&self, job: &LeasedJob, products: ProductSet) -> Result<Ended, Fault> {
        let failure = Failure::new(FailureClass::Unexpected, "The refresh failed on our side");
        for _ in 0..DECISIONS_MAX {
            let stored = match self.store.lookup_link(&job.tenant, &job.link_id).await {
                Ok(Some(stored)) if stored.link.state != LinkState::Deleted => stored,
                // Gone, or not even readable: then there is nothing to write the error to.
                Ok(_) | Err(StoreError::Inconsistent { .. }) => return self.end_without_effect(job).await,
                Err(error) => return Err(error.into()),
            };
            let (now, mut link) = (self.now(&job.tenant).await?, stored.link);
            for product in products.iter() {
                link.fail_product(product, &job.lease.job_id, &failure, now);
            }
            let mut changes = changes_with_link(link, Some(stored.version), None, |_| {});
            changes.finished_job = Some(self.finished(job, JobState::Failed));
            match self.try_commit(changes).await? {
                Outcome::Committed => return Ok(Ended::Failed),
                Outcome::LostRace(Guard::Lease) => return Ok(Ended::Lost),
                Outcome::LostRace(_) => {}
            }
        }
        Err(Fault::too_many_races())
    }

    /// Makes the attempt visible. `None` when there is nothing to fetch for (any more).
    async fn begin_attempt(&self, job: &LeasedJob, products: ProductSet) -> Result<Option<Link>, Fault> {
        for _ in 0..DECISIONS_MAX {
            let Some(stored) = self.store.lookup_link(&job.tenant, &job.link_id).await? else { return Ok(None) };
            if stored.link.state == LinkState::Deleted {
                return Ok(None);
            }
            let mut link = stored.link;
            link.begin_attempt(products, &job.lease.job_id, self.now(&job.tenant).await?);
            let mut begun = link.clone();
            begun.recorded.clear();
            let mut changes = changes_with_link(link, Some(stored.version), None, |_| {});
            changes.held_lease = Some(job.lease.clone());
            match self.try_commit(changes).await? {
                Outcome::Committed => return Ok(Some(begun)),
                Outcome::LostRace(Guard::Lease) => return Ok(None),
                Outcome::LostRace(_) => {}
            }
        }
        Err(Fault::too_many_races())
    }

    /// Asks the bank, one product after the other; no transaction is open. `None` when the lease was lost.
    async fn fetch_products(
        &self,
        job: &LeasedJob,
        link: &Link,
        products: ProductSet,
    ) -> Result<Option<Fetched>, Fault> {
        let mut fetched =
            Fetched { results: Vec::new(), enriches: products.contains(Product::Enrichment), renewed_credential: None };
        let mut credential = self.secrets_of(link).await?.credential.map(Credential);
        let mut ended_access: Option<Failure> = None;
        for product in products.iter().filter(|product| *product != Product::Enrichment) {
            if !fetched.results.is_empty() && !self.store.renew_lease(&job.lease, lease_until(self)).await? {
                return Ok(None);
            }
            let result = match &ended_access {
                Some(failure) => Err(failure.clone()),
                None => self.fetch_product(job, link, &mut credential, product, &mut fetched).await?,
            };
            if let Err(failure) = &result
                && failure.class.ends_access()
            {
                ended_access = Some(failure.clone());
            }
            fetched.results.push((product, result));
        }
        Ok(Some(fetched))
    }

    async fn fetch_product(
        &self,
        job: &LeasedJob,
        link: &Link,
        credential: &mut Option<Credential>,
        product: Product,
        fetched: &mut Fetched,
    ) -> Result<Result<Snapshot, Failure>, Fault> {
        let Some(connector) = self.directory.connector(&link.connector) else {
            return Ok(Err(Failure::new(FailureClass::NotSupported, "No connector serves this institution any more")));
        };
        let nothing = Credential(SecretBytes::default());
        let institution = self.directory.of_link(link);
        let fetch = Fetch {
            institution: &institution,
            credential: credential.as_ref().unwrap_or(&nothing),
            now: self.now(&job.tenant).await?,
            derivation: &self.derivation,
        };
        Ok(match tokio::time::timeout(FETCH_DEADLINE, connector.fetch(&fetch, product)).await {
            Ok(Ok(answer)) => {
                if let Some(renewed) = answer.renewed_credential {
                    fetched.renewed_credential = Some(renewed.0.clone());
                    *credential = Some(renewed);
                }
                Ok(answer.snapshot)
            }
            Ok(Err(failure)) => Err(failure),
            Err(_) => Err(Failure::new(FailureClass::Timeout, "The bank did not answer in time")),
        })
    }

    /// Merges what was fetched and ends the job, all in one commit.
    async fn store_attempt(&self, job: &LeasedJob, begun: &Link, mut fetched: Fetched) -> Result<Ended, Fault> {
        let mut plans_next = true;
        for _ in 0..DECISIONS_MAX {
            let stored = self.store.lookup_link(&job.tenant, &job.link_id).await?;
            let Some(stored) = stored.filter(|stored| stored.link.state != LinkState::Deleted) else {
                return self.end_without_effect(job).await;
            };
            if stored.link.generation != begun.generation {
                fetched.outlive_a_reconnect();
            }
            let now = self.now(&job.tenant).await?;
            let (mut changes, ended) = self.merge_attempt(job, stored, &fetched, now).await?;
            if plans_next {
                let connected = changes.link.as_ref().is_some_and(|write| write.link.state == LinkState::Connected);
                changes.jobs.extend(self.update_after(job, ended, connected));
            }
            match self.try_commit(changes).await? {
                Outcome::Committed => return Ok(ended),
                Outcome::LostRace(Guard::Lease) => return Ok(Ended::Lost),
                // Somebody else has planned the same update.
                Outcome::LostRace(Guard::Unique) => plans_next = false,
                Outcome::LostRace(_) => {}
            }
        }
        Err(Fault::too_many_races())
    }

    async fn merge_attempt(
        &self,
        job: &LeasedJob,
        stored: StoredLink,
        fetched: &Fetched,
        now: Timestamp,
    ) -> Result<(Changes, Ended), Fault> {
        let mut link = stored.link;
        let StoredSecrets { mut secrets, .. } = self.secrets_of(&link).await?;
        let mut merged = Merged::default();
        let mut ended = Ended::Failed;
        for (product, result) in &fetched.results {
            match result {
                Ok(snapshot) => {
                    self.merge_snapshot(&mut link, &mut secrets, &mut merged, snapshot.clone()).await?;
                    link.complete_product(*product, &job.lease.job_id, now);
                    ended = Ended::Done;
                }
                Err(failure) => {
                    tracing::info!(link.id = %link.id, product = product.as_str(), class = ?failure.class, "fetch failed");
                    link.fail_product(*product, &job.lease.job_id, failure, now);
                }
            }
        }
        if fetched.enriches {
            self.enrich_stored(&link, &mut merged.transactions).await?;
            link.complete_product(Product::Enrichment, &job.lease.job_id, now);
            ended = Ended::Done;
        }
        if !merged.transactions.is_empty() {
            link.announce_transactions(now);
        }
        let writes = transaction_writes(&mut link, merged.transactions);
        let investments = merged.investments.map(|changes| InvestmentWrites { link_id: link.id.clone(), changes });
        let credential = fetched.renewed_credential.clone();
        let mut changes =
            changes_with_link(link, Some(stored.version), Some(secrets), |write| write.credential = credential);
        changes.transactions = writes;
        changes.investments = investments;
        let state = if ended == Ended::Done { JobState::Done } else { JobState::Failed };
        changes.finished_job = Some(self.finished(job, state));
        Ok((changes, ended))
    }

    async fn merge_snapshot(
        &self,
        link: &mut Link,
        secrets: &mut LinkSecrets,
        merged: &mut Merged,
        snapshot: Snapshot,
    ) -> Result<(), Fault> {
        match snapshot {
            Snapshot::Accounts(accounts) => {
                reconcile_accounts(link, accounts, &NewAccounts::NotPermitted, true, &self.derivation);
            }
            Snapshot::AccountNumbers(numbers) => {
                reconcile_numbers(link, secrets, numbers, true);
                flag_invalid_numbers(link, secrets);
            }
            Snapshot::Identity(owners) => reconcile_owners(link, secrets, owners),
            Snapshot::Transactions(reported) => {
                let since = compared_since(reported.complete_since);
                let stored = self.store.load_transactions(&link.tenant, &link.id, since).await?;
                merged.transactions = reconcile_transactions(link, stored, reported, &self.derivation);
            }
            Snapshot::Investments(reported) => {
                let known = self.store.lookup_portfolio(&link.tenant, &link.id).await?.unwrap_or_default();
                let since = reported.complete_since;
                let stored = self.store.load_investment_transactions(&link.tenant, &link.id, since).await?;
                let changes = reconcile_investments(link, known, stored, reported, &self.derivation);
                merged.investments = Some(changes);
            }
        }
        Ok(())
    }

    /// The link is gone, or the lease is: ends the job as failed if it still is ours.
    pub(super) async fn end_without_effect(&self, job: &LeasedJob) -> Result<Ended, Fault> {
        let finished: FinishedJob = self.finished(job, JobState::Failed);
        let on_behalf_of = Some(job.tenant.clone());
        match self.try_commit(Changes { finished_job: Some(finished), on_behalf_of, ..Changes::default() }).await? {
            Outcome::Committed => Ok(Ended::Failed),
            Outcome::LostRace(_) => Ok(Ended::Lost),
        }
    }
}

/// Numbers that break a rule of their network are published as the bank gave them, and named to the operator. The
/// findings hold no digit.
fn flag_invalid_numbers(link: &Link, secrets: &LinkSecrets) {
    for (account_id, numbers) in &secrets.numbers {
        for finding in check_account_numbers(numbers, None) {
            if let Verdict::Invalid(reason) = finding.verdict {
                let (number, reason) = (finding.number, reason.code());
                tracing::warn!(link.id = %link.id, account.id = %account_id, ?number, reason, "the bank gave an invalid number");
            }
        }
    }
}
