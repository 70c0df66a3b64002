//! Combinations that are refused because they are unsafe together, and those that are worth a warning.
//!
//! Each refusal names every setting that takes part, because changing any of them puts it right.

use std::path::{Component, Path, PathBuf};

use super::{Config, Place, Problems};

/// How long a bank may take for one product; see `workers`.
const FETCH_SECONDS_MAX: i64 = 60;

pub(super) fn judge(config: &Config, problems: &mut Problems) {
    let server = &config.server;
    let is_public = !server.listen.ip().to_canonical().is_loopback();
    if is_public && server.tls.is_none() && server.trusted_proxies.is_empty() {
        let what = "listens beyond this machine in plain HTTP: secrets would cross the network in the clear";
        let remedy = "set server.tls_certificate_file and server.tls_key_file, name the TLS proxy in front in \
                      server.trusted_proxies, or listen on 127.0.0.1";
        problems.add("server.listen", what, remedy);
    }
    if server.operator_listen.is_some_and(|operators| operators == server.listen && operators.port() != 0) {
        problems.add("server.operator_listen", "is the same as server.listen", "give it a port of its own");
    }
    if is_public && !config.limits.enabled {
        let remedy = "set limits.enabled = true, or server.listen to an address of this machine";
        problems.add("limits.enabled", "is false while server.listen is beyond this machine", remedy);
    }
    if matches!(config.store.place, Place::Embedded) {
        if server.replicas > 1 {
            let remedy = "set server.replicas = 1, or store.kind = \"postgres\"";
            problems.add("server.replicas", "is more than one on the embedded store, which serves one process", remedy);
        }
        if server.role != super::Role::All {
            let remedy = "set server.role = \"all\", or store.kind = \"postgres\"";
            problems.add(
                "server.role",
                "leaves half of the work to another process, and the embedded store serves one",
                remedy,
            );
        }
    }
    if let Some(file) = &config.keys.master_key_file
        && lies_in(file, &config.store.data)
    {
        let what = "lies in store.data: whoever copies the data has the key to it";
        problems.add("keys.master_key_file", what, "keep the key elsewhere, for example in /etc/passbook");
    }
}

pub(super) fn warnings(config: &Config) -> Vec<String> {
    let mut warnings = Vec::new();
    let server = &config.server;
    if server.listen.ip().is_unspecified() && server.public_url.is_none() && server.hosts.is_empty() {
        let text =
            "server.hosts: no name is given, so only this machine is answered; set server.public_url or server.hosts";
        warnings.push(text.to_owned());
    }
    if server.operator_listen.is_some_and(|operators| !operators.ip().to_canonical().is_loopback()) {
        let text = "server.operator_listen: whoever reaches it reads the metrics; let only your monitoring reach it";
        warnings.push(text.to_owned());
    }
    if config.sandbox.enabled {
        warnings.push("sandbox.enabled: the calls under /sandbox have no request limits".to_owned());
    }
    if config.workers.lease.as_secs() <= FETCH_SECONDS_MAX {
        warnings
            .push("workers.lease_seconds: a job of a slow bank is taken over while it runs, and fetched twice".into());
    }
    if config.limits.enabled && config.limits.factor > 1 {
        warnings.push(format!("limits.factor: {} times the contract's limits are allowed", config.limits.factor));
    }
    if !config.limits.enabled {
        warnings.push("limits.enabled: there are no request limits".to_owned());
    }
    if lies_in(&config.store.deletion_ledger, &config.store.data) {
        let text = "store.deletion_ledger: lies in store.data; leave it out of copies of that directory, or deleted \
                    links come back with one";
        warnings.push(text.to_owned());
    }
    warnings
}

/// Whether the file is below the directory, as far as the file system can tell.
fn lies_in(file: &Path, directory: &Path) -> bool {
    settled(file).starts_with(settled(directory))
}

/// The path with its links followed, or at least with `.` and `..` resolved when it does not exist.
fn settled(path: &Path) -> PathBuf {
    if let Ok(found) = path.canonicalize() {
        return found;
    }
    if let (Some(parent), Some(name)) = (path.parent(), path.file_name())
        && let Ok(found) = parent.canonicalize()
    {
        return found.join(name);
    }
    let mut plain = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir => {
                plain.pop();
            }
            component => plain.push(component),
        }
    }
    plain
}
