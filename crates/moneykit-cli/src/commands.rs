//! What each command does: one or a few calls, and an answer to print.

use std::time::Duration;

use anyhow::Context as _;
use moneykit::{
    Client, Error,
    api::{GetEventsQuery, GetInstitutionsQuery, GetLinksQuery, GetTransactionsQuery, WaitOptions},
    http::Method,
    models::{
        AccountNumbers, DeliveryState, EventDelivery, GetInstitutionsResponse, GetLinksResponse, LinkCommon, Product,
        RefreshProductsRequest, ReplayEvents, TransactionType, WebhookTestLinkResponse,
    },
};
use serde::Serialize;

use crate::{
    arguments::{Command, Events, LinksCommand, Refresh, Replay, Transactions, Trigger},
    connection::Connection,
    listen,
    output::{Table, masked, or_dash},
};

/// An answer, ready to print either way.
pub struct Answer {
    pub table: String,
    pub json: String,
}

impl Answer {
    fn new(value: &impl Serialize, table: String) -> anyhow::Result<Self> {
        Ok(Self { table, json: serde_json::to_string_pretty(value)? + "\n" })
    }
}

/// Runs one command; `json` is how its answer will be printed.
pub async fn run(connection: &Connection, command: Command, json: bool) -> anyhow::Result<Answer> {
    let client = &connection.client;
    match command {
        Command::Token => {
            let token = client.access_token().create_access_token().await?;
            Answer::new(&token, format!("{}\n", token.access_token))
        }
        Command::Links { command: LinksCommand::List } => list_links(client).await,
        Command::Links { command: LinksCommand::Get { link } } => show_link(&client.links().get_link(link).await?),
        Command::Accounts { link } => list_accounts(client, &link).await,
        Command::Numbers { link, reveal } => list_numbers(client, &link, reveal).await,
        Command::Refresh(arguments) => show_link(&refresh(client, arguments).await?),
        Command::Transactions(arguments) => list_transactions(client, arguments).await,
        Command::Events(arguments) => list_events(client, arguments).await,
        Command::Trigger(arguments) => trigger(connection, arguments).await,
        Command::Replay(arguments) => replay(client, arguments).await,
        Command::Listen(arguments) => {
            // Prints line by line, and so has nothing left to print at its end.
            listen::run(client, arguments, json).await?;
            Ok(Answer { table: String::new(), json: String::new() })
        }
        Command::Institutions { name, featured } => list_institutions(client, name, featured).await,
    }
}

async fn list_links(client: &Client) -> anyhow::Result<Answer> {
    let mut all = GetLinksResponse::default();
    let mut query = GetLinksQuery::default();
    loop {
        let page = client.links().get_links(&query).await?;
        all.links.extend(page.links);
        // A server that repeats a cursor would keep us here forever.
        if page.next_cursor.is_empty() || query.cursor.as_ref() == Some(&page.next_cursor) {
            break;
        }
        query.cursor = Some(page.next_cursor);
    }
    let mut table = Table::new(&["LINK", "CREATED"]);
    for link in &all.links {
        table.row([&link.link_id, &link.created_at]);
    }
    Answer::new(&all, table.render())
}

fn show_link(link: &LinkCommon) -> anyhow::Result<Answer> {
    let mut facts = Table::new(&["LINK", "INSTITUTION", "STATE", "ERROR", "TAGS"]);
    let tags = link.link_tags.as_ref().map(|tags| tags.join(","));
    facts.row([&link.link_id, &link.institution_name, &link.state, &or_dash(link.error_code.as_ref()), &or_dash(tags)]);
    let mut products = Table::new(&["PRODUCT", "REFRESHED", "LAST ATTEMPT", "ERROR"]);
    for product in Product::KNOWN {
        if let Some(status) = link.products.status(product) {
            let (refreshed, attempted) = (or_dash(status.refreshed_at), or_dash(status.last_attempted_at));
            products.row([product, &refreshed, &attempted, &or_dash(status.error_code)]);
        }
    }
    Answer::new(link, format!("{}\n{}", facts.render(), products.render()))
}

async fn list_accounts(client: &Client, link: &str) -> anyhow::Result<Answer> {
    let answer = client.accounts().get_accounts(link, &[]).await?;
    let mut table = Table::new(&["ACCOUNT", "TYPE", "NAME", "MASK", "CURRENT", "AVAILABLE", "CURRENCY"]);
    for account in &answer.accounts {
        let balances = &account.balances;
        table.row([
            &account.account_id,
            &account.account_type,
            &account.name,
            &or_dash(account.account_mask.as_ref()),
            &or_dash(balances.current),
            &or_dash(balances.available),
            &or_dash(balances.currency.as_ref()),
        ]);
    }
    Answer::new(&answer, table.render())
}

async fn list_numbers(client: &Client, link: &str, reveal: bool) -> anyhow::Result<Answer> {
    let answer = client.account_numbers().get_account_numbers(link).await?;
    let mut table = Table::new(&["ACCOUNT", "NAME", "NETWORK", "NUMBER", "ROUTING"]);
    for account in &answer.accounts {
        for (network, number, routing) in networks(&account.numbers) {
            let number = if reveal { number.to_owned() } else { masked(number) };
            table.row([&account.account_id, &account.name, &network, &number, &routing]);
        }
    }
    Answer::new(&answer, table.render())
}

/// Network, account number, and whatever routes a payment to it.
fn networks(numbers: &AccountNumbers) -> Vec<(&'static str, &str, String)> {
    let ach = numbers.ach.iter().map(|set| ("ach", set.account_number.as_str(), set.routing_number.clone()));
    let eft = numbers
        .eft
        .iter()
        .map(|set| ("eft", set.account_number.as_str(), format!("{}-{}", set.institution_number, set.branch_number)));
    let bacs = numbers.bacs.iter().map(|set| ("bacs", set.account_number.as_str(), set.sort_code.clone()));
    let international = numbers.international.iter().map(|set| ("international", set.iban.as_str(), set.bic.clone()));
    ach.chain(eft).chain(bacs).chain(international).collect()
}

async fn refresh(client: &Client, arguments: Refresh) -> Result<LinkCommon, Error> {
    let products: Vec<_> = arguments.products.iter().map(|name| Product::from(name.as_str())).collect();
    if arguments.wait {
        let options = WaitOptions { timeout: Duration::from_secs(arguments.timeout), ..WaitOptions::default() };
        client.products().refresh_and_wait(arguments.link, products, options).await
    } else {
        client.products().refresh_products(arguments.link, &RefreshProductsRequest::new(products)).await
    }
}

async fn list_transactions(client: &Client, arguments: Transactions) -> anyhow::Result<Answer> {
    let query = GetTransactionsQuery {
        account_ids: arguments.accounts.into_iter().map(Into::into).collect(),
        size: Some(arguments.limit),
        start_date: arguments.from,
        end_date: arguments.to,
        ..GetTransactionsQuery::default()
    };
    let answer = client.transactions().get_transactions(arguments.link, &query).await?;
    let mut table = Table::new(&["DATE", "AMOUNT", "CURRENCY", "ACCOUNT", "DESCRIPTION"]);
    for transaction in &answer.transactions {
        let sign = if transaction.transaction_type == TransactionType::Debit { "-" } else { "+" };
        let amount = format!("{sign}{}", transaction.amount);
        let pending = if transaction.pending { " (pending)" } else { "" };
        let description = format!("{}{pending}", or_dash(transaction.description.as_ref()));
        table.row([&transaction.date, &amount, &transaction.currency, &transaction.account_id, &description]);
    }
    let summary = format!("{} of {}\n", answer.transactions.len(), answer.total);
    Answer::new(&answer, table.render() + &summary)
}

async fn list_events(client: &Client, arguments: Events) -> anyhow::Result<Answer> {
    let mut query = GetEventsQuery {
        cursor: arguments.after.map(|position| position.to_string()),
        limit: Some(arguments.limit),
        link_id: arguments.link.map(Into::into),
        delivery_state: arguments.dead.then_some(DeliveryState::Dead),
        ..GetEventsQuery::default()
    };
    let mut answer = client.events().get_events(&query).await?;
    // A page may be empty and not the last: the server looks at a part of the ledger for each.
    while answer.events.is_empty() && answer.cursors.next.is_some() {
        query.cursor = answer.cursors.next.take();
        answer = client.events().get_events(&query).await?;
    }
    let mut table = Table::new(&["POSITION", "TIME", "EVENT", "LINK", "ID", "DELIVERY"]);
    for event in &answer.events {
        let delivery = |delivery: &EventDelivery| format!("{} ({})", delivery.state, delivery.attempts);
        let deliveries: Vec<_> = event.deliveries.iter().map(delivery).collect();
        let deliveries = or_dash((!deliveries.is_empty()).then(|| deliveries.join(", ")));
        let (position, time) = (event.position, event.occurred_at);
        table.row([&position, &time, &event.webhook_event, &event.link_id, &event.event_id, &deliveries]);
    }
    Answer::new(&answer, table.render())
}

async fn trigger(connection: &Connection, arguments: Trigger) -> anyhow::Result<Answer> {
    let own = || connection.dev.as_ref().map(|dev| dev.link_id.clone());
    let link = arguments.link.or_else(own).context("no link: give --link")?;
    let body = serde_json::json!({ "webhook_event": arguments.event });
    let request = connection.client.request(Method::POST, "/sandbox/links").segment(link).segment("events");
    let answer: WebhookTestLinkResponse = request.json(&body).send_json().await?.data;
    Answer::new(&answer, format!("{}\n", answer.delivery_token))
}

async fn replay(client: &Client, arguments: Replay) -> anyhow::Result<Answer> {
    let request = ReplayEvents {
        event_ids: (!arguments.events.is_empty()).then_some(arguments.events),
        link_id: arguments.link.map(Into::into),
        delivery_state: arguments.dead.then_some(DeliveryState::Dead),
        ..ReplayEvents::default()
    };
    let answer = client.events().replay_events(&request).await?;
    Answer::new(&answer, format!("{} deliveries\n", answer.deliveries))
}

async fn list_institutions(client: &Client, name: Option<String>, featured: bool) -> anyhow::Result<Answer> {
    let mut all = GetInstitutionsResponse { institutions: Vec::new(), cursors: Default::default() };
    let mut query = GetInstitutionsQuery {
        name,
        featured: featured.then_some(true),
        limit: Some(1000),
        ..GetInstitutionsQuery::default()
    };
    loop {
        let page = client.institutions().get_institutions(&query).await?;
        all.institutions.extend(page.institutions);
        if page.cursors.next.is_none() || query.cursor == page.cursors.next {
            break;
        }
        query.cursor = page.cursors.next;
    }
    let mut table = Table::new(&["INSTITUTION", "NAME", "COUNTRY", "DOMAIN"]);
    for institution in &all.institutions {
        let domain = or_dash(institution.domain.as_ref());
        table.row([&institution.institution_id, &institution.name, &institution.country, &domain]);
    }
    Answer::new(&all, table.render())
}
