//! `[store]`: where data is.

use std::path::PathBuf;

use jiff::SignedDuration;
use passbook_core::{quota::Quota, secret::SecretBytes};
use url::Url;

use super::{
    Settings,
    settings::{Kind, is_loopback},
};
use crate::services::quota::Bounds;

pub(super) const KEYS: &[(&str, Kind)] = &[
    ("kind", Kind::Text),
    ("data", Kind::Text),
    ("deletion_ledger", Kind::Text),
    ("url", Kind::Secret),
    ("tls_ca_file", Kind::Text),
    ("connections", Kind::Number),
    ("audit_days", Kind::Number),
    ("quota_rows", Kind::Number),
    ("quota_mib", Kind::Number),
];

/// Which store.
#[derive(Debug)]
pub enum Place {
    /// The embedded one, in the data directory.
    Embedded,
    /// A database server.
    Server {
        /// Where it is; may hold a password.
        url: SecretBytes,
        /// Who may have signed its certificate.
        tls_ca_file: Option<PathBuf>,
        /// Connections for writes and for long reads.
        connections: u32,
    },
}

/// See the module page.
#[derive(Debug)]
pub struct Store {
    /// Directory of this process's own files.
    pub data: PathBuf,
    /// The deletion ledger.
    pub deletion_ledger: PathBuf,
    /// Which store.
    pub place: Place,
    /// How long records are kept, and how much an app may store.
    pub bounds: Bounds,
}

impl Store {
    pub(super) fn read(settings: &mut Settings) -> Self {
        let data = PathBuf::from(settings.text("store.data").unwrap_or_default());
        if data.as_os_str().is_empty() {
            settings.problems.add("store.data", "is empty", "name a directory");
        }
        let ledger = settings.text("store.deletion_ledger");
        let deletion_ledger = ledger.map_or_else(|| data.join("deletions.ledger"), PathBuf::from);
        let connections = settings.number("store.connections", 2..=200);
        let tls_ca_file = settings.text("store.tls_ca_file").map(PathBuf::from);
        let url = settings.secret("store.url");
        let place = match (settings.text("store.kind").as_deref(), url) {
            (Some("sqlite"), None) => Place::Embedded,
            (Some("sqlite"), Some(_)) => {
                settings.problems.add("store.url", "is given beside store.kind = \"sqlite\"", "leave one of them out");
                Place::Embedded
            }
            (Some("postgres"), Some(url)) => {
                check_url(settings, &url, tls_ca_file.is_some());
                Place::Server { url, tls_ca_file, connections }
            }
            (Some("postgres"), None) => {
                if !settings.problems.concern("store.url") && !settings.problems.concern("store.url_file") {
                    settings.problems.add("store.url", "is missing", "PostgreSQL needs store.url or store.url_file");
                }
                Place::Embedded
            }
            _ => {
                settings.problems.add("store.kind", "is not a store", "give sqlite or postgres");
                Place::Embedded
            }
        };
        Self { data, deletion_ledger, place, bounds: read_bounds(settings) }
    }
}

fn read_bounds(settings: &mut Settings) -> Bounds {
    let days = settings.number("store.audit_days", 1..=36_500);
    let mut limit = |name| match settings.number(name, 0..=u32::MAX) {
        0 => None,
        most => Some(u64::from(most)),
    };
    let (rows, mib) = (limit("store.quota_rows"), limit("store.quota_mib"));
    let quota = Quota { rows, bytes: mib.map(|mib| mib << 20) };
    Bounds { audit: SignedDuration::from_hours(i64::from(days) * 24), quota }
}

/// Beyond this machine the connection is encrypted, and the server shows a certificate that somebody known signed.
fn check_url(settings: &mut Settings, url: &SecretBytes, knows_signer: bool) {
    let name = "store.url";
    let text = std::str::from_utf8(url.expose()).unwrap_or_default().trim();
    let parsed = Url::parse(text).ok().filter(|url| matches!(url.scheme(), "postgres" | "postgresql"));
    // The driver knows no fragments: what follows would be read here and there differently.
    let parsed = parsed.filter(|url| url.fragment().is_none());
    let Some(parsed) = parsed else {
        let remedy = "write it as postgres://user@host/database?sslmode=require";
        settings.problems.add(name, "is not a PostgreSQL URL", remedy);
        return;
    };
    // The driver takes the last of several.
    let modes = parsed.query_pairs().filter(|(key, _)| key == "sslmode");
    let mode = modes.last().map_or_else(|| "prefer".to_owned(), |(_, value)| value.into_owned());
    if !["disable", "prefer", "require"].contains(&mode.as_str()) {
        let remedy = "write sslmode=require; with store.tls_ca_file certificate and name are always checked";
        settings.problems.add(name, "has an sslmode that is not known here", remedy);
    } else if mode == "disable" && knows_signer {
        let remedy = "leave one of them out";
        settings.problems.add("store.tls_ca_file", "is given beside sslmode=disable in store.url", remedy);
    } else if !names_this_machine(&parsed) {
        if mode != "require" {
            let remedy = "add sslmode=require to it; account data would cross the network in the clear";
            settings.problems.add(name, "names another machine without TLS", remedy);
        } else if !knows_signer {
            let remedy = "name the PEM file of the authority that signed the database server's certificate";
            settings.problems.add("store.tls_ca_file", "is missing for a database on another machine", remedy);
        }
    }
}

/// Whether the driver can reach nobody else: it tries every host and address that the URL gives in any place.
fn names_this_machine(url: &Url) -> bool {
    let given = url.query_pairs().filter(|(key, _)| key == "host" || key == "hostaddr");
    let given = given.map(|(_, value)| value.into_owned());
    let mut hosts = given.chain([percent_decoded(url.host_str().unwrap_or_default())]);
    // A host that begins with a slash is the directory of a socket.
    hosts.all(|hosts| hosts.split(',').all(|host| host.is_empty() || host.starts_with('/') || is_loopback(host)))
}

fn percent_decoded(host: &str) -> String {
    percent_encoding::percent_decode_str(host).decode_utf8_lossy().into_owned()
}
