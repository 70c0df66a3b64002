//! From client credentials to the payment numbers of a link.
//!
//! ```text
//! cargo run -p moneykit --example account_numbers -- <base URL> <client id> <client secret> [link id]
//! ```
//!
//! Without a link id it takes the app's first link.

use anyhow::Context;
use moneykit::{
    Client,
    api::{AccessTokenApi, AccountNumbersApi, GetLinksQuery, LinksApi},
    models::LinkId,
};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let mut argument = |name| arguments.next().with_context(|| format!("missing argument: {name}"));
    let (base_url, id, secret) = (argument("base URL")?, argument("client id")?, argument("client secret")?);
    let client = Client::builder().base_url(base_url).client_credentials(id, secret).build()?;

    // The client fetches its token by itself; this call only shows whose token it is.
    let who = AccessTokenApi::new(&client).instrospect_client().await?;
    println!("app {}", who.app.name);

    let link_id = match arguments.next() {
        Some(id) => LinkId::from(id),
        None => {
            let page = LinksApi::new(&client).get_links(&GetLinksQuery::default()).await?;
            page.links.into_iter().next().context("the app has no link yet")?.link_id
        }
    };
    let link = LinksApi::new(&client).get_link(&link_id).await?;
    println!("link {link_id} at {} is {}", link.institution_name, link.state);

    let answer = AccountNumbersApi::new(&client).get_account_numbers(&link_id).await?;
    match answer.link.products.account_numbers.and_then(|product| product.refreshed_at) {
        Some(at) => println!("numbers as of {at}"),
        None => println!("numbers were never fetched; refresh the product account_numbers"),
    }
    for account in &answer.accounts {
        println!("{} ({})", account.name, account.account_type);
        for ach in &account.numbers.ach {
            println!("  routing {}, account ending in {}", ach.routing_number, last_four(&ach.account_number));
        }
    }
    Ok(())
}

/// A full number has no business on a terminal.
fn last_four(number: &str) -> &str {
    number.char_indices().rev().nth(3).map_or(number, |(at, _)| &number[at..])
}
