//! Sign-ins: every documented user at every bank, and what a person answers wrongly.

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::call::Call;
use super::crawler::Crawler;
use super::place::ORIGIN;
use super::world::World;

/// A label, and the body of `POST /sandbox/links` beside its end user.
const PEOPLE: &[(&str, &str)] = &[
    ("good", r#"{}"#),
    ("history", r#"{"username": "user_history"}"#),
    ("investor", r#"{"username": "user_investor"}"#),
    ("many", r#"{"username": "user_many"}"#),
    (
        "custom",
        r#"{"username": "user_custom", "custom_sandbox_data": {"accounts": [
        {"account_type": "checking", "name": "Rent account", "account_number": "000123456789", "routing_number": "091000019"},
        {"account_type": "depository.savings", "name": "Holidays", "account_number": "42"},
        {"account_type": "credit_card", "name": "Card", "account_number": "4111111111111111"}],
        "owners": [{"names": ["Ada Example"], "addresses": [], "phone_numbers": [], "emails": []}]}}"#,
    ),
    ("custom without data", r#"{"username": "user_custom"}"#),
    ("code", r#"{"username": "user_otp"}"#),
    ("code by mail", r#"{"username": "user_otp", "answers": {"choice": "email"}}"#),
    ("wrong code", r#"{"username": "user_otp", "answers": {"code": "9999"}}"#),
    ("wrong device", r#"{"username": "user_otp", "answers": {"choice": "pigeon"}}"#),
    ("question", r#"{"username": "user_mfa"}"#),
    ("wrong answer", r#"{"username": "user_mfa", "answers": {"question": "no idea"}}"#),
    ("no accounts", r#"{"username": "user_noaccounts"}"#),
    ("bad", r#"{"username": "user_bad"}"#),
    ("stranger", r#"{"username": "nobody at all"}"#),
    ("wrong password", r#"{"answers": {"password": "pass_bad"}}"#),
    ("own fields", r#"{"answers": {"credentials": {"username": "user_good", "password": "pass_good"}}}"#),
    ("set-up", r#"{"username": "user_setup"}"#),
    ("down", r#"{"username": "user_down"}"#),
    ("instant", r#"{"institution_id": "instant_bank"}"#),
    ("redirect", r#"{"institution_id": "oauth_bank"}"#),
    ("denied", r#"{"institution_id": "oauth_bank", "answers": {"redirect": "deny"}}"#),
    ("by alias", r#"{"institution_id": "sandbox.credentials"}"#),
    ("canada", r#"{"institution_id": "credentials_bank_ca"}"#),
    ("britain", r#"{"institution_id": "credentials_bank_gb"}"#),
    ("canadian investor", r#"{"institution_id": "credentials_bank_ca", "username": "user_investor"}"#),
    ("many in britain", r#"{"institution_id": "credentials_bank_gb", "username": "user_many"}"#),
    ("another person", r#"{"seed": 7}"#),
    ("tagged", r#"{"link_tags": ["one", "two"]}"#),
    ("with a webhook", r#"{"webhook": "{webhook}", "link_tags": ["hooked"]}"#),
    ("accounts alone", r#"{"settings": {"products": {}}}"#),
    (
        "without numbers",
        r#"{"settings": {"products": {"identity": {"prefetch": true}, "transactions": {"prefetch": true}}}}"#,
    ),
    (
        "nothing fetched",
        r#"{"settings": {"products": {"account_numbers": {"required": true}, "identity": {},
        "transactions": {"require_permission": true, "reason": "To budget"}, "investments": {}}}}"#,
    ),
    ("not exchanged", r#"{"exchange": false}"#),
    ("consent ended", r#"{}"#),
    ("to reset", r#"{}"#),
    ("reconnected", r#"{}"#),
    ("deleted", r#"{"webhook": "{webhook}"}"#),
];
/// Further links of the end user of "good", for listings over links.
const MORE_OF_ONE: &[&str] = &[
    r#"{"username": "user_investor"}"#,
    r#"{"institution_id": "credentials_bank_gb"}"#,
    r#"{"institution_id": "instant_bank"}"#,
    r#"{"username": "user_bad"}"#,
];
/// Sessions as an app opens them, and what the person then does.
const SESSIONS: &[(&str, &str, &str)] = &[
    ("session", r#"{"settings": {"products": {"account_numbers": {"required": true, "prefetch": true}}}}"#, r#"{}"#),
    ("session for one account", r#"{"connect_features": {"permit_only_one_account": true}}"#, r#"{}"#),
    (
        "session for deposits",
        r#"{"connect_features": {"permit_only_depository_accounts": true}}"#,
        r#"{"username": "user_many"}"#,
    ),
    ("session of some", r#"{}"#, r#"{"accounts": ["Everyday Checking"]}"#),
    ("session of nothing", r#"{}"#, r#"{"accounts": ["No such account"]}"#),
    ("session in Britain", r#"{"settings": {"countries": ["GB"]}}"#, r#"{"institution_id": "credentials_bank_gb"}"#),
    ("session elsewhere", r#"{"settings": {"countries": ["GB"]}}"#, r#"{"institution_id": "credentials_bank"}"#),
    ("session with a choice", r#"{"institution_id": "instant_bank", "link_tags": ["chosen"]}"#, r#"{}"#),
    ("session of another provider", r#"{"settings": {"providers": ["plaid"]}}"#, r#"{}"#),
    ("session refused", r#"{}"#, r#"{"username": "user_bad"}"#),
    (
        "session with contacts",
        r#"{"customer_user": {"id": "crawl-contacts", "email": {"address": "ada@example.com"},
        "phone": {"number": "+15550100", "country": "US"}}}"#,
        r#"{}"#,
    ),
];

/// Makes all links of simulated banks.
pub async fn sign_in(crawler: &mut Crawler, world: &mut World) -> Result<()> {
    for (number, (label, body)) in PEOPLE.iter().enumerate() {
        make(crawler, world, label, &format!("crawl-{number}"), body).await?;
    }
    for (number, body) in MORE_OF_ONE.iter().enumerate() {
        make(crawler, world, &format!("another {number}"), "crawl-0", body).await?;
    }
    for (label, session, person) in SESSIONS {
        go_through_session(crawler, world, label, session, person).await?;
    }
    make_foreign(crawler, world).await
}

/// Makes a link in one call.
pub async fn make(crawler: &mut Crawler, world: &mut World, label: &str, user: &str, body: &str) -> Result<()> {
    let mut body: Value = serde_json::from_str(&body.replace("{webhook}", &world.webhook()))?;
    body["customer_user"] = json!({ "id": user });
    let call = Call::post("/sandbox/links", &body).by(&world.main);
    let made = crawler.change(&call, &world.main).await?.json();
    let id = made["link_id"].as_str().with_context(|| format!("{label}: {made}"))?.to_owned();
    world.add(crawler, label, &id, user).await
}

async fn go_through_session(
    crawler: &mut Crawler,
    world: &mut World,
    label: &str,
    session: &str,
    person: &str,
) -> Result<()> {
    let user = "crawl-sessions";
    let mut body = json!({ "customer_user": { "id": user }, "redirect_uri": format!("{ORIGIN}/done") });
    merge(&mut body, session)?;
    let opened = crawler.ask(&Call::post("/link-session", &body).by(&world.main)).await?.json();
    let mut person: Value = serde_json::from_str(person)?;
    person["link_session_token"] = opened["link_session_token"].clone();
    let call = Call::post("/sandbox/link-sessions/complete", &person).by(&world.main);
    let completed = crawler.change(&call, &world.main).await?.json();
    // A used session and a spent token are refused.
    crawler.ask(&call).await?;
    let spend = json!({ "exchangeable_token": completed["exchangeable_token"] });
    let call = Call::post("/link-session/exchange-token", &spend).by(&world.main);
    let made = crawler.change(&call, &world.main).await?.json();
    crawler.ask(&call).await?;
    match made["link_id"].as_str() {
        Some(id) => world.add(crawler, label, id, user).await,
        None => Ok(()),
    }
}

fn merge(body: &mut Value, text: &str) -> Result<()> {
    let more: Value = serde_json::from_str(text)?;
    for (name, value) in more.as_object().into_iter().flatten() {
        body[name] = value.clone();
    }
    Ok(())
}

async fn make_foreign(crawler: &mut Crawler, world: &mut World) -> Result<()> {
    let body = json!({ "customer_user": { "id": "crawl-0" } });
    let call = Call::post("/sandbox/links", &body).by(&world.foreign);
    let made = crawler.change(&call, &world.foreign).await?.json();
    world.foreign_link = made["link_id"].as_str().context("no foreign link")?.to_owned();
    Ok(())
}
