//! Imports: statement files of every dialect, exports, and lists of transactions.

use anyhow::{Context, Result};
use serde_json::json;

use super::call::Call;
use super::crawler::Crawler;
use super::world::World;
use crate::http::Answer;
use crate::record::root;
use crate::statement::Account;

/// Statement files that the connector for them is tested with.
const FIXTURES: &str = "crates/passbook-connectors/tests/fixtures/ofx";
/// An export with one account.
const EXPORT: &str = r#"{"format": "passbook-export", "version": 1, "link": {"institution_name": "First Bank"},
    "accounts": [{"account_id": "a", "account_type": "depository.checking", "name": "Everyday", "account_mask": "6789",
    "balances": {"currency": "USD", "current": 12.5}, "numbers": {"ach": [{"account_number": "123456789",
    "routing_number": "091000019", "wire_routing_number": null}]}, "transactions": [{"transaction_id": "t",
    "amount": "7.50", "type": "debit", "currency": "USD", "date": "2024-05-01", "description": "Kiosk"}]}]}"#;
const TABLE: &str = "Date,Description,Amount\n2024-05-01,Kiosk,-7.50\n";

/// Makes links of files and of lists.
pub async fn import(crawler: &mut Crawler, world: &mut World) -> Result<()> {
    for (name, bytes) in fixtures()? {
        import_file(crawler, world, &format!("file {name}"), &format!("crawl-{name}"), "", bytes).await?;
    }
    statements(crawler, world).await?;
    for (name, text) in [("export", EXPORT), ("table", TABLE), ("nothing", ""), ("words", "Dear bank,\n")] {
        import_file(crawler, world, &format!("file {name}"), "crawl-files", "", text.into()).await?;
    }
    lists(crawler, world).await
}

fn fixtures() -> Result<Vec<(String, Vec<u8>)>> {
    let directory = root().join(FIXTURES);
    let mut files = Vec::new();
    for entry in std::fs::read_dir(&directory).with_context(|| format!("{}", directory.display()))? {
        let path = entry?.path();
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        if !name.ends_with(".expected") && !name.ends_with(".json") {
            files.push((name, std::fs::read(&path)?));
        }
    }
    files.sort();
    Ok(files)
}

/// One account whose statements overlap, come twice, and come for another institution.
async fn statements(crawler: &mut Crawler, world: &mut World) -> Result<()> {
    let account = Account::new(1, 1);
    for (range, institution) in [
        (0..20, ""),
        (0..20, ""),
        (12..60, ""),
        (0..8, "&institution_id=credentials_bank"),
        (0..8, "&institution_id=no_such_bank"),
    ] {
        let text = account.statement(range);
        import_file(crawler, world, "file statement", "crawl-statement", institution, text.into()).await?;
    }
    Ok(())
}

async fn import_file(
    crawler: &mut Crawler,
    world: &mut World,
    label: &str,
    user: &str,
    institution: &str,
    bytes: Vec<u8>,
) -> Result<()> {
    let path = format!("/passbook/links/import-file?customer_user_id={user}{institution}");
    let call = Call::new("POST", path).content("application/octet-stream", bytes).by(&world.main);
    let answer = crawler.change(&call, &world.main).await?;
    note(crawler, world, label, user, &answer).await
}

/// Notes a link that is new.
async fn note(crawler: &mut Crawler, world: &mut World, label: &str, user: &str, answer: &Answer) -> Result<()> {
    let made = answer.json();
    match made["link_id"].as_str() {
        Some(id) if answer.status < 300 && world.links.iter().all(|link| link.id != id) => {
            world.add(crawler, label, id, user).await
        }
        _ => Ok(()),
    }
}

async fn lists(crawler: &mut Crawler, world: &mut World) -> Result<()> {
    let balances = json!({ "currency": "USD", "current": 100.0, "available": null, "limit": 2500.25 });
    let account = json!({ "account_id": "one", "type": "depository.checking", "name": "Everyday", "mask": "1234",
        "balances": balances });
    let transactions: Vec<_> = (1..=25)
        .map(|day| {
            json!({ "account_id": "one", "transaction_id": format!("t{day}"), "amount": format!("-{day}.50"),
            "date": format!("2025-12-{day:02}"), "description": format!("Purchase {day}") })
        })
        .collect();
    let body = json!({ "customer_user": { "id": "crawl-lists" }, "institution_id": "credentials_bank",
        "accounts": [account], "transactions": transactions });
    let call = Call::post("/links/import", &body).by(&world.main);
    let answer = crawler.change(&call, &world.main).await?;
    note(crawler, world, "list", "crawl-lists", &answer).await?;
    let id = world.link("list")?.id.clone();
    for (date, amount) in [("2025-12-30", "12"), ("2025-12-30", "12"), ("2026-01-02T03:04:05Z", "+0.01")] {
        let more = json!({ "transactions": [{ "account_id": "one", "amount": amount, "date": date }] });
        let call = Call::post(format!("/links/{id}/import/transactions"), &more).by(&world.main);
        crawler.change(&call, &world.main).await?;
    }
    Ok(())
}
