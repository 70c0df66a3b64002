//! Who has how many connections open, and which one gives way when there are too many.
//!
//! Peers share the connections: when all are taken, a newcomer gets one of a peer that has more than the newcomer's. The
//! oldest connection on which no request runs gives way, of the peer that has the most of those that have such a one.
//! When requests run on all of them, the peer with the most gives up its oldest connection all the same, if it has more
//! than its share of them: else it would only have to keep requests running to shut others out. A proxy's are left alone
//! then, because they carry many clients' requests. Addresses of one /64 of IPv6 are one peer. A newcomer for which
//! nobody makes room waits, unread, until a connection ends.

use std::{
    collections::{BTreeMap, HashMap},
    net::IpAddr,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};

use axum::body::{Body, HttpBody};
use bytes::Bytes;
use hyper::body::{Frame, SizeHint};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::network::peer;

/// Newcomers that wait for a connection to end; further ones are closed at once.
const WAITING_MAX: usize = 1_024;
/// The same of one peer that is no proxy.
const WAITING_PER_PEER_MAX: usize = 64;

/// See the module page.
pub struct Peers {
    of_peer: usize,
    of_all: usize,
    state: Mutex<State>,
    /// Told when a connection has ended.
    ended: Notify,
}

#[derive(Default)]
struct State {
    open: HashMap<IpAddr, BTreeMap<u64, Connection>>,
    count: usize,
    waiting: usize,
    waiting_of: HashMap<IpAddr, usize>,
    /// Rises, so that of two connections the lower one is older.
    begun: u64,
}

/// A connection as the others see it.
#[derive(Clone, Default)]
struct Connection {
    running: Arc<AtomicUsize>,
    gives_way: CancellationToken,
    is_proxy: bool,
}

impl Connection {
    fn is_idle(&self) -> bool {
        self.running.load(Ordering::Relaxed) == 0
    }
}

/// Why a connection is not counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Refused {
    /// The peer has too many.
    OfPeer,
    /// All are taken and nobody makes room.
    OfAll,
}

/// A connection that counts until this is dropped.
pub struct Place {
    peers: Arc<Peers>,
    peer: IpAddr,
    number: u64,
    connection: Connection,
}

/// A request that runs on a connection, which therefore does not give way as long as others do. It runs until its answer
/// has ended: a stream of events that is cut short has no last message.
pub struct Running(Arc<AtomicUsize>);

impl Peers {
    /// At most `of_peer` connections for each peer and `of_all` in all.
    pub fn new(of_peer: usize, of_all: usize) -> Self {
        Self { of_peer, of_all, state: Mutex::default(), ended: Notify::new() }
    }

    /// Counts a connection; `None` when the peer has too many, or when all are taken and none gives way.
    pub fn enter(self: &Arc<Self>, address: IpAddr) -> Option<Place> {
        self.try_to_enter(address, false).ok()
    }

    /// As [`Self::enter`], but waits while all are taken. A proxy carries the connections of many and has no bound of its
    /// own.
    pub async fn wait_to_enter(self: &Arc<Self>, address: IpAddr, is_proxy: bool) -> Option<Place> {
        let mut waiting = None;
        loop {
            let ended = self.ended.notified();
            match self.try_to_enter(address, is_proxy) {
                Ok(place) => return Some(place),
                Err(Refused::OfPeer) => {
                    // It may have been woken for a place that it does not take.
                    self.ended.notify_one();
                    return None;
                }
                Err(Refused::OfAll) if waiting.is_none() => waiting = Some(Waiting::begin(self, address, is_proxy)?),
                Err(Refused::OfAll) => {}
            }
            ended.await;
        }
    }

    fn try_to_enter(self: &Arc<Self>, address: IpAddr, is_proxy: bool) -> Result<Place, Refused> {
        let peer = peer(address);
        let most = if is_proxy { usize::MAX } else { self.of_peer };
        let mut state = self.state();
        let own = state.open.get(&peer).map_or(0, BTreeMap::len);
        if own >= most {
            return Err(Refused::OfPeer);
        }
        if state.count >= self.of_all && !state.make_room(own) {
            return Err(Refused::OfAll);
        }
        state.begun += 1;
        state.count += 1;
        let (number, connection) = (state.begun, Connection { is_proxy, ..Connection::default() });
        state.open.entry(peer).or_default().insert(number, connection.clone());
        Ok(Place { peers: self.clone(), peer, number, connection })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Whether a connection gave way to a peer that has so many.
    fn make_room(&mut self, of_newcomer: usize) -> bool {
        let Some((peer, number)) = self.idle(of_newcomer).or_else(|| self.running(of_newcomer)) else { return false };
        if let Some(connection) = self.open.get(&peer).and_then(|open| open.get(&number)) {
            connection.gives_way.cancel();
        }
        self.leave(peer, number);
        true
    }

    /// Peers that have more than the newcomer's would have: of two with as many, neither makes room for the other.
    fn larger(&self, of_newcomer: usize) -> impl Iterator<Item = (&IpAddr, &BTreeMap<u64, Connection>)> {
        self.open.iter().filter(move |(_, open)| open.len() > of_newcomer + 1)
    }

    /// The oldest idle connection of the largest peer that has an idle one.
    fn idle(&self, of_newcomer: usize) -> Option<(IpAddr, u64)> {
        let oldest = |open: &BTreeMap<u64, Connection>| {
            open.iter().find(|(_, connection)| connection.is_idle()).map(|(number, _)| *number)
        };
        let with_idle = self.larger(of_newcomer).filter_map(|(peer, open)| Some((open.len(), *peer, oldest(open)?)));
        with_idle.max_by_key(|(count, ..)| *count).map(|(_, peer, number)| (peer, number))
    }

    /// The oldest connection of the largest peer that is no proxy, if that has more than its share.
    fn running(&self, of_newcomer: usize) -> Option<(IpAddr, u64)> {
        let oldest = |open: &BTreeMap<u64, Connection>| {
            open.iter().find(|(_, connection)| !connection.is_proxy).map(|(number, _)| *number)
        };
        let (open, peer, number) =
            self.larger(of_newcomer).filter_map(|(peer, open)| Some((open.len(), *peer, oldest(open)?))).max()?;
        let peers = self.open.len() + usize::from(of_newcomer == 0);
        (open > self.count / peers).then_some((peer, number))
    }

    fn leave(&mut self, peer: IpAddr, number: u64) {
        let Some(open) = self.open.get_mut(&peer) else { return };
        if open.remove(&number).is_some() {
            self.count -= 1;
        }
        if open.is_empty() {
            self.open.remove(&peer);
        }
    }
}

/// A newcomer that waits.
struct Waiting<'a> {
    peers: &'a Peers,
    peer: IpAddr,
}

impl<'a> Waiting<'a> {
    /// `None` when too many wait already, in all or of this peer.
    fn begin(peers: &'a Peers, address: IpAddr, is_proxy: bool) -> Option<Self> {
        let peer = peer(address);
        let mut state = peers.state();
        let own = state.waiting_of.get(&peer).copied().unwrap_or_default();
        if state.waiting >= WAITING_MAX || (own >= WAITING_PER_PEER_MAX && !is_proxy) {
            return None;
        }
        state.waiting += 1;
        state.waiting_of.insert(peer, own + 1);
        Some(Self { peers, peer })
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut state = self.peers.state();
        state.waiting -= 1;
        let Some(own) = state.waiting_of.get_mut(&self.peer) else { return };
        *own -= 1;
        if *own == 0 {
            state.waiting_of.remove(&self.peer);
        }
    }
}

impl Place {
    /// Ends when the connection has to give way.
    pub async fn gives_way(&self) {
        self.connection.gives_way.cancelled().await;
    }

    /// Counts a request until the value is dropped.
    pub fn begin(&self) -> Running {
        self.connection.running.fetch_add(1, Ordering::Relaxed);
        Running(self.connection.running.clone())
    }
}

impl Running {
    /// Counts the request until the body of its answer is dropped, as it is once it was handed on.
    pub fn until_end_of(self, body: Body) -> Answering {
        Answering { body, _running: self }
    }
}

/// The body of an answer whose request is still running.
pub struct Answering {
    body: Body,
    _running: Running,
}

impl HttpBody for Answering {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.peers.state().leave(self.peer, self.number);
        // One connection makes one place. To wake all who wait would have each of them look through all connections.
        self.peers.ended.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use futures_util::{FutureExt, poll};

    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn each_peer_has_its_own_places_and_gets_them_back() {
        let peers = Arc::new(Peers::new(2, 100));
        let (first, second) = (peers.enter(ip("192.0.2.1")), peers.enter(ip("::ffff:192.0.2.1")));
        assert!(first.is_some() && second.is_some());
        assert!(peers.enter(ip("192.0.2.1")).is_none());
        assert!(peers.enter(ip("192.0.2.2")).is_some());
        drop(first);
        assert!(peers.enter(ip("192.0.2.1")).is_some());
        drop(second);
        assert!(peers.state().open.is_empty(), "nothing is kept of peers that left");
    }

    #[test]
    fn an_ipv6_network_is_one_peer() {
        let peers = Arc::new(Peers::new(1, 100));
        let _place = peers.enter(ip("2001:db8::1"));
        assert!(peers.enter(ip("2001:db8::ffff:0:1")).is_none());
        assert!(peers.enter(ip("2001:db8:0:1::1")).is_some());
    }

    #[test]
    fn when_all_are_taken_the_oldest_idle_connection_of_the_peer_with_the_most_gives_way() {
        let peers = Arc::new(Peers::new(10, 4));
        let crowd: Vec<_> = (0..3).filter_map(|_| peers.enter(ip("192.0.2.1"))).collect();
        let other = peers.enter(ip("192.0.2.2")).expect("the last place");
        let _request = crowd[0].begin();
        let _newcomer = peers.enter(ip("192.0.2.3")).expect("a place that was made free");
        assert_eq!(crowd.iter().map(has_to_go).collect::<Vec<_>>(), [false, true, false]);
        assert!(!has_to_go(&other));
        drop(crowd);
        assert_eq!(peers.state().count, 2, "who gave way is not counted twice");
    }

    fn has_to_go(place: &Place) -> bool {
        place.gives_way().now_or_never().is_some()
    }

    #[test]
    fn equals_make_no_room_for_each_other() {
        let peers = Arc::new(Peers::new(10, 2));
        let (_first, _second) = (peers.enter(ip("192.0.2.1")), peers.enter(ip("192.0.2.2")));
        assert!(peers.enter(ip("192.0.2.3")).is_none());
        assert!(peers.enter(ip("192.0.2.1")).is_none());
    }

    #[test]
    fn requests_that_run_for_the_peer_with_the_most_leave_it_to_the_next_one_to_make_room() {
        let peers = Arc::new(Peers::new(10, 5));
        let busy: Vec<_> = (0..3).filter_map(|_| peers.enter(ip("192.0.2.1"))).collect();
        let idle: Vec<_> = (0..2).filter_map(|_| peers.enter(ip("192.0.2.2"))).collect();
        let _requests: Vec<_> = busy.iter().map(Place::begin).collect();
        let _newcomer = peers.enter(ip("192.0.2.3")).expect("a place that was made free");
        assert_eq!(idle.iter().map(has_to_go).collect::<Vec<_>>(), [true, false]);
        assert!(!busy.iter().any(has_to_go));
    }

    #[test]
    fn when_requests_run_on_all_the_peer_above_its_share_loses_its_oldest_connection() {
        let peers = Arc::new(Peers::new(10, 4));
        let crowd: Vec<_> = (0..3).filter_map(|_| peers.enter(ip("192.0.2.1"))).collect();
        let other = peers.enter(ip("192.0.2.2")).expect("the last place");
        let _requests: Vec<_> = crowd.iter().chain([&other]).map(Place::begin).collect();
        let newcomer = peers.enter(ip("192.0.2.3")).expect("a place that was made free");
        assert_eq!(crowd.iter().map(has_to_go).collect::<Vec<_>>(), [true, false, false]);
        let _request = newcomer.begin();
        let _second = peers.enter(ip("192.0.2.4"));
        assert!(!has_to_go(&other) && !has_to_go(&newcomer));
    }

    #[test]
    fn a_request_runs_until_its_answer_has_ended() {
        let peers = Arc::new(Peers::new(10, 2));
        let (first, _second) = (peers.enter(ip("192.0.2.1")).expect("a place"), peers.enter(ip("192.0.2.1")));
        let answering = first.begin().until_end_of(Body::from("events"));
        assert_eq!(answering.size_hint().exact(), Some(6));
        assert!(!first.connection.is_idle());
        drop(answering);
        assert!(first.connection.is_idle());
    }

    #[test]
    fn requests_that_a_proxy_passes_on_are_left_alone() {
        let peers = Arc::new(Peers::new(1, 3));
        let enter = || peers.wait_to_enter(ip("192.0.2.1"), true).now_or_never().flatten();
        let proxy: Vec<_> = (0..3).filter_map(|_| enter()).collect();
        let requests: Vec<_> = proxy.iter().map(Place::begin).collect();
        assert!(proxy.len() == 3 && peers.enter(ip("192.0.2.3")).is_none());
        drop(requests);
        assert!(peers.enter(ip("192.0.2.3")).is_some());
    }

    #[tokio::test]
    async fn a_peer_has_a_share_of_those_that_wait_and_each_end_lets_one_in() {
        let peers = Arc::new(Peers::new(10, 1));
        let open = peers.enter(ip("192.0.2.1")).expect("the only place");
        let wait = |of: &str| Box::pin(peers.wait_to_enter(ip(of), false));
        let mut crowd: Vec<_> = (0..WAITING_PER_PEER_MAX).map(|_| wait("192.0.2.2")).collect();
        for waiting in &mut crowd {
            assert!(poll!(waiting).is_pending());
        }
        assert!(wait("192.0.2.2").await.is_none(), "one too many of this peer");
        let mut other = wait("192.0.2.3");
        assert!(poll!(&mut other).is_pending());
        drop(open);
        let first = crowd.remove(0).await.expect("the place that came free");
        assert!(poll!(&mut other).is_pending());
        drop(crowd);
        drop(first);
        assert!(other.await.is_some());
        let state = peers.state();
        assert!(state.waiting == 0 && state.waiting_of.is_empty(), "nothing is kept of those that waited");
    }
}
