//! The journal: every request with its answer, in a file that the server cannot touch.
//!
//! The checker works from the workers' memory, which holds the same facts; the file is for the person who reads a failure.
//! A remembering journal also keeps what each worker knew before each request, for experiments that go back in time.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::Path;
use std::sync::{Arc, Mutex};

use anyhow::{Context, Result};

use super::model::Worker;
use crate::http::Answer;

/// An open journal; clones write to the same file.
#[derive(Clone)]
pub struct Journal(Arc<Mutex<Open>>);

struct Open {
    file: BufWriter<File>,
    /// By worker, in order; `None` when nothing is to be remembered.
    moments: Option<BTreeMap<u32, Vec<Moment>>>,
}

/// One request of one worker.
pub struct Moment {
    /// What the worker knew just before: everything acknowledged, and this request as the one uncertain thing.
    pub before: Worker,
    /// The id the server gave the answer; `None` when there was none.
    pub request_id: Option<String>,
    /// Whether the answer acknowledged a change.
    pub acknowledged: bool,
}

impl Journal {
    /// Creates the file.
    pub fn create(path: &Path) -> Result<Self> {
        Self::open(path, None)
    }

    /// Creates the file, and remembers.
    pub fn remembering(path: &Path) -> Result<Self> {
        Self::open(path, Some(BTreeMap::new()))
    }

    fn open(path: &Path, moments: Option<BTreeMap<u32, Vec<Moment>>>) -> Result<Self> {
        let file = BufWriter::new(File::create(path).with_context(|| format!("{}", path.display()))?);
        Ok(Self(Arc::new(Mutex::new(Open { file, moments }))))
    }

    /// Writes one line: who, what, and what came back.
    pub fn write(&self, worker: u32, what: &str, answer: &str) {
        let mut open = self.0.lock().expect("no writer panics");
        // A journal that cannot be written makes a failure harder to read, not a run less true.
        let _ = writeln!(open.file, "w{worker}\t{what}\t{answer}");
    }

    /// Remembers what a worker knows before its next request.
    pub fn remember(&self, worker: &Worker) {
        if let Some(moments) = &mut self.0.lock().expect("no writer panics").moments {
            let moment = Moment { before: worker.clone(), request_id: None, acknowledged: false };
            moments.entry(worker.number).or_default().push(moment);
        }
    }

    /// Remembers the answer to the worker's last request.
    pub fn answered(&self, worker: u32, method: &str, answer: &Answer) {
        if let Some(moments) = &mut self.0.lock().expect("no writer panics").moments
            && let Some(moment) = moments.entry(worker).or_default().last_mut()
        {
            moment.request_id = answer.header("x-request-id").map(ToOwned::to_owned);
            moment.acknowledged = method != "GET" && (200..300).contains(&answer.status);
        }
    }

    /// Gives away what was remembered, by worker.
    pub fn take_moments(&self) -> BTreeMap<u32, Vec<Moment>> {
        self.0.lock().expect("no writer panics").moments.take().unwrap_or_default()
    }

    /// Puts everything on disk.
    pub fn flush(&self) -> Result<()> {
        self.0.lock().expect("no writer panics").file.flush().context("the journal")
    }
}
