//! TLS to the server: who is let in, who is refused with which words, and what a new certificate does.

use std::error::Error;

use passbook_core::ids::LinkId;
use passbook_store::{
    port::{Store as _, StoreError},
    postgres::{OpenError, PostgresStore},
    sealing::MasterKey,
};

use crate::{
    Home,
    authority::{Authority, Signed, TlsServer},
    database,
    examples::*,
};

const HERE: &str = "127.0.0.1";
const PASSWORD: &str = "hunter2-canary";

/// A server and the key of the store on it.
struct Site {
    server: TlsServer,
    key: MasterKey,
}

impl Site {
    async fn start(certificate: &Signed) -> Option<Self> {
        Some(Self { server: TlsServer::start(certificate).await?, key: MasterKey::generate() })
    }

    async fn open(&self, url: &str, roots: Option<&str>) -> Result<PostgresStore, OpenError> {
        let ledger = self.server.directory.path().join("deletions.ledger");
        database::open(url, roots, &ledger, vec![self.key.clone()]).await
    }

    /// Whether somebody who trusts these authorities gets in now.
    async fn lets_in(&self, roots: &str) -> bool {
        PostgresStore::schema_version(&self.server.url("passbook", HERE, ""), Some(roots.as_bytes())).await.is_ok()
    }

    /// What a refused opener is told; without any of the secrets that it had.
    async fn refusal(&self, url: &str, roots: Option<&str>) -> String {
        let Err(error) = self.open(url, roots).await else { panic!("it opened") };
        let told = format!("{} | {error:?}", chain(&error));
        assert!(!told.contains(PASSWORD), "{told}");
        told
    }
}

fn chain(error: &dyn Error) -> String {
    let cause = error.source().map(|cause| format!(": {}", chain(cause)));
    format!("{error}{}", cause.unwrap_or_default())
}

async fn read(store: &PostgresStore) -> Result<bool, StoreError> {
    Ok(store.lookup_link(&tenant(), &LinkId::from_bits(1)).await?.is_some())
}

#[tokio::test]
async fn a_server_of_the_right_authority_gets_encrypted_connections_only() {
    let authority = Authority::new("authority");
    let Some(site) = Site::start(&authority.sign(HERE)).await else { return };
    for parameters in ["", "?sslmode=prefer", "?sslmode=require"] {
        let url = site.server.url("passbook", HERE, parameters);
        let store = site.open(&url, Some(&authority.pem())).await.unwrap();
        stored_link(&store, url.len() as u128).await;
        store.list_links(&tenant(), None, 5).await.unwrap();
        let encrypted = site.server.encrypted().await;
        assert!(encrypted.len() >= 4 && encrypted.iter().all(|is| *is), "{parameters}: {encrypted:?}");
        store.close().await;
        site.server.wait_until("the connections end", async || site.server.encrypted().await.is_empty()).await;
    }
}

#[tokio::test]
async fn a_server_of_another_authority_or_name_is_refused_without_a_secret() {
    let (authority, other) = (Authority::new("first"), Authority::new("second"));
    let Some(site) = Site::start(&authority.sign(HERE)).await else { return };
    let user = format!("passbook:{PASSWORD}");
    let told = site.refusal(&site.server.url(&user, HERE, "?sslmode=require"), Some(&other.pem())).await;
    assert!(told.contains("the database cannot be used") && told.contains("invalid peer certificate"), "{told}");
    let told = site.refusal(&site.server.url(&user, "localhost", ""), Some(&authority.pem())).await;
    assert!(told.contains("not valid for name \"localhost\""), "{told}");
    // The name counts, not the address that it is reached by.
    let elsewhere = site.server.url(&user, "localhost", "?hostaddr=127.0.0.1");
    assert!(site.refusal(&elsewhere, Some(&authority.pem())).await.contains("not valid for name"));
    for rubbish in ["", "nonsense", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
        let told = site.refusal(&site.server.url(&user, HERE, ""), Some(rubbish)).await;
        assert!(told.contains("authorities are malformed"), "{told}");
    }
    assert!(site.server.encrypted().await.is_empty(), "nobody got in");
}

#[tokio::test]
async fn a_password_crosses_only_to_the_right_server() {
    let authority = Authority::new("authority");
    let Some(site) = Site::start(&authority.sign(HERE)).await else { return };
    let role = format!("CREATE ROLE clerk LOGIN PASSWORD '{PASSWORD}'; ALTER DATABASE passbook OWNER TO clerk");
    site.server.raw().await.batch_execute(&role).await.unwrap();
    site.server.demand_password("clerk");
    site.server.raw().await.execute("SELECT pg_reload_conf()", &[]).await.unwrap();
    let roots = authority.pem();
    let wrong = site.server.url("clerk:wrong", HERE, "");
    let is_refused = async || PostgresStore::schema_version(&wrong, Some(roots.as_bytes())).await.is_err();
    site.server.wait_until("passwords are demanded", is_refused).await;

    let url = site.server.url(&format!("clerk:{PASSWORD}"), HERE, "?channel_binding=require");
    let store = site.open(&url, Some(&roots)).await.unwrap();
    stored_link(&store, 1).await;
    assert!(read(&store).await.unwrap());
    store.close().await;
    let told = site.refusal(&site.server.url(&format!("clerk:{PASSWORD}x"), HERE, ""), Some(&roots)).await;
    assert!(told.contains("password authentication failed"), "{told}");
    let in_the_clear = site.server.url(&format!("clerk:{PASSWORD}"), HERE, "?sslmode=disable");
    assert!(site.refusal(&in_the_clear, None).await.contains("SQLSTATE 28000"));
}

#[tokio::test]
async fn tls_is_not_used_where_it_is_switched_off_and_contradictions_are_refused() {
    let authority = Authority::new("authority");
    let Some(site) = Site::start(&authority.sign(HERE)).await else { return };
    let url = site.server.url("passbook", HERE, "?sslmode=disable");
    assert!(matches!(site.open(&url, Some(&authority.pem())).await, Err(OpenError::TlsDisabled)));
    let demanding = site.server.url("passbook", HERE, "?sslmode=require");
    assert!(matches!(site.open(&demanding, None).await, Err(OpenError::NoTlsRoots)));
    let store = site.open(&url, None).await.unwrap();
    stored_link(&store, 1).await;
    let encrypted = site.server.encrypted().await;
    assert!(!encrypted.is_empty() && !encrypted.contains(&true), "{encrypted:?}");
    store.close().await;
}

#[tokio::test]
async fn a_server_without_tls_is_refused_when_an_authority_is_given() {
    let Some(home) = Home::create().await else { return };
    let roots = Authority::new("authority").pem();
    for parameters in ["", "?sslmode=require", "?sslmode=prefer"] {
        let url = format!("{}{parameters}", home.database.url());
        let refused = database::open(&url, Some(&roots), &home.ledger(), vec![home.database.key.clone()]).await;
        let Err(error) = refused else { panic!("{parameters}: it opened") };
        assert!(chain(&error).contains("server does not support TLS"), "{}", chain(&error));
    }
    home.database.remove().await;
}

#[tokio::test]
async fn a_new_certificate_of_a_known_authority_is_taken_while_serving() {
    let (first, second) = (Authority::new("first"), Authority::new("second"));
    let Some(site) = Site::start(&first.sign(HERE)).await else { return };
    let both = format!("{}{}", first.pem(), second.pem());
    let url = site.server.url("passbook", HERE, "");
    let store = site.open(&url, Some(&both)).await.unwrap();
    stored_link(&store, 1).await;
    store.statistics_settled().await;
    // One for lists, one for commits, and two for short reads; the one that looked for statistics ends a moment later.
    let connections = 4;
    let settled = async || site.server.encrypted().await.len() == connections;
    site.server.wait_until("the connection for statistics ends", settled).await;
    let only_second = second.pem();
    site.server.show(&second.sign(HERE), async || site.lets_in(&only_second).await).await;
    assert!(!site.lets_in(&first.pem()).await);
    assert!(read(&store).await.unwrap());
    assert_eq!(site.server.encrypted().await.len(), connections, "the connections of before are in use");
    site.server.cut().await;
    assert!(read(&store).await.unwrap());
    stored_link(&store, 2).await;
    store.close().await;
}

#[tokio::test]
async fn a_certificate_that_cannot_be_trusted_ends_no_connection_and_lets_none_be_made() {
    let (authority, stranger) = (Authority::new("first"), Authority::new("second"));
    let good = authority.sign(HERE);
    let Some(site) = Site::start(&good).await else { return };
    let roots = authority.pem();
    let store = site.open(&site.server.url("passbook", HERE, ""), Some(&roots)).await.unwrap();
    stored_link(&store, 1).await;
    for (bad, said) in [
        (stranger.sign(HERE), "UnknownIssuer"),
        (authority.sign("db.internal"), "not valid for name"),
        (authority.sign_until(HERE, 2020), "expired"),
    ] {
        site.server.show(&bad, async || !site.lets_in(&roots).await).await;
        assert!(read(&store).await.unwrap(), "the connections of before are in use");
        site.server.cut().await;
        let failed = read(&store).await.expect_err("no connection can be made");
        assert!(matches!(failed, StoreError::Unavailable(_)) && chain(&failed).contains(said), "{}", chain(&failed));
        site.server.show(&good, async || site.lets_in(&roots).await).await;
        // Nobody tries to connect for a moment after a failure. Reads take turns on two connections.
        let both = async || read(&store).await.is_ok() && read(&store).await.is_ok();
        site.server.wait_until("reads succeed again", both).await;
        stored_link(&store, 2 + said.len() as u128).await;
    }
    store.close().await;
}
