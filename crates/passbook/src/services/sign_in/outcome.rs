//! Storing what came of a sign-in: a new link, a reconnected one, or a failed attempt. Each is one commit with the
//! session; whoever loses the race on the session finds it used.

use jiff::Timestamp;
use passbook_core::{
    failure::Failure,
    ids::{JobId, LinkId},
    link::{Link, LinkSecrets, derive_link_id, lifecycle::NewLink},
    product::Product,
    reconcile::{NewAccounts, reconcile_accounts},
    session::{EXCHANGE_LIFETIME, LinkSession, SessionProgress, default_grant},
};
use passbook_store::port::{Changes, Guard, ImportKey, JobWork, NewJob, SessionWrite, StoredSession};

use super::{Attempt, Completed, SignInEnd, SignInRefusal, SignedIn};
use crate::{
    services::{
        Actor, DECISIONS_MAX, Fault, Outcome, Services, access::later, changes_with_link, idempotency::Keep,
        transaction_sync::permitted,
    },
    system::{random_bits, random_hex, sha256},
    views,
};

impl Services {
    /// A new link waits for the exchange of its token.
    pub(super) async fn store_new_link(
        &self,
        attempt: Attempt<'_>,
        signed_in: SignedIn,
    ) -> Result<Completed, SignInRefusal> {
        let (mut link, version) = self.session_link(&attempt).await?;
        let Attempt { actor, session, request, institution, now, keep } = attempt;
        let products = request.products.unwrap_or_else(|| default_grant(institution.products));
        link.grant(&products);
        let only = NewAccounts::Only(signed_in.permitted);
        reconcile_accounts(&mut link, signed_in.accounts, &only, true, &self.derivation);
        link.note_fetched(Product::Accounts, now);
        link.await_exchange(now);

        let token = random_hex();
        let exchange_expires_at = later(now, EXCHANGE_LIFETIME);
        let link_id = link.id.clone();
        let mut changes = changes_with_link(link, version, Some(LinkSecrets::default()), |write| {
            write.credential = Some(signed_in.credential.0);
        });
        changes.jobs.push(self.expiry_job(actor, &link_id, exchange_expires_at).await?);
        changes.audit.push(self.audit(actor, "complete_link_session", Some(&link_id)));
        let progress = SessionProgress::Succeeded { exchange_hash: sha256(token.as_bytes()), exchange_expires_at };
        changes.session = Some(advance(&session, &link_id, progress));
        let completed = Completed { link_id, exchangeable_token: Some(token), prefetch: None };
        keep_completed(keep, &mut changes, &completed);
        match self.try_commit(changes).await? {
            Outcome::Committed => Ok(completed),
            Outcome::LostRace(_) => Err(SignInRefusal::InvalidSession),
        }
    }

    /// A reconnect: webhook and tags are replaced, grants only grow, and the link is usable without an exchange. A job
    /// that stored data meanwhile only makes it decide again; the bank is not asked twice.
    pub(super) async fn store_reconnect(
        &self,
        attempt: Attempt<'_>,
        signed_in: SignedIn,
        id: &LinkId,
    ) -> Result<Completed, SignInRefusal> {
        for _ in 0..DECISIONS_MAX {
            let stored = self.link_to_reconnect(attempt.actor, id).await?;
            let secrets = self.secrets_of(&stored.link).await?.secrets;
            let mut link = stored.link;
            let switched = link.connector != attempt.institution.connector;
            let permitted_before = permitted(&link);
            let prefetch = self.reconnect(&mut link, &attempt, &signed_in);
            let shown = self.show_permitted(&permitted_before, &mut link).await?;
            let job = (!prefetch.is_empty()).then(|| self.refresh_job(attempt.actor, id, prefetch));
            if let Some(job) = &job {
                link.schedule(prefetch, &job.id, attempt.now);
            }
            let mut changes = changes_with_link(link, Some(stored.version), Some(secrets), |write| {
                write.credential = Some(signed_in.credential.0.clone());
                if switched {
                    write.import_key = ImportKey::Free;
                }
            });
            changes.transactions = shown;
            let prefetch = job.as_ref().map(|job| job.id.clone());
            changes.jobs.extend(job);
            changes.audit.push(self.audit(attempt.actor, "complete_link_session", Some(id)));
            changes.session = Some(advance(&attempt.session, id, SessionProgress::Exchanged));
            let completed = Completed { link_id: id.clone(), exchangeable_token: None, prefetch };
            keep_completed(attempt.keep, &mut changes, &completed);
            match self.try_commit(changes).await? {
                Outcome::Committed => return Ok(completed),
                Outcome::LostRace(Guard::Session) => return Err(SignInRefusal::InvalidSession),
                Outcome::LostRace(_) => {}
            }
        }
        Err(Fault::too_many_races().into())
    }

    /// The reconnected link, and what is to be fetched for it.
    fn reconnect(
        &self,
        link: &mut Link,
        attempt: &Attempt<'_>,
        signed_in: &SignedIn,
    ) -> passbook_core::product::ProductSet {
        let Attempt { request, institution, now, .. } = attempt;
        link.retry_sign_in(*now);
        let switched = link.adopt_connector(institution);
        link.grant(request.products.as_deref().unwrap_or_default());
        link.webhook.clone_from(&request.webhook);
        link.tags.clone_from(&request.tags);
        let only = NewAccounts::Only(signed_in.permitted.clone());
        reconcile_accounts(link, signed_in.accounts.clone(), &only, true, &self.derivation);
        link.permit_accounts(&signed_in.permitted);
        link.note_fetched(Product::Accounts, *now);
        link.connect(*now);
        switched.iter().chain(link.products_to_prefetch().iter()).collect()
    }

    /// A failed attempt leaves a link in `error`; the session may be tried again.
    pub(super) async fn store_failure(
        &self,
        attempt: Attempt<'_>,
        failure: &Failure,
    ) -> Result<Completed, SignInRefusal> {
        let code = failure.class.link_error();
        let (mut link, version) = self.session_link(&attempt).await?;
        link.fail(code, attempt.now);
        let link_id = link.id.clone();
        let failed = SignInEnd::Failed { link_id: link_id.clone(), link_view: views::link_view(&link) };
        let mut changes = changes_with_link(link, version, None, |_| {});
        attempt.keep.put(&mut changes, &failed, Some(&link_id));
        changes.audit.push(self.audit(attempt.actor, "complete_link_session", Some(&link_id)));
        changes.session = Some(advance(&attempt.session, &link_id, SessionProgress::Open));
        match self.try_commit(changes).await? {
            Outcome::Committed => Err(SignInRefusal::Failed { link_id, code }),
            Outcome::LostRace(_) => Err(SignInRefusal::InvalidSession),
        }
    }

    /// The link a session makes: the one an earlier attempt began, or a new one.
    async fn session_link(&self, attempt: &Attempt<'_>) -> Result<(Link, Option<u64>), SignInRefusal> {
        let session = &attempt.session.session;
        let Some(id) = &session.link_id else { return Ok((self.new_link(attempt, attempt.now), None)) };
        let earlier = self.store.lookup_link(&session.tenant, id).await.map_err(Fault::from)?;
        // The app deleted what an earlier attempt left: the session has nothing to make a link of any more.
        let earlier = earlier.filter(|earlier| earlier.link.deleted_at.is_none());
        let mut earlier = earlier.ok_or(SignInRefusal::InvalidSession)?;
        if earlier.link.institution.id == attempt.institution.id {
            earlier.link.retry_sign_in(attempt.now);
            return Ok((earlier.link, Some(earlier.version)));
        }
        // The person went to another bank: the same link starts over there.
        let mut link = self.new_link(attempt, earlier.link.created_at);
        link.counters = earlier.link.counters;
        Ok((link, Some(earlier.version)))
    }

    fn new_link(&self, attempt: &Attempt<'_>, created_at: Timestamp) -> Link {
        let Attempt { session, request, institution, .. } = attempt;
        let tenant = session.session.tenant.clone();
        Link::begin(NewLink {
            id: derive_link_id(&self.derivation, &tenant, "session", session.session.ordinal),
            tenant,
            customer_user_id: request.customer_user_id.clone(),
            institution,
            webhook: request.webhook.clone(),
            tags: request.tags.clone(),
            now: created_at,
        })
    }

    async fn expiry_job(&self, actor: &Actor, link_id: &LinkId, at: Timestamp) -> Result<NewJob, Fault> {
        let clock = self.clocks.clock(&actor.tenant).await?;
        // By the wall clock, as apps' clocks are, and from there by the store's: they part when a clock was set.
        let wait = clock.real_due(at).map(|due| due.duration_since(self.clocks.real_now()));
        let due_at = wait.and_then(|wait| self.store.now().checked_add(wait).ok());
        Ok(NewJob {
            id: JobId::from_bits(random_bits()),
            tenant: actor.tenant.clone(),
            link_id: link_id.clone(),
            work: JobWork::ExpireExchange,
            due_at: due_at.unwrap_or(Timestamp::MAX),
            app_due_at: Some(at),
        })
    }
}

fn keep_completed(keep: &Keep<SignInEnd>, changes: &mut Changes, completed: &Completed) {
    keep.put(changes, &SignInEnd::Completed(completed.clone()), Some(&completed.link_id));
}

/// The session one step on. Its request, which holds personal data, is wiped as soon as no further attempt needs it.
fn advance(stored: &StoredSession, link_id: &LinkId, progress: SessionProgress) -> SessionWrite {
    let wipe_request = progress != SessionProgress::Open;
    SessionWrite {
        session: LinkSession { link_id: Some(link_id.clone()), progress, ..stored.session.clone() },
        expected_version: Some(stored.version),
        request: None,
        wipe_request,
        spends_token: false,
    }
}
