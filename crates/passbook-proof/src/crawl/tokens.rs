//! Access tokens: forms and credentials that are right and wrong, and what a token with a scope may do.

use anyhow::Result;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::call::{Call, Caller};
use super::crawler::Crawler;
use super::world::World;

/// Forms, with the client's own id and secret in braces.
const FORMS: &[&str] = &[
    "grant_type=client_credentials&client_id={id}&client_secret={secret}&scope=links%20accounts",
    "grant_type=client_credentials&client_id={id}&client_secret={secret}&scope=links%20no_such_scope",
    "grant_type=client_credentials&client_id={id}&client_secret={secret}&scope=%20%20links%20links",
    "grant_type=client_credentials&client_id={id}&client_secret={secret}&unknown=1",
    "grant_type=client_credentials&client_id={id}&client_id={id}&client_secret={secret}",
    "grant_type=client_credentials&client_id={id}&client_secret=wrong",
    "grant_type=client_credentials&client_id=nobody&client_secret={secret}",
    "grant_type=client_credentials&client_id={id}",
    "grant_type=client_credentials&client_secret={secret}",
    "grant_type=refresh_token&client_id={id}&client_secret={secret}",
    "grant_type=password&client_id={id}&client_secret={secret}",
    "grant_type=&client_id={id}&client_secret={secret}",
    "client_id={id}&client_secret={secret}",
    "client_id=%FF%00&client_secret=%zz",
    "=&&=",
    "",
];
const FORM: &str = "application/x-www-form-urlencoded";
/// More than a form may have.
const TOO_LARGE: usize = 16_385;
/// What a token for links and accounts is used for; the last is not covered.
const READ_WITH_SCOPE: [&str; 3] = ["/links", "/links/{link}/accounts", "/links/{link}/identity"];

/// Asks for tokens.
pub async fn ask(crawler: &mut Crawler, world: &World) -> Result<()> {
    for form in FORMS {
        crawler.ask(&token_call(&filled(form, &world.main))).await?;
    }
    for body in ["a=".repeat(TOO_LARGE / 2 + 1), "{}".to_owned()] {
        crawler.ask(&token_call(&body)).await?;
    }
    let json = Call::new("POST", "/auth/token").content("application/json", r#"{"grant_type":"client_credentials"}"#);
    crawler.ask(&json).await?;
    basic(crawler, world).await?;
    with_scope(crawler, world).await
}

fn token_call(form: &str) -> Call {
    Call::new("POST", "/auth/token").content(FORM, form)
}

fn filled(form: &str, caller: &Caller) -> String {
    form.replace("{id}", &caller.access.client_id).replace("{secret}", &caller.access.client_secret)
}

/// Credentials in the header: alone, beside those of a form, and wrong.
async fn basic(crawler: &mut Crawler, world: &World) -> Result<()> {
    let access = &world.main.access;
    let right = format!("{}:{}", access.client_id, access.client_secret);
    for credentials in [right.as_str(), &format!("{}:wrong", access.client_id), "no colon", ""] {
        for form in ["grant_type=client_credentials", FORMS[0]] {
            let call = token_call(&filled(form, &world.main));
            let call = call.header("authorization", format!("Basic {}", STANDARD.encode(credentials)));
            crawler.ask(&call).await?;
        }
    }
    Ok(())
}

async fn with_scope(crawler: &mut Crawler, world: &World) -> Result<()> {
    let answer = crawler.ask_json(&token_call(&filled(FORMS[0], &world.main))).await?;
    let token = answer["access_token"].as_str().unwrap_or_default().to_owned();
    let caller = Caller { token, ..world.main.clone() };
    for path in READ_WITH_SCOPE {
        crawler.ask(&Call::get(world.fill(path, world.link("good")?)).by(&caller)).await?;
    }
    crawler.ask(&Call::get("/auth/introspect").by(&caller)).await.map(drop)
}
