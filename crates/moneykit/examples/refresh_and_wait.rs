//! Refreshes the payment numbers of a link and waits until they are fresh.
//!
//! ```text
//! cargo run -p moneykit --example refresh_and_wait -- <base URL> <client id> <client secret> <link id>
//! ```

use std::time::Duration;

use anyhow::Context;
use moneykit::{
    Client,
    api::{ProductsApi, WaitOptions},
    models::Product,
};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let mut argument = |name| arguments.next().with_context(|| format!("missing argument: {name}"));
    let (base_url, id, secret) = (argument("base URL")?, argument("client id")?, argument("client secret")?);
    let link_id = argument("link id")?;
    let client = Client::builder().base_url(base_url).client_credentials(id, secret).build()?;

    let options = WaitOptions { timeout: Duration::from_secs(60), ..WaitOptions::default() };
    match ProductsApi::new(&client).refresh_and_wait(&link_id, [Product::AccountNumbers], options).await {
        Ok(link) => {
            let refreshed_at = link.products.account_numbers.and_then(|product| product.refreshed_at);
            println!("fresh as of {}", refreshed_at.context("a refreshed product has a time")?);
        }
        Err(error) => {
            if let Some((product, why)) = error.product_error() {
                println!("{product} could not be refreshed: {why}");
            } else if let Some(wait) = error.retry_after() {
                println!("refreshed too recently; try again in {} seconds", wait.as_secs());
            } else {
                return Err(error.into());
            }
        }
    }
    Ok(())
}
