//! The table of operations, and the round through it.

use anyhow::{Context, Result};
use serde_json::json;

use super::call::Call;
use super::crawler::Crawler;
use super::place::ORIGIN;
use super::world::{Prepared, World};
use super::{requests, wrong_bodies};

/// What a request needs that can be used only once. Each request gets one of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs {
    /// Nothing: it changes nothing that another request would miss.
    Nothing,
    /// A link that it may destroy.
    Link,
    /// An open session.
    Session,
    /// A token to exchange.
    ExchangeableToken,
}

/// What the values of a parameter are like.
#[derive(Clone, Copy)]
pub enum Values {
    /// Whole numbers between bounds.
    Number(u64, u64),
    /// A calendar date.
    Date,
    /// An instant.
    Instant,
    /// `true` or `false`.
    Boolean,
    /// Text or an id; these are known.
    Text(&'static [&'static str]),
}

/// One operation, and a good request for it.
pub struct Operation {
    /// Its id.
    pub id: &'static str,
    /// Its method.
    pub method: &'static str,
    /// Its path, with names in braces.
    pub path: &'static str,
    /// Its query parameters.
    pub parameters: &'static [(&'static str, Values)],
    /// A good JSON body, with names in braces; empty for none.
    pub body: &'static str,
    /// See [`Needs`].
    pub needs: Needs,
}

const fn read(id: &'static str, path: &'static str, parameters: &'static [(&'static str, Values)]) -> Operation {
    Operation { id, method: "GET", path, parameters, body: "", needs: Needs::Nothing }
}

const fn write(id: &'static str, path: &'static str, body: &'static str) -> Operation {
    Operation { id, method: "POST", path, parameters: &[], body, needs: Needs::Nothing }
}

const ACCOUNTS: Values = Values::Text(&["{account}", "{account},acc_other", "acc_other"]);
const BANKS: Values = Values::Text(&["credentials_bank", "instant_bank", "sandbox.credentials", "no_such_bank"]);
const EVENTS: &[(&str, Values)] = &[
    ("cursor", Values::Number(0, i64::MAX as u64)),
    ("limit", Values::Number(1, 1_000)),
    ("link_id", Values::Text(&["{link}"])),
    ("webhook_event", Values::Text(&["link.state_changed", "link.unknown"])),
    ("from", Values::Instant),
    ("to", Values::Instant),
    ("delivery_state", Values::Text(&["waiting", "delivered", "dead"])),
];
const STREAM: &[(&str, Values)] = &[
    ("cursor", Values::Number(0, i64::MAX as u64)),
    ("signed", Values::Boolean),
    ("link_id", Values::Text(&["{link}"])),
    ("webhook_event", Values::Text(&["link.state_changed"])),
    ("from", Values::Instant),
    ("to", Values::Instant),
    ("delivery_state", Values::Text(&["delivered"])),
];
const OF_LINK: &[(&str, Values)] = &[
    ("page", Values::Number(1, u64::MAX)),
    ("size", Values::Number(1, 1_000)),
    ("start_date", Values::Date),
    ("end_date", Values::Date),
    ("account_ids", ACCOUNTS),
    ("account_id", ACCOUNTS),
];
const OF_USER: &[(&str, Values)] = &[
    ("page", Values::Number(1, u64::MAX)),
    ("size", Values::Number(1, 1_000)),
    ("start_date", Values::Date),
    ("end_date", Values::Date),
    ("account_id", ACCOUNTS),
    ("institution_id", BANKS),
    ("transaction_type", Values::Text(&["credit", "debit", "credit,debit", "other"])),
    ("category", Values::Text(&["expenses", "food_and_drink", "nothing"])),
];

/// Every operation.
pub const OPERATIONS: &[Operation] = &[
    write("create_access_token", "/auth/token", ""),
    read("instrospect_client", "/auth/introspect", &[]),
    read("get_well_known_jwks", "/.well-known/jwks.json", &[]),
    read(
        "get_institutions",
        "/institutions",
        &[
            ("name", Values::Text(&["Credentials", "cred", "Credentials%20Bank%20UK", "zzz"])),
            ("featured", Values::Boolean),
            ("cursor", Values::Text(&["none", "credentials_bank"])),
            ("limit", Values::Number(1, 1_000)),
        ],
    ),
    read("get_institution", "/institutions/{institution}", &[]),
    write(
        "create_link_session",
        "/link-session",
        r#"{"customer_user": {"id": "crawl-body", "email": {"address": "ada@example.com", "customer_verified_at": "2026-01-01T00:00:00Z"},
            "phone": {"number": "+15550100", "country": "US"}}, "redirect_uri": "http://localhost:3000/done", "webhook": "{webhook}",
            "institution_id": "credentials_bank", "link_tags": ["one"], "existing_link_id": null,
            "settings": {"providers": ["moneykit"], "countries": ["US"], "products": {"identity": {"required": true, "reason": "To know"},
            "transactions": {"require_permission": true, "prefetch": true}}},
            "connect_features": {"permit_only_one_account": false, "duplicate_institution_warning": true}}"#,
    ),
    Operation {
        needs: Needs::ExchangeableToken,
        ..write("exchange_token", "/link-session/exchange-token", r#"{"exchangeable_token": "{token}"}"#)
    },
    read("get_links", "/links", &[("cursor", Values::Text(&["none"])), ("limit", Values::Number(500, 5_000))]),
    read("get_link", "/links/{link}", &[]),
    Operation {
        method: "PATCH",
        needs: Needs::Link,
        ..write("update_link", "/links/{link}", r#"{"webhook": "{webhook}", "link_tags": ["two"]}"#)
    },
    Operation { method: "DELETE", needs: Needs::Link, ..write("delete_link", "/links/{link}", "") },
    Operation { needs: Needs::Link, ..write("reset_link", "/links/{link}/reset", "") },
    write("refresh_products", "/links/{link}/products", r#"{"products": ["accounts", "identity"]}"#),
    read("get_accounts", "/links/{link}/accounts", &[("account_ids", ACCOUNTS), ("account_id", ACCOUNTS)]),
    read("get_account", "/links/{link}/accounts/{account}", &[]),
    read("get_account_numbers", "/links/{link}/accounts/numbers", &[("account_ids", ACCOUNTS)]),
    read("get_identities", "/links/{link}/identity", &[("account_ids", ACCOUNTS), ("account_id", ACCOUNTS)]),
    read("get_transactions", "/links/{link}/transactions", OF_LINK),
    read(
        "get_transactions_sync",
        "/links/{link}/transactions/sync",
        &[("cursor", Values::Text(&["none"])), ("size", Values::Number(1, 500))],
    ),
    write(
        "correct_enrichment",
        "/links/{link}/transactions/{transaction}/enrichment",
        r#"{"category": "charity", "subcategory": null}"#,
    ),
    read("get_holdings", "/links/{link}/investments/holdings", &[("account_ids", ACCOUNTS)]),
    read("get_investment_transactions", "/links/{link}/investments/transactions", OF_LINK),
    write(
        "import_link",
        "/links/import",
        r#"{"customer_user": {"id": "crawl-import"}, "institution_id": "credentials_bank", "provider": "moneykit",
            "accounts": [{"account_id": "one", "name": "Everyday", "nickname": "Bills", "type": "depository.checking", "mask": "1234",
            "balances": {"currency": "USD", "current": 100.5, "available": 90, "limit": null, "balance_date": "2026-01-01T00:00:00Z"}}],
            "transactions": [{"account_id": "one", "transaction_id": "t1", "amount": "-12.50", "date": "2025-12-01",
            "description": "Kiosk", "type": "debit"}]}"#,
    ),
    write(
        "import_transactions",
        "/links/{imported link}/import/transactions",
        r#"{"transactions": [{"account_id": "one", "transaction_id": "t1", "amount": "-12.50", "date": "2025-12-01",
            "description": "Kiosk", "type": "debit"}]}"#,
    ),
    read("get_user_links", "/users/{user}/links", &[]),
    read("get_user_accounts", "/users/{user}/accounts", &[("account_ids", ACCOUNTS), ("institution_ids", BANKS)]),
    read("get_user_transactions", "/users/{user}/transactions", OF_USER),
    write(
        "trigger_test_link_webhook_event",
        "/webhooks/test/link/{hooked link}",
        r#"{"webhook_event": "link.state_changed", "webhook_idempotency_key": "key"}"#,
    ),
    write(
        "create_sandbox_link",
        "/sandbox/links",
        r#"{"customer_user": {"id": "crawl-body"}, "institution_id": "credentials_bank", "username": "user_custom", "answers": {"code": "1234"},
            "settings": {"products": {"identity": {"prefetch": true}}}, "webhook": "{webhook}", "link_tags": ["one"], "seed": 3,
            "exchange": true, "custom_sandbox_data": {"accounts": [{"account_type": "checking", "name": "Rent",
            "account_number": "000123456789", "routing_number": "091000019"}]}}"#,
    ),
    Operation {
        needs: Needs::Session,
        ..write(
            "complete_link_session",
            "/sandbox/link-sessions/complete",
            r#"{"link_session_token": "{token}", "institution_id": "credentials_bank", "username": "user_good",
                "answers": {"password": "pass_good"}, "accounts": null}"#,
        )
    },
    Operation {
        needs: Needs::Link,
        ..write(
            "edit_sandbox_link",
            "/sandbox/links/{link}/edits",
            r#"{"edits": [{"edit": "add_transaction", "account_id": "{account}", "amount": "12.00", "type": "debit",
                "description": "Kiosk", "date": "2026-01-10", "pending": false}]}"#,
        )
    },
    read("get_sandbox_clock", "/sandbox/clock", &[]),
    write("set_sandbox_clock", "/sandbox/clock", r#"{"freeze_at": "2026-01-15T09:00:00Z"}"#),
    write("create_sandbox_event", "/sandbox/links/{link}/events", r#"{"webhook_event": "link.state_changed"}"#),
    read("get_events", "/passbook/events", EVENTS),
    read("stream_events", "/passbook/events/stream", STREAM),
    write("replay_events", "/passbook/events/replay", r#"{"link_id": "{link}"}"#),
    Operation {
        parameters: &[
            ("customer_user_id", Values::Text(&["crawl-file", "abc", "abcd"])),
            ("institution_id", Values::Text(&["credentials_bank", "no_such_bank"])),
        ],
        ..write("import_file", "/passbook/links/import-file", "")
    },
    read("get_health", "/healthz", &[]),
    read("get_readiness", "/readyz", &[]),
    read("get_metrics", "/metrics", &[]),
    read("get_openapi", "/openapi.yaml", &[]),
    read("get_passbook_openapi", "/passbook/openapi.yaml", &[]),
    read("get_demo", "/demo", &[]),
];

/// Goes through the table, with everything that can be right and wrong about each request.
pub async fn every_operation(crawler: &mut Crawler, world: &mut World) -> Result<()> {
    for operation in OPERATIONS {
        let round = async {
            requests::every_request(crawler, world, operation).await?;
            wrong_bodies::every_body(crawler, world, operation).await
        };
        round.await.with_context(|| operation.id)?;
    }
    Ok(())
}

/// A good request over a link, with what it needs made for it; without credentials.
pub async fn good(crawler: &mut Crawler, world: &World, operation: &Operation, link: &Prepared) -> Result<Call> {
    let mut link = link.clone();
    let mut token = String::new();
    match operation.needs {
        Needs::Nothing => {}
        Needs::Link => link = new_link(crawler, world).await?,
        Needs::Session => token = session_token(crawler, world).await?,
        Needs::ExchangeableToken => token = exchangeable_token(crawler, world).await?,
    }
    let fill = |text: &str| {
        let text = text.replace("{token}", &token);
        world.fill(&text, &link)
    };
    let call = Call::new(operation.method, fill(operation.path));
    Ok(match operation.id {
        "create_access_token" => call.content("application/x-www-form-urlencoded", form(world)),
        "import_file" => call.content("application/x-ofx", crate::statement::Account::new(2, 2).statement(0..4)),
        _ if operation.body.is_empty() => call,
        _ => call.content("application/json", compact(&fill(operation.body))?),
    })
}

/// Without the spaces of the table, so that a request is one line.
fn compact(text: &str) -> Result<String> {
    Ok(serde_json::from_str::<serde_json::Value>(text)?.to_string())
}

fn form(world: &World) -> String {
    let access = &world.main.access;
    format!(
        "grant_type=client_credentials&client_id={}&client_secret={}&scope=",
        access.client_id, access.client_secret
    )
}

async fn made_in_sandbox(crawler: &mut Crawler, world: &World, exchange: bool) -> Result<serde_json::Value> {
    let body = json!({ "customer_user": { "id": "crawl-once-only" }, "exchange": exchange });
    let call = Call::post("/sandbox/links", &body).by(&world.main);
    let answer = crawler.change(&call, &world.main).await?;
    Ok(answer.json())
}

async fn new_link(crawler: &mut Crawler, world: &World) -> Result<Prepared> {
    let made = made_in_sandbox(crawler, world, true).await?;
    let id = made["link_id"].as_str().context("no link")?.to_owned();
    let accounts = crawler.look(&Call::get(format!("/links/{id}/accounts")).by(&world.main)).await?;
    let account = accounts["accounts"][0]["account_id"].as_str().context("no account")?.to_owned();
    Ok(Prepared { id, account, ..world.link("good")?.clone() })
}

async fn session_token(crawler: &mut Crawler, world: &World) -> Result<String> {
    let body = json!({ "customer_user": { "id": "crawl-once-only" }, "redirect_uri": format!("{ORIGIN}/done") });
    let opened = crawler.ask_json(&Call::post("/link-session", &body).by(&world.main)).await?;
    opened["link_session_token"].as_str().map(ToOwned::to_owned).context("no session")
}

async fn exchangeable_token(crawler: &mut Crawler, world: &World) -> Result<String> {
    let made = made_in_sandbox(crawler, world, false).await?;
    made["exchangeable_token"].as_str().map(ToOwned::to_owned).context("no token to exchange")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use passbook::api::operation::Operation as Known;

    use super::*;

    #[test]
    fn the_table_has_every_operation_once() {
        let listed: BTreeSet<_> = OPERATIONS.iter().map(|operation| operation.id).collect();
        let known = Known::ALL.iter().filter(|known| **known != Known::Unknown).map(|known| known.id()).collect();
        assert_eq!(listed, known);
        assert_eq!(listed.len(), OPERATIONS.len());
    }

    #[test]
    fn every_body_is_json_once_it_is_filled() {
        for operation in OPERATIONS.iter().filter(|operation| !operation.body.is_empty()) {
            assert!(compact(operation.body).is_ok(), "{}", operation.id);
        }
    }
}
