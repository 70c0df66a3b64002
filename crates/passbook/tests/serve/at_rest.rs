//! What a thief of the database server's disk gets: no secret in any byte of the cluster, its log included.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use postgres_cluster::{Cluster, Place, Stop};
use serde_json::{Value, json};

use crate::{
    canaries::Canaries,
    hosted::{Client, Database, ask, call, field, wait_until},
    process::{Process, Site, send},
};

const ACCOUNT_NUMBER: &str = "98765001234567";
const ROUTING_NUMBER: &str = "322271627";
const OWNER: &str = "Canarina Birdwhistle";
const STREET: &str = "17 Yellow Feather Lane";
const EMAIL: &str = "canary@feathers.example";
const PHONE: &str = "+14155557788";
const CODE: &str = "canary-code-775533";
const IDEMPOTENCY_KEY: &str = "canary-idempotency-key-1";
const STATEMENT_NUMBER: &str = "1000200030";
const MASTER_KEY: [u8; 32] = *b"canary master key of 32 bytes ok";

/// Stored in the clear on purpose: what the scan must find, or it proves nothing.
const CONTROL: &str = "credentials_bank";

/// The server logs every statement with all of its values, as a careless administrator would have it.
const TALKATIVE: [&str; 4] = [
    "log_min_messages = log",
    "log_error_verbosity = default",
    "log_statement = 'all'",
    "log_parameter_max_length = -1",
];

/// Large values are kept as they are: compression could break a secret up, and the scan would be blind for it.
const STORE_UNCOMPRESSED: &str = "DO $$ DECLARE it record; BEGIN \
    FOR it IN SELECT table_name, column_name FROM information_schema.columns \
        WHERE table_schema = 'public' AND data_type IN ('text', 'bytea') \
    LOOP EXECUTE format('ALTER TABLE %I ALTER COLUMN %I SET STORAGE EXTERNAL', it.table_name, it.column_name); \
    END LOOP; END $$";

/// Which files hold what.
type Findings = BTreeMap<String, Vec<PathBuf>>;

fn scan(places: &[PathBuf], canaries: &Canaries) -> Findings {
    let mut findings = Findings::new();
    for path in places.iter().flat_map(|place| files_below(place)) {
        for name in canaries.found_in(&std::fs::read(&path).expect("its bytes")) {
            findings.entry(name).or_default().push(path.clone());
        }
    }
    findings
}

fn files_below(place: &Path) -> Vec<PathBuf> {
    if !place.is_dir() {
        return if place.is_file() { vec![place.to_owned()] } else { Vec::new() };
    }
    let entries = std::fs::read_dir(place).expect("a directory").map(|entry| entry.expect("an entry").path());
    entries.flat_map(|path| files_below(&path)).collect()
}

fn custom_link() -> Value {
    let owner = json!({
        "names": [OWNER], "emails": [{"address": EMAIL}],
        "addresses": [{"street": STREET}], "phone_numbers": [{"number": PHONE, "type": "home"}]
    });
    let account = json!({
        "account_type": "checking", "name": "Custom", "account_number": ACCOUNT_NUMBER, "routing_number": ROUTING_NUMBER
    });
    let data = json!({"accounts": [account], "owners": [owner]});
    json!({"institution_id": CONTROL, "username": "user_custom", "custom_sandbox_data": data})
}

/// Everything that handles a secret, with the secrets that it shows.
fn drive(site: &Site, server: &Process, canaries: &mut Canaries) {
    let client = Client::add(site, "sandbox");
    canaries.add("client secret", &client.secret);
    canaries.add("token", &client.token(server).expect("a token"));
    let rotated = client.with(field(&ask(site, &["clients", "rotate", &client.id]), "client_secret"));
    canaries.add("second client secret", &rotated.secret);
    let custom = client.link(server, custom_link());
    let read = |link: &str, what: &str| {
        let (status, answer) = rotated.call(server, "GET", &format!("/links/{link}/{what}"), &Value::Null);
        assert_eq!(status, 200, "{what}: {answer}");
        answer
    };
    assert!(read(&custom, "accounts/numbers").to_string().contains(ACCOUNT_NUMBER), "it is stored");
    assert!(read(&custom, "identity").to_string().contains(OWNER), "they are stored");
    let usual = client.link(server, json!({"institution_id": CONTROL}));
    for account in read(&usual, "accounts/numbers")["accounts"].as_array().expect("accounts") {
        canaries.add("simulated number", account["numbers"]["ach"][0]["account_number"].as_str().expect("a number"));
    }
    sign_in(server, &client, canaries);
    import(server, &client);

    let deleted = client.link(server, custom_link());
    for link in [&deleted, &custom] {
        assert_eq!(client.call(server, "DELETE", &format!("/links/{link}"), &Value::Null).0, 204);
    }
    let kept = client.link(server, custom_link());
    assert!(read(&kept, "accounts/numbers").to_string().contains(ACCOUNT_NUMBER), "one stays");
    ask(site, &["keys", "generate"]);
    ask(site, &["keys", "activate", "2"]);
    wait_until("the rotation is over", || ask(site, &["keys", "list"])[0]["links"] == 0);
}

/// Session, sign-in, exchange, and a call with an idempotency key.
fn sign_in(server: &Process, client: &Client, canaries: &mut Canaries) {
    let person = json!({"id": "user-0002", "email": {"address": EMAIL}, "phone": {"number": PHONE}});
    let body = json!({"customer_user": person, "redirect_uri": "https://shop.example/return"});
    let head = format!("{}idempotency-key: {IDEMPOTENCY_KEY}\r\n", client.head());
    let (status, session) = call(server.address, "POST", "/link-session", &head, &body);
    assert_eq!(status, 201, "{session}");
    let session = field(&session, "link_session_token");
    canaries.add("session token", &session);
    let body = json!({"link_session_token": session, "institution_id": CONTROL, "answers": {"code": CODE}});
    let (status, completed) = client.call(server, "POST", "/sandbox/link-sessions/complete", &body);
    assert_eq!(status, 201, "{completed}");
    let exchangeable = field(&completed, "exchangeable_token");
    canaries.add("exchangeable token", &exchangeable);
    let head = format!("{}idempotency-key: {IDEMPOTENCY_KEY}-2\r\n", client.head());
    let body = json!({"exchangeable_token": exchangeable});
    let (status, link) = call(server.address, "POST", "/link-session/exchange-token", &head, &body);
    assert_eq!(status, 201, "{link}");
}

fn import(server: &Process, client: &Client) {
    let name = concat!(env!("CARGO_MANIFEST_DIR"), "/../passbook-connectors/tests/fixtures/ofx/plain_sgml_crlf.ofx");
    let file = std::fs::read_to_string(name).expect("a statement");
    assert!(file.contains(STATEMENT_NUMBER));
    let path = "/passbook/links/import-file?customer_user_id=user-0003";
    let (status, answer) = send(server.address, "POST", path, &client.head(), &file).expect("an answer");
    assert_eq!(status, 201, "{answer}");
}

#[test]
fn no_byte_of_a_cluster_holds_a_secret_and_the_scan_finds_what_is_in_the_clear() {
    let Some(binaries) = postgres_cluster::binaries_for_tests() else { return };
    let mut cluster = Cluster::start(&binaries, Place::Memory, &TALKATIVE).expect("a cluster");
    let database = Database::create_on(cluster.url("postgres"));
    let site = database.site("[limits]\nenabled = false");
    let key = passbook::system::hex(&MASTER_KEY);
    site.private_file("master.key", &format!("passbook-master-key-v1:{key}\n"));
    ask(&site, &["migrate"]);
    database.run(STORE_UNCOMPRESSED);

    let mut canaries = Canaries::default();
    canaries.add_bytes("master key", &MASTER_KEY);
    for (name, secret) in [
        ("account number", ACCOUNT_NUMBER),
        ("routing number", ROUTING_NUMBER),
        ("owner", OWNER),
        ("street", STREET),
        ("e-mail address", EMAIL),
        ("phone number", PHONE),
        ("code", CODE),
        ("idempotency key", IDEMPOTENCY_KEY),
        ("statement number", STATEMENT_NUMBER),
    ] {
        canaries.add(name, secret);
    }
    let server = site.serve();
    drive(&site, &server, &mut canaries);
    assert!(canaries.count() >= 15, "{}", canaries.count());
    database.run("CHECKPOINT");
    server.stop();
    cluster.stop(Stop::Fast).expect("the cluster stops");
    let places = [cluster.data(), cluster.log(), site.path("data")];
    assert_eq!(scan(&places, &canaries), Findings::new());

    let mut control = Canaries::default();
    control.add("control", CONTROL);
    // In files as it is, in the log as the hexadecimal digits of a document.
    let found: Vec<_> = scan(&places, &control).into_values().flatten().collect();
    for place in [cluster.data().join("base"), cluster.data().join("pg_wal"), cluster.log()] {
        assert!(found.iter().any(|path| path.starts_with(&place)), "nothing in {}: {found:?}", place.display());
    }

    // And a secret would be found: here it is in the clear, and as bytes.
    cluster.start_again().expect("the cluster starts");
    let planted = format!("CREATE TABLE planted AS SELECT '{ACCOUNT_NUMBER}' AS number, '{OWNER}'::bytea AS owner");
    database.run(&format!("{planted}; CHECKPOINT"));
    cluster.stop(Stop::Fast).expect("the cluster stops");
    let found = scan(&[cluster.data().join("base")], &canaries);
    assert!(found.contains_key("account number (raw)") && found.contains_key("owner (raw)"), "{found:?}");
}
