//! Open-loop load: requests are sent when their time has come, whether or not earlier ones were answered.
//!
//! A closed loop slows down with the server and so never offers more than it takes; overload needs this one.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::histogram::Histogram;
use crate::http::{Connection, IDLE_MAX};
use crate::rng::Rng;

/// What to send.
#[derive(Clone)]
pub struct Offer {
    /// Where to.
    pub address: SocketAddr,
    /// The requests, each once a round, in an order that is random with the seed; not empty. So a client that keeps within
    /// limits does so for certain.
    pub requests: Arc<Vec<Request>>,
    /// Requests a second.
    pub per_second: f64,
    /// How long.
    pub duration: Duration,
    /// Connections at most; a request whose time comes while all are busy is not sent, and counted.
    pub connections: usize,
    /// Seed of the order.
    pub seed: u64,
}

/// One kind of request.
pub struct Request {
    /// The bytes.
    pub bytes: Vec<u8>,
    /// The status of an answer that did what was asked.
    pub expected: u16,
    /// What such an answer's body must hold.
    pub holds: String,
    /// Name in the outcome.
    pub name: &'static str,
}

/// What came back.
#[derive(Default)]
pub struct Outcome {
    /// Requests sent.
    pub sent: u64,
    /// Requests whose time came while no connection was free.
    pub unsent: u64,
    /// Answers that did what was asked, by request.
    pub done: BTreeMap<&'static str, u64>,
    /// How long these took.
    pub done_in: Histogram,
    /// Answers 429 and 503 that say when to come back.
    pub refused: u64,
    /// How long these took.
    pub refused_in: Histogram,
    /// Everything else, in words.
    pub wrong: Vec<String>,
    /// From the first request to the last answer.
    pub took: Duration,
}

impl Outcome {
    /// Answers that did what was asked.
    pub fn done_total(&self) -> u64 {
        self.done.values().sum()
    }
}

struct Reply {
    connection: Option<Connection>,
    position: usize,
    took: Duration,
    verdict: Verdict,
}

enum Verdict {
    Done,
    Refused,
    Wrong(String),
}

/// Sends everything and waits for the answers.
pub async fn run(offer: Offer) -> Outcome {
    let mut outcome = Outcome::default();
    let order = shuffled(offer.requests.len(), offer.seed);
    let (sender, mut replies) = mpsc::unbounded_channel::<Reply>();
    let mut idle = Vec::new();
    let (mut open, mut tasks) = (0, JoinSet::new());
    let begun = Instant::now();
    let mut due = 0_u64;
    while begun.elapsed() < offer.duration {
        while let Ok(reply) = replies.try_recv() {
            let kept = outcome.note(&offer, reply);
            open -= usize::from(kept.is_none());
            idle.extend(kept.map(|connection| (connection, Instant::now())));
        }
        let due_now = (begun.elapsed().as_secs_f64() * offer.per_second) as u64;
        while due < due_now {
            due += 1;
            let connection = match idle.pop() {
                Some((connection, since)) if since.elapsed() < IDLE_MAX => Some(connection),
                // Those below it are idle for longer.
                Some(_) => {
                    open -= 1 + idle.len();
                    idle.clear();
                    None
                }
                None => None,
            };
            if connection.is_none() {
                if open == offer.connections {
                    outcome.unsent += 1;
                    continue;
                }
                open += 1;
            }
            outcome.sent += 1;
            let position = order[due as usize % order.len()];
            tasks.spawn(send(offer.clone(), connection, position, sender.clone()));
        }
        while tasks.try_join_next().is_some() {}
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    while tasks.join_next().await.is_some() {}
    while let Ok(reply) = replies.try_recv() {
        outcome.note(&offer, reply);
    }
    outcome.took = begun.elapsed();
    outcome
}

fn shuffled(length: usize, seed: u64) -> Vec<usize> {
    let mut rng = Rng::new(seed, 0);
    let mut order: Vec<_> = (0..length).collect();
    (1..length).rev().for_each(|last| order.swap(last, rng.index(last + 1)));
    order
}

async fn send(offer: Offer, connection: Option<Connection>, position: usize, replies: mpsc::UnboundedSender<Reply>) {
    let request = &offer.requests[position];
    let sent = Instant::now();
    let exchanged = async {
        let mut connection = match connection {
            Some(connection) => connection,
            None => Connection::open(offer.address).await?,
        };
        let answer = connection.exchange(&request.bytes).await?;
        std::io::Result::Ok((connection, answer))
    };
    let exchanged = exchanged.await;
    let took = sent.elapsed();
    let reply = match exchanged {
        Err(error) => {
            Reply { connection: None, position, took, verdict: Verdict::Wrong(format!("no answer: {error}")) }
        }
        Ok((connection, answer)) => {
            let says_when = answer.header("retry-after").is_some();
            let closes = answer.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
            let holds = || String::from_utf8_lossy(&answer.body).contains(&request.holds);
            let verdict = match answer.status {
                status if status == request.expected && holds() => Verdict::Done,
                429 | 503 if says_when => Verdict::Refused,
                status => Verdict::Wrong(format!("answered {status}, Retry-After {says_when}")),
            };
            Reply { connection: (!closes).then_some(connection), position, took, verdict }
        }
    };
    // The receiver lives until the last task has ended.
    let _ = replies.send(reply);
}

impl Outcome {
    /// Counts a reply; gives its connection back.
    fn note(&mut self, offer: &Offer, reply: Reply) -> Option<Connection> {
        const WRONG_MAX: usize = 20;
        let name = offer.requests[reply.position].name;
        match reply.verdict {
            Verdict::Done => {
                *self.done.entry(name).or_default() += 1;
                self.done_in.record(reply.took);
            }
            Verdict::Refused => {
                self.refused += 1;
                self.refused_in.record(reply.took);
            }
            Verdict::Wrong(what) if self.wrong.len() < WRONG_MAX => self.wrong.push(format!("{name}: {what}")),
            Verdict::Wrong(_) => {}
        }
        reply.connection
    }
}
