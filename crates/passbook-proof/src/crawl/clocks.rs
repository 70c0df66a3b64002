//! Stories of an app whose clock goes on: what a bank changes from day to day, and what time itself ends.

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::call::{Call, Caller, encoded};
use super::crawler::Crawler;
use super::place::ORIGIN;
use super::world::World;

/// Edits of a bank, one a day. `{pending}` stands for the id of a pending transaction, `{posted}` for that of a posted one.
const EDITS: &[&str] = &[
    r#"{"edit": "rename_account", "account_id": "{account}", "name": "Bills"}"#,
    r#"{"edit": "change_numbers", "account_id": "{account}", "account_number": "000987654321"}"#,
    r#"{"edit": "set_balance", "account_id": "{account}", "current": "17.25", "available": "-3"}"#,
    r#"{"edit": "add_transaction", "account_id": "{account}", "amount": "12.00", "type": "debit", "description": "Kiosk"}"#,
    r#"{"edit": "add_transaction", "account_id": "{account}", "amount": "1", "type": "credit", "description": "Soon",
        "pending": true, "date": "2026-01-14"}"#,
    r#"{"edit": "post_pending", "transaction_id": "{pending}"}"#,
    r#"{"edit": "post_pending", "transaction_id": "{posted}"}"#,
    r#"{"edit": "change_transaction", "transaction_id": "{posted}", "amount": "99.99", "description": "Corrected"}"#,
    r#"{"edit": "remove_transaction", "transaction_id": "{posted}"}"#,
    r#"{"edit": "set_owners", "owners": [{"names": ["Grace Example"], "addresses": [], "phone_numbers": [], "emails": []}]}"#,
    r#"{"edit": "remove_numbers", "account_id": "{account}"}"#,
    r#"{"edit": "close_account", "account_id": "{account}"}"#,
    r#"{"edit": "reopen_account", "account_id": "{account}"}"#,
    r#"{"edit": "no_such_edit"}"#,
    r#"{"edit": "expire_consent"}"#,
];
const READ_AFTER_EDIT: [&str; 7] = [
    "",
    "/accounts",
    "/accounts/{account}",
    "/accounts/numbers",
    "/identity",
    "/transactions?size=10",
    "/investments/holdings",
];
const ALL_PRODUCTS: [&str; 5] = ["accounts", "account_numbers", "identity", "transactions", "investments"];
/// After so long every product may be refreshed again.
const DAY_SECONDS: u64 = 86_400;
/// Clocks that are refused.
const WRONG_CLOCKS: &[&str] = &[
    r#"{"advance_seconds": 0}"#,
    r#"{"advance_seconds": -1}"#,
    r#"{"advance_seconds": 1.5}"#,
    r#"{"advance_seconds": 18446744073709551615}"#,
    r#"{"advance_seconds": 1, "unfreeze": true}"#,
    r#"{"unfreeze": false}"#,
    r#"{"freeze_at": "2026-01-15T09:00:00Z"}"#,
    r#"{"freeze_at": "1900-01-01T00:00:00Z"}"#,
];
/// Seconds by which a clock is moved, and why.
const MOVES: [(u64, &str); 6] = [
    (1, "refreshes are limited for a while"),
    (3_600, "tokens end"),
    (14_400, "sessions end"),
    (86_400, "pending transactions post"),
    (2_592_000, "a month of transactions"),
    (7_862_400, "stubs of deleted links end"),
];

/// A bank changes something each day, and the app refreshes and reads.
pub async fn bank(crawler: &mut Crawler, world: &World) -> Result<()> {
    let caller = &world.clocked;
    let link =
        link_of(crawler, caller, &json!({ "customer_user": { "id": "crawl-edits" }, "username": "user_investor" }))
            .await?;
    let mut cursor = String::new();
    for edit in EDITS {
        let edit: Value = serde_json::from_str(&named(crawler, caller, &link, edit).await?)?;
        let call = Call::post(format!("/sandbox/links/{link}/edits"), &json!({ "edits": [edit] })).by_secret(caller);
        crawler.change(&call, caller).await?;
        advance(crawler, caller, DAY_SECONDS).await?;
        refresh(crawler, caller, &link, &ALL_PRODUCTS).await?;
        for rest in READ_AFTER_EDIT {
            let path = format!("/links/{link}{}", named(crawler, caller, &link, rest).await?);
            crawler.ask(&Call::get(path).by_secret(caller)).await?;
        }
        cursor = changes_since(crawler, caller, &link, &cursor).await?;
    }
    Ok(())
}

/// `text` with ids of the link as it is now.
async fn named(crawler: &mut Crawler, caller: &Caller, link: &str, text: &str) -> Result<String> {
    let accounts = crawler.look(&Call::get(format!("/links/{link}/accounts")).by_secret(caller)).await?;
    let transactions =
        crawler.look(&Call::get(format!("/links/{link}/transactions?size=500")).by_secret(caller)).await?;
    let account = accounts["accounts"][0]["account_id"].as_str().unwrap_or_default();
    let first = |is_pending: bool| {
        let mut all = transactions["transactions"].as_array().into_iter().flatten();
        let found = all.find(|one| one["pending"] == is_pending);
        found.and_then(|one| one["transaction_id"].as_str()).unwrap_or_default()
    };
    Ok(text.replace("{account}", account).replace("{pending}", first(true)).replace("{posted}", first(false)))
}

/// Reads one page of the feed, and gives the cursor behind it.
async fn changes_since(crawler: &mut Crawler, caller: &Caller, link: &str, cursor: &str) -> Result<String> {
    let mut call = Call::get(format!("/links/{link}/transactions/sync?size=500")).by_secret(caller);
    if !cursor.is_empty() {
        call = call.query(&format!("cursor={}", encoded(cursor)));
    }
    let answer = crawler.ask(&call).await?.json();
    Ok(answer["cursor"]["next"].as_str().unwrap_or(cursor).to_owned())
}

async fn advance(crawler: &mut Crawler, caller: &Caller, seconds: u64) -> Result<()> {
    let call = Call::post("/sandbox/clock", &json!({ "advance_seconds": seconds })).by_secret(caller);
    crawler.change(&call, caller).await.map(drop)
}

async fn refresh(crawler: &mut Crawler, caller: &Caller, link: &str, products: &[&str]) -> Result<()> {
    let call = Call::post(format!("/links/{link}/products"), &json!({ "products": products })).by_secret(caller);
    crawler.change(&call, caller).await.map(drop)
}

/// Time ends tokens, sessions, limits and stubs.
pub async fn passing_time(crawler: &mut Crawler, world: &World) -> Result<()> {
    let caller = &world.clocked;
    for body in WRONG_CLOCKS {
        let call = Call::post("/sandbox/clock", &serde_json::from_str(body)?).by_secret(caller);
        crawler.ask(&call).await?;
    }
    let body = json!({ "customer_user": { "id": "crawl-clock" }, "username": "user_history" });
    let kept = link_of(crawler, caller, &body).await?;
    let deleted = link_of(crawler, caller, &body).await?;
    let opened = json!({ "customer_user": { "id": "crawl-clock" }, "redirect_uri": format!("{ORIGIN}/done") });
    let opened = crawler.ask_json(&Call::post("/link-session", &opened).by_secret(caller)).await?;
    crawler.change(&Call::new("DELETE", format!("/links/{deleted}")).by_secret(caller), caller).await?;
    for (seconds, _why) in MOVES {
        advance(crawler, caller, seconds).await?;
        refresh(crawler, caller, &kept, &["accounts", "transactions"]).await?;
        read_after_move(crawler, caller, [&kept, &deleted]).await?;
        let person = json!({ "link_session_token": opened["link_session_token"], "username": "user_bad" });
        crawler.ask(&Call::post("/sandbox/link-sessions/complete", &person).by_secret(caller)).await?;
    }
    Ok(())
}

async fn link_of(crawler: &mut Crawler, caller: &Caller, body: &Value) -> Result<String> {
    let made = crawler.change(&Call::post("/sandbox/links", body).by_secret(caller), caller).await?.json();
    made["link_id"].as_str().map(ToOwned::to_owned).context("no link")
}

async fn read_after_move(crawler: &mut Crawler, caller: &Caller, links: [&str; 2]) -> Result<()> {
    crawler.ask(&Call::get("/auth/introspect").by(caller)).await?;
    crawler.ask(&Call::get("/sandbox/clock").by_secret(caller)).await?;
    for link in links {
        for rest in ["", "/accounts", "/transactions", "/transactions/sync?size=500"] {
            crawler.ask(&Call::get(format!("/links/{link}{rest}")).by_secret(caller)).await?;
        }
    }
    crawler.ask(&Call::get("/passbook/events?limit=1000").by_secret(caller)).await.map(drop)
}
