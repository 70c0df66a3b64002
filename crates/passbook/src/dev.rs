//! `passbook dev`: everything on one machine, with a linked sandbox bank, and no configuration.

pub mod authority;

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, bail};
use jiff::Timestamp;
use passbook_core::{
    ids::{AppId, Derivation, LinkId},
    session::SessionRequest,
    tenant::{Environment, ScopeSet, Tenant},
    time::AppClock,
};
use passbook_store::{
    files,
    port::{App, Changes, Client, ClockWrite, Store},
};
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;

use crate::{
    api::Api,
    output::write_out_aside,
    services::{Actor, Services, idempotency::Keep, sign_in::Person},
    system::{hex, random_alphanumeric},
};

/// The dev app's own end user.
const DEMO_USER: &str = "demo-user";
/// Where the demo link is.
const DEMO_BANK: &str = "credentials_bank";
/// How long the first link may take before start-up gives up.
const LINK_PATIENCE: Duration = Duration::from_secs(30);

/// What `dev.json` holds, for programs that want to use the server.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DevFile {
    /// Base of the API, without a trailing slash.
    pub api_url: String,
    /// Bare origin of the Connect pages: another origin on the same listener.
    pub connect_url: String,
    /// A page for a person.
    pub demo_url: String,
    /// API client.
    pub client_id: String,
    /// Its secret.
    pub client_secret: String,
    /// A link whose products are all fetched.
    pub link_id: String,
    /// Always true.
    pub sandbox: bool,
    /// Base of the same API by TLS; absent without `--tls`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls_api_url: Option<String>,
    /// Absolute path of the certificate (PEM) that a client must trust for it; absent without `--tls`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls_ca_file: Option<PathBuf>,
}

/// Where the API is served by TLS.
pub struct TlsAddress {
    /// The port, on 127.0.0.1.
    pub port: u16,
    /// What a client must trust.
    pub ca_file: PathBuf,
}

impl DevFile {
    /// Where it is, under the data directory.
    pub fn path(data: &Path) -> PathBuf {
        data.join("dev.json")
    }

    /// Reads it; `None` when it is not there or not readable as one.
    pub fn read(data: &Path) -> Option<Self> {
        serde_json::from_slice(&std::fs::read(Self::path(data)).ok()?).ok()
    }

    /// Writes it by rename and readable by its owner only, so that a reader finds the old file or the whole new one.
    fn write(&self, data: &Path) -> anyhow::Result<()> {
        let mut text = serde_json::to_vec_pretty(self)?;
        text.push(b'\n');
        files::replace(&Self::path(data), &text)?;
        Ok(())
    }
}

/// Base of the API on this machine.
#[must_use]
pub fn api_url(port: u16) -> String {
    format!("http://127.0.0.1:{port}")
}

/// The dev app's tenant.
pub fn tenant(derivation: &Derivation) -> Tenant {
    let app_id = AppId::from_bits(derivation.bits("app", &["dev"], 1));
    Tenant { app_id, environment: Environment::Sandbox }
}

/// The dev client's id: `sandbox_` and 20 hex digits.
pub fn client_id(derivation: &Derivation) -> String {
    format!("sandbox_{}", hex(&derivation.bytes("client", &["dev"], 1)[..10]))
}

/// Makes the dev app, or enables it and brings its clock to `frozen_at`.
///
/// # Errors
/// When the clock would go back before stored data, or the store fails.
pub async fn prepare_app(
    store: &dyn Store,
    derivation: &Derivation,
    frozen_at: Option<Timestamp>,
    real_now: Timestamp,
) -> anyhow::Result<()> {
    let id = tenant(derivation).app_id;
    let Some(app) = store.lookup_app(&id).await? else {
        let clock = match frozen_at {
            Some(at) => AppClock::freeze(at, None)?,
            None => AppClock::default(),
        };
        let allowed_origins = ["localhost", "127.0.0.1", "[::1]"].map(|host| format!("http://{host}:*")).to_vec();
        let app = App { id, name: "Passbook dev".to_owned(), clock, allowed_origins, disabled_at: None };
        store.commit(Changes { app: Some(app), ..Changes::default() }).await?;
        return Ok(());
    };
    if app.disabled_at.is_some() {
        // What a start announces works, as with a client that was revoked.
        let enabled = App { disabled_at: None, ..app.clone() };
        store.commit(Changes { app: Some(enabled), ..Changes::default() }).await?;
    }
    if let Some(at) = frozen_at {
        let newest = store.newest_time(&id).await?;
        let clock = AppClock::freeze(at, newest).context("--frozen-at cannot be used with this data")?;
        let write = ClockWrite { app_id: id, expected: app.clock, clock, now: real_now };
        store.commit(Changes { clock: Some(write), ..Changes::default() }).await?;
    }
    Ok(())
}

/// The dev client's secret: the one in `dev.json` if it is still good, else a new one that revokes the old.
///
/// # Errors
/// When the store fails.
pub async fn prepare_client(services: &Services, data: &Path) -> anyhow::Result<(Actor, String)> {
    let tenant = tenant(&services.derivation);
    let client_id = client_id(&services.derivation);
    let actor = Actor { tenant: tenant.clone(), client_id: client_id.clone(), scopes: ScopeSet::all() };
    if let Some(known) = DevFile::read(data).filter(|file| file.client_id == client_id)
        && services.verify_client(&client_id, &known.client_secret).await?.is_some()
    {
        return Ok((actor, known.client_secret));
    }
    let secret = random_alphanumeric();
    let client = Client {
        client_id,
        tenant,
        name: "Passbook dev".to_owned(),
        secret_hashes: vec![services.keys.hash_client_secret(&secret)],
        scopes: ScopeSet::all(),
        disabled_at: None,
        app_disabled_at: None,
    };
    services.store.commit(Changes { client: Some(client), ..Changes::default() }).await?;
    Ok((actor, secret))
}

/// The demo link, with everything fetched: the one of an earlier start, or a new one. Needs running workers.
///
/// # Errors
/// When the store fails or the link does not come up in time.
pub async fn prepare_link(services: &Services, actor: &Actor) -> anyhow::Result<LinkId> {
    let known = services.store.find_connected_link(&actor.tenant, DEMO_USER, DEMO_BANK).await?;
    let link_id = match known {
        Some(id) => id,
        None => make_link(services, actor).await?,
    };
    let deadline = tokio::time::Instant::now() + LINK_PATIENCE;
    let mut ended = services.job_ended.subscribe();
    loop {
        ended.borrow_and_update();
        let stored = services.load(actor, &link_id).await?;
        if stored.link.products.values().all(|record| record.running_job.is_none()) {
            return Ok(link_id);
        }
        if tokio::time::timeout_at(deadline, ended.changed()).await.is_err() {
            bail!("the demo link's data did not arrive in time");
        }
    }
}

async fn make_link(services: &Services, actor: &Actor) -> anyhow::Result<LinkId> {
    let request = SessionRequest {
        customer_user_id: DEMO_USER.to_owned(),
        existing_link_id: None,
        institution_id: Some(DEMO_BANK.to_owned()),
        redirect_uri: "http://localhost/".to_owned(),
        webhook: None,
        tags: Vec::new(),
        products: None,
        countries: Vec::new(),
        permit_only_depository_accounts: false,
        permit_only_one_account: false,
        duplicate_institution_rejected: false,
        custom_sandbox_data: None,
        person_seed: None,
    };
    let person = Person {
        institution_id: None,
        username: "user_good".to_owned(),
        answers: std::collections::BTreeMap::new(),
        accounts: None,
    };
    let token = services.create_sandbox_session(actor, &request, &Keep::nothing()).await?;
    let completed = services.complete_link_session(actor, &token, person, &Keep::nothing()).await?;
    let exchangeable = completed.exchangeable_token.context("a new link has a token to exchange")?;
    Ok(services.exchange_token(actor, &exchangeable, &Keep::nothing()).await?.link_id)
}

/// Tells programs (`dev.json`) and the person (banner) where everything is, then turns readiness green.
///
/// # Errors
/// When `dev.json` cannot be written.
pub fn announce(
    api: &Api,
    data: &Path,
    (port, tls): (u16, Option<TlsAddress>),
    actor: &Actor,
    secret: &str,
    link_id: &LinkId,
) -> anyhow::Result<()> {
    let api_url = api_url(port);
    let file = DevFile {
        connect_url: format!("http://localhost:{port}"),
        demo_url: format!("{api_url}/demo"),
        api_url,
        client_id: actor.client_id.clone(),
        client_secret: secret.to_owned(),
        link_id: link_id.to_string(),
        sandbox: true,
        tls_api_url: tls.as_ref().map(|tls| format!("https://127.0.0.1:{}", tls.port)),
        tls_ca_file: tls.map(|tls| tls.ca_file),
    };
    file.write(data).with_context(|| format!("cannot write {}", DevFile::path(data).display()))?;
    write_out_aside(banner(&file, data));
    api.readiness.set_started();
    Ok(())
}

fn banner(file: &DevFile, data: &Path) -> String {
    let DevFile { api_url, demo_url, client_id, client_secret, link_id, .. } = file;
    let (mut by_tls, mut trust) = (String::new(), String::new());
    if let (Some(url), Some(file)) = (&file.tls_api_url, &file.tls_ca_file) {
        by_tls = format!("API by TLS     {url}\n  ");
        trust = format!(
            "  For programs that use TLS, in their shell. It replaces the system's certificates there:\n\n    \
             export SSL_CERT_FILE={}\n\n",
            shell_word(&file.to_string_lossy())
        );
    }
    format!(
        "\n  Passbook is ready.\n\n  \
         API            {api_url}\n  {by_tls}\
         Demo page      {demo_url}\n  \
         Client id      {client_id}\n  \
         Client secret  {client_secret}\n  \
         Link           {link_id}\n  \
         All of it      {}\n\n  \
         The account numbers of that link:\n\n    \
         curl -s {api_url}/links/{link_id}/accounts/numbers \\\n      \
         -H 'X-Client-Id: {client_id}' -H 'X-Client-Secret: {client_secret}'\n\n{trust}",
        DevFile::path(data).display()
    )
}

/// The text as one word of a POSIX shell.
fn shell_word(text: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-+:@%,".contains(&byte);
    match !text.is_empty() && text.bytes().all(is_plain) {
        true => text.to_owned(),
        false => format!("'{}'", text.replace('\'', r"'\''")),
    }
}

/// The data directory, made when absent, and for its owner only.
///
/// # Errors
/// When it cannot be made, or is not this user's alone.
pub fn make_data_directory(data: &Path) -> anyhow::Result<()> {
    files::private_directory(data).context("the data directory cannot be used")
}

/// Listens on this machine only. `option` is the one that chooses the port, for the message.
///
/// # Errors
/// When the port is taken.
pub async fn listen(port: u16, option: &str) -> anyhow::Result<TcpListener> {
    TcpListener::bind(("127.0.0.1", port))
        .await
        .with_context(|| format!("cannot listen on 127.0.0.1:{port}; choose a different {option}, or 0 for a free one"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_one_word_of_the_shell() {
        for (path, word) in [
            ("/home/me/passbook-data/dev-ca.pem", "/home/me/passbook-data/dev-ca.pem"),
            ("/home/me/my data/dev-ca.pem", "'/home/me/my data/dev-ca.pem'"),
            ("/it's/$HOME", r"'/it'\''s/$HOME'"),
            ("", "''"),
        ] {
            assert_eq!(shell_word(path), word);
        }
    }
}
