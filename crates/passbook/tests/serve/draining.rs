//! Stopping under load, behind a balancer that believes `/readyz`.

use std::{
    io::{BufRead, BufReader, Read, Write as _},
    net::{SocketAddr, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use crate::process::{PATIENCE, Process, Site, get};

const CLIENTS: usize = 8;
/// How often the balancer looks; the grace is far longer.
const LOOK_EVERY: Duration = Duration::from_millis(50);
const GRACE_SECONDS: &str = "1";
/// Load that must have been answered for the experiment to say anything.
const REQUESTS_MIN: u64 = 2_000;

/// Two servers and what the balancer thinks of them.
struct Balanced {
    addresses: [SocketAddr; 2],
    is_ready: [AtomicBool; 2],
    stopped: AtomicBool,
    answered: AtomicU64,
}

/// One kept connection.
struct Kept(BufReader<TcpStream>);

impl Kept {
    fn open(address: SocketAddr) -> std::io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Self(BufReader::new(stream)))
    }

    /// Status, and whether the connection holds.
    fn get(&mut self, path: &str) -> std::io::Result<(u16, bool)> {
        write!(self.0.get_mut(), "GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n")?;
        let (mut status, mut length, mut holds) = (0, 0, true);
        loop {
            let mut line = String::new();
            if self.0.read_line(&mut line)? == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
            let line = line.trim_end().to_ascii_lowercase();
            match line.split_once(": ") {
                _ if line.is_empty() => break,
                Some(("content-length", digits)) => length = digits.parse().unwrap_or(0),
                Some(("connection", "close")) => holds = false,
                None => status = line.get(9..12).and_then(|digits| digits.parse().ok()).unwrap_or(0),
                Some(_) => {}
            }
        }
        self.0.read_exact(&mut vec![0; length])?;
        Ok((status, holds))
    }
}

impl Balanced {
    fn look(&self) {
        while !self.stopped.load(Ordering::Relaxed) {
            for (address, is_ready) in self.addresses.iter().zip(&self.is_ready) {
                is_ready.store(get(*address, "/readyz").is_ok_and(|(status, _)| status == 200), Ordering::Release);
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }

    /// Round robin over the ready servers; a failure of any kind is the answer.
    fn load(&self, first: usize) -> std::io::Result<()> {
        let mut kept: [Option<Kept>; 2] = [None, None];
        let mut turn = first;
        while !self.stopped.load(Ordering::Relaxed) {
            turn += 1;
            let server = turn % 2;
            if !self.is_ready[server].load(Ordering::Acquire) {
                kept[server] = None;
                continue;
            }
            let connection = match kept[server].take() {
                Some(connection) => connection,
                None => Kept::open(self.addresses[server])?,
            };
            let mut connection = connection;
            // Goes to the store: it has to be looked at who asks.
            let (status, holds) = connection.get("/institutions")?;
            assert_eq!(status, 401, "an honest answer");
            self.answered.fetch_add(1, Ordering::Relaxed);
            if holds {
                kept[server] = Some(connection);
            }
        }
        Ok(())
    }
}

fn start(site: &Site, port: u16) -> Process {
    let mut command = site.command(&["serve"]);
    command.env("PASSBOOK_SERVER__DRAIN_SECONDS", GRACE_SECONDS);
    command.env("PASSBOOK_SERVER__LISTEN", format!("127.0.0.1:{port}"));
    Process::start(command)
}

#[test]
fn no_request_fails_while_servers_are_replaced_under_load() {
    let sites = [Site::new(""), Site::new("")];
    let mut servers = [Some(start(&sites[0], 0)), Some(start(&sites[1], 0))];
    let addresses = [0, 1].map(|index| servers[index].as_ref().map(|server| server.address).expect("it runs"));
    let balanced = Arc::new(Balanced {
        addresses,
        is_ready: [AtomicBool::new(true), AtomicBool::new(true)],
        stopped: AtomicBool::new(false),
        answered: AtomicU64::new(0),
    });
    let looking = std::thread::spawn({
        let balanced = balanced.clone();
        move || balanced.look()
    });
    let loads: Vec<_> = (0..CLIENTS)
        .map(|first| {
            let balanced = balanced.clone();
            std::thread::spawn(move || balanced.load(first))
        })
        .collect();
    for index in [0, 1, 0] {
        let begun = Instant::now();
        servers[index].take().expect("it runs").stop();
        assert!(begun.elapsed() < PATIENCE);
        servers[index] = Some(start(&sites[index], addresses[index].port()));
        let deadline = Instant::now() + PATIENCE;
        while !balanced.is_ready[index].load(Ordering::Acquire) {
            assert!(Instant::now() < deadline, "the balancer does not take it back");
            std::thread::sleep(LOOK_EVERY);
        }
    }
    balanced.stopped.store(true, Ordering::Relaxed);
    for load in loads {
        load.join().expect("no wrong answer").expect("no failed request");
    }
    looking.join().expect("the balancer");
    let answered = balanced.answered.load(Ordering::Relaxed);
    assert!(answered >= REQUESTS_MIN, "only {answered} requests: this says nothing");
}
