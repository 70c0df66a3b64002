//! Request bodies on their way: how long each may take, how many there may be, and how much memory they hold.
//!
//! A body that arrives slowly holds nothing but itself: no place among the requests that are worked on, no file place,
//! no transaction. What it does hold, its memory, is bounded here. Bodies are counted for a *sender*: the tenant where
//! the request's head says who calls, else the client's address (a /64 of IPv6). When a bound is reached the newcomer is
//! not refused. Instead the body that has been on its way for longest gives way, of the sender that has too many or of
//! the one that holds the most. So a sender of slow bodies only harms itself, and a request that arrives whole, as nearly
//! all do, always gets through, even beside slow ones from its own address.
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
use tokio::{sync::oneshot, time::Instant};
use zeroize::Zeroizing;

use super::{Api, body::invalid, caller::Caller, errors::ApiError};

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
/// the largest statement files.
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
        content.append(&data);
        arriving.grow(content.len());
    }
    arriving.arrived();
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
    /// Bodies on their way, by when they began, with what tells them to give way.
    arriving: BTreeMap<u64, oneshot::Sender<()>>,
    bytes: usize,
}

/// A body that is counted.
struct Arriving<S: Hash + Eq + Clone> {
    pool: Arc<Pool<S>>,
    sender: S,
    number: u64,
    bytes: usize,
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
        own.arriving.insert(number, gives_way);
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
        (Arriving { pool: self.clone(), sender: sender.clone(), number, bytes: 0 }, hears)
    }

    fn state(&self) -> MutexGuard<'_, State<S>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S: Hash + Eq + Clone> State<S> {
    /// Tells the oldest body of this sender to give way, but not the one that the room is made for.
    fn end_oldest_of(&mut self, sender: &S, spared: u64) {
        let Some(own) = self.senders.get_mut(sender) else { return };
        let Some(oldest) = own.arriving.keys().copied().find(|number| *number != spared) else { return };
        if let Some(gives_way) = own.arriving.remove(&oldest) {
            self.arriving -= 1;
            // Gone meanwhile, if this fails.
            let _ = gives_way.send(());
        }
    }

    /// Makes room in bytes: of those that still wait for bytes, the oldest body of the sender that holds the most.
    fn make_room(&mut self, spared: u64) {
        let waits = |(_, sender): &(&S, &Sender)| sender.arriving.keys().any(|number| *number != spared);
        let most = self.senders.iter().filter(waits).max_by_key(|(_, sender)| sender.bytes);
        if let Some(sender) = most.map(|(sender, _)| sender.clone()) {
            self.end_oldest_of(&sender, spared);
        }
    }
}

impl<S: Hash + Eq + Clone> Arriving<S> {
    /// Counts what has arrived so far.
    fn grow(&mut self, bytes: usize) {
        let more = bytes - self.bytes;
        self.bytes = bytes;
        let mut state = self.pool.state();
        state.bytes += more;
        if let Some(sender) = state.senders.get_mut(&self.sender) {
            sender.bytes += more;
        }
        if state.bytes > self.pool.most.bytes {
            state.make_room(self.number);
        }
    }

    /// The body is whole: it waits for nobody any more and need not give way, but its bytes count until it is dropped.
    fn arrived(&mut self) {
        let mut state = self.pool.state();
        let own = state.senders.get_mut(&self.sender);
        if own.is_some_and(|own| own.arriving.remove(&self.number).is_some()) {
            state.arriving -= 1;
        }
    }
}

impl<S: Hash + Eq + Clone> Drop for Arriving<S> {
    fn drop(&mut self) {
        self.arrived();
        let mut state = self.pool.state();
        state.bytes -= self.bytes;
        if let Some(sender) = state.senders.get_mut(&self.sender) {
            sender.bytes -= self.bytes;
            if sender.arriving.is_empty() && sender.bytes == 0 {
                state.senders.remove(&self.sender);
            }
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

    #[tokio::test]
    async fn bytes_are_bounded_and_an_arrived_body_counts_until_it_is_dropped() {
        let pool = small();
        let headers = HeaderMap::new();
        let held = receive(pool.begin(&address(1)), &headers, Body::from(vec![0; 60]), 100).await.expect("arrived");
        let mut waiting = Box::pin(receive(pool.begin(&address(2)), &headers, stalled(30), 100));
        assert!(poll!(&mut waiting).is_pending());
        let _third = receive(pool.begin(&address(3)), &headers, Body::from(vec![0; 20]), 100).await.expect("arrived");
        assert_eq!(status(waiting.await).await, 503, "110 bytes are too many, and it alone still waits");
        drop(held);
        drop(_third);
        assert_eq!(pool.state().bytes, 0);
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
