//! Signing in without a browser: what a person would do in Connect, step by step through the connector.
//!
//! A sign-in reads the accounts at once, because the person chooses among them. So a link is born with its accounts;
//! everything else is fetched by a job after the exchange. [`conversation`] talks to the bank, [`outcome`] stores what
//! came of it.

mod conversation;
mod outcome;

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use passbook_connectors::port::Credential;
use passbook_core::{
    ids::{JobId, LinkId, SessionId},
    institution::Institution,
    link::LinkErrorCode,
    session::SessionRequest,
    snapshot::BankAccount,
};
use passbook_store::port::{StoredLink, StoredSession};
use serde_json::Value;

use super::{Actor, Fault, Services, idempotency::Keep};

const UNKNOWN_INSTITUTION: &str = "the institution is not offered in this session";

/// What the person does.
pub struct Person {
    /// The institution chosen.
    pub institution_id: Option<String>,
    /// The user name typed.
    pub username: String,
    /// Answers by step kind; steps without one are answered rightly.
    pub answers: BTreeMap<String, Value>,
    /// Accounts permitted, by name or mask; `None` permits all.
    pub accounts: Option<Vec<String>>,
}

/// A finished sign-in.
#[derive(Clone)]
pub struct Completed {
    /// The link.
    pub link_id: LinkId,
    /// Absent after a reconnect, which needs no exchange.
    pub exchangeable_token: Option<String>,
    /// Prefetch of newly granted products after a reconnect.
    pub prefetch: Option<JobId>,
}

/// How a sign-in ended that the bank had a say in; what an answer is made of.
pub enum SignInEnd {
    /// The bank let the person in.
    Completed(Completed),
    /// It did not; a new link shows why.
    Failed {
        /// The link.
        link_id: LinkId,
        /// Its rendered object.
        link_view: Vec<u8>,
    },
}

/// Why a sign-in did not finish.
#[derive(Debug, thiserror::Error)]
pub enum SignInRefusal {
    /// The session token is not ours, of another app, expired or used.
    #[error("the link session cannot be used")]
    InvalidSession,
    /// The session does not offer what was chosen.
    #[error("{message}")]
    NotOffered {
        /// The field of the request.
        field: &'static str,
        /// Why.
        message: String,
    },
    /// The bank said no; the link shows the code.
    #[error("sign-in failed: {}", .code.as_str())]
    Failed {
        /// The link.
        link_id: LinkId,
        /// Why.
        code: LinkErrorCode,
    },
    /// The store failed.
    #[error(transparent)]
    Fault(#[from] Fault),
}

/// One attempt to take a session through sign-in: everything that is known before the bank is asked.
struct Attempt<'a> {
    actor: &'a Actor,
    session: StoredSession,
    request: SessionRequest,
    institution: Institution,
    now: Timestamp,
    keep: &'a Keep<SignInEnd>,
}

/// What the bank and the person gave.
struct SignedIn {
    credential: Credential,
    accounts: Vec<BankAccount>,
    /// Upstream keys of the permitted accounts.
    permitted: BTreeSet<String>,
}

impl Services {
    /// Takes a session through sign-in.
    ///
    /// # Errors
    /// [`SignInRefusal`]. After [`SignInRefusal::Failed`] the session can be tried again.
    pub async fn complete_link_session(
        &self,
        actor: &Actor,
        token: &str,
        person: Person,
        keep: &Keep<SignInEnd>,
    ) -> Result<Completed, SignInRefusal> {
        let now = self.now(&actor.tenant).await?;
        let session = self.open_session(actor, token, now).await?;
        let request = session_request(&session)?;
        let institution = match &request.existing_link_id {
            Some(id) => self.directory.of_link(&self.link_to_reconnect(actor, id).await?.link),
            None => self.choose_institution(actor, &request, person.institution_id.as_deref()).await?,
        };
        let attempt = Attempt { actor, session, request, institution, now, keep };
        match (self.sign_in(&attempt, &person).await?, attempt.request.existing_link_id.clone()) {
            (Ok(signed_in), None) => self.store_new_link(attempt, signed_in).await,
            (Ok(signed_in), Some(id)) => self.store_reconnect(attempt, signed_in, &id).await,
            (Err(failure), None) => self.store_failure(attempt, &failure).await,
            // A failed reconnect leaves the link as it was: it may still work.
            (Err(failure), Some(link_id)) => Err(SignInRefusal::Failed { link_id, code: failure.class.link_error() }),
        }
    }

    async fn open_session(&self, actor: &Actor, token: &str, now: Timestamp) -> Result<StoredSession, SignInRefusal> {
        let id = self.session_tokens.verify(token).and_then(|id| SessionId::parse(&id));
        let stored = match id {
            Some(id) => self.store.lookup_session(&id).await.map_err(Fault::from)?,
            None => None,
        };
        stored
            .filter(|stored| stored.session.tenant == actor.tenant && stored.session.is_open(now))
            .ok_or(SignInRefusal::InvalidSession)
    }

    /// The link a session reconnects. Deleted meanwhile: the session has nothing left to do.
    async fn link_to_reconnect(&self, actor: &Actor, id: &LinkId) -> Result<StoredLink, SignInRefusal> {
        let stored = self.store.lookup_link(&actor.tenant, id).await.map_err(Fault::from)?;
        stored.filter(|stored| stored.link.deleted_at.is_none()).ok_or(SignInRefusal::InvalidSession)
    }
}

fn session_request(stored: &StoredSession) -> Result<SessionRequest, SignInRefusal> {
    let bytes = stored.request.as_ref().ok_or(SignInRefusal::InvalidSession)?;
    serde_json::from_slice(bytes.expose()).map_err(|error| Fault::Internal(Box::new(error)).into())
}

fn not_offered(message: impl Into<String>) -> SignInRefusal {
    SignInRefusal::NotOffered { field: "institution_id", message: message.into() }
}
