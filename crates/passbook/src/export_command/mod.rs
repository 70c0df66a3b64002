//! `passbook links export`: a link's accounts and transactions as a file, read through the API like any app does.
//!
//! Accounts are read at once, transactions page by page and written as they come, so memory does not grow with them. Full
//! account numbers are only read and written when they are asked for.

mod csv;
mod json;
mod ofx;

use std::{
    collections::HashMap,
    io::{self, BufWriter, IsTerminal as _, Write},
    path::PathBuf,
};

use anyhow::Context as _;
use clap::ValueEnum;
use jiff::civil::Date;
use moneykit::models::{
    AccountNumbers, AccountResponse, GetAccountNumbersResponse, GetAccountsResponse, GetTransactionsResponse,
    LinkCommon, TransactionResponse,
};
use passbook_store::files;

use crate::{api_client::ApiClient, note, output::write_note};

/// Transactions of one page: the most that the API gives.
const PAGE_SIZE: u64 = 1000;

/// What to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Everything, in a form that `import-file` reads.
    Json,
    /// A row for each transaction.
    Csv,
    /// Statements in OFX 2, for accounting programs.
    Ofx,
}

/// Which link, and what of it.
pub struct Export {
    /// The link's id.
    pub link_id: String,
    /// The form.
    pub format: Format,
    /// Where to; standard output otherwise.
    pub output: Option<PathBuf>,
    /// Earliest date, inclusive.
    pub from: Option<Date>,
    /// Latest date, inclusive.
    pub to: Option<Date>,
    /// Whether full account numbers are written.
    pub numbers: bool,
}

/// An account with what is written of it.
struct Exported {
    account: AccountResponse,
    numbers: Option<AccountNumbers>,
}

/// Writes one form, part by part.
trait Writer {
    /// Where the account stands in the file, if it stands in it at all.
    fn place(&self, account: &AccountResponse) -> Option<u8>;
    fn begin(&mut self, out: &mut dyn Write, link: &LinkCommon) -> io::Result<()>;
    fn begin_account(&mut self, out: &mut dyn Write, exported: &Exported) -> io::Result<()>;
    /// Whether the transaction was written.
    fn transaction(&mut self, out: &mut dyn Write, exported: &Exported, item: &TransactionResponse)
    -> io::Result<bool>;
    fn end_account(&mut self, out: &mut dyn Write, exported: &Exported) -> io::Result<()>;
    fn end(&mut self, out: &mut dyn Write) -> io::Result<()>;
}

/// Exports a link.
///
/// # Errors
/// When the server says no, or the file cannot be written. A file is there whole or not at all.
pub async fn run(client: &ApiClient, export: &Export) -> anyhow::Result<()> {
    let Some(path) = &export.output else {
        return until_closed(write_all(client, export, &mut BufWriter::new(io::stdout().lock())).await);
    };
    let fault = || format!("cannot write {}", path.display());
    // It may hold account numbers.
    let file = files::beside(path).with_context(fault)?;
    write_all(client, export, &mut BufWriter::new(file.as_file())).await?;
    file.as_file().sync_all().with_context(fault)?;
    file.persist(path).map_err(|failed| failed.error).with_context(fault)?;
    files::sync_parent(path).with_context(fault)
}

/// A reader that closes standard output early has seen enough.
fn until_closed(written: anyhow::Result<()>) -> anyhow::Result<()> {
    match written {
        Err(error)
            if error.downcast_ref().is_some_and(|error: &io::Error| error.kind() == io::ErrorKind::BrokenPipe) =>
        {
            Ok(())
        }
        written => written,
    }
}

async fn write_all(client: &ApiClient, export: &Export, out: &mut dyn Write) -> anyhow::Result<()> {
    let mut writer: Box<dyn Writer> = match export.format {
        Format::Json => Box::new(json::Json::default()),
        Format::Csv => Box::new(csv::Csv),
        Format::Ofx => Box::new(ofx::Ofx::default()),
    };
    let (link, accounts) = read_accounts(client, export).await?;
    let all = accounts.len();
    let mut placed: Vec<(u8, Exported)> =
        accounts.into_iter().filter_map(|exported| Some((writer.place(&exported.account)?, exported))).collect();
    placed.sort_by_key(|(place, _)| *place);
    if placed.len() < all {
        note!("note: {} of {all} accounts have no place in this format and are left out", all - placed.len());
    }
    writer.begin(out, &link)?;
    let mut progress = Progress::new();
    let mut left_out = 0;
    for (_, exported) in &placed {
        writer.begin_account(out, exported)?;
        let mut page = 1;
        loop {
            let answer = read_page(client, export, exported, page).await?;
            for item in &answer.transactions {
                left_out += usize::from(!writer.transaction(out, exported, item)?);
            }
            progress.add(answer.transactions.len());
            if answer.transactions.is_empty() || page * PAGE_SIZE >= answer.total {
                break;
            }
            page += 1;
        }
        writer.end_account(out, exported)?;
    }
    writer.end(out)?;
    out.flush()?;
    progress.end();
    if left_out > 0 {
        note!("note: {left_out} pending transactions are left out: this format has posted ones only");
    }
    Ok(())
}

async fn read_accounts(client: &ApiClient, export: &Export) -> anyhow::Result<(LinkCommon, Vec<Exported>)> {
    let path = format!("/links/{}/accounts", segment(&export.link_id));
    let answer: GetAccountsResponse = client.get(&path, &[]).await?;
    let mut numbers = HashMap::new();
    if export.numbers {
        let answer: GetAccountNumbersResponse = client.get(&format!("{path}/numbers"), &[]).await?;
        numbers.extend(answer.accounts.into_iter().map(|account| (account.account_id, account.numbers)));
    }
    let with_numbers = |account: AccountResponse| {
        let numbers = numbers.remove(&account.account_id);
        Exported { account, numbers }
    };
    let accounts = answer.accounts.into_iter().map(with_numbers).collect();
    Ok((answer.link, accounts))
}

async fn read_page(
    client: &ApiClient,
    export: &Export,
    exported: &Exported,
    page: u64,
) -> anyhow::Result<GetTransactionsResponse> {
    let mut query = vec![
        ("page", page.to_string()),
        ("size", PAGE_SIZE.to_string()),
        ("account_ids", exported.account.account_id.to_string()),
    ];
    let dates = [("start_date", export.from), ("end_date", export.to)];
    query.extend(dates.into_iter().filter_map(|(name, date)| Some((name, date?.to_string()))));
    client.get(&format!("/links/{}/transactions", segment(&export.link_id)), &query).await
}

fn segment(id: &str) -> String {
    percent_encoding::utf8_percent_encode(id, percent_encoding::NON_ALPHANUMERIC).to_string()
}

/// The amount with its sign: money that enters is positive.
fn signed(item: &TransactionResponse) -> String {
    item.import_amount().map(|amount| amount.to_string()).unwrap_or_default()
}

/// Says how far it is, where somebody watches.
struct Progress {
    done: usize,
    shows: bool,
}

impl Progress {
    fn new() -> Self {
        Self { done: 0, shows: io::stderr().is_terminal() }
    }

    fn add(&mut self, count: usize) {
        self.done += count;
        if self.shows {
            write_note(format_args!("\r{} transactions", self.done));
        }
    }

    fn end(&self) {
        if self.shows {
            write_note(format_args!("\n"));
        }
    }
}
