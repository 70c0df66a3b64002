//! Which crate may use which. A crate exists to forbid a dependency; here is what it forbids.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::command::{cargo, command, output};

/// Every crate of the workspace and the crates of the workspace it may use. A new arrow needs a decision record.
const ALLOWED: &[(&str, &[&str])] = &[
    ("moneykit", &[]),
    ("moneykit-cli", &["moneykit"]),
    ("passbook-core", &[]),
    ("passbook-store", &["passbook-core", "postgres-cluster"]),
    ("passbook-connectors", &["passbook-core"]),
    ("passbook", &["passbook-store", "passbook-connectors", "passbook-core", "moneykit", "postgres-cluster"]),
    ("passbook-proof", &["passbook", "passbook-store", "passbook-core", "moneykit", "postgres-cluster"]),
    ("postgres-cluster", &[]),
    ("xtask", &[]),
];

/// Crates that reach a network, a disk or an executor. The domain is pure, so none may be under it, however deep.
const INPUT_OUTPUT: &[&str] = &[
    "async-std",
    "axum",
    "hyper",
    "libsqlite3-sys",
    "mio",
    "refinery",
    "reqwest",
    "rusqlite",
    "socket2",
    "sqlx",
    "tokio",
    "tokio-postgres",
    "ureq",
];

/// The part of `cargo metadata` this check reads.
#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    workspace_members: Vec<String>,
    resolve: Resolve,
}

#[derive(Deserialize)]
struct Package {
    id: String,
    name: String,
    dependencies: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    name: String,
    /// Present exactly for dependencies inside the repository.
    path: Option<String>,
    /// Absent for a normal dependency.
    kind: Option<String>,
    features: Vec<String>,
    uses_default_features: bool,
}

#[derive(Deserialize)]
struct Resolve {
    nodes: Vec<Node>,
}

#[derive(Deserialize)]
struct Node {
    id: String,
    deps: Vec<Edge>,
}

#[derive(Deserialize)]
struct Edge {
    pkg: String,
    dep_kinds: Vec<EdgeKind>,
}

#[derive(Deserialize)]
struct EdgeKind {
    kind: Option<String>,
}

/// Every arrow of this workspace that should not be there.
pub fn findings() -> Result<Vec<String>> {
    // Without a platform, cargo downloads the crates of every other platform first.
    let host = host_platform()?;
    let metadata = output(cargo(&["metadata", "--format-version", "1", "--locked", "--filter-platform"]).arg(host))?;
    Ok(wrong_arrows(&serde_json::from_slice(&metadata).context("cargo metadata")?))
}

fn host_platform() -> Result<String> {
    let version = String::from_utf8(output(command("rustc").arg("-vV"))?).context("rustc -vV")?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: ")).context("rustc -vV names no host")?;
    Ok(host.to_owned())
}

fn wrong_arrows(metadata: &Metadata) -> Vec<String> {
    let mut findings = Vec::new();
    for package in metadata.packages.iter().filter(|package| metadata.workspace_members.contains(&package.id)) {
        match ALLOWED.iter().find(|(name, _)| *name == package.name) {
            None => findings.push(format!("crate `{}` is not in the table of allowed arrows", package.name)),
            Some((_, allowed)) => findings.extend(wrong_arrows_of(package, allowed)),
        }
    }
    findings.extend(input_output_under(metadata, "passbook-core"));
    findings
}

fn wrong_arrows_of(package: &Package, allowed: &[&str]) -> Vec<String> {
    let mut findings = Vec::new();
    for dependency in package.dependencies.iter().filter(|dependency| dependency.path.is_some()) {
        // A crate's tests may name the crate itself, for example to switch a feature on.
        if dependency.name != package.name && !allowed.contains(&dependency.name.as_str()) {
            findings.push(format!("wrong arrow: {} -> {}", package.name, dependency.name));
        }
        let for_tests = package.name != "passbook-proof" && dependency.name == "postgres-cluster";
        if for_tests && dependency.kind.as_deref() != Some("dev") {
            findings.push(format!("{} may use postgres-cluster in its tests only", package.name));
        }
        let with_client = dependency.uses_default_features || dependency.features.iter().any(|name| name == "client");
        // The SDK is tried against the built server in the server's tests.
        let is_built = dependency.kind.as_deref() != Some("dev");
        if package.name == "passbook" && dependency.name == "moneykit" && with_client && is_built {
            findings.push("passbook -> moneykit must leave the `client` feature off".to_owned());
        }
    }
    findings
}

/// The input/output crates reachable from `name` through normal and build dependencies.
fn input_output_under(metadata: &Metadata, name: &str) -> Vec<String> {
    let names: BTreeMap<&str, &str> =
        metadata.packages.iter().map(|package| (package.id.as_str(), package.name.as_str())).collect();
    let nodes: BTreeMap<&str, &Node> = metadata.resolve.nodes.iter().map(|node| (node.id.as_str(), node)).collect();
    let mut seen = BTreeSet::new();
    let mut waiting: Vec<&str> = names.iter().filter(|(_, candidate)| **candidate == name).map(|(id, _)| *id).collect();
    while let Some(id) = waiting.pop() {
        if !seen.insert(id) {
            continue;
        }
        let edges = nodes.get(id).map(|node| node.deps.as_slice()).unwrap_or_default();
        let kept = edges.iter().filter(|edge| edge.dep_kinds.iter().any(|kind| kind.kind.as_deref() != Some("dev")));
        waiting.extend(kept.map(|edge| edge.pkg.as_str()));
    }
    let reached = seen.iter().filter_map(|id| names.get(id)).filter(|found| INPUT_OUTPUT.contains(found));
    reached.map(|found| format!("{name} must stay free of input and output but reaches `{found}`")).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn package(name: &str, dependencies: &[Value]) -> Value {
        json!({ "id": name, "name": name, "dependencies": dependencies })
    }

    fn path_dependency(name: &str) -> Value {
        json!({ "name": name, "path": "/somewhere", "features": [], "uses_default_features": false })
    }

    fn edge(target: &str, kind: Option<&str>) -> Value {
        json!({ "pkg": target, "dep_kinds": [{ "kind": kind }] })
    }

    fn check(packages: &[Value], nodes: &[Value]) -> Vec<String> {
        let members: Vec<_> = packages.iter().map(|package| package["id"].clone()).collect();
        let metadata = json!({ "packages": packages, "workspace_members": members, "resolve": { "nodes": nodes } });
        wrong_arrows(&serde_json::from_value(metadata).expect("fabricated metadata"))
    }

    #[test]
    fn an_arrow_that_points_up_is_found() {
        let found = check(&[package("passbook-core", &[path_dependency("passbook-store")])], &[]);
        assert_eq!(found, ["wrong arrow: passbook-core -> passbook-store"]);
    }

    #[test]
    fn an_arrow_between_siblings_is_found() {
        let found = check(&[package("passbook-store", &[path_dependency("passbook-connectors")])], &[]);
        assert_eq!(found, ["wrong arrow: passbook-store -> passbook-connectors"]);
    }

    #[test]
    fn allowed_arrows_and_outside_crates_pass() {
        let outside = json!({ "name": "serde", "path": null, "features": [], "uses_default_features": true });
        assert!(check(&[package("passbook-store", &[path_dependency("passbook-core"), outside])], &[]).is_empty());
    }

    #[test]
    fn an_unknown_crate_is_found() {
        assert_eq!(check(&[package("helpers", &[])], &[]), ["crate `helpers` is not in the table of allowed arrows"]);
    }

    #[test]
    fn the_server_may_not_take_the_client_of_the_sdk() {
        let mut dependency = path_dependency("moneykit");
        assert!(check(&[package("passbook", &[dependency.clone()])], &[]).is_empty());
        dependency["uses_default_features"] = json!(true);
        let found = check(&[package("passbook", &[dependency.clone()])], &[]);
        assert_eq!(found, ["passbook -> moneykit must leave the `client` feature off"]);
        dependency["kind"] = json!("dev");
        assert!(check(&[package("passbook", &[dependency])], &[]).is_empty());
    }

    #[test]
    fn the_cluster_for_tests_is_used_in_tests_only() {
        let mut dependency = path_dependency("postgres-cluster");
        assert_eq!(
            check(&[package("passbook-store", &[dependency.clone()])], &[]),
            ["passbook-store may use postgres-cluster in its tests only"]
        );
        dependency["kind"] = json!("dev");
        assert!(check(&[package("passbook-store", &[dependency])], &[]).is_empty());
    }

    #[test]
    fn input_and_output_deep_under_the_domain_is_found() {
        let packages = [package("passbook-core", &[]), package("middle", &[]), package("tokio", &[])];
        let nodes = [
            json!({ "id": "passbook-core", "deps": [edge("middle", None)] }),
            json!({ "id": "middle", "deps": [edge("tokio", None)] }),
        ];
        let found = check(&packages, &nodes);
        assert!(found.contains(&"passbook-core must stay free of input and output but reaches `tokio`".to_owned()));
    }

    #[test]
    fn a_dev_dependency_of_the_domain_may_do_input_and_output() {
        let packages = [package("passbook-core", &[]), package("tokio", &[])];
        let nodes = [json!({ "id": "passbook-core", "deps": [edge("tokio", Some("dev"))] })];
        assert!(check(&packages, &nodes).iter().all(|finding| !finding.contains("input and output")));
    }
}
