//! A tenant that does a little of everything while somebody else misbehaves: what it must not notice.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::json;

use super::conduct::Conduct;
use super::work::numbers_path;
use crate::api::{Api, Body, import_file_path, sandbox_link};
use crate::http::request;
use crate::open_loop::{self, Offer, Outcome, Request};
use crate::server::Access;
use crate::statement::Account;

/// Requests a second: enough for a p99, too few to be a load.
const PER_SECOND: f64 = 60.0;
/// The same for a bystander that keeps within the contract's limits.
const PER_SECOND_WITHIN_LIMITS: f64 = 20.0;
/// Links over which such a bystander spreads its requests.
const LINKS_WITHIN_LIMITS: usize = 60;
const CONNECTIONS: usize = 16;

/// See the module page.
pub struct Bystander {
    address: SocketAddr,
    requests: Arc<Vec<Request>>,
    per_second: f64,
    seed: u64,
}

impl Bystander {
    /// Makes its link and its requests.
    pub async fn new(address: SocketAddr, access: &Access, seed: u64) -> Result<Self> {
        let mut api = Api::over(&[address], access, 0);
        let link_id = link(&mut api, "bystander").await?;
        let requests = Arc::new(mixed_requests(&mut api, access, &link_id, "bystander", 20).await?);
        Ok(Self { address, requests, per_second: PER_SECOND, seed })
    }

    /// The same with so many requests a second.
    pub fn asking(self, per_second: f64) -> Self {
        Self { per_second, ..self }
    }

    /// One whose requests stay within the contract's limits for a minute: none of them asks much of one link or user.
    pub async fn within_limits(address: SocketAddr, access: &Access, seed: u64) -> Result<Self> {
        let mut api = Api::over(&[address], access, 0);
        let mut requests = Vec::new();
        for number in 0..LINKS_WITHIN_LIMITS {
            let user = format!("bystander-{number}");
            let link_id = link(&mut api, &user).await?;
            let bearer = format!("Bearer {}", api.token().await?);
            let get = |name, path: &str, holds: &str| Request {
                name,
                bytes: request("GET", path, &[("authorization", bearer.as_str())], b""),
                expected: 200,
                holds: holds.to_owned(),
            };
            requests.push(get("numbers", &numbers_path(&link_id), "account_number"));
            for _ in 0..3 {
                requests.push(get("link", &format!("/links/{link_id}"), "link_id"));
                requests.push(get(
                    "transactions",
                    &format!("/links/{link_id}/transactions?size=20"),
                    "\"transactions\"",
                ));
            }
            requests.push(session_request(&bearer, &user));
            requests.push(token_request(access));
        }
        Ok(Self { address, requests: Arc::new(requests), per_second: PER_SECOND_WITHIN_LIMITS, seed })
    }

    /// Goes about its business for so long.
    pub async fn live(&self, duration: Duration) -> Outcome {
        let (address, requests, seed) = (self.address, Arc::clone(&self.requests), self.seed);
        let per_second = self.per_second;
        let offer = Offer { address, requests, per_second, duration, connections: CONNECTIONS, seed };
        open_loop::run(offer).await
    }
}

/// Compares what the bystander saw beside somebody with what it saw alone.
///
/// # Errors
/// When too much of it was refused, or its p99 rose by more than `ratio_max`.
pub fn compare(
    conduct: &mut Conduct,
    name: &str,
    (alone, beside): (&Outcome, &Outcome),
    ratio_max: f64,
    refused_percent_max: f64,
) -> Result<()> {
    let p99 = |outcome: &Outcome| outcome.done_in.quantile_us(0.99) / 1_000.0;
    let percent = |outcome: &Outcome| {
        (outcome.refused + outcome.unsent) as f64 * 100.0 / (outcome.sent + outcome.unsent).max(1) as f64
    };
    // What a busy machine refuses it alone says nothing about its neighbour.
    let refused = (percent(beside) - percent(alone)).max(0.0);
    let ratio = p99(beside) / p99(alone);
    let hundredth = |value: f64| (value * 100.0).round() / 100.0;
    conduct.figure(&format!("{name}_p99_alone_ms"), hundredth(p99(alone)));
    conduct.figure(&format!("{name}_p99_beside_ms"), hundredth(p99(beside)));
    conduct.figure(&format!("{name}_p99_ratio"), hundredth(ratio));
    conduct.figure(&format!("{name}_refused_percent"), hundredth(refused));
    conduct.figure(&format!("{name}_requests"), beside.sent);
    beside.wrong.iter().for_each(|wrong| conduct.tally.find(format!("{name}: {wrong}")));
    ensure!(refused <= refused_percent_max, "{name}: {refused:.2} % of the bystander's requests were refused");
    ensure!(ratio <= ratio_max, "{name}: the bystander's p99 rose {ratio:.2} times, to {:.1} ms", p99(beside));
    Ok(())
}

/// A sandbox link with every product.
pub async fn link(api: &mut Api, user: &str) -> Result<String> {
    let answer = api.call_until_admitted("POST", "/sandbox/links", &sandbox_link(user)).await?;
    let link_id = answer.json()["link_id"].as_str().map(ToOwned::to_owned);
    link_id.with_context(|| format!("no link: {} {}", answer.status, String::from_utf8_lossy(&answer.body)))
}

/// What an app asks for: account numbers, tokens, sessions, pages of transactions, a small import, a changed tag.
pub async fn mixed_requests(
    api: &mut Api,
    access: &Access,
    link_id: &str,
    user: &str,
    page: u32,
) -> Result<Vec<Request>> {
    let statement = Account::new(0, 0).statement(0..20);
    let imported = api.call("POST", &import_file_path(user), Body::Statement(&statement)).await?;
    ensure!(imported.status == 201, "the first import was answered {}", imported.status);
    let bearer = format!("Bearer {}", api.token().await?);
    let authorized = [("authorization", bearer.as_str())];
    let json_headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
    let one = |name, bytes, expected, holds: &str| Request { name, bytes, expected, holds: holds.to_owned() };
    let get = |path: &str| request("GET", path, &authorized, b"");
    let numbers = || one("numbers", get(&numbers_path(link_id)), 200, "account_number");
    let transactions = format!("/links/{link_id}/transactions?size={page}");
    let tags = json!({ "link_tags": ["seen"] }).to_string();
    Ok(vec![
        numbers(),
        numbers(),
        one("accounts", get(&format!("/links/{link_id}/accounts")), 200, "account_id"),
        one("transactions", get(&transactions), 200, "\"transactions\""),
        token_request(access),
        session_request(&bearer, user),
        one("update", request("PATCH", &format!("/links/{link_id}"), &json_headers, tags.as_bytes()), 200, "link_id"),
        one("import", request("POST", &import_file_path(user), &authorized, statement.as_bytes()), 200, "link_id"),
    ])
}

fn token_request(access: &Access) -> Request {
    let form =
        format!("grant_type=client_credentials&client_id={}&client_secret={}", access.client_id, access.client_secret);
    let form_type = [("content-type", "application/x-www-form-urlencoded")];
    let bytes = request("POST", "/auth/token", &form_type, form.as_bytes());
    Request { name: "token", bytes, expected: 201, holds: "access_token".to_owned() }
}

fn session_request(bearer: &str, user: &str) -> Request {
    let session = json!({
        "customer_user": { "id": user },
        "redirect_uri": "http://localhost:3000/done",
        "settings": { "link_permissions": { "requested": [{ "product": "accounts", "reason": "to see them", "required": true }] } },
    });
    let headers = [("authorization", bearer), ("content-type", "application/json")];
    let bytes = request("POST", "/link-session", &headers, session.to_string().as_bytes());
    Request { name: "link-session", bytes, expected: 201, holds: "link_session_token".to_owned() }
}
