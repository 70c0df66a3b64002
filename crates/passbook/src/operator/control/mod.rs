//! The control socket: how a command reaches the server that has the store.
//!
//! `control.sock` in the data directory, a Unix socket of mode 0600. A connection carries one request and its answer,
//! a JSON line each, with the version of this exchange. Whoever is not the user that the server runs as is turned
//! away, whatever the file's mode says.

mod client;
mod server;

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

pub use self::{
    client::{CallError, call},
    server::ControlSocket,
};
use super::{Answer, Request};

/// Version of the exchange. A command and a server of different releases may meet while a release is rolled out.
const VERSION: u32 = 1;
/// Largest request and answer, in bytes.
const REQUEST_MAX: u64 = 64 << 10;
const ANSWER_MAX: u64 = 16 << 20;
/// Longest path that fits into a socket address everywhere.
const PATH_MAX: usize = 100;

/// What goes to the server.
#[derive(Serialize, Deserialize)]
struct Call {
    version: u32,
    request: Request,
}

/// What comes back.
#[derive(Serialize, Deserialize)]
struct Reply {
    version: u32,
    outcome: Outcome,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Outcome {
    Answer(Answer),
    Refused(String),
}

/// Where the socket of a data directory is.
pub fn socket_path(data: &Path) -> PathBuf {
    data.join("control.sock")
}

/// A path to `name` in `directory` that fits into a socket address, and what must stay open as long as it is used.
fn short_path(directory: &Path, name: &str) -> std::io::Result<(PathBuf, Option<std::fs::File>)> {
    use std::os::fd::AsRawFd as _;
    let path = directory.join(name);
    if path.as_os_str().len() <= PATH_MAX {
        return Ok((path, None));
    }
    // Through the descriptor of the directory the path has the same end and a short beginning.
    let opened = std::fs::File::open(directory)?;
    let short = PathBuf::from(format!("/proc/self/fd/{}", opened.as_raw_fd()));
    match short.exists() {
        true => Ok((short.join(name), Some(opened))),
        false => Err(std::io::Error::new(
            std::io::ErrorKind::InvalidInput,
            format!("the path of the data directory is too long for a socket; keep it under {PATH_MAX} bytes"),
        )),
    }
}
