//! Secrets in the memory of a server: used, and gone a while later.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;

use crate::canaries::Canaries;
use crate::deployment::operate;
use crate::http::{Answer, Connection, request};
use crate::server::{Plan, Server};

const ACCOUNT_NUMBER: &str = "98765001234567";
const OWNER: &str = "Canarina Birdwhistle";
const STREET: &str = "17 Yellow Feather Lane";
const EMAIL: &str = "canary@feathers.example";
const PHONE: &str = "+14155557788";
const CODE: &str = "canary-code-775533";
const IDEMPOTENCY_KEY: &str = "canary-idempotency-key-1";
/// In a request that is still arriving while memory is read: what the search must find, or it proves nothing.
const CONTROL: &str = "canary-of-control-424242";
/// Bytes read at once.
const CHUNK: usize = 1 << 20;

/// Uses secrets in every way that a client can, waits, and looks for them. Returns how many were looked for, and in how
/// many bytes.
///
/// # Errors
/// When one is found, or the search is blind.
pub async fn search(plan: &Plan, wait: Duration) -> Result<(u64, u64)> {
    let mut plan = plan.clone();
    plan.arguments.push("--allow-core-dumps".to_owned());
    let server = Server::start(&plan).await?;
    let mut canaries = Canaries::default();
    for (name, secret) in [
        ("account number", ACCOUNT_NUMBER),
        ("owner", OWNER),
        ("street", STREET),
        ("e-mail address", EMAIL),
        ("phone number", PHONE),
        ("code", CODE),
        ("idempotency key", IDEMPOTENCY_KEY),
    ] {
        canaries.add(name, secret);
    }
    use_secrets(&plan, &server, &mut canaries).await?;
    tokio::time::sleep(wait).await;
    let mut control = Connection::open(server.address).await?;
    control
        .stream()
        .write_all(format!("GET /links HTTP/1.1\r\nhost: localhost\r\nx-a: {CONTROL}\r\n").as_bytes())
        .await?;
    // The next answer of the server shows that it has looked at its sockets since.
    let mut other = Connection::open(server.address).await?;
    for _ in 0..100 {
        other.exchange(&request("GET", "/healthz", &[], b"")).await?;
    }
    let mut blind = Canaries::default();
    blind.add("control", CONTROL);
    let (found, bytes) = scan(server.pid(), &canaries, &blind)?;
    ensure!(found.1, "the search does not find what is there");
    ensure!(found.0.is_empty(), "in the server's memory: {}", found.0.join(", "));
    server.stop().await?;
    Ok((canaries.count() as u64, bytes))
}

async fn use_secrets(plan: &Plan, server: &Server, canaries: &mut Canaries) -> Result<()> {
    // A client of its own, made through the running server.
    let client = operate(plan, &["clients", "add", "--app", "experiment", "--environment", "sandbox"])?;
    let (id, secret) = (text(&client, "client_id")?, text(&client, "client_secret")?);
    canaries.add("client secret", &secret);
    let mut connection = Connection::open(server.address).await?;
    let mut call = async |method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]| -> Result<Answer> {
        let answer = connection.exchange(&request(method, path, headers, body)).await?;
        ensure!(answer.status < 300, "{method} {path}: {}", answer.status);
        Ok(answer)
    };
    let form = ("content-type", "application/x-www-form-urlencoded");
    let body = format!("grant_type=client_credentials&client_id={id}&client_secret={secret}");
    let token = text(&call("POST", "/auth/token", &[form], body.as_bytes()).await?.json(), "access_token")?;
    canaries.add("token", &token);
    let basic = format!("Basic {}", STANDARD.encode(format!("{id}:{secret}")));
    canaries.add("basic pair", basic.trim_start_matches("Basic "));
    let body = b"grant_type=client_credentials";
    let second = call("POST", "/auth/token", &[form, ("authorization", &basic)], body).await?.json();
    canaries.add("second token", &text(&second, "access_token")?);
    let bearer = format!("Bearer {token}");
    let (bearer, json_type) = (("authorization", bearer.as_str()), ("content-type", "application/json"));
    let pair = [("x-client-id", id.as_str()), ("x-client-secret", secret.as_str())];
    call("GET", "/links", &pair, b"").await?;

    let owner = json!({
        "names": [OWNER], "emails": [{"address": EMAIL}],
        "addresses": [{"street": STREET}], "phone_numbers": [{"number": PHONE, "type": "home"}]
    });
    let account = json!({
        "account_type": "checking", "name": "Custom", "account_number": ACCOUNT_NUMBER, "routing_number": "322271627"
    });
    let link = json!({
        "customer_user": {"id": "user-0001"}, "institution_id": "credentials_bank", "username": "user_custom",
        "custom_sandbox_data": {"accounts": [account], "owners": [owner]}
    });
    let link = call("POST", "/sandbox/links", &[bearer, json_type], link.to_string().as_bytes()).await?.json();
    let link = text(&link, "link_id")?;
    for what in ["accounts/numbers", "identity", "accounts", "transactions"] {
        // The first fetch may still be under way.
        let mut tries = 0;
        while call("GET", &format!("/links/{link}/{what}"), &[bearer], b"").await.is_err() {
            tries += 1;
            ensure!(tries < 500, "{what} cannot be read");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    let person = json!({"id": "user-0002", "email": {"address": EMAIL}, "phone": {"number": PHONE}});
    let body = json!({"customer_user": person, "redirect_uri": "http://localhost:3000/return"}).to_string();
    let key = ("idempotency-key", IDEMPOTENCY_KEY);
    let session = call("POST", "/link-session", &[bearer, json_type, key], body.as_bytes()).await?.json();
    let session = text(&session, "link_session_token")?;
    canaries.add("session token", &session);
    let body = json!({
        "link_session_token": session, "institution_id": "credentials_bank", "answers": {"code": CODE}
    });
    let path = "/sandbox/link-sessions/complete";
    let completed = call("POST", path, &[bearer, json_type], body.to_string().as_bytes()).await?.json();
    let exchangeable = text(&completed, "exchangeable_token")?;
    canaries.add("exchangeable token", &exchangeable);
    let body = json!({"exchangeable_token": exchangeable}).to_string();
    let second_key = format!("{IDEMPOTENCY_KEY}-2");
    let key = ("idempotency-key", second_key.as_str());
    call("POST", "/link-session/exchange-token", &[bearer, json_type, key], body.as_bytes()).await?;
    Ok(())
}

fn text(value: &Value, name: &str) -> Result<String> {
    value[name].as_str().map(ToOwned::to_owned).with_context(|| format!("no {name}"))
}

type Found = (Vec<String>, bool);

/// What of the secrets is in readable memory of the process, whether the control is, and how many bytes were read.
fn scan(pid: u32, canaries: &Canaries, control: &Canaries) -> Result<(Found, u64)> {
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps"))?;
    let memory = File::open(format!("/proc/{pid}/mem")).context("the server's memory cannot be read here")?;
    let (mut found, mut sees, mut total) = (std::collections::BTreeSet::new(), false, 0);
    let mut buffer = vec![0; CHUNK];
    for line in maps.lines() {
        let mut fields = line.split_ascii_whitespace();
        let (Some(range), Some(rights)) = (fields.next(), fields.next()) else { continue };
        let name = fields.nth(3).unwrap_or_default().to_owned();
        if !rights.starts_with("rw") || name.starts_with("[v") {
            continue;
        }
        let (from, to) = range.split_once('-').context("a range")?;
        let (mut at, end) = (u64::from_str_radix(from, 16)?, u64::from_str_radix(to, 16)?);
        while at < end {
            let length = usize::try_from((end - at).min(CHUNK as u64))?;
            // Pages may go while they are read.
            if memory.read_exact_at(&mut buffer[..length], at).is_ok() {
                total += length as u64;
                if buffer[..length].iter().any(|byte| *byte != 0) {
                    for name_of_secret in canaries.found_in(&buffer[..length]) {
                        found.insert(format!("{name_of_secret} at {at:x} {name}"));
                    }
                    sees |= !control.found_in(&buffer[..length]).is_empty();
                }
            }
            // Windows overlap by far more than a secret is long.
            let step = if at + length as u64 == end { length } else { length - 4096 };
            at += step as u64;
        }
    }
    Ok(((found.into_iter().collect(), sees), total))
}
