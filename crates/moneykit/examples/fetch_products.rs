//! Reads every product of a link that the end user granted.
//!
//! ```text
//! cargo run -p moneykit --example fetch_products -- <base URL> <client id> <client secret> <link id>
//! ```

use anyhow::Context;
use moneykit::{
    Client, Error,
    api::GetTransactionsQuery,
    http::StatusCode,
    models::{LinkId, TransactionType},
};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let mut argument = |name| arguments.next().with_context(|| format!("missing argument: {name}"));
    let (base_url, id, secret) = (argument("base URL")?, argument("client id")?, argument("client secret")?);
    let link_id = LinkId::from(argument("link id")?);
    let client = Client::builder().base_url(base_url).client_credentials(id, secret).build()?;
    for line in fetch(&client, &link_id).await? {
        println!("{line}");
    }
    Ok(())
}

/// One line for each thing worth showing.
pub async fn fetch(client: &Client, link_id: &LinkId) -> Result<Vec<String>, Error> {
    let mut lines = Vec::new();
    if let Some(answer) = granted(client.accounts().get_accounts(link_id, &[]).await)? {
        for account in answer.accounts {
            let balance = account.balances.current.map_or_else(|| "unknown".to_owned(), |amount| amount.to_string());
            let currency = account.balances.currency.unwrap_or_default();
            lines.push(format!("account {} ({}): {balance} {currency}", account.name, account.account_type));
        }
    }
    if let Some(answer) = granted(client.account_numbers().get_account_numbers(link_id).await)? {
        for account in answer.accounts {
            // A full number has no business on a terminal.
            let mask = account.account_mask.unwrap_or_default();
            lines.push(format!("numbers of {}: {} by ACH, ending in {mask}", account.name, account.numbers.ach.len()));
        }
    }
    if let Some(answer) = granted(client.identity().get_identities(link_id, &[]).await)? {
        for account in answer.accounts {
            lines.push(format!("{} has {} owner(s)", account.name, account.owners.len()));
        }
    }
    if let Some(lines_of_transactions) = granted(newest_transactions(client, link_id).await)? {
        lines.extend(lines_of_transactions);
    }
    if let Some(answer) = granted(client.investments().get_holdings(link_id, &[]).await)? {
        for holding in answer.holdings {
            let name = answer.securities.iter().find(|security| security.security_id == holding.security_id);
            let name = name.map_or("?", |security| security.name.as_str());
            lines.push(format!("holding {} of {name}", holding.quantity));
        }
    }
    Ok(lines)
}

async fn newest_transactions(client: &Client, link_id: &LinkId) -> Result<Vec<String>, Error> {
    let mut lines = Vec::new();
    let query = GetTransactionsQuery::new().size(10_u64);
    let mut transactions = client.transactions().get_transactions_pages(link_id, &query).items();
    while let Some(transaction) = transactions.next_item().await.transpose()? {
        if lines.len() == 10 {
            break;
        }
        let sign = if transaction.transaction_type == TransactionType::Debit { "-" } else { "+" };
        let text = transaction.description.unwrap_or_default();
        lines.push(format!("{} {sign}{} {} {text}", transaction.date, transaction.amount, transaction.currency));
    }
    Ok(lines)
}

/// `None` for a product that the end user did not grant, or that the server does not have, which is no failure here.
fn granted<T>(answer: Result<T, Error>) -> Result<Option<T>, Error> {
    match answer {
        Ok(answer) => Ok(Some(answer)),
        Err(error) if error.status() == Some(StatusCode::FORBIDDEN) => Ok(None),
        Err(error) if error.error_code() == Some("api_error.not_found") => Ok(None),
        Err(error) => Err(error),
    }
}
