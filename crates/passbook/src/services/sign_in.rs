//! Signing in without a browser: what a person would do in Connect, step by step through the connector.
//!
//! A sign-in reads the accounts at once, because the person chooses among them. So a link is born with its accounts;
//! everything else is fetched by a job after the exchange.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use jiff::Timestamp;
use passbook_connectors::port::{Connector, Credential, Fetch, SignIn, Step};
use passbook_core::{
    failure::{Failure, FailureClass},
    ids::{JobId, LinkId, SessionId},
    institution::Institution,
    link::{Link, LinkErrorCode, derive_link_id, lifecycle::NewLink},
    product::Product,
    reconcile::{NewAccounts, reconcile_accounts},
    session::{EXCHANGE_LIFETIME, LinkSession, SessionProgress, SessionRequest, default_grant},
    snapshot::{BankAccount, Snapshot},
};
use passbook_store::port::{Changes, JobWork, NewJob, SessionWrite, StoredSession};
use serde_json::Value;

use super::{Actor, Fault, Outcome, Services, access::later, changes_with_link};
use crate::system::{random_bits, random_hex, sha256};

/// Most answers of one sign-in.
const ANSWERS_MAX: usize = 10;
/// How long a whole sign-in may take.
const SIGN_IN_DEADLINE: Duration = Duration::from_secs(60);
/// Where a person goes who chooses nothing.
const DEFAULT_INSTITUTION: &str = "credentials_bank";
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
pub struct Completed {
    /// The link.
    pub link_id: LinkId,
    /// Absent after a reconnect, which needs no exchange.
    pub exchangeable_token: Option<String>,
    /// Prefetch of newly granted products after a reconnect.
    pub prefetch: Option<JobId>,
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

struct SignedIn {
    credential: Credential,
    accounts: Vec<BankAccount>,
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
    ) -> Result<Completed, SignInRefusal> {
        let now = self.now(&actor.tenant).await?;
        let stored = self.open_session(actor, token, now).await?;
        let request = session_request(&stored)?;
        let existing = self.existing_link(actor, &request).await?;
        let institution = match &existing {
            Some((link, _)) => self.directory.of_link(link),
            None => self.choose_institution(actor, &request, person.institution_id.as_deref()).await?,
        };
        let connector = self
            .directory
            .connector(&institution.connector)
            .ok_or_else(|| not_offered(UNKNOWN_INSTITUTION.to_owned()))?;
        let signed_in = match self.sign_in(actor, connector.as_ref(), &institution, &request, &person, now).await {
            Ok(Ok(signed_in)) => signed_in,
            Ok(Err(failure)) => {
                return Err(self.store_failure(actor, stored, &request, &institution, &failure, now).await?);
            }
            Err(refusal) => return Err(refusal),
        };
        match existing {
            Some(existing) => {
                self.store_reconnect(actor, stored, &request, &institution, signed_in, existing, now).await
            }
            None => self.store_success(actor, stored, &request, &institution, signed_in, now).await,
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

    async fn existing_link(
        &self,
        actor: &Actor,
        request: &SessionRequest,
    ) -> Result<Option<(Link, u64)>, SignInRefusal> {
        let Some(id) = &request.existing_link_id else { return Ok(None) };
        let stored = self.store.lookup_link(&actor.tenant, id).await.map_err(Fault::from)?;
        let stored = stored.filter(|stored| stored.link.deleted_at.is_none()).ok_or(SignInRefusal::InvalidSession)?;
        Ok(Some((stored.link, stored.version)))
    }

    async fn choose_institution(
        &self,
        actor: &Actor,
        request: &SessionRequest,
        chosen: Option<&str>,
    ) -> Result<Institution, SignInRefusal> {
        let id = request.institution_id.as_deref().or(chosen).unwrap_or(DEFAULT_INSTITUTION);
        let institution = self.directory.find(id).ok_or_else(|| not_offered(UNKNOWN_INSTITUTION.to_owned()))?;
        let missing = request
            .products
            .iter()
            .flatten()
            .find(|(product, settings)| settings.required && !institution.products.contains(*product));
        if let Some((product, _)) = missing {
            return Err(not_offered(format!("{id} does not offer {}, which the session requires", product.as_str())));
        }
        if !request.countries.is_empty() && !request.countries.contains(&institution.country) {
            return Err(not_offered(format!("{id} is not in a country of the session")));
        }
        if request.duplicate_institution_rejected {
            let user = &request.customer_user_id;
            let twin =
                self.store.find_connected_link(&actor.tenant, user, &institution.id).await.map_err(Fault::from)?;
            if twin.is_some() {
                return Err(not_offered(format!("the user already has a connected link to {id}")));
            }
        }
        Ok(institution.clone())
    }

    /// The conversation with the bank. The outer error is the caller's fault, the inner one the bank's answer.
    async fn sign_in(
        &self,
        actor: &Actor,
        connector: &dyn Connector,
        institution: &Institution,
        request: &SessionRequest,
        person: &Person,
        now: Timestamp,
    ) -> Result<Result<SignedIn, Failure>, SignInRefusal> {
        let sign_in = SignIn {
            institution,
            customer_user_id: &request.customer_user_id,
            app_id: actor.tenant.app_id.as_str(),
            now,
            derivation: &self.derivation,
            custom_sandbox_data: request.custom_sandbox_data.as_ref(),
            person_seed: request.person_seed,
        };
        let conversation = async {
            let credential = converse(connector, &sign_in, person).await?;
            let fetch = Fetch { institution, credential: &credential, now, derivation: &self.derivation };
            let fetched = connector.fetch(&fetch, Product::Accounts).await?;
            let Snapshot::Accounts(accounts) = fetched.snapshot else {
                return Err(Failure::new(FailureClass::Unexpected, "The bank answered with something else"));
            };
            Ok((fetched.renewed_credential.unwrap_or(credential), accounts))
        };
        let (credential, mut accounts) = match tokio::time::timeout(SIGN_IN_DEADLINE, conversation).await {
            Ok(Ok(signed_in)) => signed_in,
            Ok(Err(failure)) => return Ok(Err(failure)),
            Err(_) => return Ok(Err(Failure::new(FailureClass::Timeout, "The bank did not answer in time"))),
        };
        if request.permit_only_depository_accounts {
            accounts.retain(|account| account.account_type.is_depository());
        }
        if accounts.is_empty() {
            return Ok(Err(Failure::new(FailureClass::NoAccounts, "The bank shares no account of the requested kind")));
        }
        let permitted = choose_accounts(&accounts, request, person.accounts.as_deref())?;
        Ok(Ok(SignedIn { credential, accounts, permitted }))
    }

    async fn store_success(
        &self,
        actor: &Actor,
        stored: StoredSession,
        request: &SessionRequest,
        institution: &Institution,
        signed_in: SignedIn,
        now: Timestamp,
    ) -> Result<Completed, SignInRefusal> {
        let (mut link, version) = self.session_link(&stored.session, request, institution, now).await?;
        let products = request.products.clone().unwrap_or_else(|| default_grant(institution.products));
        link.grant(&products);
        let only = NewAccounts::Only(signed_in.permitted);
        reconcile_accounts(&mut link, signed_in.accounts, &only, true, &self.derivation);
        link.note_fetched(Product::Accounts, now);
        link.await_exchange(now);

        let token = random_hex();
        let exchange_expires_at = later(now, EXCHANGE_LIFETIME);
        let link_id = link.id.clone();
        let secrets = passbook_core::link::LinkSecrets::default();
        let mut changes = changes_with_link(link, version, Some(secrets), |write| {
            write.credential = Some(signed_in.credential.0);
        });
        changes.jobs.push(self.expiry_job(actor, &link_id, exchange_expires_at).await?);
        changes.audit.push(self.audit(actor, "complete_link_session", Some(&link_id)));
        let progress = SessionProgress::Succeeded { exchange_hash: sha256(token.as_bytes()), exchange_expires_at };
        changes.session = Some(advance(stored, &link_id, progress, true));
        self.commit_or_invalid(changes).await?;
        Ok(Completed { link_id, exchangeable_token: Some(token), prefetch: None })
    }

    /// A reconnect: webhook and tags are replaced, grants only grow, and the link is usable without an exchange.
    #[expect(clippy::too_many_arguments, reason = "the parts of one decision, each already loaded")]
    async fn store_reconnect(
        &self,
        actor: &Actor,
        stored: StoredSession,
        request: &SessionRequest,
        institution: &Institution,
        signed_in: SignedIn,
        (mut link, version): (Link, u64),
        now: Timestamp,
    ) -> Result<Completed, SignInRefusal> {
        let secrets = self.secrets_of(&link).await?.secrets;
        link.retry_sign_in(now);
        link.grant(request.products.as_deref().unwrap_or_default());
        link.webhook.clone_from(&request.webhook);
        link.tags.clone_from(&request.tags);
        let only = NewAccounts::Only(signed_in.permitted.clone());
        reconcile_accounts(&mut link, signed_in.accounts, &only, true, &self.derivation);
        link.permit_accounts(&signed_in.permitted);
        link.note_fetched(Product::Accounts, now);
        link.connect(now);
        let prefetch = link.adopt_connector(institution);
        let link_id = link.id.clone();
        let job = (!prefetch.is_empty()).then(|| self.refresh_job(actor, &link_id, prefetch));
        if let Some(job) = &job {
            link.schedule(prefetch, &job.id, now);
        }
        let mut changes = changes_with_link(link, Some(version), Some(secrets), |write| {
            write.credential = Some(signed_in.credential.0);
        });
        let prefetch = job.as_ref().map(|job| job.id.clone());
        changes.jobs.extend(job);
        changes.audit.push(self.audit(actor, "complete_link_session", Some(&link_id)));
        changes.session = Some(advance(stored, &link_id, SessionProgress::Exchanged, true));
        self.commit_or_invalid(changes).await?;
        Ok(Completed { link_id, exchangeable_token: None, prefetch })
    }

    /// Stores a failed attempt. A failed reconnect leaves the link as it was: it may still work.
    async fn store_failure(
        &self,
        actor: &Actor,
        stored: StoredSession,
        request: &SessionRequest,
        institution: &Institution,
        failure: &Failure,
        now: Timestamp,
    ) -> Result<SignInRefusal, SignInRefusal> {
        let code = failure.class.link_error();
        if let Some(link_id) = &request.existing_link_id {
            return Ok(SignInRefusal::Failed { link_id: link_id.clone(), code });
        }
        let (mut link, version) = self.session_link(&stored.session, request, institution, now).await?;
        link.fail(code, now);
        let link_id = link.id.clone();
        let mut changes = changes_with_link(link, version, None, |_| {});
        changes.audit.push(self.audit(actor, "complete_link_session", Some(&link_id)));
        changes.session = Some(advance(stored, &link_id, SessionProgress::Open, false));
        self.commit_or_invalid(changes).await?;
        Ok(SignInRefusal::Failed { link_id, code })
    }

    /// The link a session makes: the one an earlier attempt began, or a new one.
    async fn session_link(
        &self,
        session: &LinkSession,
        request: &SessionRequest,
        institution: &Institution,
        now: Timestamp,
    ) -> Result<(Link, Option<u64>), SignInRefusal> {
        let mut created_at = now;
        if let Some(id) = &session.link_id {
            let earlier = self.store.lookup_link(&session.tenant, id).await.map_err(Fault::from)?;
            if let Some(mut earlier) = earlier.filter(|earlier| earlier.link.deleted_at.is_none()) {
                if earlier.link.institution.id == institution.id {
                    earlier.link.retry_sign_in(now);
                    return Ok((earlier.link, Some(earlier.version)));
                }
                // The person went to another bank: the same link starts over there.
                created_at = earlier.link.created_at;
                let mut link = self.new_link(session, request, institution, created_at);
                link.counters = earlier.link.counters;
                return Ok((link, Some(earlier.version)));
            }
        }
        Ok((self.new_link(session, request, institution, created_at), None))
    }

    fn new_link(
        &self,
        session: &LinkSession,
        request: &SessionRequest,
        institution: &Institution,
        now: Timestamp,
    ) -> Link {
        Link::begin(NewLink {
            id: derive_link_id(&self.derivation, &session.tenant, "session", session.ordinal),
            tenant: session.tenant.clone(),
            customer_user_id: request.customer_user_id.clone(),
            institution,
            webhook: request.webhook.clone(),
            tags: request.tags.clone(),
            now,
        })
    }

    async fn expiry_job(&self, actor: &Actor, link_id: &LinkId, at: Timestamp) -> Result<NewJob, Fault> {
        let clock = self.clocks.clock(&actor.tenant).await?;
        Ok(NewJob {
            id: JobId::from_bits(random_bits()),
            tenant: actor.tenant.clone(),
            link_id: link_id.clone(),
            work: JobWork::ExpireExchange,
            due_at: clock.real_due(at).unwrap_or(Timestamp::MAX),
            app_due_at: Some(at),
        })
    }

    /// Sign-ins of one session do not queue up: whoever comes second finds the session used.
    async fn commit_or_invalid(&self, changes: Changes) -> Result<(), SignInRefusal> {
        match self.try_commit(changes).await? {
            Outcome::Committed => Ok(()),
            Outcome::LostRace(_) => Err(SignInRefusal::InvalidSession),
        }
    }
}

async fn converse(connector: &dyn Connector, sign_in: &SignIn<'_>, person: &Person) -> Result<Credential, Failure> {
    let (mut step, mut progress) = connector.begin_sign_in(sign_in).await?;
    for _ in 0..ANSWERS_MAX {
        if let Step::Done(credential) = step {
            return Ok(credential);
        }
        let answer = connector
            .headless_answer(&step, &person.username, &person.answers)
            .ok_or_else(|| Failure::new(FailureClass::NotSupported, "This institution needs a person to sign in"))?;
        (step, progress) = connector.continue_sign_in(sign_in, progress, answer).await?;
    }
    match step {
        Step::Done(credential) => Ok(credential),
        _ => Err(Failure::new(FailureClass::Unexpected, "The sign-in did not end")),
    }
}

/// Upstream keys of the accounts the person permits.
fn choose_accounts(
    accounts: &[BankAccount],
    request: &SessionRequest,
    wanted: Option<&[String]>,
) -> Result<BTreeSet<String>, SignInRefusal> {
    let keys: BTreeSet<String> = match wanted {
        None if request.permit_only_one_account => {
            accounts.iter().take(1).map(|account| account.upstream_key.clone()).collect()
        }
        None => accounts.iter().map(|account| account.upstream_key.clone()).collect(),
        Some(wanted) => {
            let is = |account: &BankAccount, text: &String| {
                account.name.eq_ignore_ascii_case(text) || account.mask.as_ref() == Some(text)
            };
            if let Some(unknown) = wanted.iter().position(|text| !accounts.iter().any(|account| is(account, text))) {
                let message = format!("accounts[{unknown}] names no account of this user");
                return Err(SignInRefusal::NotOffered { field: "accounts", message });
            }
            accounts
                .iter()
                .filter(|account| wanted.iter().any(|text| is(account, text)))
                .map(|account| account.upstream_key.clone())
                .collect()
        }
    };
    if keys.is_empty() || (request.permit_only_one_account && keys.len() > 1) {
        let message = if keys.is_empty() { "permit at least one account" } else { "permit exactly one account" };
        return Err(SignInRefusal::NotOffered { field: "accounts", message: message.to_owned() });
    }
    Ok(keys)
}

fn session_request(stored: &StoredSession) -> Result<SessionRequest, SignInRefusal> {
    let bytes = stored.request.as_ref().ok_or(SignInRefusal::InvalidSession)?;
    serde_json::from_slice(bytes.expose()).map_err(|error| Fault::Internal(Box::new(error)).into())
}

fn advance(stored: StoredSession, link_id: &LinkId, progress: SessionProgress, wipe_request: bool) -> SessionWrite {
    SessionWrite {
        session: LinkSession { link_id: Some(link_id.clone()), progress, ..stored.session },
        expected_version: Some(stored.version),
        request: None,
        wipe_request,
        spends_token: false,
    }
}

fn not_offered(message: String) -> SignInRefusal {
    SignInRefusal::NotOffered { field: "institution_id", message }
}
