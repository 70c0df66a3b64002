//! Request bodies on their way: how long each may take, how many there may be, and how much memory they hold.
//!
//! A body that arrives slowly holds nothing but itself: no place among the requests that are worked on, no file place,
//! no transaction. What it does hold, its memory, is bounded here. Bodies are counted for a *sender*: the tenant where
//! the request's head says who calls, else the client's address (a /64 of IPv6). When a bound of their number is reached
//! the newcomer is not refused. Instead the body that has been on its way for longest gives way, of the sender that has
//! too many or of the one that has the most. So a sender of slow bodies only harms itself, and a request that arrives
//! whole, as nearly all do, gets through, even beside slow ones from its own address.
//!
//! In bytes, a sender has a share: the bound divided by the senders there are and one who may come. Above its share it
//! may hold as much as it leaves free. Where bytes are missing, the body that has been on its way for longest gives way,
//! of the sender above its share that holds the most; it may be the very body whose bytes were too many. What has
//! arrived cannot be taken back, so it counts for its sender but does not give way. As each sender leaves as much free
//! as it holds, others have room meanwhile.
//!
//! | body | time in all | pace |
//! | --- | --- | --- |
//! | up to 64 KiB | 10 s | 1 kB/s after the first 5 s |
//! | larger, up to the operation's limit | 120 s | 1 kB/s after the first 5 s |

use std::{
    collections::{BTreeMap, HashMap},
    hash::Hash,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use axum::{body::Body, extract::Request};
use bytes::{Buf, Bytes};
use http::{HeaderMap, header, request::Parts};
use http_body_util::BodyExt;
use passbook_core::tenant::Tenant;
use passbook_store::compute;
use serde::de::DeserializeOwned;
use tokio::{sync::oneshot, time::Instant};
use zeroize::Zeroizing;

use super::{
    Api,
    body::{self, invalid},
    caller::Caller,
    errors::ApiError,
};

/// Bodies up to this size are small.
const SMALL: usize = 64 << 10;
/// How fast bodies have to arrive.
const PACE: Pace = Pace {
    head_start: Duration::from_secs(5),
    bytes_per_second: 1_000,
    small_within: Duration::from_secs(10),
    large_within: Duration::from_secs(120),
};

/// Bodies of one tenant that are on their way at once.
const PER_TENANT_MAX: usize = 1_024;
/// Bodies on their way of one address whose requests do not say in their head who calls.
const PER_ADDRESS_MAX: usize = 64;
/// Bodies of known callers in all, and of unknown ones.
const KNOWN_MAX: usize = 8_192;
const UNKNOWN_MAX: usize = 2_048;
/// Bytes of known callers' bodies that are in memory, arrived ones until their request is answered included: sixteen of
/// the largest statement files, of which a tenant alone may have eight.
const KNOWN_BYTES_MAX: usize = 256 << 20;
/// The same of unknown callers, whose bodies are forms of 16 KiB at most.
const UNKNOWN_BYTES_MAX: usize = 16 << 20;
/// Space that is set aside for a body before any of it has arrived.
const FIRST_SPACE_MAX: usize = 16 << 10;

/// All bodies of one process.
pub struct Bodies {
    known: Arc<Pool<Tenant>>,
    unknown: Arc<Pool<IpAddr>>,
}

impl Default for Bodies {
    fn default() -> Self {
        Self {
            known: Pool::new(Most { of_sender: PER_TENANT_MAX, of_all: KNOWN_MAX, bytes: KNOWN_BYTES_MAX }, PACE),
            unknown: Pool::new(
                Most { of_sender: PER_ADDRESS_MAX, of_all: UNKNOWN_MAX, bytes: UNKNOWN_BYTES_MAX },
                PACE,
            ),
        }
    }
}

impl Api {
    /// The head and the whole body, of at most `limit` bytes, of a request whose caller and limits were checked.
    ///
    /// # Errors
    /// As [`Bodies::of_tenant`].
    pub async fn receive(&self, caller: &Caller, request: Request, limit: usize) -> Result<(Parts, Bytes), ApiError> {
        let (parts, body) = request.into_parts();
        let bytes = self.bodies.of_tenant(&caller.tenant, &parts.headers, body, limit).await?;
        Ok((parts, bytes))
    }

    /// What a body says, read by [`body::parse`].
    ///
    /// # Errors
    /// As [`body::parse`], and as [`Self::apart_if_large`].
    pub async fn read_json<T: DeserializeOwned + Send + 'static>(
        &self,
        caller: &Caller,
        parts: &Parts,
        bytes: &Bytes,
    ) -> Result<T, ApiError> {
        let (headers, json) = (parts.headers.clone(), bytes.clone());
        self.apart_if_large(&caller.tenant, bytes.len(), move || body::parse(&headers, &json)).await?
    }

    /// Does something with a body of so many bytes: at once, or on a thread for long work where it takes milliseconds.
    ///
    /// # Errors
    /// 503 when its turn did not come in time.
    pub async fn apart_if_large<T: Send + 'static>(
        &self,
        tenant: &Tenant,
        length: usize,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, ApiError> {
        if length <= SMALL {
            return Ok(work());
        }
        Ok(compute::run(Some(tenant), work).await?)
    }
}

impl Bodies {
    /// The body of a request whose caller is known, at most `limit` bytes. Its memory is wiped and counted as free when
    /// the last clone is dropped.
    ///
    /// # Errors
    /// 413 over the limit; 422 when the client stopped sending or the body did not arrive in time; 503 when it gave way.
    pub async fn of_tenant(
        &self,
        tenant: &Tenant,
        headers: &HeaderMap,
        body: Body,
        limit: usize,
    ) -> Result<Bytes, ApiError> {
        receive(self.known.begin(tenant), headers, body, limit).await
    }

    /// The body of a request that does not say in its head who calls.
    ///
    /// # Errors
    /// As [`Self::of_tenant`].
    pub async fn of_address(
        &self,
        address: IpAddr,
        headers: &HeaderMap,
        body: Body,
        limit: usize,
    ) -> Result<Bytes, ApiError> {
        receive(self.unknown.begin(&crate::network::peer(address)), headers, body, limit).await
    }
}

async fn receive<S: Hash + Eq + Clone + Send + Sync + 'static>(
    (mut arriving, mut gives_way): (Arriving<S>, oneshot::Receiver<()>),
    headers: &HeaderMap,
    mut body: Body,
    limit: usize,
) -> Result<Bytes, ApiError> {
    let declared = declared_length(headers);
    if declared.is_some_and(|declared| declared > limit) {
        return Err(ApiError::too_large(limit));
    }
    let began = Instant::now();
    let mut content = Content::with_space(declared.unwrap_or(0).min(FIRST_SPACE_MAX));
    loop {
        let late = began + arriving.pool.pace.allowed(declared, content.len());
        let frame = tokio::select! {
            biased;
            frame = body.frame() => frame,
            _ = &mut gives_way => return Err(ApiError::gave_way()),
            () = tokio::time::sleep_until(late) => return Err(ApiError::too_slow()),
        };
        // Trailers mean nothing here.
        let Some(frame) = frame else { break };
        let Ok(data) = frame.map_err(|_| invalid("", "the body ended early"))?.into_data() else { continue };
        if content.len() + data.remaining() > limit {
            return Err(ApiError::too_large(limit));
        }
        // Its own bytes may have been the ones too many. The next frame, if it is there, would hide that.
        if !arriving.grow(data.remaining()) {
            return Err(ApiError::gave_way());
        }
        content.append(&data);
    }
    if !arriving.arrived() {
        return Err(ApiError::gave_way());
    }
    Ok(Bytes::from_owner(Arrived { content: content.0, _counted: arriving }))
}

fn declared_length(headers: &HeaderMap) -> Option<usize> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// How fast bodies have to arrive.
#[derive(Clone, Copy)]
struct Pace {
    /// What each body gets before its pace counts.
    head_start: Duration,
    /// The slowest pace after that.
    bytes_per_second: u32,
    /// For bodies up to [`SMALL`], in all.
    small_within: Duration,
    /// For larger ones, in all.
    large_within: Duration,
}

impl Pace {
    /// How long after its beginning a body must have sent its next byte, or ended.
    fn allowed(self, declared: Option<usize>, received: usize) -> Duration {
        let size = declared.unwrap_or(received).max(received);
        let in_all = if size <= SMALL { self.small_within } else { self.large_within };
        let received = u32::try_from(received).unwrap_or(u32::MAX);
        in_all.min(self.head_start + Duration::from_secs(1) * received / self.bytes_per_second)
    }
}

/// What has arrived. No copy of it stays anywhere when the space becomes too small: secrets are in it.
struct Content(Zeroizing<Vec<u8>>);

impl Content {
    fn with_space(space: usize) -> Self {
        Self(Zeroizing::new(Vec::with_capacity(space)))
    }

    fn len(&self) -> usize {
        self.0.len()
    }

    fn append(&mut self, data: &[u8]) {
        let needed = self.0.len() + data.len();
        if needed > self.0.capacity() {
            let mut larger = Zeroizing::new(Vec::with_capacity(needed.max(self.0.capacity() * 2)));
            larger.extend_from_slice(&self.0);
            // The old space is wiped as it is dropped.
            self.0 = larger;
        }
        self.0.extend_from_slice(data);
    }
}

/// A whole body, counted until its last clone is dropped.
struct Arrived<S: Hash + Eq + Clone> {
    content: Zeroizing<Vec<u8>>,
    _counted: Arriving<S>,
}

impl<S: Hash + Eq + Clone> AsRef<[u8]> for Arrived<S> {
    fn as_ref(&self) -> &[u8] {
        &self.content
    }
}

/// The bounds of a pool.
struct Most {
    of_sender: usize,
    of_all: usize,
    bytes: usize,
}

/// Bodies that share bounds.
struct Pool<S> {
    most: Most,
    pace: Pace,
    state: Mutex<State<S>>,
}

struct State<S> {
    senders: HashMap<S, Sender>,
    arriving: usize,
    bytes: usize,
    /// Rises, so that of two bodies the lower one began earlier.
    begun: u64,
}

#[derive(Default)]
struct Sender {
    /// Bodies on their way, by when they began.
    arriving: BTreeMap<u64, OnItsWay>,
    /// Of these and of those that have arrived.
    bytes: usize,
}

/// A body on its way, as the others see it.
struct OnItsWay {
    gives_way: oneshot::Sender<()>,
    bytes: usize,
}

/// A body that is counted.
struct Arriving<S: Hash + Eq + Clone> {
    pool: Arc<Pool<S>>,
    sender: S,
    number: u64,
    /// What is counted of it once it has arrived.
    arrived: usize,
}

impl<S: Hash + Eq + Clone> Pool<S> {
    fn new(most: Most, pace: Pace) -> Arc<Self> {
        let state = State { senders: HashMap::new(), arriving: 0, bytes: 0, begun: 0 };
        Arc::new(Self { most, pace, state: Mutex::new(state) })
    }

    /// Counts a body from its beginning. The receiver hears when it has to give way.
    fn begin(self: &Arc<Self>, sender: &S) -> (Arriving<S>, oneshot::Receiver<()>) {
        let mut state = self.state();
        state.begun += 1;
        let number = state.begun;
        let own = state.senders.entry(sender.clone()).or_default();
        let (gives_way, hears) = oneshot::channel();
        own.arriving.insert(number, OnItsWay { gives_way, bytes: 0 });
        let is_over = own.arriving.len() > self.most.of_sender;
        state.arriving += 1;
        if is_over {
            state.end_oldest_of(sender, number);
        } else if state.arriving > self.most.of_all {
            let most = state.senders.iter().max_by_key(|(_, sender)| sender.arriving.len());
            if let Some(sender) = most.map(|(sender, _)| sender.clone()) {
                state.end_oldest_of(&sender, number);
            }
        }
        (Arriving { pool: self.clone(), sender: sender.clone(), number, arrived: 0 }, hears)
    }

    fn state(&self) -> MutexGuard<'_, State<S>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S: Hash + Eq + Clone> State<S> {
    /// Tells the oldest body of this sender to give way, but not the one that the room is made for.
    fn end_oldest_of(&mut self, sender: &S, spared: u64) {
        let Some(own) = self.senders.get(sender) else { return };
        let oldest = own.arriving.keys().copied().find(|number| *number != spared);
        if let Some(oldest) = oldest {
            self.end(sender, oldest);
        }
    }

    /// Tells a body to give way. It counts no more: it takes no further byte, and is dropped as soon as it hears.
    fn end(&mut self, sender: &S, number: u64) {
        if let Some(body) = self.take(sender, number) {
            self.uncount(sender, body.bytes);
            // Gone meanwhile, if this fails.
            let _ = body.gives_way.send(());
        }
    }

    fn take(&mut self, sender: &S, number: u64) -> Option<OnItsWay> {
        let body = self.senders.get_mut(sender)?.arriving.remove(&number)?;
        self.arriving -= 1;
        Some(body)
    }

    fn uncount(&mut self, sender: &S, bytes: usize) {
        self.bytes -= bytes;
        if let Some(own) = self.senders.get_mut(sender) {
            own.bytes -= bytes;
        }
    }

    /// Makes room for the bytes that this body of the sender has grown by.
    fn make_room(&mut self, most: usize, sender: &S, number: u64) {
        while self.is_on_its_way(sender, number) && !self.fits(most, sender) {
            match self.gives_way_next(most) {
                Some((heaviest, oldest)) => self.end(&heaviest, oldest),
                // All that others hold above their share has arrived.
                None => self.end(sender, number),
            }
        }
    }

    fn is_on_its_way(&self, sender: &S, number: u64) -> bool {
        self.senders.get(sender).is_some_and(|own| own.arriving.contains_key(&number))
    }

    /// Whether the sender may hold what it holds.
    fn fits(&self, most: usize, sender: &S) -> bool {
        let held = self.senders.get(sender).map_or(0, |own| own.bytes);
        let free = most.checked_sub(self.bytes);
        free.is_some_and(|free| held <= free.max(self.share(most)))
    }

    /// What a sender may hold whatever the others do. One who may come has a share too, so nobody's share is all.
    fn share(&self, most: usize) -> usize {
        most / (self.senders.len() + 1)
    }

    /// The oldest body with bytes that is on its way, of the sender above its share that holds the most.
    fn gives_way_next(&self, most: usize) -> Option<(S, u64)> {
        let share = self.share(most);
        let oldest = |own: &Sender| own.arriving.iter().find(|(_, body)| body.bytes > 0).map(|(number, _)| *number);
        let above = self.senders.iter().filter(|(_, own)| own.bytes > share);
        let with_bodies = above.filter_map(|(sender, own)| Some((sender, own.bytes, oldest(own)?)));
        with_bodies.max_by_key(|(_, bytes, _)| *bytes).map(|(sender, _, number)| (sender.clone(), number))
    }
}

impl<S: Hash + Eq + Clone> Arriving<S> {
    /// Counts more bytes before they are kept. `false` when the body has to give way.
    fn grow(&self, more: usize) -> bool {
        let state = &mut *self.pool.state();
        let Some(own) = state.senders.get_mut(&self.sender) else { return false };
        let Some(body) = own.arriving.get_mut(&self.number) else { return false };
        body.bytes += more;
        own.bytes += more;
        state.bytes += more;
        state.make_room(self.pool.most.bytes, &self.sender, self.number);
        state.is_on_its_way(&self.sender, self.number)
    }

    /// The body is whole: it waits for nobody any more and need not give way, but its bytes count until it is dropped.
    /// `false` when it had to give way before.
    fn arrived(&mut self) -> bool {
        let body = self.pool.state().take(&self.sender, self.number);
        self.arrived = body.as_ref().map_or(0, |body| body.bytes);
        body.is_some()
    }
}

impl<S: Hash + Eq + Clone> Drop for Arriving<S> {
    fn drop(&mut self) {
        let mut state = self.pool.state();
        let on_its_way = state.take(&self.sender, self.number).map_or(0, |body| body.bytes);
        state.uncount(&self.sender, on_its_way + self.arrived);
        if state.senders.get(&self.sender).is_some_and(|own| own.arriving.is_empty() && own.bytes == 0) {
            state.senders.remove(&self.sender);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use axum::{Router, response::IntoResponse, routing::post};
    use futures_util::{StreamExt, poll, stream};
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::{TcpListener, TcpStream},
    };
    use tokio_util::sync::CancellationToken;

    use super::*;

    fn address(last: u8) -> IpAddr {
        [192, 0, 2, last].into()
    }

    /// A body that has sent this much and then sends nothing more.
    fn stalled(sent: usize) -> Body {
        let first = stream::iter([Ok::<_, Infallible>(Bytes::from(vec![b'a'; sent]))]);
        Body::from_stream(first.chain(stream::pending()))
    }

    fn small() -> Arc<Pool<IpAddr>> {
        Pool::new(Most { of_sender: 2, of_all: 3, bytes: 100 }, PACE)
    }

    async fn status(answer: Result<Bytes, ApiError>) -> u16 {
        answer.map_or_else(|error| error.into_response().status().as_u16(), |_| 200)
    }

    #[test]
    fn time_goes_by_size_and_pace() {
        let seconds = |declared, received| PACE.allowed(declared, received).as_secs_f64();
        assert_eq!(seconds(Some(100), 0), 5.0, "not one byte");
        assert_eq!(seconds(Some(100), 1), 5.001, "a byte a second is too slow");
        assert_eq!(seconds(Some(SMALL), SMALL), 10.0);
        assert_eq!(seconds(None, SMALL), 10.0);
        assert_eq!(seconds(None, SMALL + 1), 5.0 + (SMALL as f64 + 1.0) / 1_000.0);
        assert_eq!(seconds(Some(16 << 20), 100_000), 105.0);
        assert_eq!(seconds(Some(16 << 20), 16 << 20), 120.0);
    }

    #[tokio::test]
    async fn a_body_over_its_limit_is_refused_before_it_has_arrived() {
        let bodies = Bodies::default();
        let mut headers = HeaderMap::new();
        assert_eq!(status(bodies.of_address(address(1), &headers, stalled(101), 100).await).await, 413);
        headers.insert(header::CONTENT_LENGTH, "101".parse().unwrap());
        assert_eq!(status(bodies.of_address(address(1), &headers, stalled(0), 100).await).await, 413);
    }

    #[tokio::test]
    async fn the_oldest_body_of_a_sender_gives_way_and_no_other_senders() {
        let pool = small();
        let headers = HeaderMap::new();
        let receiving = |of: u8| Box::pin(receive(pool.begin(&address(of)), &headers, stalled(1), 100));
        let (mut other, mut first, mut second) = (receiving(9), receiving(1), receiving(1));
        assert!(poll!(&mut first).is_pending() && poll!(&mut second).is_pending() && poll!(&mut other).is_pending());
        let whole = receive(pool.begin(&address(1)), &headers, Body::from("whole"), 100).await;
        assert_eq!(status(whole).await, 200, "a body that arrives at once gets through");
        assert_eq!(status(first.await).await, 503);
        assert!(poll!(&mut second).is_pending() && poll!(&mut other).is_pending());
    }

    #[tokio::test]
    async fn when_all_are_too_many_it_is_the_sender_with_the_most() {
        let pool = small();
        let headers = HeaderMap::new();
        let receiving = |of: u8| Box::pin(receive(pool.begin(&address(of)), &headers, stalled(1), 100));
        let (mut other, mut first, mut second) = (receiving(9), receiving(1), receiving(1));
        assert!(poll!(&mut first).is_pending() && poll!(&mut second).is_pending() && poll!(&mut other).is_pending());
        let _fourth = receiving(2);
        assert_eq!(status(first.await).await, 503);
        assert!(poll!(&mut other).is_pending());
    }

    /// Room for 100 bytes.
    fn roomy() -> Arc<Pool<IpAddr>> {
        Pool::new(Most { of_sender: 9, of_all: 9, bytes: 100 }, PACE)
    }

    async fn send(pool: &Arc<Pool<IpAddr>>, of: u8, bytes: usize) -> Result<Bytes, ApiError> {
        receive(pool.begin(&address(of)), &HeaderMap::new(), Body::from(vec![b'a'; bytes]), 100).await
    }

    #[tokio::test]
    async fn a_sender_whose_arrived_bodies_hold_its_share_is_refused_and_others_are_not() {
        let pool = roomy();
        let headers = HeaderMap::new();
        let mut innocent = Box::pin(receive(pool.begin(&address(2)), &headers, stalled(20), 100));
        assert!(poll!(&mut innocent).is_pending());
        let _held = send(&pool, 1, 40).await.expect("as much as it leaves free");
        for _ in 0..20 {
            assert_eq!(status(send(&pool, 1, 10).await).await, 503, "its own newest body");
        }
        assert!(poll!(&mut innocent).is_pending());
        let _whole = send(&pool, 3, 25).await.expect("a share of the bytes");
        assert!(poll!(&mut innocent).is_pending());
        assert_eq!(pool.state().bytes, 85);
    }

    #[tokio::test]
    async fn an_older_body_of_the_sender_above_its_share_gives_way_first() {
        let pool = roomy();
        let headers = HeaderMap::new();
        let receiving = |of: u8, sent| Box::pin(receive(pool.begin(&address(of)), &headers, stalled(sent), 100));
        let (mut innocent, mut first, mut second) = (receiving(2, 30), receiving(1, 30), receiving(1, 5));
        assert!(poll!(&mut innocent).is_pending() && poll!(&mut first).is_pending() && poll!(&mut second).is_pending());
        let _whole = send(&pool, 1, 20).await.expect("room that its first body made");
        assert_eq!(status(first.await).await, 503);
        assert!(poll!(&mut innocent).is_pending() && poll!(&mut second).is_pending());
    }

    #[tokio::test]
    async fn a_body_that_gave_way_takes_no_further_byte_though_frames_are_ready() {
        let pool = roomy();
        let frames = stream::iter((0..100).map(|_| Ok::<_, Infallible>(Bytes::from_static(b"0123456789"))));
        let sent = receive(pool.begin(&address(1)), &HeaderMap::new(), Body::from_stream(frames), 10_000).await;
        assert_eq!(status(sent).await, 503);
        assert_eq!(pool.state().bytes, 0);
    }

    #[tokio::test]
    async fn when_all_that_is_held_has_arrived_the_bound_holds_all_the_same() {
        let pool = roomy();
        let mut held = Vec::new();
        for (of, bytes) in [(1, 50), (2, 33), (3, 17)] {
            held.push(send(&pool, of, bytes).await.expect("its share, or what is left"));
        }
        assert_eq!(pool.state().bytes, 100);
        assert_eq!(status(send(&pool, 4, 1).await).await, 503);
        held.clear();
        assert_eq!(pool.state().bytes, 0, "an arrived body counts until it is dropped, and no longer");
        assert!(pool.state().senders.is_empty(), "nothing is kept of senders that left");
    }

    #[test]
    fn content_is_whole_however_it_arrives() {
        let mut content = Content::with_space(3);
        for part in [b"ab".as_slice(), b"", b"cdefg", b"h"] {
            content.append(part);
        }
        assert_eq!(*content.0, b"abcdefgh");
    }

    #[tokio::test]
    async fn a_slow_body_is_refused_and_its_connection_ends() {
        let pace = Pace { head_start: Duration::from_millis(50), ..PACE };
        let pool = Pool::new(Most { of_sender: 9, of_all: 9, bytes: 1_000 }, pace);
        let receive = move |request: Request| {
            let (arriving, (parts, body)) = (pool.begin(&address(1)), request.into_parts());
            async move { receive(arriving, &parts.headers, body, 100).await.map(|_| "received") }
        };
        let router = Router::new().route("/", post(receive));
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let server = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let _stopped_at_the_end = stop.clone().drop_guard();
        tokio::spawn(crate::http_server::serve_within(crate::http_server::Bounds::default(), listener, router, stop));
        let answer = async |sent: &[u8]| {
            let mut client = TcpStream::connect(server).await.unwrap();
            client.write_all(sent).await.unwrap();
            let mut answer = String::new();
            client.read_to_string(&mut answer).await.unwrap();
            answer
        };
        for slow in [
            "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\n{",
            "POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n1\r\n{\r\n",
        ] {
            let answer = tokio::time::timeout(Duration::from_secs(5), answer(slow.as_bytes())).await.expect("an end");
            assert!(answer.starts_with("HTTP/1.1 422 ") && answer.contains("\r\nconnection: close\r\n"), "{answer}");
            assert!(answer.contains("the body did not arrive in time"), "{answer}");
        }
        let whole = "POST / HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 2\r\n\r\n{}";
        assert!(answer(whole.as_bytes()).await.starts_with("HTTP/1.1 200 "));
    }
}
