//! What the operating system tells the process: stop (SIGTERM, Ctrl-C), and read the certificates again (SIGHUP).

/// Listens from its making on, so that a signal between two looks is not lost.
pub struct Signals {
    #[cfg(unix)]
    terminate: tokio::signal::unix::Signal,
    #[cfg(unix)]
    interrupt: tokio::signal::unix::Signal,
}

impl Signals {
    /// Starts listening. Needs a runtime.
    ///
    /// # Errors
    /// When the operating system refuses.
    pub fn listen() -> std::io::Result<Self> {
        #[cfg(unix)]
        {
            use tokio::signal::unix::{SignalKind, signal};
            Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
        }
        #[cfg(not(unix))]
        Ok(Self {})
    }

    /// Waits for the next request to stop.
    pub async fn stop(&mut self) {
        #[cfg(unix)]
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
        #[cfg(not(unix))]
        let _ = tokio::signal::ctrl_c().await;
    }
}

/// Calls `reload` for every SIGHUP, for ever.
pub async fn on_hangup(reload: impl Fn()) {
    #[cfg(unix)]
    match tokio::signal::unix::signal(tokio::signal::unix::SignalKind::hangup()) {
        Ok(mut hangup) => {
            while hangup.recv().await.is_some() {
                reload();
            }
        }
        // Everything else goes on; the certificate in use stays.
        Err(error) => {
            tracing::warn!(%error, "cannot listen for SIGHUP");
            std::future::pending().await
        }
    }
    #[cfg(not(unix))]
    {
        let _ = reload;
        std::future::pending::<()>().await;
    }
}
