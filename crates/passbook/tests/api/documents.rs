//! The two documents that the server gives out, held to what it does.

use std::collections::BTreeSet;

use passbook::api::operation::{Narrow, Operation};
use passbook_core::tenant::Scope;
use serde_json::{Value, json};
use yaml_rust2::{Yaml, YamlLoader};

use crate::support::{PUBLIC_URL, TestServer};

/// The contract.
pub const CONTRACT: &str = "openapi.yaml";
/// What is ours beside it.
pub const OWN: &str = "passbook.yaml";

/// The text of a document.
fn source(file: &str) -> String {
    let path = format!("{}/../../contract/{file}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// A document, read.
pub fn document(file: &str) -> Value {
    parsed(&source(file))
}

fn parsed(text: &str) -> Value {
    let documents = YamlLoader::load_from_str(text).expect("YAML");
    assert_eq!(documents.len(), 1);
    to_json(&documents[0])
}

fn to_json(yaml: &Yaml) -> Value {
    match yaml {
        // Whole numbers over 2^63 come as these, too.
        Yaml::Real(text) => {
            text.parse::<u64>().map_or_else(|_| text.parse::<f64>().expect("a number").into(), Into::into)
        }
        Yaml::Integer(number) => (*number).into(),
        Yaml::String(text) => text.as_str().into(),
        Yaml::Boolean(truth) => (*truth).into(),
        Yaml::Array(items) => items.iter().map(to_json).collect(),
        Yaml::Hash(entries) => {
            let entry = |(key, value): (&Yaml, &Yaml)| (key.as_str().expect("a text").to_owned(), to_json(value));
            entries.iter().map(entry).collect()
        }
        Yaml::Null => Value::Null,
        Yaml::Alias(_) | Yaml::BadValue => panic!("not plain YAML"),
    }
}

/// Method, path and description of every operation.
pub fn operations(document: &Value) -> Vec<(String, String, Value)> {
    let mut found = Vec::new();
    for (path, item) in document["paths"].as_object().expect("paths") {
        for method in ["get", "post", "put", "patch", "delete"] {
            if let Some(operation) = item.get(method) {
                found.push((method.to_uppercase(), path.clone(), operation.clone()));
            }
        }
    }
    found
}

/// What a `$ref` leads to, or the value itself.
pub fn resolved<'a>(document: &'a Value, value: &'a Value) -> &'a Value {
    match value["$ref"].as_str() {
        Some(place) => document.pointer(place.trim_start_matches('#')).unwrap_or_else(|| panic!("nothing at {place}")),
        None => value,
    }
}

#[tokio::test]
async fn each_document_names_this_server_and_no_other() {
    let server = TestServer::start().await;
    for (path, file) in [("/openapi.yaml", CONTRACT), ("/passbook/openapi.yaml", OWN)] {
        let answer = server.anonymous("GET", path).send().await;
        assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/yaml")), "{path}");
        let text = answer.text();
        let served = parsed(&text);
        let servers = served["servers"].as_array().expect("servers");
        assert_eq!(servers.iter().map(|server| &server["url"]).collect::<Vec<_>>(), [PUBLIC_URL], "{path}");
        let addresses: Vec<_> = text.split("://").skip(1).map(|rest| rest.split(['"', ' ', '\n']).next()).collect();
        assert_eq!(addresses, [Some("passbook.test")], "{path} names another host");
        let mut expected = document(file);
        expected["servers"][0]["url"] = json!(PUBLIC_URL);
        assert_eq!(served, expected, "{path}");
    }
}

#[test]
fn scopes_and_request_limits_stand_in_the_documents() {
    let names: BTreeSet<&str> = Scope::ALL.iter().map(|scope| scope.as_str()).collect();
    let mut described = 0;
    for file in [CONTRACT, OWN] {
        let whole = document(file);
        let flow = &whole["components"]["securitySchemes"]["OAuth2ClientCredentials"]["flows"]["clientCredentials"];
        let scopes = flow["scopes"].as_object().expect("scopes");
        assert_eq!(scopes.keys().map(String::as_str).collect::<BTreeSet<_>>(), names, "{file}");
        for (method, path, operation) in operations(&whole) {
            let id = operation["operationId"].as_str().expect("an id");
            let known = Operation::ALL.iter().copied().find(|known| known.id() == id);
            let known = known.unwrap_or_else(|| panic!("{method} {path}: nobody knows {id}"));
            let public = operation["security"].as_array().expect("security").contains(&json!({}));
            let needs: Vec<&str> =
                [known.scope(), known.further_scope()].into_iter().flatten().map(Scope::as_str).collect();
            if !public {
                assert_eq!(operation["security"][0], json!({"OAuth2ClientCredentials": needs}), "{id}");
            }
            let mut limits = serde_json::Map::new();
            if known.per_app() > 0 {
                limits.insert("app".to_owned(), known.per_app().into());
            }
            match known.narrow() {
                Narrow::Link(limit) => drop(limits.insert("link".to_owned(), limit.into())),
                Narrow::User(limit) => drop(limits.insert("user".to_owned(), limit.into())),
                Narrow::None => {}
            }
            let told = operation["x-requests-per-minute"].as_object().cloned().unwrap_or_default();
            assert_eq!(told, limits, "{id}");
            described += 1;
        }
    }
    assert!(described >= 39, "{described}");
}

/// Tools that take the first path that fits must find the narrower one first.
#[test]
fn a_path_stands_before_every_wider_one_that_fits_it() {
    for file in [CONTRACT, OWN] {
        let text = source(file);
        let paths: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("  /")?.strip_suffix(':')).collect();
        assert!(paths.len() >= 10, "{file}");
        for (position, path) in paths.iter().enumerate() {
            for wider in &paths[..position] {
                assert!(!fits(path, wider), "{file}: /{wider} stands before /{path}");
            }
        }
    }
}

/// Whether a tool could take a request for `path` for one of `template`.
fn fits(path: &str, template: &str) -> bool {
    let (path, template): (Vec<_>, Vec<_>) = (path.split('/').collect(), template.split('/').collect());
    path.len() == template.len()
        && path
            .iter()
            .zip(&template)
            .all(|(part, slot)| part == slot || (slot.starts_with('{') && !part.starts_with('{')))
}

#[test]
fn what_both_documents_describe_is_the_same_in_both() {
    let (contract, own) = (document(CONTRACT), document(OWN));
    let mut shared = 0;
    for (kind, components) in own["components"].as_object().expect("components") {
        for (name, component) in components.as_object().expect("named components") {
            if let Some(other) = contract["components"][kind].get(name) {
                assert_eq!(component, other, "{kind}/{name}");
                shared += 1;
            }
        }
    }
    assert!(shared >= 40, "{shared}");
}

#[test]
fn an_operation_has_an_idempotency_key_where_the_server_reads_one() {
    let directory = format!("{}/src/api", env!("CARGO_MANIFEST_DIR"));
    let calls: usize = std::fs::read_dir(directory)
        .expect("the sources")
        .map(|file| std::fs::read_to_string(file.expect("a file").path()).expect("a source"))
        .map(|source| source.matches("answer_once(&api").count())
        .sum();
    let key = json!({"$ref": "#/components/parameters/IdempotencyKey"});
    let documented: Vec<String> = [CONTRACT, OWN]
        .iter()
        .flat_map(|file| operations(&document(file)))
        .filter(|(_, _, operation)| operation["parameters"].as_array().is_some_and(|found| found.contains(&key)))
        .map(|(method, path, _)| format!("{method} {path}"))
        .collect();
    assert_eq!(documented.len(), calls, "{documented:?}");
}
