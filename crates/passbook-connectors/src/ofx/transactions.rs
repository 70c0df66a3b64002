//! One transaction element: what the bank reports, or what it takes back.
//!
//! A transaction whose date or amount cannot be read refuses the whole file. Leaving the row out with a note was the
//! alternative; but balances, totals and later corrections would silently disagree with the bank, and a person who
//! uploads a file is there to read the refusal and fetch a better one. The refusal says which transaction it is by its
//! position and line, never by its content.

use std::borrow::Cow;

use passbook_core::transaction::{Direction, TransactionDetails};

use super::{
    amounts, dates,
    limits::{DESCRIPTION_CHARS_MAX, FITID_CHARS_MAX, LABEL_CHARS_MAX},
    notes::{Note, Notes},
    quotes::QuotableNumbers,
    text,
    tree::Element,
};
use crate::port::{FileRefusal, StatementReading};

/// What one transaction element says.
pub(super) enum Row {
    /// A transaction, new or corrected.
    Transaction {
        /// The bank's id, if it gives a usable one.
        id: Option<String>,
        /// The id of the transaction it replaces.
        replaces: Option<String>,
        /// What is reported.
        details: TransactionDetails,
    },
    /// The transaction with this id does not exist after all.
    Deletion(String),
}

/// What reading a transaction needs to know about its surroundings.
pub(super) struct RowContext<'a> {
    /// The account numbers of the whole file.
    pub(super) numbers: &'a QuotableNumbers,
    /// `CURDEF`.
    pub(super) currency: &'a str,
    /// Listed as pending.
    pub(super) pending: bool,
    /// The account's position in the file, from 1.
    pub(super) account_position: usize,
    /// The transaction's position in its statement, from 1.
    pub(super) position: usize,
    /// For ids that hold the account number.
    pub(super) reading: &'a StatementReading<'a>,
}

/// The names of [`Fields`].
const FIELDS: [&str; 11] = [
    "DTPOSTED",
    "TRNAMT",
    "FITID",
    "NAME",
    "MEMO",
    "CHECKNUM",
    "PAYEE",
    "CURRENCY",
    "DTTRAN",
    "CORRECTFITID",
    "CORRECTACTION",
];

/// The fields of a transaction element.
#[derive(Default)]
struct Fields<'t> {
    posted: Option<Element<'t>>,
    initiated: Option<Element<'t>>,
    amount: Option<Element<'t>>,
    id: Option<Element<'t>>,
    corrected_id: Option<&'t str>,
    correction: Option<&'t str>,
    check_number: Option<&'t str>,
    name: Option<&'t str>,
    payee: Option<&'t str>,
    memo: Option<&'t str>,
    currency: Option<&'t str>,
}

/// Reads a transaction element.
///
/// # Errors
/// Date or amount is missing, doubled or unreadable.
pub(super) fn read(row: Element<'_>, context: &RowContext<'_>, notes: &mut Notes) -> Result<Row, FileRefusal> {
    let fields = fields(row).map_err(|name| context.refusal(row, &format!("has more than one {name}")))?;
    let id = fields.id.and_then(Element::value).and_then(|id| context.key(id));
    let corrected_id = fields.corrected_id.and_then(|id| context.key(id));
    let replaces = match (corrected_id, fields.correction) {
        (Some(deleted), Some(action)) if action.eq_ignore_ascii_case("DELETE") => return Ok(Row::Deletion(deleted)),
        (Some(replaced), Some(action)) if action.eq_ignore_ascii_case("REPLACE") => Some(replaced),
        (None, None) => None,
        _ => {
            notes.add(Note::CorrectionIgnored);
            None
        }
    };
    // Pending transactions have no id by the standard, so its absence is nothing to tell anyone.
    if id.is_none() && !context.pending {
        notes.add(Note::TransactionIdMissing);
    }
    Ok(Row::Transaction { id, replaces, details: details(row, &fields, context)? })
}

/// Sorts the children by name. Doubled fields that decide about money mean that two transactions have run together.
fn fields(row: Element<'_>) -> Result<Fields<'_>, &'static str> {
    let mut fields = Fields::default();
    for child in row.children() {
        match FIELDS.into_iter().find(|name| child.is(name)).unwrap_or_default() {
            "DTPOSTED" => once(&mut fields.posted, child, "DTPOSTED")?,
            "DTTRAN" => once(&mut fields.initiated, child, "DTTRAN")?,
            "TRNAMT" => once(&mut fields.amount, child, "TRNAMT")?,
            "FITID" => once(&mut fields.id, child, "FITID")?,
            "CORRECTFITID" => fields.corrected_id = fields.corrected_id.or(child.value()),
            "CORRECTACTION" => fields.correction = fields.correction.or(child.value()),
            "CHECKNUM" => fields.check_number = fields.check_number.or(child.value()),
            "NAME" => fields.name = fields.name.or(child.value()),
            "PAYEE" => fields.payee = fields.payee.or(child.leaf("NAME")),
            "MEMO" => fields.memo = fields.memo.or(child.value()),
            // ORIGCURRENCY only tells where the amount comes from; CURRENCY says what TRNAMT itself is in.
            "CURRENCY" => fields.currency = fields.currency.or(child.leaf("CURSYM")),
            _ => {}
        }
    }
    Ok(fields)
}

fn once<'t>(field: &mut Option<Element<'t>>, element: Element<'t>, name: &'static str) -> Result<(), &'static str> {
    if field.replace(element).is_some() { Err(name) } else { Ok(()) }
}

fn details(row: Element<'_>, fields: &Fields<'_>, context: &RowContext<'_>) -> Result<TransactionDetails, FileRefusal> {
    let (date_name, date_element) = match fields.posted {
        Some(posted) => ("DTPOSTED", Some(posted)),
        None if context.pending => ("DTTRAN", fields.initiated),
        None => ("DTPOSTED", None),
    };
    let date_text = date_element.and_then(Element::value);
    let date_text = date_text.ok_or_else(|| context.refusal(row, &format!("has no {date_name}")))?;
    let date = dates::parse(date_text)
        .ok_or_else(|| context.refusal(row, &format!("its {date_name} is not a date from 1970 to 2199")))?;
    let amount = fields.amount.and_then(Element::value).ok_or_else(|| context.refusal(row, "has no TRNAMT"))?;
    let amount =
        amounts::parse(amount).map_err(|problem| context.refusal(row, &format!("its TRNAMT {}", problem.text())))?;
    let (amount, direction) = Direction::split(amount);
    let raw_description = description(fields, context.numbers);
    let description = match &raw_description {
        Some(raw) => text::clean(raw),
        None => fields.check_number.and_then(|number| check_description(number, context.numbers)),
    };
    Ok(TransactionDetails {
        amount,
        direction,
        currency: fields.currency.and_then(currency_code).unwrap_or_else(|| context.currency.to_owned()),
        date: date.date,
        datetime: date.exact_instant(),
        description,
        raw_description,
        pending: context.pending,
    })
}

/// The payee's name and the memo as the bank wrote them. `NAME` has room for 32 characters only, so many banks repeat
/// and continue it in `MEMO`; what the other text already says is not said twice.
///
/// Texts are compared as written and cut last: a number that is cut or shortened in only one of them would neither be
/// recognised as said already nor as a quote.
fn description(fields: &Fields<'_>, numbers: &QuotableNumbers) -> Option<String> {
    let (name, memo) = match (fields.name.or(fields.payee), fields.memo) {
        (Some(name), Some(memo)) if memo.starts_with(name) => (None, Some(memo)),
        (Some(name), Some(memo)) if name.starts_with(memo) => (Some(name), None),
        texts => texts,
    };
    let name = name.map(|name| numbers.shorten_in(name));
    let name = name.as_deref().map(|name| text::cut(name, LABEL_CHARS_MAX));
    let text = match (name, memo) {
        (Some(name), Some(memo)) => Cow::Owned(format!("{name} {memo}")),
        (text, None) | (None, text) => Cow::Borrowed(text?),
    };
    // The end of the name and the beginning of the memo may make up a number, so they are looked at together.
    Some(text::cut(&numbers.shorten_in(&text), DESCRIPTION_CHARS_MAX).to_owned())
}

/// Checks often come with nothing but their number.
fn check_description(number: &str, numbers: &QuotableNumbers) -> Option<String> {
    let is_number = number.len() <= 12 && number.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| format!("Check {}", numbers.shorten_in(number)))
}

/// An ISO 4217 code in upper case, if the text has the shape of one.
pub(super) fn currency_code(text: &str) -> Option<String> {
    let is_code = text.len() == 3 && text.bytes().all(|byte| byte.is_ascii_alphabetic());
    is_code.then(|| text.to_ascii_uppercase())
}

impl RowContext<'_> {
    /// The id as stored. An id of zeros is a filler that all transactions share; one that quotes an account number is
    /// replaced by its fingerprint, as every stored upstream id must be free of account numbers.
    fn key(&self, id: &str) -> Option<String> {
        let id = text::clean(id)?;
        if id.chars().count() > FITID_CHARS_MAX || id.bytes().all(|byte| byte == b'0') {
            return None;
        }
        Some(if self.numbers.are_quoted_in(&id) { (self.reading.fingerprint)(&id) } else { id })
    }

    fn refusal(&self, row: Element<'_>, problem: &str) -> FileRefusal {
        FileRefusal::new(format!(
            "transaction {} of account {} (line {}): {problem}",
            self.position,
            self.account_position,
            row.line()
        ))
    }
}
