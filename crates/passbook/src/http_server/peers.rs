//! How many connections each peer has open.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
};

use crate::network::peer;

/// See the module page.
pub struct Peers {
    most: usize,
    open: Mutex<HashMap<IpAddr, usize>>,
}

/// A connection that counts until this is dropped.
pub struct Place {
    peers: Arc<Peers>,
    peer: IpAddr,
}

impl Peers {
    /// At most `most` connections for each.
    pub fn new(most: usize) -> Self {
        Self { most, open: Mutex::default() }
    }

    /// Counts a connection; `None` when the peer has too many.
    pub fn enter(self: &Arc<Self>, address: IpAddr) -> Option<Place> {
        let peer = peer(address);
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let count = open.entry(peer).or_default();
        if *count >= self.most {
            return None;
        }
        *count += 1;
        Some(Place { peers: self.clone(), peer })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.peers.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = open.get_mut(&self.peer) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.peer);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn each_peer_has_its_own_places_and_gets_them_back() {
        let peers = Arc::new(Peers::new(2));
        let (first, second) = (peers.enter(ip("192.0.2.1")), peers.enter(ip("::ffff:192.0.2.1")));
        assert!(first.is_some() && second.is_some());
        assert!(peers.enter(ip("192.0.2.1")).is_none());
        assert!(peers.enter(ip("192.0.2.2")).is_some());
        drop(first);
        assert!(peers.enter(ip("192.0.2.1")).is_some());
        drop(second);
        assert!(peers.open.lock().unwrap().is_empty(), "nothing is kept of peers that left");
    }

    #[test]
    fn an_ipv6_network_is_one_peer() {
        let peers = Arc::new(Peers::new(1));
        let _place = peers.enter(ip("2001:db8::1"));
        assert!(peers.enter(ip("2001:db8::ffff:0:1")).is_none());
        assert!(peers.enter(ip("2001:db8:0:1::1")).is_some());
    }
}
