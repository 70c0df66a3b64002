//! The journal: every request with its answer, in a file that the server cannot touch.
//!
//! The checker works from the workers' memory, which holds the same facts; the file is for the person who reads a failure.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::Path;
use std::sync::{Arc, Mutex};

use anyhow::{Context, Result};

/// An open journal; clones write to the same file.
#[derive(Clone)]
pub struct Journal(Arc<Mutex<BufWriter<File>>>);

impl Journal {
    /// Creates the file.
    pub fn create(path: &Path) -> Result<Self> {
        let file = File::create(path).with_context(|| format!("{}", path.display()))?;
        Ok(Self(Arc::new(Mutex::new(BufWriter::new(file)))))
    }

    /// Writes one line: who, what, and what came back.
    pub fn write(&self, worker: u32, what: &str, answer: &str) {
        let mut file = self.0.lock().expect("no writer panics");
        // A journal that cannot be written makes a failure harder to read, not a run less true.
        let _ = writeln!(file, "w{worker}\t{what}\t{answer}");
    }

    /// Puts everything on disk.
    pub fn flush(&self) -> Result<()> {
        self.0.lock().expect("no writer panics").flush().context("the journal")
    }
}
