//! Makes a link: opens a session, lets the end user sign in, and exchanges the token.
//!
//! ```text
//! cargo run -p moneykit --example create_link -- <base URL> <client id> <client secret> [exchangeable token]
//! ```
//!
//! In an app, the session token goes to the Connect widget, and the widget's success callback gives the exchangeable
//! token back: run the example again with it. On a Passbook sandbox the example signs in by itself.

use anyhow::Context;
use moneykit::{
    Client,
    http::{Method, StatusCode},
    models::{
        CreateLinkSessionRequest, ExchangeTokenRequest, LinkCommon, LinkSessionSettingOverrides, ProductSettings,
        ProductsSettings, TransactionsProductSettings,
    },
};
use serde_json::json;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let mut argument = |name| arguments.next().with_context(|| format!("missing argument: {name}"));
    let (base_url, id, secret) = (argument("base URL")?, argument("client id")?, argument("client secret")?);
    let client = Client::builder().base_url(base_url).client_credentials(id, secret).build()?;

    let exchangeable_token = match arguments.next() {
        Some(token) => token,
        None => {
            let session_token = open_session(&client).await?;
            match sign_in(&client, &session_token).await? {
                Some(token) => token,
                None => {
                    println!("hand this to the Connect widget: {session_token}");
                    return Ok(());
                }
            }
        }
    };
    let link = exchange(&client, &exchangeable_token).await?;
    println!("link {} at {} is {}", link.link_id, link.institution_name, link.state);
    Ok(())
}

/// Opens a session that asks for every product and has each fetched right after the user linked.
pub async fn open_session(client: &Client) -> Result<String, moneykit::Error> {
    let product = ProductSettings { prefetch: true, ..ProductSettings::default() };
    let transactions = TransactionsProductSettings { prefetch: true, ..TransactionsProductSettings::default() };
    let products = ProductsSettings {
        account_numbers: Some(product.clone()),
        identity: Some(product.clone()),
        transactions: Some(transactions),
        investments: Some(product),
    };
    let request = CreateLinkSessionRequest::new("example-user", "http://localhost/")
        .settings(LinkSessionSettingOverrides { products: Some(products), ..Default::default() })
        .link_tags(["example"]);
    Ok(client.link_session().create_link_session(&request).await?.link_session_token)
}

/// Does what a person would do in the widget. `None` where only a person can: outside of a sandbox.
pub async fn sign_in(client: &Client, session_token: &str) -> Result<Option<String>, moneykit::Error> {
    #[derive(serde::Deserialize)]
    struct Completed {
        exchangeable_token: String,
    }
    let person = json!({
        "link_session_token": session_token,
        "institution_id": "credentials_bank",
        "username": "user_good",
    });
    let call = client.request(Method::POST, "/sandbox/link-sessions/complete").json(&person);
    match call.send_json::<Completed>().await {
        Ok(answer) => Ok(Some(answer.data.exchangeable_token)),
        Err(error) if error.status() == Some(StatusCode::NOT_FOUND) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Trades the token of the widget's success callback for the link. It works once.
pub async fn exchange(client: &Client, exchangeable_token: &str) -> Result<LinkCommon, moneykit::Error> {
    Ok(client.link_session().exchange_token(&ExchangeTokenRequest::new(exchangeable_token)).await?.link)
}
