//! The server's side of the control socket.

use std::{
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::{UnixListener, UnixStream},
    sync::Semaphore,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{Call, Outcome, REQUEST_MAX, Reply, VERSION, short_path, socket_path};
use crate::operator::{Operator, Refusal, doctor::chain};

/// Name under which the socket is made, before it gets its own.
const UNFINISHED: &str = "socket";
/// Connections that are served at once; more wait.
const CONNECTIONS_MAX: usize = 8;
/// How long a command may take to say what it wants, and to take its answer.
const TALK_PATIENCE: Duration = Duration::from_secs(2);
/// Pause after a connection could not be accepted.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A socket that listens. Its file is removed when it is dropped.
pub struct ControlSocket {
    listener: UnixListener,
    path: PathBuf,
    owner: u32,
}

impl ControlSocket {
    /// Listens in `directory`, in place of what an earlier process may have left. Whoever calls this has the store of
    /// that directory locked, so no other server's socket is replaced.
    ///
    /// # Errors
    /// When the socket cannot be made.
    pub fn bind(directory: &Path) -> std::io::Result<Self> {
        // In a directory that nobody else may enter, until it has its mode.
        let private = tempfile::Builder::new()
            .prefix(".control.")
            .permissions(fs::Permissions::from_mode(0o700))
            .tempdir_in(directory)?;
        let unfinished = private.path().join(UNFINISHED);
        let (short, _opened) = short_path(private.path(), UNFINISHED)?;
        let listener = UnixListener::bind(short)?;
        // The name that commands look for appears with its mode already set.
        fs::set_permissions(&unfinished, fs::Permissions::from_mode(0o600))?;
        let owner = fs::metadata(&unfinished)?.uid();
        let path = socket_path(directory);
        fs::rename(&unfinished, &path)?;
        Ok(Self { listener, path, owner })
    }

    /// Serves requests until `stop`, then finishes those that are being fulfilled.
    pub async fn serve(self, operator: Arc<Operator>, stop: CancellationToken) {
        let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        let talks = TaskTracker::new();
        loop {
            let accepted = tokio::select! {
                accepted = self.accept(&slots) => accepted,
                () = stop.cancelled() => break,
            };
            match accepted {
                Ok((stream, slot)) => {
                    let operator = Arc::clone(&operator);
                    talks.spawn(async move {
                        talk(stream, &operator).await;
                        drop(slot);
                    });
                }
                Err(error) => {
                    tracing::warn!(error = %error, "a control connection was not accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        talks.close();
        talks.wait().await;
    }

    async fn accept(&self, slots: &Arc<Semaphore>) -> std::io::Result<(UnixStream, tokio::sync::OwnedSemaphorePermit)> {
        let slot = Arc::clone(slots).acquire_owned().await.map_err(std::io::Error::other)?;
        loop {
            let (stream, _) = self.listener.accept().await?;
            // The file's mode keeps others out; this also holds where a system does not heed it.
            if stream.peer_cred()?.uid() == self.owner {
                return Ok((stream, slot));
            }
            tracing::warn!("a control connection of another user was turned away");
        }
    }
}

impl Drop for ControlSocket {
    fn drop(&mut self) {
        // A file that stays is replaced by the next server.
        let _best_effort = fs::remove_file(&self.path);
    }
}

async fn talk(stream: UnixStream, operator: &Operator) {
    let (reading, mut writing) = stream.into_split();
    let outcome = match tokio::time::timeout(TALK_PATIENCE, read_call(reading)).await {
        Ok(Ok(call)) if call.version == VERSION => match operator.execute(call.request).await {
            Ok(answer) => Outcome::Answer(answer),
            Err(refusal) => Outcome::Refused(told(&refusal)),
        },
        Ok(Ok(call)) => Outcome::Refused(format!(
            "the server speaks version {VERSION} of the control exchange and the command version {}; use the same release",
            call.version
        )),
        // Never with the text that was read: it may hold anything.
        Ok(Err(_)) => Outcome::Refused("the server does not understand the request; use the same release".to_owned()),
        Err(_) => return,
    };
    let Ok(line) = serde_json::to_vec(&Reply { version: VERSION, outcome }) else { return };
    // Wiped with its buffer: it may hold a fresh secret.
    let mut line = zeroize::Zeroizing::new(line);
    line.push(b'\n');
    let sent = async {
        writing.write_all(&line).await?;
        writing.shutdown().await
    };
    if !matches!(tokio::time::timeout(TALK_PATIENCE, sent).await, Ok(Ok(()))) {
        tracing::warn!("a command did not take its answer");
    }
}

async fn read_call(reading: tokio::net::unix::OwnedReadHalf) -> std::io::Result<Call> {
    let mut line = Vec::new();
    BufReader::new(reading.take(REQUEST_MAX)).read_until(b'\n', &mut line).await?;
    Ok(serde_json::from_slice(&line)?)
}

/// A refusal with its causes; a failure of the store is also one for the log.
fn told(refusal: &Refusal) -> String {
    if !matches!(refusal, Refusal::Unfit(_)) {
        tracing::error!(error = refusal as &dyn std::error::Error, "an operator request failed");
    }
    chain(refusal)
}
