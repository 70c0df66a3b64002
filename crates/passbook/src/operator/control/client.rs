//! The command's side of the control socket.

use std::{io::ErrorKind, path::Path, time::Duration};

use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::UnixStream,
};
use zeroize::Zeroizing;

use super::{ANSWER_MAX, Call, Outcome, Reply, VERSION, short_path};
use crate::operator::{Answer, Request};

/// How long a server may take to be there at all.
const CONNECT_PATIENCE: Duration = Duration::from_secs(2);
/// How long a server may take for a change.
const CHANGE_PATIENCE: Duration = Duration::from_secs(60);
/// How long it may take for what reads all of the store.
const LONG_PATIENCE: Duration = Duration::from_secs(6 * 3600);

/// A call without an answer.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// Nobody listens there.
    #[error("no server listens on the control socket")]
    Nobody,
    /// The server refused.
    #[error("{0}")]
    Refused(String),
    /// The server is there and did not answer; whether it did what was asked is not known.
    #[error("the server did not answer; look whether the change was made")]
    NoAnswer(#[source] std::io::Error),
}

/// Sends `request` to the server that has the store in `data`.
///
/// # Errors
/// [`CallError`].
pub async fn call(data: &Path, request: Request) -> Result<Answer, CallError> {
    let patience = match request {
        Request::BackUp { .. } | Request::Examine => LONG_PATIENCE,
        _ => CHANGE_PATIENCE,
    };
    let stream = connect(data).await?;
    let reply = tokio::time::timeout(patience, exchange(stream, request))
        .await
        .unwrap_or_else(|_| Err(ErrorKind::TimedOut.into()))
        .map_err(CallError::NoAnswer)?;
    match reply.outcome {
        Outcome::Answer(answer) => Ok(answer),
        Outcome::Refused(why) => Err(CallError::Refused(why)),
    }
}

async fn connect(data: &Path) -> Result<UnixStream, CallError> {
    let (path, _opened) = short_path(data, "control.sock").map_err(|_| CallError::Nobody)?;
    match tokio::time::timeout(CONNECT_PATIENCE, UnixStream::connect(path)).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(error)) if error.kind() == ErrorKind::PermissionDenied => {
            Err(CallError::Refused("the server runs as another user; run the command as that user".to_owned()))
        }
        Ok(Err(_)) | Err(_) => Err(CallError::Nobody),
    }
}

async fn exchange(stream: UnixStream, request: Request) -> std::io::Result<Reply> {
    let (reading, mut writing) = stream.into_split();
    let mut line = serde_json::to_vec(&Call { version: VERSION, request })?;
    line.push(b'\n');
    writing.write_all(&line).await?;
    // Wiped with its buffer: it may hold a fresh secret.
    let mut answer = Zeroizing::new(Vec::new());
    BufReader::new(reading.take(ANSWER_MAX)).read_until(b'\n', &mut answer).await?;
    Ok(serde_json::from_slice(&answer)?)
}
