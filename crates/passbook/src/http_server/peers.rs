//! Who has how many connections open, and which one gives way when there are too many.
//!
//! Peers share the connections: when all are taken, a newcomer gets one from the peer that has the most, unless it has
//! nearly as many itself. The oldest connection on which no request runs gives way. Addresses of one /64 of IPv6 are one
//! peer. A newcomer for which nobody makes room waits, unread, until a connection ends.

use std::{
    collections::{BTreeMap, HashMap},
    net::IpAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::network::peer;

/// Newcomers that wait for a connection to end; further ones are closed at once.
const WAITING_MAX: usize = 1_024;

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
    /// Rises, so that of two connections the lower one is older.
    begun: u64,
}

/// A connection as the others see it.
#[derive(Clone, Default)]
struct Connection {
    running: Arc<AtomicUsize>,
    gives_way: CancellationToken,
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

/// A request that runs on a connection, which therefore does not give way.
pub struct Running(Arc<AtomicUsize>);

impl Peers {
    /// At most `of_peer` connections for each peer and `of_all` in all.
    pub fn new(of_peer: usize, of_all: usize) -> Self {
        Self { of_peer, of_all, state: Mutex::default(), ended: Notify::new() }
    }

    /// Counts a connection; `None` when the peer has too many, or when all are taken and none gives way.
    pub fn enter(self: &Arc<Self>, address: IpAddr) -> Option<Place> {
        self.enter_up_to(address, self.of_peer).ok()
    }

    /// As [`Self::enter`], but waits while all are taken. A proxy carries the connections of many and has no bound of its
    /// own.
    pub async fn wait_to_enter(self: &Arc<Self>, address: IpAddr, is_proxy: bool) -> Option<Place> {
        let most = if is_proxy { usize::MAX } else { self.of_peer };
        let mut waiting = None;
        loop {
            let ended = self.ended.notified();
            match self.enter_up_to(address, most) {
                Ok(place) => return Some(place),
                Err(Refused::OfPeer) => return None,
                Err(Refused::OfAll) if waiting.is_none() => waiting = Some(Waiting::begin(self)?),
                Err(Refused::OfAll) => {}
            }
            ended.await;
        }
    }

    fn enter_up_to(self: &Arc<Self>, address: IpAddr, most: usize) -> Result<Place, Refused> {
        let peer = peer(address);
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
        let (number, connection) = (state.begun, Connection::default());
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
        let most = self.open.iter().max_by_key(|(_, open)| open.len());
        // Of two peers with as many, neither makes room for the other.
        let Some(peer) = most.filter(|(_, open)| open.len() > of_newcomer + 1).map(|(peer, _)| *peer) else {
            return false;
        };
        let Some(open) = self.open.get(&peer) else { return false };
        let idle = open.iter().find(|(_, connection)| connection.running.load(Ordering::Relaxed) == 0);
        let Some((number, connection)) = idle.map(|(number, connection)| (*number, connection.clone())) else {
            return false;
        };
        connection.gives_way.cancel();
        self.leave(peer, number);
        true
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
struct Waiting<'a>(&'a Peers);

impl<'a> Waiting<'a> {
    /// `None` when too many wait already.
    fn begin(peers: &'a Peers) -> Option<Self> {
        let mut state = peers.state();
        if state.waiting >= WAITING_MAX {
            return None;
        }
        state.waiting += 1;
        Some(Self(peers))
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.state().waiting -= 1;
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

impl Drop for Running {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.peers.state().leave(self.peer, self.number);
        self.peers.ended.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

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
        let has_to_go = |place: &Place| place.gives_way().now_or_never().is_some();
        assert_eq!(crowd.iter().map(has_to_go).collect::<Vec<_>>(), [false, true, false]);
        assert!(!has_to_go(&other));
        drop(crowd);
        assert_eq!(peers.state().count, 2, "who gave way is not counted twice");
    }

    #[test]
    fn equals_make_no_room_for_each_other_and_running_requests_are_left_alone() {
        let peers = Arc::new(Peers::new(10, 2));
        let (first, second) = (peers.enter(ip("192.0.2.1")), peers.enter(ip("192.0.2.2")));
        assert!(peers.enter(ip("192.0.2.3")).is_none());
        drop(second);
        let again = peers.enter(ip("192.0.2.1"));
        let _requests: Vec<_> = [&first, &again].into_iter().flatten().map(Place::begin).collect();
        assert!(peers.enter(ip("192.0.2.3")).is_none());
    }
}
