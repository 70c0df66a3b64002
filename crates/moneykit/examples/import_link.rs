//! Makes a link of data the app already has, adds to it, and reads it back.
//!
//! ```text
//! cargo run -p moneykit --example import_link -- <base URL> <client id> <client secret> <institution id>
//! ```

use anyhow::Context;
use moneykit::{
    Client,
    api::GetTransactionsQuery,
    jiff::civil::{Date, date},
    models::{
        AccountBalances, AccountImportData, ImportAmount, ImportLinkRequest, ImportTransactionsRequest,
        TransactionImportData, TransactionResponse,
    },
    rust_decimal::Decimal,
};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let mut argument = |name| arguments.next().with_context(|| format!("missing argument: {name}"));
    let (base_url, id, secret) = (argument("base URL")?, argument("client id")?, argument("client secret")?);
    let institution_id = argument("institution id")?;
    let client = Client::builder().base_url(base_url).client_credentials(id, secret).build()?;
    for transaction in import(&client, &institution_id).await? {
        let amount = transaction.import_amount().context("a direction that nobody knows")?;
        println!("{} {:>10} {}", transaction.date, amount, transaction.description.unwrap_or_default());
    }
    Ok(())
}

/// Imports an account with two transactions, adds a third and corrects one, and returns what is there then.
pub async fn import(client: &Client, institution_id: &str) -> Result<Vec<TransactionResponse>, moneykit::Error> {
    let balance = Decimal::new(249_290, 2);
    let balances =
        AccountBalances { currency: Some("USD".to_owned()), current: Some(balance), ..AccountBalances::default() };
    let account = AccountImportData::new("our-account", "Everyday", "checking").mask("6789").balances(balances);
    // Positive enters the account, negative leaves it.
    let wages = ImportAmount::from_credit_positive(Decimal::new(250_000, 2));
    let coffee = ImportAmount::from_credit_positive(Decimal::new(-710, 2));
    let request = ImportLinkRequest::new("example-user", institution_id)
        .account(account)
        .transaction(transaction("wages-1", wages, date(2024, 1, 5), "Wages"))
        .transaction(transaction("coffee-1", coffee, date(2024, 1, 9), "Cofee"));
    let link = client.links().import_link(&request).await?;

    let more = ImportTransactionsRequest::new([
        transaction("coffee-1", coffee, date(2024, 1, 9), "Coffee"),
        transaction("coffee-2", coffee, date(2024, 1, 10), "Coffee again"),
    ]);
    client.links().import_transactions(&link.link_id, &more).await?;

    let mut all = Vec::new();
    let pages = client.transactions().get_transactions_pages(&link.link_id, &GetTransactionsQuery::new());
    let mut transactions = pages.items();
    while let Some(transaction) = transactions.next_item().await.transpose()? {
        all.push(transaction);
    }
    Ok(all)
}

fn transaction(id: &str, amount: ImportAmount, date: Date, text: &str) -> TransactionImportData {
    TransactionImportData::new("our-account", amount, date).transaction_id(id).description(text)
}
