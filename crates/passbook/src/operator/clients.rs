//! API clients: adding, secrets, scopes, ending.
//!
//! A secret is shown once, in the answer to the request that made it; the store has its keyed hash. While a client is
//! rotated it has two, so that the app can change over without a gap. Withdrawing one takes every token of the client,
//! because tokens do not say for which secret they were given.

use passbook_core::{
    tenant::{Environment, ScopeSet, Tenant},
    time::truncate,
};
use passbook_store::port::{Changes, Client};

use super::{Answer, ClientShown, Operator, Refusal, ShownSecret, apps::checked_name};
use crate::system::{hex, random_alphanumeric};

/// Secrets that are good at the same time.
const LIVE_SECRETS_MAX: usize = 2;

impl Operator {
    pub(super) async fn add_client(
        &self,
        app: &str,
        environment: Environment,
        name: Option<&str>,
        scopes: &[String],
    ) -> Result<Answer, Refusal> {
        let app = self.find_app(app).await?;
        let name = checked_name(name.unwrap_or(&app.name))?;
        let scopes = scope_set(scopes)?;
        let derivation = self.derivation().await?;
        let ordinal = self.store.take_ordinal(&app.id, "client").await?;
        let bytes = derivation.bytes("client", &[app.id.as_str(), environment.as_str()], ordinal);
        let client_id = format!("{}_{}", environment.as_str(), hex(&bytes[..10]));
        let secret = random_alphanumeric();
        let client = Client {
            client_id,
            tenant: Tenant { app_id: app.id, environment },
            name,
            secret_hashes: vec![self.keys.hash_client_secret(&secret)],
            scopes,
            disabled_at: None,
            app_disabled_at: app.disabled_at,
        };
        self.write_client(None, client, "add_client", Some(secret)).await
    }

    pub(super) async fn list_clients(&self, app: Option<&str>) -> Result<Answer, Refusal> {
        let apps = match app {
            Some(app) => vec![self.find_app(app).await?],
            None => self.store.list_apps().await?,
        };
        let mut clients = Vec::new();
        for app in apps {
            clients.extend(self.store.list_clients(&app.id).await?.iter().map(|client| shown(client, None)));
        }
        Ok(Answer::Clients(clients))
    }

    pub(super) async fn rotate_client(&self, client_id: &str) -> Result<Answer, Refusal> {
        let was = self.find_client(client_id).await?;
        let mut client = was.clone();
        if client.secret_hashes.len() >= LIVE_SECRETS_MAX {
            return Err(Refusal::unfit(format!(
                "{client_id} has {LIVE_SECRETS_MAX} secrets already; `passbook clients revoke-secret` ends the older one"
            )));
        }
        let secret = random_alphanumeric();
        client.secret_hashes.push(self.keys.hash_client_secret(&secret));
        self.write_client(Some(was), client, "rotate_client_secret", Some(secret)).await
    }

    pub(super) async fn revoke_secret(&self, client_id: &str) -> Result<Answer, Refusal> {
        let was = self.find_client(client_id).await?;
        let mut client = was.clone();
        if client.secret_hashes.len() < LIVE_SECRETS_MAX {
            return Err(Refusal::unfit(format!(
                "{client_id} has one secret; add another with `passbook clients rotate` first, or end the client with \
                 `passbook clients revoke`"
            )));
        }
        // New ones are added at the end.
        client.secret_hashes.remove(0);
        self.write_client(Some(was), client, "revoke_client_secret", None).await
    }

    pub(super) async fn revoke_client(&self, client_id: &str) -> Result<Answer, Refusal> {
        let was = self.find_client(client_id).await?;
        let mut client = was.clone();
        client.secret_hashes.clear();
        client.disabled_at = Some(truncate(self.store.now()));
        self.write_client(Some(was), client, "revoke_client", None).await
    }

    pub(super) async fn set_scopes(&self, client_id: &str, scopes: &[String]) -> Result<Answer, Refusal> {
        let was = self.find_client(client_id).await?;
        let client = Client { scopes: scope_set(scopes)?, ..was.clone() };
        self.write_client(Some(was), client, "set_client_scopes", None).await
    }

    /// A client that was not revoked.
    async fn find_client(&self, client_id: &str) -> Result<Client, Refusal> {
        let client = self.store.lookup_client(client_id).await?;
        let client = client.ok_or_else(|| {
            Refusal::unfit(format!("there is no client {client_id:?}; `passbook clients list` shows all"))
        })?;
        if client.secret_hashes.is_empty() {
            return Err(Refusal::unfit(format!("{client_id} was revoked; add another client")));
        }
        Ok(client)
    }

    /// Writes `client` if the stored one is still what it `was`.
    async fn write_client(
        &self,
        was: Option<Client>,
        client: Client,
        action: &'static str,
        secret: Option<String>,
    ) -> Result<Answer, Refusal> {
        let audit = vec![self.audit(&client.tenant, action)];
        let answer = Answer::Client(shown(&client, secret));
        self.store.commit(Changes { client: Some(client), client_was: was, audit, ..Changes::default() }).await?;
        Ok(answer)
    }
}

fn scope_set(scopes: &[String]) -> Result<ScopeSet, Refusal> {
    ScopeSet::requested(&scopes.join(" "), ScopeSet::all())
        .map_err(|error| Refusal::unfit(format!("{error}; scopes are: {}", ScopeSet::all())))
}

fn shown(client: &Client, secret: Option<String>) -> ClientShown {
    ClientShown {
        client_id: client.client_id.clone(),
        app_id: client.tenant.app_id.to_string(),
        environment: client.tenant.environment,
        name: client.name.clone(),
        scopes: client.scopes.to_string(),
        live_secrets: client.secret_hashes.len(),
        disabled_at: client.disabled_at,
        client_secret: secret.map(ShownSecret::new),
    }
}
