//! Authorities that sign certificates, and a server that shows one.

use std::time::{Duration, Instant};

use postgres_cluster::{Certificate, Cluster, Place};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd};
use tokio_postgres::Client;

use crate::database::connect;

/// Far above what anything here takes.
const PATIENCE: Duration = Duration::from_secs(30);

/// Somebody who signs.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

/// What an authority signed, in PEM.
pub struct Signed {
    chain: String,
    key: String,
}

impl Authority {
    pub fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("no names are fine");
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        Self(CertifiedIssuer::self_signed(params, key).expect("an authority"))
    }

    /// What a client is given that trusts it.
    pub fn pem(&self) -> String {
        self.0.pem()
    }

    /// A certificate for a server of this name or address.
    pub fn sign(&self, name: &str) -> Signed {
        self.sign_until(name, 2100)
    }

    /// The same, good until this year begins.
    pub fn sign_until(&self, name: &str, year: i32) -> Signed {
        let mut params = CertificateParams::new(vec![name.to_owned()]).expect("a name");
        params.not_after = date_time_ymd(year, 1, 1);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.0).expect("a certificate");
        Signed { chain: certificate.pem(), key: key.serialize_pem() }
    }
}

impl Signed {
    fn shown(&self) -> Certificate<'_> {
        Certificate { chain: &self.chain, key: &self.key }
    }
}

/// A server with TLS and an empty database.
pub struct TlsServer {
    cluster: Cluster,
    pub directory: tempfile::TempDir,
}

impl TlsServer {
    /// `None` on a machine that has no PostgreSQL; said in the test's output.
    pub async fn start(certificate: &Signed) -> Option<Self> {
        let binaries = postgres_cluster::binaries_for_tests()?;
        let cluster = Cluster::start_with_tls(&binaries, Place::Memory, &[], certificate.shown()).expect("a cluster");
        let directory = tempfile::tempdir().expect("a temporary directory");
        connect(&cluster.url("postgres")).await.batch_execute("CREATE DATABASE passbook").await.expect("a database");
        Some(Self { cluster, directory })
    }

    /// The database by this host, with these parameters.
    pub fn url(&self, user: &str, host: &str, parameters: &str) -> String {
        format!("postgres://{user}@{host}:{}/passbook{parameters}", self.cluster.port())
    }

    /// A connection beside the store's, in the clear.
    pub async fn raw(&self) -> Client {
        connect(&self.cluster.url("passbook")).await
    }

    /// Shows another certificate from now on; returns when `seen` says that it does.
    pub async fn show(&self, certificate: &Signed, mut seen: impl AsyncFnMut() -> bool) {
        self.cluster.replace_certificate(certificate.shown()).expect("the server is told");
        self.wait_until("the new certificate is shown", async || seen().await).await;
    }

    pub async fn wait_until(&self, what: &str, mut condition: impl AsyncFnMut() -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !condition().await {
            assert!(Instant::now() < deadline, "{what} in time");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Asks for a password when this role comes by the loopback, encrypted.
    pub fn demand_password(&self, role: &str) {
        let path = self.cluster.data().join("pg_hba.conf");
        let rules = std::fs::read_to_string(&path).expect("the rules of access");
        let rule = format!("hostssl all {role} 127.0.0.1/32 scram-sha-256\nhost all {role} all reject\n");
        std::fs::write(&path, rule + &rules).expect("the rules are changed");
    }

    /// How the connections of the store are made: encrypted or not.
    pub async fn encrypted(&self) -> Vec<bool> {
        let sql = "SELECT ssl FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE application_name = 'passbook'";
        self.raw().await.query(sql, &[]).await.expect("the view").iter().map(|row| row.get(0)).collect()
    }

    /// Ends the connections of the store.
    pub async fn cut(&self) {
        let sql = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name = 'passbook'";
        self.raw().await.query(sql, &[]).await.expect("they are ended");
    }
}
