//! Link sessions and the exchange of their tokens.

use jiff::Timestamp;
use passbook_core::{
    ids::{JobId, LinkId, SessionId},
    link::LinkState,
    secret::SecretBytes,
    session::{LinkSession, SESSION_LIFETIME, SessionProgress, SessionRequest},
};
use passbook_store::port::{Changes, Guard, SessionWrite, StoredSession};
use url::Url;

use super::{Actor, DECISIONS_MAX, Fault, Outcome, Services, access::later, changes_with_link, idempotency::Keep};
use crate::{
    system::{random_bits, sha256},
    views,
};

/// Why no session was made.
#[derive(Debug, thiserror::Error)]
pub enum SessionRefusal {
    /// The app may not use this redirect, or may not reconnect this link.
    #[error("{0}")]
    ForbiddenConfig(&'static str),
    /// The store failed.
    #[error(transparent)]
    Fault(#[from] Fault),
}

/// Why a token was not exchanged.
#[derive(Debug, thiserror::Error)]
pub enum ExchangeRefusal {
    /// Unknown, expired, used, or of another app: one answer for all.
    #[error("invalid token for link")]
    InvalidToken,
    /// The store failed.
    #[error(transparent)]
    Fault(#[from] Fault),
}

/// A link just connected.
pub struct Exchanged {
    /// The link.
    pub link_id: LinkId,
    /// Its rendered object.
    pub link_view: Vec<u8>,
    /// The job that prefetches, if anything is to be prefetched.
    pub prefetch: Option<JobId>,
}

impl Services {
    /// Stores a session and gives its signed token.
    ///
    /// # Errors
    /// [`SessionRefusal`].
    pub async fn create_link_session(
        &self,
        actor: &Actor,
        request: &SessionRequest,
        keep: &Keep<String>,
    ) -> Result<String, SessionRefusal> {
        let app = self.store.lookup_app(&actor.tenant.app_id).await.map_err(Fault::from)?;
        let allowed = app.map(|app| app.allowed_origins).unwrap_or_default();
        if !origin_is_allowed(&request.redirect_uri, &allowed) {
            return Err(SessionRefusal::ForbiddenConfig("The redirect_uri's origin is not on the app's allow-list"));
        }
        if let Some(id) = &request.existing_link_id {
            let stored = self.store.lookup_link(&actor.tenant, id).await.map_err(Fault::from)?;
            if stored.is_none_or(|stored| stored.link.state == LinkState::Deleted) {
                return Err(SessionRefusal::ForbiddenConfig(NO_SUCH_LINK));
            }
        }
        Ok(self.create_sandbox_session(actor, request, keep).await?)
    }

    /// Stores a session whose redirect nobody will follow: the caller plays the person.
    ///
    /// # Errors
    /// A fault.
    pub async fn create_sandbox_session(
        &self,
        actor: &Actor,
        request: &SessionRequest,
        keep: &Keep<String>,
    ) -> Result<String, Fault> {
        if request.existing_link_id.is_none() {
            self.check_quota(&actor.tenant, 1).await?;
        }
        let ordinal = self.store.take_ordinal(&actor.tenant.app_id, "link_session").await?;
        let now = self.now(&actor.tenant).await?;
        let session = LinkSession {
            id: SessionId::from_bits(random_bits()),
            tenant: actor.tenant.clone(),
            ordinal,
            created_at: now,
            expires_at: later(now, SESSION_LIFETIME),
            link_id: request.existing_link_id.clone(),
            progress: SessionProgress::Open,
        };
        let token = self.sign_session(&session, request.institution_id.as_deref())?;
        let write = SessionWrite {
            session,
            expected_version: None,
            request: Some(SecretBytes::new(views::json(request))),
            wipe_request: false,
            spends_token: false,
        };
        let audit = vec![self.audit(actor, "create_link_session", None)];
        let mut changes = Changes { session: Some(write), audit, ..Changes::default() };
        keep.put(&mut changes, &token, None);
        match self.try_commit(changes).await? {
            Outcome::Committed => Ok(token),
            Outcome::LostRace(_) => Err(Fault::too_many_races()),
        }
    }

    /// Exchanges a token: exactly one call per token succeeds. The link comes back connected and its prefetch is stored
    /// as a job in the same commit.
    ///
    /// # Errors
    /// [`ExchangeRefusal`].
    pub async fn exchange_token(
        &self,
        actor: &Actor,
        token: &str,
        keep: &Keep<Exchanged>,
    ) -> Result<Exchanged, ExchangeRefusal> {
        let hash = sha256(token.as_bytes());
        for _ in 0..DECISIONS_MAX {
            let found = self.store.find_session_by_exchange_hash(&actor.tenant, &hash).await.map_err(Fault::from)?;
            let now = self.now(&actor.tenant).await?;
            let found =
                found.filter(|found| found.session.is_exchangeable(now)).ok_or(ExchangeRefusal::InvalidToken)?;
            let (exchanged, mut changes) = self.decide_exchange(actor, found, now).await?;
            keep.put(&mut changes, &exchanged, Some(&exchanged.link_id));
            match self.try_commit(changes).await? {
                Outcome::Committed => return Ok(exchanged),
                Outcome::LostRace(Guard::Session) => return Err(ExchangeRefusal::InvalidToken),
                Outcome::LostRace(_) => {}
            }
        }
        Err(Fault::too_many_races().into())
    }

    async fn decide_exchange(
        &self,
        actor: &Actor,
        found: StoredSession,
        now: Timestamp,
    ) -> Result<(Exchanged, Changes), ExchangeRefusal> {
        let link_id = found.session.link_id.clone().ok_or(ExchangeRefusal::InvalidToken)?;
        let stored = self.store.lookup_link(&actor.tenant, &link_id).await.map_err(Fault::from)?;
        let stored = stored
            .filter(|stored| stored.link.state == LinkState::AwaitingTokenExchange)
            .ok_or(ExchangeRefusal::InvalidToken)?;
        let mut link = stored.link;
        link.connect(now);
        let prefetch = link.products_to_prefetch();
        let job = (!prefetch.is_empty()).then(|| self.refresh_job(actor, &link_id, prefetch));
        if let Some(job) = &job {
            link.schedule(prefetch, &job.id, now);
        }
        let link_view = views::link_view(&link);
        let mut changes = changes_with_link(link, Some(stored.version), None, |_| {});
        let exchanged =
            Exchanged { link_id: link_id.clone(), link_view, prefetch: job.as_ref().map(|job| job.id.clone()) };
        changes.jobs.extend(job);
        changes.audit.push(self.audit(actor, "exchange_token", Some(&link_id)));
        changes.session = Some(SessionWrite {
            session: LinkSession { progress: SessionProgress::Exchanged, ..found.session },
            expected_version: Some(found.version),
            request: None,
            wipe_request: true,
            spends_token: true,
        });
        Ok((exchanged, changes))
    }

    fn sign_session(&self, session: &LinkSession, institution_id: Option<&str>) -> Result<String, Fault> {
        self.session_tokens
            .sign(session.id.as_str(), institution_id, self.clocks.real_now(), SESSION_LIFETIME.as_secs())
            .map_err(|error| Fault::Internal(Box::new(error)))
    }
}

/// One text for unknown, deleted and foreign links, so that an id cannot be proven.
const NO_SUCH_LINK: &str = "The existing_link_id cannot be reconnected by this app";

/// Whether the origin of `redirect_uri` is registered. Entries are origins; the port `*` stands for any port. The URI
/// was parsed and cleaned of user info, query and fragment by the request's validation.
fn origin_is_allowed(redirect_uri: &str, allowed: &[String]) -> bool {
    let Ok(url) = Url::parse(redirect_uri) else { return false };
    let origin = url.origin().ascii_serialization();
    let any_port = format!("{}://{}:*", url.scheme(), url.host_str().unwrap_or_default());
    allowed.iter().any(|entry| *entry == origin || *entry == any_port)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_registered_origins_are_allowed() {
        let allowed = ["https://app.example", "http://localhost:*", "http://[::1]:*"].map(String::from);
        for good in [
            "https://app.example/oauth",
            "https://APP.example:443/",
            "http://localhost:3000/a",
            "http://localhost/",
            "http://[::1]:9/x",
        ] {
            assert!(origin_is_allowed(good, &allowed), "{good}");
        }
        for bad in [
            "https://app.example.evil/",
            "https://evil-app.example/",
            "http://app.example/",
            "https://app.example:8443/",
            "https://app.example./",
            "http://localhost.evil:80/",
            "javascript:alert(1)",
            "data:text/html,x",
            "//app.example",
            "",
        ] {
            assert!(!origin_is_allowed(bad, &allowed), "{bad}");
        }
    }
}
