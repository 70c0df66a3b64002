//! Idempotency keys: any number of calls with one key have one effect and one answer.
//!
//! A key is reserved in the store before the use case begins ([`Services::begin_once`]). The use case is handed a
//! [`Keep`] and puts its answer into the very commit that makes its effect visible, guarded by the reservation: so
//! there is no moment at which the effect is there and the answer is not, and a request that lost its reservation
//! changes nothing. A refusal gives the key back, and so does a request that is dropped half way.
//!
//! Nothing here knows the operations or HTTP beyond a status number; what is answered is rendered by the API.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};
use passbook_core::{ids::LinkId, secret::SecretBytes, shares::Bounds, tenant::Tenant};
use passbook_store::{
    places::{Place, Places},
    port::{AnswerKey, AnswerWrite, Changes, Reservation, Store, StoreError},
};
use tokio::{sync::watch, time::Instant};

use super::{Actor, Fault, Services, access::later};
use crate::system::{hex, sha256};

/// How long an answer is kept, by the store's time.
pub const KEPT_FOR: SignedDuration = SignedDuration::from_hours(24);
/// How long a request may hold its key before another call with it may begin anew; then the first commits no more.
pub const RESERVED_FOR: SignedDuration = SignedDuration::from_secs(30);
/// How long a call waits for another one with its key.
const PATIENCE: Duration = Duration::from_secs(10);
/// When a waiting call looks for the first time, most often after a call that arrived together with it.
const FIRST_LOOK: Duration = Duration::from_millis(2);
/// How often it looks for what another process does; the pauses double up to this.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How often it looks while this process works on the key, and tells it when that has ended.
const LOOK_EVERY_BESIDE: Duration = Duration::from_secs(1);
/// How many calls may wait for an earlier call with the same key. Each keeps its body in memory. Above the bound, calls are
/// refused at once.
const WAITS: Bounds = Bounds { limit: 1_024, reserve: 256, patient_below: 0, waiting_max: 0 };

/// An answer as it is sent and kept. No `Debug`: it may hold a token.
#[derive(Clone)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// JSON.
    pub body: Vec<u8>,
}

/// A request with a key, as the store knows it.
#[derive(Clone)]
pub struct KeyedRequest {
    key: AnswerKey,
    content: [u8; 32],
}

/// What a call with a key is to do.
pub enum Begun {
    /// Work: the key is its own now.
    Mine(Held),
    /// Answer with this; the effect is there.
    Kept(Answer),
    /// Refuse: the key belongs to a request with another content.
    OtherRequest,
    /// Wait: another call with the key is under way.
    StillRunning,
}

/// The keys this process works on, and the calls that wait for one until its work has ended.
pub struct KeysAtWork {
    keys: Mutex<HashMap<String, (u64, watch::Receiver<()>)>>,
    waits: Arc<Places<Tenant>>,
}

/// What a request holds while it works: its reserved key, or nothing when it came without one.
#[derive(Clone, Default)]
pub struct Held(Option<Arc<Hold>>);

/// A reservation. Dropping it gives the key back unless the answer was kept.
struct Hold {
    store: Arc<dyn Store>,
    at_work: Arc<KeysAtWork>,
    key: AnswerKey,
    fence: u64,
    progress: Mutex<Progress>,
    /// Closed with the hold, which is what waiting calls notice.
    _ended: watch::Sender<()>,
}

#[derive(Default)]
struct Progress {
    /// What the last commit of the request would keep, or keeps.
    put: Option<Answer>,
    /// Nothing is left to give back.
    settled: bool,
}

/// Makes the answer to an outcome, if it is one to keep.
type Render<T> = Box<dyn Fn(&T) -> Option<Answer> + Send + Sync>;

/// How a use case keeps its answer; see [`Keep::put`].
pub struct Keep<T> {
    held: Held,
    render: Render<T>,
}

impl Services {
    /// A request as it is recognised: the key belongs to app, environment, operation and path; the content is the query
    /// and the body, of which this is the SHA-256. Both are keyed hashes, because a body may hold little more than an account number.
    pub fn keyed_request(
        &self,
        actor: &Actor,
        operation: &str,
        uri: &http::Uri,
        key: &str,
        body_hash: &[u8; 32],
    ) -> KeyedRequest {
        let tenant = &actor.tenant;
        // A path has no line break in it, so no two pairs of path and key make one text.
        let hash = self.keys.fingerprint(tenant, &format!("idempotency key\n{operation}\n{}\n{key}", uri.path()));
        let (query, body) = (hex(&sha256(uri.query().unwrap_or_default().as_bytes())), hex(body_hash));
        let content = self.keys.fingerprint(tenant, &format!("idempotent request\n{query}\n{body}"));
        KeyedRequest { key: AnswerKey { tenant: tenant.clone(), hash }, content: sha256(content.as_bytes()) }
    }

    /// Reserves the key, or finds what was answered, or that another call is under way.
    ///
    /// # Errors
    /// A fault.
    pub async fn begin_once(&self, request: &KeyedRequest) -> Result<Begun, Fault> {
        // A request is no longer without a sign of life than a job may be.
        let held_for = RESERVED_FOR.min(self.lease);
        let (store, at_work) = (Arc::clone(&self.store), Arc::clone(&self.keys_at_work));
        let reserving = reserve(store, at_work, request.clone(), held_for);
        // On a task of its own: a client that goes away just now would leave a key that nobody knows to be reserved.
        // So the task ends all the same, and drops what nobody takes from it.
        Ok(tokio::spawn(reserving).await.map_err(|error| Fault::Internal(Box::new(error)))??)
    }

    /// Waits until the key of a call that is under way is worth another look. `false` once the patience is used up, or
    /// when too many calls of the tenant wait.
    pub async fn wait_for_key(&self, request: &KeyedRequest, patience: &mut Patience) -> bool {
        if Instant::now() >= patience.ends_at {
            return false;
        }
        if patience.place.is_none() {
            let Ok(place) = self.keys_at_work.waits.enter(&request.key.tenant).await else { return false };
            patience.place = Some(place);
        }
        self.keys_at_work.wait(&request.key.hash, patience.pause, patience.ends_at).await;
        patience.pause = (patience.pause * 2).min(LOOK_EVERY);
        true
    }
}

/// How long a call goes on waiting for another one with its key: ten seconds in all.
pub struct Patience {
    ends_at: Instant,
    pause: Duration,
    /// Among the calls that wait; taken with the first wait.
    place: Option<Place<Tenant>>,
}

impl Default for Patience {
    fn default() -> Self {
        Self { ends_at: Instant::now() + PATIENCE, pause: FIRST_LOOK, place: None }
    }
}

/// Looks once.
async fn reserve(
    store: Arc<dyn Store>,
    at_work: Arc<KeysAtWork>,
    request: KeyedRequest,
    held_for: SignedDuration,
) -> Result<Begun, StoreError> {
    let (now, KeyedRequest { key, content }) = (store.now(), request);
    let fence = match store.reserve_answer(&key, &content, now, later(now, held_for)).await? {
        Reservation::Reserved { fence } => fence,
        Reservation::Running => return Ok(Begun::StillRunning),
        Reservation::OtherRequest => return Ok(Begun::OtherRequest),
        Reservation::Answered(kept) => {
            return Ok(Begun::Kept(Answer { status: kept.status, body: kept.body.expose().to_vec() }));
        }
    };
    let (ended, watched) = watch::channel(());
    at_work.add(&key.hash, fence, watched);
    let progress = Mutex::default();
    Ok(Begun::Mine(Held(Some(Arc::new(Hold { store, at_work, key, fence, progress, _ended: ended })))))
}

impl Default for KeysAtWork {
    fn default() -> Self {
        Self { keys: Mutex::default(), waits: Places::new(WAITS, Duration::ZERO) }
    }
}

impl KeysAtWork {
    fn add(&self, hash: &str, fence: u64, ended: watch::Receiver<()>) {
        self.lock().insert(hash.to_owned(), (fence, ended));
    }

    fn remove(&self, hash: &str, fence: u64) {
        let mut keys = self.lock();
        // The key may have been taken over by a later request of this process.
        if keys.get(hash).is_some_and(|(holder, _)| *holder == fence) {
            keys.remove(hash);
        }
    }

    /// Waits until the key is worth another look.
    async fn wait(&self, hash: &str, pause: Duration, deadline: Instant) {
        let beside = self.lock().get(hash).map(|(_, ended)| ended.clone());
        let pause = if beside.is_some() { LOOK_EVERY_BESIDE } else { pause };
        let look_again = (Instant::now() + pause).min(deadline);
        match beside {
            Some(mut ended) => drop(tokio::time::timeout_at(look_again, ended.changed()).await),
            None => tokio::time::sleep_until(look_again).await,
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, (u64, watch::Receiver<()>)>> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    /// Keeps what `render` makes of every outcome.
    pub fn keep<T>(&self, render: impl Fn(&T) -> Answer + Send + Sync + 'static) -> Keep<T> {
        self.keep_some(move |outcome| Some(render(outcome)))
    }

    /// Keeps what `render` makes of an outcome, and nothing where it makes nothing of it.
    pub fn keep_some<T>(&self, render: impl Fn(&T) -> Option<Answer> + Send + Sync + 'static) -> Keep<T> {
        Keep { held: self.clone(), render: Box::new(render) }
    }

    /// Ends a request that was answered. What was kept is the answer, also where the work knows a newer one: whoever
    /// asks again gets the same bytes.
    pub async fn finish(&self, answer: Answer) -> Answer {
        let Some(hold) = &self.0 else { return answer };
        let put = hold.progress().put.take();
        if let Some(kept) = put {
            hold.progress().settled = true;
            return kept;
        }
        tracing::error!("a request with an idempotency key was answered without keeping its answer");
        self.give_back().await;
        answer
    }

    /// Gives the key back: the request was refused. Nothing happens when its answer was kept after all, as it may be
    /// when a commit ended in a fault.
    pub async fn give_back(&self) {
        let Some(hold) = &self.0 else { return };
        if let Err(error) = hold.store.release_answer(&hold.key, hold.fence).await {
            // It comes free by itself when its time is over.
            tracing::warn!(error = &error as &dyn std::error::Error, "an idempotency key was not given back");
        }
        // Only now: a call that is dropped while it waits for the store gives its key back when it is dropped.
        hold.progress().settled = true;
    }
}

impl Hold {
    fn progress(&self) -> std::sync::MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn expires_at(&self) -> Timestamp {
        later(self.store.now(), KEPT_FOR)
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.at_work.remove(&self.key.hash, self.fence);
        if self.progress().settled {
            return;
        }
        // The client went away, or the handler panicked. A commit that is under way is decided before this.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let (store, key, fence) = (Arc::clone(&self.store), self.key.clone(), self.fence);
        runtime.spawn(async move {
            // An error leaves the key reserved until its time is over.
            let _ = store.release_answer(&key, fence).await;
        });
    }
}

impl<T> Keep<T> {
    /// For callers without a key.
    pub fn nothing() -> Self {
        Self { held: Held::default(), render: Box::new(|_| None) }
    }

    /// Whether a key waits for an answer, so that even a use case that changes nothing has something to commit.
    pub fn is_waiting(&self) -> bool {
        self.held.0.is_some()
    }

    /// Puts the answer to `outcome` into the commit that makes it true; `link_id` is the link it shows, with which it
    /// dies. To be called for each try to commit.
    pub fn put(&self, changes: &mut Changes, outcome: &T, link_id: Option<&LinkId>) {
        let Some(hold) = &self.held.0 else { return };
        let Some(answer) = (self.render)(outcome) else { return };
        changes.answer = Some(AnswerWrite {
            key: hold.key.clone(),
            fence: hold.fence,
            status: answer.status,
            body: SecretBytes::new(answer.body.clone()),
            link_id: link_id.cloned(),
            expires_at: hold.expires_at(),
        });
        hold.progress().put = Some(answer);
    }
}
