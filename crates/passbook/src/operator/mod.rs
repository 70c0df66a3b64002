//! What an operator asks for: apps, clients, origins, keys, webhooks, a backup, a check-up.
//!
//! One request, one answer, one function ([`Operator::execute`]), whoever calls it: a command that opened a free store
//! itself, or a running server that took the request from its control socket ([`control`]). Commands only render
//! ([`crate::commands`]). Every change leaves an audit row of the actor `operator`, in the commit of the change.
//!
//! Changes are made one at a time in a process, because each reads, decides and writes a whole app or client.

mod apps;
mod clients;
#[cfg(unix)]
pub mod control;
pub mod doctor;
mod keys;
mod origins;
mod request;
pub mod rotation;
mod webhooks;

use std::{path::Path, sync::Arc};

use anyhow::Context as _;
use passbook_core::{
    ids::{AppId, Derivation},
    secret::SecretBytes,
    tenant::{Environment, Tenant},
    time::Clock,
};
use passbook_store::{
    port::{AuditEntry, BackupError, Changes, CommitError, StoreError, Upkeep},
    sealing::{KeyFileError, Keys},
};
use tokio::{
    sync::{Mutex, Notify},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

pub use self::request::{
    Answer, AppShown, BackupShown, Check, ClientShown, Request, ShownSecret, SigningKeyShown, Verdict, WebhookShown,
};
use crate::{keys::SEED, supervision::Supervisor};

/// Who did it, in the audit trail.
const ACTOR: &str = "operator";
/// How often a request is tried when somebody else keeps changing the same thing.
const TRIES: u32 = 3;

/// Everything that operator requests stand on.
pub struct Operator {
    store: Arc<dyn Upkeep>,
    keys: Arc<Keys>,
    /// The machine's clock, to compare the store's with.
    wall: Arc<dyn Clock>,
    turn: Mutex<()>,
    /// Rung when there are keys to wrap anew.
    rotation_bell: Arc<Notify>,
}

/// A request that was not fulfilled. Nothing changed.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// The request cannot be fulfilled as it is; the text says why and what to do.
    #[error("{0}")]
    Unfit(String),
    /// The store failed.
    #[error("the store failed")]
    Store(#[from] StoreError),
    /// Somebody else changed the same thing at the same moment.
    #[error("something else changed at the same moment; try again")]
    LostRace,
    /// The key file cannot be used.
    #[error("the master keys cannot be changed")]
    KeyFile(#[from] KeyFileError),
    /// The backup was not made.
    #[error("no backup was made")]
    Backup(#[from] BackupError),
}

impl From<CommitError> for Refusal {
    fn from(error: CommitError) -> Self {
        match error {
            CommitError::Conflict(_) => Self::LostRace,
            CommitError::Store(error) => Self::Store(error),
        }
    }
}

impl Refusal {
    fn unfit(text: impl Into<String>) -> Self {
        Self::Unfit(text.into())
    }
}

impl Operator {
    /// An operator of this store.
    pub fn new(store: Arc<dyn Upkeep>, keys: Arc<Keys>, wall: Arc<dyn Clock>) -> Self {
        Self { store, keys, wall, turn: Mutex::default(), rotation_bell: Arc::default() }
    }

    /// Attends to a running server's store until `stop`: takes requests on the control socket in `directory`, and
    /// wraps data keys anew when that is to be done.
    ///
    /// # Errors
    /// When the socket cannot be made.
    pub fn attend(
        self,
        directory: &Path,
        stop: CancellationToken,
        parts: &Supervisor,
    ) -> anyhow::Result<Vec<JoinHandle<()>>> {
        #[cfg(unix)]
        let socket = control::ControlSocket::bind(directory)
            .with_context(|| format!("cannot make the control socket in {}", directory.display()))?;
        let rotating = parts.start("key_rotation", self.rotation(stop.clone()));
        #[cfg(unix)]
        let tasks = vec![rotating, parts.start("control_socket", socket.serve(Arc::new(self), stop))];
        #[cfg(not(unix))]
        let tasks = vec![rotating];
        Ok(tasks)
    }

    /// Fulfils one request.
    ///
    /// # Errors
    /// [`Refusal`]; nothing changed then.
    pub async fn execute(&self, request: Request) -> Result<Answer, Refusal> {
        let _turn = match request.only_looks() {
            true => None,
            false => Some(self.turn.lock().await),
        };
        let mut tries = 1;
        loop {
            match self.fulfil(&request).await {
                // Each try reads and decides anew, so what the other changed is seen.
                Err(Refusal::LostRace) if tries < TRIES => tries += 1,
                done => return done,
            }
        }
    }

    async fn fulfil(&self, request: &Request) -> Result<Answer, Refusal> {
        match request {
            Request::ListApps => self.list_apps().await,
            Request::AddApp { name, origins } => self.add_app(name, origins).await,
            Request::RenameApp { app, name } => self.rename_app(app, name).await,
            Request::DisableApp { app } => self.disable_app(app).await,
            Request::EnableApp { app } => self.enable_app(app).await,
            Request::ListClients { app } => self.list_clients(app.as_deref()).await,
            Request::AddClient { app, environment, name, scopes } => {
                self.add_client(app, *environment, name.as_deref(), scopes).await
            }
            Request::RotateClient { client } => self.rotate_client(client).await,
            Request::RevokeSecret { client } => self.revoke_secret(client).await,
            Request::RevokeClient { client } => self.revoke_client(client).await,
            Request::SetScopes { client, scopes } => self.set_scopes(client, scopes).await,
            Request::ListOrigins { app } => self.list_origins(app).await,
            Request::AddOrigin { app, origin } => self.add_origin(app, origin).await,
            Request::RemoveOrigin { app, origin } => self.remove_origin(app, origin).await,
            Request::ListKeys => self.list_keys().await,
            Request::RotateKeys => self.rotate_keys().await,
            Request::GenerateKey => self.generate_key().await,
            Request::ActivateKey { version } => self.activate_key(*version).await,
            Request::RetireKey { version } => self.retire_key(*version).await,
            Request::RotateSigningKey { environment } => self.rotate_signing_key(*environment).await,
            Request::ListWebhooks => self.list_webhooks().await,
            Request::EnableWebhook { app, environment, url } => self.enable_webhook(app, *environment, url).await,
            Request::ShowWebhookSecret { app, environment } => self.show_webhook_secret(app, *environment).await,
            Request::BackUp { to } => self.back_up(to).await,
            Request::Examine => Ok(Answer::Checks(doctor::store_checks(self).await)),
        }
    }

    async fn back_up(&self, to: &Path) -> Result<Answer, Refusal> {
        let manifest = self.store.back_up(to).await?;
        let entry = self.audit(&instance_tenant(), "back_up");
        self.store.commit(Changes { audit: vec![entry], ..Changes::default() }).await?;
        Ok(Answer::Backup(BackupShown { path: to.to_owned(), manifest }))
    }

    fn audit(&self, tenant: &Tenant, action: &'static str) -> AuditEntry {
        AuditEntry { tenant: tenant.clone(), actor: ACTOR.to_owned(), action, link_id: None, at: self.store.now() }
    }

    /// An app's settings hold in both environments, so their change is told in both.
    fn audit_app(&self, app: &AppId, action: &'static str) -> Vec<AuditEntry> {
        let entry = |environment| self.audit(&Tenant { app_id: app.clone(), environment }, action);
        [Environment::Sandbox, Environment::Live].map(entry).to_vec()
    }

    /// What ids are derived from.
    async fn derivation(&self) -> Result<Derivation, Refusal> {
        let seed: Option<SecretBytes> = self.store.lookup_instance_value(SEED).await?;
        let seed = seed.ok_or_else(|| {
            Refusal::unfit("this store was never served, so it has no seed for ids; start the server on it once")
        })?;
        Ok(Derivation::new(seed.expose()))
    }
}

/// Stands for the instance itself in the audit trail: an app id that no app has, because ids are derived.
fn instance_tenant() -> Tenant {
    Tenant { app_id: AppId::from_bits(0), environment: Environment::Live }
}
