//! The OFX form: OFX 2.1.1 statements (sections 2.2 and 11 of the specification), bank accounts before cards.

use std::io::{self, Write};

use jiff::civil::Date;
use moneykit::models::{AccountResponse, LinkCommon, TransactionResponse};

use super::{Exported, Writer, signed};

const HEADER: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\" standalone=\"no\"?>\n\
    <?OFX OFXHEADER=\"200\" VERSION=\"211\" SECURITY=\"NONE\" OLDFILEUID=\"NONE\" NEWFILEUID=\"NONE\"?>\n";
const STATUS: &str = "<STATUS><CODE>0</CODE><SEVERITY>INFO</SEVERITY></STATUS>";
/// Stands for a routing number that is not written.
const NO_BANK: &str = "000000000";
/// Longest `NAME` and `MEMO` (section 11.4.3).
const NAME_CHARS: usize = 32;
const MEMO_CHARS: usize = 255;
/// An instant for statements of links that were never fetched.
const NEVER: &str = "19700101000000";

/// Kinds of statements, in the order of the file.
const BANK: u8 = 0;
const CARD: u8 = 1;

#[derive(Default)]
pub(super) struct Ofx {
    /// The message set that is open.
    open: Option<u8>,
    /// When the link was last fetched.
    as_of: String,
}

impl Writer for Ofx {
    /// Loans and investments need what the API does not say.
    fn place(&self, account: &AccountResponse) -> Option<u8> {
        match account.account_type.as_str() {
            "liability.credit_card" => Some(CARD),
            "liability.line_of_credit" => Some(BANK),
            kind if kind.starts_with("depository.") => Some(BANK),
            _ => None,
        }
    }

    fn begin(&mut self, out: &mut dyn Write, link: &LinkCommon) -> io::Result<()> {
        self.as_of = link.last_synced_at.map_or(NEVER.to_owned(), |at| at.strftime("%Y%m%d%H%M%S").to_string());
        let (as_of, organisation) = (&self.as_of, text(&link.institution_name, NAME_CHARS));
        write!(
            out,
            "{HEADER}<OFX><SIGNONMSGSRSV1><SONRS>{STATUS}<DTSERVER>{as_of}</DTSERVER><LANGUAGE>ENG</LANGUAGE>\
             <FI><ORG>{organisation}</ORG></FI></SONRS></SIGNONMSGSRSV1>"
        )
    }

    fn begin_account(&mut self, out: &mut dyn Write, exported: &Exported) -> io::Result<()> {
        let place = self.place(&exported.account);
        if self.open != place {
            self.close(out)?;
            out.write_all(if place == Some(CARD) { b"\n<CREDITCARDMSGSRSV1>" } else { b"\n<BANKMSGSRSV1>" })?;
            self.open = place;
        }
        let account = &exported.account;
        let currency = text(account.balances.currency.as_deref().unwrap_or("USD"), 3);
        let id = number(exported);
        match place {
            Some(CARD) => write!(
                out,
                "\n<CCSTMTTRNRS><TRNUID>0</TRNUID>{STATUS}<CCSTMTRS><CURDEF>{currency}</CURDEF>\
                 <CCACCTFROM><ACCTID>{id}</ACCTID></CCACCTFROM>"
            )?,
            _ => write!(
                out,
                "\n<STMTTRNRS><TRNUID>0</TRNUID>{STATUS}<STMTRS><CURDEF>{currency}</CURDEF>\
                 <BANKACCTFROM><BANKID>{bank}</BANKID><ACCTID>{id}</ACCTID><ACCTTYPE>{kind}</ACCTTYPE></BANKACCTFROM>",
                bank = routing_number(exported),
                kind = kind(account),
            )?,
        }
        let as_of = &self.as_of;
        write!(out, "<BANKTRANLIST><DTSTART>{NEVER}</DTSTART><DTEND>{as_of}</DTEND>")
    }

    fn transaction(&mut self, out: &mut dyn Write, _: &Exported, item: &TransactionResponse) -> io::Result<bool> {
        if item.pending {
            return Ok(false);
        }
        let amount = signed(item);
        let kind = if amount.starts_with('-') { "DEBIT" } else { "CREDIT" };
        let id = item.transaction_id.as_str().trim_start_matches("txn_");
        let (date, name) = (day(item.date), text(item.description.as_deref().unwrap_or("Transaction"), NAME_CHARS));
        write!(
            out,
            "\n<STMTTRN><TRNTYPE>{kind}</TRNTYPE><DTPOSTED>{date}</DTPOSTED><TRNAMT>{amount}</TRNAMT>\
             <FITID>{id}</FITID><NAME>{name}</NAME>"
        )?;
        if let Some(memo) = &item.raw_description {
            write!(out, "<MEMO>{}</MEMO>", text(memo, MEMO_CHARS))?;
        }
        out.write_all(b"</STMTTRN>")?;
        Ok(true)
    }

    fn end_account(&mut self, out: &mut dyn Write, exported: &Exported) -> io::Result<()> {
        let balances = &exported.account.balances;
        // OFX shows what is owed as negative.
        let owed = exported.account.account_type.starts_with("liability.");
        let current = balances.current.unwrap_or_default();
        let current = if owed { -current } else { current };
        let as_of = &self.as_of;
        write!(out, "</BANKTRANLIST><LEDGERBAL><BALAMT>{current}</BALAMT><DTASOF>{as_of}</DTASOF></LEDGERBAL>")?;
        if let Some(available) = balances.available {
            write!(out, "<AVAILBAL><BALAMT>{available}</BALAMT><DTASOF>{as_of}</DTASOF></AVAILBAL>")?;
        }
        out.write_all(match self.open {
            Some(CARD) => b"</CCSTMTRS></CCSTMTTRNRS>",
            _ => b"</STMTRS></STMTTRNRS>",
        })
    }

    fn end(&mut self, out: &mut dyn Write) -> io::Result<()> {
        self.close(out)?;
        out.write_all(b"\n</OFX>\n")
    }
}

impl Ofx {
    fn close(&mut self, out: &mut dyn Write) -> io::Result<()> {
        match self.open.take() {
            Some(CARD) => out.write_all(b"\n</CREDITCARDMSGSRSV1>"),
            Some(_) => out.write_all(b"\n</BANKMSGSRSV1>"),
            None => Ok(()),
        }
    }
}

/// The full number when it is to be written, else the account's id without its prefix: 22 characters, as many as OFX
/// allows.
fn number(exported: &Exported) -> String {
    let numbers = exported.numbers.as_ref();
    let full = numbers.and_then(|numbers| {
        let ach = numbers.ach.first().map(|set| &set.account_number);
        let eft = numbers.eft.first().map(|set| &set.account_number);
        ach.or(eft).or(numbers.bacs.first().map(|set| &set.account_number))
    });
    let id = exported.account.account_id.as_str().trim_start_matches("acc_");
    full.cloned().unwrap_or_else(|| text(id, 22))
}

fn routing_number(exported: &Exported) -> String {
    let ach = exported.numbers.as_ref().and_then(|numbers| numbers.ach.first());
    ach.map_or_else(|| NO_BANK.to_owned(), |set| set.routing_number.clone())
}

fn kind(account: &AccountResponse) -> &'static str {
    match account.account_type.as_str() {
        "depository.savings" => "SAVINGS",
        "depository.money_market" => "MONEYMRKT",
        "depository.cd" => "CD",
        "liability.line_of_credit" => "CREDITLINE",
        _ => "CHECKING",
    }
}

fn day(date: Date) -> String {
    date.strftime("%Y%m%d").to_string()
}

/// A value of at most so many characters, escaped. Characters that XML forbids are left out.
fn text(value: &str, chars: usize) -> String {
    let mut escaped = String::new();
    for letter in value.chars().filter(|letter| !letter.is_control()).take(chars) {
        match letter {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            other => escaped.push(other),
        }
    }
    escaped
}
