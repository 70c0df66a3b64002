//! The local certificate authority of `passbook dev --tls`.
//!
//! It is made once for a data directory and kept there, so that whoever trusts it does so once. Its certificate is
//! constrained to the names of this machine: a program that trusts it still trusts nobody for any other name. Server
//! certificates are made at every start and every hour after that; their keys are never written down.
//!
//! | File | Holds |
//! | --- | --- |
//! | `dev-authority.json` | the authority: private key, certificate, last day; 0600 |
//! | `dev-ca.pem` | its certificate alone, for clients; 0600 |

use std::{
    io::Write as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::Context as _;
use jiff::{Timestamp, ToSpan as _, civil::Date, tz::Offset};
use passbook_core::time::Clock;
use rcgen::{
    BasicConstraints, CertificateParams, CidrSubnet, DistinguishedName, DnType, ExtendedKeyUsagePurpose,
    GeneralSubtree, IsCa, Issuer, KeyPair, KeyUsagePurpose, NameConstraints, date_time_ymd,
};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use serde::{Deserialize, Serialize};

use crate::http_server::tls::{Certificates, Issued};

const AUTHORITY_FILE: &str = "dev-authority.json";
const CERTIFICATE_FILE: &str = "dev-ca.pem";
/// What server certificates are for.
const NAMES: [&str; 3] = ["localhost", "127.0.0.1", "::1"];
/// How long the authority is good, in years.
const AUTHORITY_YEARS: i64 = 5;
/// How long a server certificate is good, in days. A server that runs makes a new one far earlier.
const SERVER_DAYS: i64 = 30;
/// How often a running server makes a new certificate.
const RENEWAL: Duration = Duration::from_secs(3_600);

/// What is kept. Without `Debug`: it holds the private key.
#[derive(Serialize, Deserialize)]
struct Stored {
    /// PKCS#8 in PEM.
    private_key: String,
    /// X.509 in PEM.
    certificate: String,
    /// The last day on which the certificate is good.
    last_day: Date,
}

/// See the module page.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate_file: PathBuf,
    last_day: Date,
}

impl Authority {
    /// The authority of this data directory: the one that is there, or a new one if there is none or its last day is
    /// too near for a server certificate.
    ///
    /// # Errors
    /// When the files cannot be written, or what is there cannot be read as an authority. It is not replaced silently,
    /// because programs may trust it.
    pub fn open(data: &Path, now: Timestamp) -> anyhow::Result<Self> {
        let file = data.join(AUTHORITY_FILE);
        let today = date_of(now);
        let kept = match std::fs::read(&file) {
            Ok(bytes) => Some(read(&bytes).with_context(|| unusable(&file))?),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => return Err(error).with_context(|| unusable(&file)),
        };
        let (stored, key) = match kept.filter(|(stored, _)| stored.last_day > server_last_day(today)) {
            Some(kept) => kept,
            None => {
                let (stored, key) = make(today)?;
                write(&file, &serde_json::to_vec_pretty(&stored)?)?;
                (stored, key)
            }
        };
        let certificate_file = std::path::absolute(data.join(CERTIFICATE_FILE))?;
        if std::fs::read(&certificate_file).ok().as_deref() != Some(stored.certificate.as_bytes()) {
            write(&certificate_file, stored.certificate.as_bytes())?;
        }
        let issuer = Issuer::new(authority_params(&key, today, stored.last_day), key);
        Ok(Self { issuer, certificate_file, last_day: stored.last_day })
    }

    /// Its certificate in PEM, as an absolute path.
    #[must_use]
    pub fn certificate_file(&self) -> &Path {
        &self.certificate_file
    }

    /// A new server certificate for this machine, with its key.
    ///
    /// # Errors
    /// When the cryptographic library fails.
    pub fn issue(&self, now: Timestamp) -> Result<Issued, rcgen::Error> {
        self.issue_for(&NAMES, now)
    }

    fn issue_for(&self, names: &[&str], now: Timestamp) -> Result<Issued, rcgen::Error> {
        let today = date_of(now);
        let key = KeyPair::generate()?;
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names)?;
        params.distinguished_name = common_name("Passbook dev".to_owned());
        limit(&mut params, today, server_last_day(today).min(self.last_day));
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let certificate = params.signed_by(&key, &self.issuer)?;
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        Ok(Issued { chain: vec![certificate.der().clone()], key })
    }

    /// Certificates for a listener, which `reload` replaces by a new one.
    ///
    /// # Errors
    /// When the cryptographic library fails.
    pub fn into_certificates(self, clock: Arc<dyn Clock>) -> anyhow::Result<Arc<Certificates>> {
        let issue = move || self.issue(clock.now()).map_err(Into::into);
        Ok(Arc::new(Certificates::issued_by(issue)?))
    }
}

/// Makes a new server certificate every hour, for as long as the process lives. That often, because the time for which
/// a machine sleeps does not count.
pub async fn renew(certificates: Arc<Certificates>) {
    loop {
        tokio::time::sleep(RENEWAL).await;
        if let Err(error) = certificates.reload() {
            tracing::error!(error = &error as &dyn std::error::Error, "the server certificate stays as it was");
        }
    }
}

fn read(bytes: &[u8]) -> anyhow::Result<(Stored, KeyPair)> {
    // The parser's message quotes what it read, which is a key.
    let stored: Stored = serde_json::from_slice(bytes).map_err(|_| anyhow::anyhow!("it is damaged"))?;
    let key = KeyPair::from_pem(&stored.private_key).map_err(|_| anyhow::anyhow!("its key is damaged"))?;
    Ok((stored, key))
}

fn unusable(file: &Path) -> String {
    format!(
        "cannot use the local certificate authority in {}; remove the file and start again, and a new one is made, \
         which programs must be told to trust",
        file.display()
    )
}

fn make(today: Date) -> anyhow::Result<(Stored, KeyPair)> {
    let key = KeyPair::generate()?;
    let last_day = today.saturating_add(AUTHORITY_YEARS.years());
    let certificate = authority_params(&key, today, last_day).self_signed(&key)?;
    Ok((Stored { private_key: key.serialize_pem(), certificate: certificate.pem(), last_day }, key))
}

/// Writes by rename and readable by its owner only, so that a reader finds the old file or the whole new one.
fn write(path: &Path, content: &[u8]) -> anyhow::Result<()> {
    let directory = path.parent().context("a file in a directory")?;
    let written = || -> anyhow::Result<()> {
        let mut file = tempfile::Builder::new().prefix(".dev-").tempfile_in(directory)?;
        file.write_all(content)?;
        file.as_file().sync_all()?;
        file.persist(path)?;
        Ok(())
    };
    written().with_context(|| format!("cannot write {}", path.display()))
}

fn authority_params(key: &KeyPair, today: Date, last_day: Date) -> CertificateParams {
    let mut params = CertificateParams::default();
    // Whoever trusts two of them can tell them apart.
    let fingerprint = params.key_identifier(key);
    params.distinguished_name =
        common_name(format!("Passbook dev authority {}", crate::system::hex(&fingerprint[..4])));
    limit(&mut params, today, last_day);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    // 127.0.0.0/8 and ::1 (RFC 5280, section 4.2.1.10).
    params.name_constraints = Some(NameConstraints {
        permitted_subtrees: vec![
            GeneralSubtree::DnsName("localhost".to_owned()),
            GeneralSubtree::IpAddress(CidrSubnet::V4([127, 0, 0, 0], [255, 0, 0, 0])),
            GeneralSubtree::IpAddress(CidrSubnet::V6(std::net::Ipv6Addr::LOCALHOST.octets(), [255; 16])),
        ],
        excluded_subtrees: Vec::new(),
    });
    params
}

fn common_name(name: String) -> DistinguishedName {
    let mut distinguished_name = DistinguishedName::new();
    distinguished_name.push(DnType::CommonName, name);
    distinguished_name
}

fn server_last_day(today: Date) -> Date {
    today.saturating_add(SERVER_DAYS.days())
}

/// Makes it good from the day before, because clocks differ, to the start of the last day.
fn limit(params: &mut CertificateParams, today: Date, last_day: Date) {
    let start = |day: Date| date_time_ymd(day.year().into(), day.month().unsigned_abs(), day.day().unsigned_abs());
    (params.not_before, params.not_after) = (start(today.saturating_sub(1.day())), start(last_day));
}

fn date_of(instant: Timestamp) -> Date {
    Offset::UTC.to_datetime(instant).date()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use rustls::{
        RootCertStore,
        client::{WebPkiServerVerifier, danger::ServerCertVerifier as _},
        crypto::aws_lc_rs,
        pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject as _},
    };

    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn noon() -> Timestamp {
        at("2026-03-01T12:00:00Z")
    }

    /// Whether a client that trusts `ca_file` alone accepts the certificate for this name at this instant.
    fn accepts(ca_file: &Path, issued: &Issued, name: &str, now: Timestamp) -> bool {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(ca_file).unwrap()).unwrap();
        let provider = Arc::new(aws_lc_rs::default_provider());
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let now = UnixTime::since_unix_epoch(Duration::from_secs(now.as_second().unsigned_abs()));
        verifier.verify_server_cert(&issued.chain[0], &[], &name, &[], now).is_ok()
    }

    #[test]
    fn a_certificate_is_good_for_this_machine_for_a_month() {
        let data = tempfile::tempdir().unwrap();
        let authority = Authority::open(data.path(), noon()).unwrap();
        let (ca, issued) = (authority.certificate_file(), authority.issue(noon()).unwrap());
        for name in ["localhost", "127.0.0.1", "::1"] {
            assert!(accepts(ca, &issued, name, noon()), "{name}");
        }
        for name in ["bank.example", "127.0.0.2", "10.0.0.1"] {
            assert!(!accepts(ca, &issued, name, noon()), "{name}");
        }
        assert!(accepts(ca, &issued, "localhost", at("2026-03-30T00:00:00Z")));
        assert!(!accepts(ca, &issued, "localhost", at("2026-04-01T00:00:00Z")));
        assert_ne!(authority.issue(noon()).unwrap().chain, issued.chain, "each certificate has a key of its own");
    }

    #[test]
    fn whoever_has_the_key_cannot_speak_for_another_machine() {
        let data = tempfile::tempdir().unwrap();
        let authority = Authority::open(data.path(), noon()).unwrap();
        for name in ["bank.example", "10.0.0.1", "2001:db8::1"] {
            let issued = authority.issue_for(&[name], noon()).unwrap();
            assert!(!accepts(authority.certificate_file(), &issued, name, noon()), "{name}");
        }
    }

    #[test]
    fn a_later_start_finds_the_authority_and_puts_its_certificate_back() {
        let data = tempfile::tempdir().unwrap();
        let ca = Authority::open(data.path(), noon()).unwrap().certificate_file().to_owned();
        let certificate = std::fs::read(&ca).unwrap();
        let files = [AUTHORITY_FILE, CERTIFICATE_FILE].map(|name| data.path().join(name));
        for file in &files {
            assert_eq!(std::fs::metadata(file).unwrap().permissions().mode() & 0o777, 0o600, "{}", file.display());
        }
        std::fs::remove_file(&ca).unwrap();
        let later = at("2030-12-31T00:00:00Z");
        let authority = Authority::open(data.path(), later).unwrap();
        assert_eq!(std::fs::read(&ca).unwrap(), certificate);
        assert!(accepts(&ca, &authority.issue(later).unwrap(), "localhost", later));
    }

    #[test]
    fn an_authority_at_its_end_is_followed_by_a_new_one() {
        let data = tempfile::tempdir().unwrap();
        let ca = Authority::open(data.path(), noon()).unwrap().certificate_file().to_owned();
        let certificate = std::fs::read(&ca).unwrap();
        let later = at("2031-02-10T00:00:00Z");
        let authority = Authority::open(data.path(), later).unwrap();
        assert_ne!(std::fs::read(&ca).unwrap(), certificate);
        assert!(accepts(&ca, &authority.issue(later).unwrap(), "localhost", later));
    }

    #[test]
    fn a_damaged_authority_is_refused_by_name_and_left_alone() {
        let data = tempfile::tempdir().unwrap();
        Authority::open(data.path(), noon()).unwrap();
        let file = data.path().join(AUTHORITY_FILE);
        let whole = std::fs::read(&file).unwrap();
        for damaged in [&whole[..whole.len() / 2], b"", b"{\"private_key\":\"x\"}"] {
            std::fs::write(&file, damaged).unwrap();
            let Err(error) = Authority::open(data.path(), noon()) else { panic!("damaged, and accepted") };
            let message = format!("{error:#}");
            assert!(message.contains(&*file.to_string_lossy()) && message.contains("remove the file"), "{message}");
            assert_eq!(std::fs::read(&file).unwrap(), damaged);
        }
    }
}
