//! Balances of a statement.
//!
//! Banks give two: `LEDGERBAL` and `AVAILBAL`. By the standard the sign is the account holder's view, so what is owed is
//! negative: on liability accounts the ledger balance is turned around. The available balance is not: there it is the
//! credit that is left to spend, which is positive in the file as it is with us. Investment statements value positions one by one and
//! state only the cash; a total is not made up from them.

use jiff::Timestamp;
use passbook_core::account::{AccountType, Balances};
use rust_decimal::Decimal;

use super::{
    amounts::{self, negated},
    dates,
    notes::{Note, Notes},
    tree::Element,
};
use crate::port::FileRefusal;

/// Reads the balances of a statement.
///
/// # Errors
/// An amount cannot be read; as for transactions, a missing figure is told apart from a wrong one.
pub(super) fn read(
    statement: Element<'_>,
    account_type: &AccountType,
    currency: &str,
    notes: &mut Notes,
) -> Result<Balances, FileRefusal> {
    let currency = Some(currency.to_owned());
    if statement.is("INVSTMTRS") {
        let available = amount(statement.child("INVBAL"), "AVAILCASH")?;
        let balance_date = as_of(Some(statement), notes);
        return Ok(Balances { currency, available, current: None, limit: None, balance_date });
    }
    let ledger = statement.child("LEDGERBAL");
    let available = statement.child("AVAILBAL");
    let balance_date = as_of(ledger, notes).or_else(|| as_of(available, notes));
    let owed_positive = |amount: Decimal| if account_type.is_liability() { negated(amount) } else { amount };
    Ok(Balances {
        currency,
        available: amount(available, "BALAMT")?,
        current: amount(ledger, "BALAMT")?.map(owed_positive),
        limit: None,
        balance_date,
    })
}

/// The amount named `name` in `aggregate`; an empty one counts as not given.
fn amount(aggregate: Option<Element<'_>>, name: &str) -> Result<Option<Decimal>, FileRefusal> {
    let Some((element, text)) =
        aggregate.and_then(|aggregate| aggregate.child(name)).and_then(|element| Some((element, element.value()?)))
    else {
        return Ok(None);
    };
    amounts::parse(text)
        .map(Some)
        .map_err(|problem| FileRefusal::new(format!("line {}: {name} {}", element.line(), problem.text())))
}

fn as_of(aggregate: Option<Element<'_>>, notes: &mut Notes) -> Option<Timestamp> {
    let text = aggregate?.leaf("DTASOF")?;
    let instant = dates::parse(text).and_then(dates::OfxDate::instant);
    if instant.is_none() {
        notes.add(Note::BalanceDateUnreadable);
    }
    instant
}

/// Keeps the balances of the later of two statements of one account.
pub(super) fn merge(known: &mut Balances, other: Balances) {
    let is_newer = other.balance_date >= known.balance_date;
    let has_any = other.current.is_some() || other.available.is_some();
    if has_any && (is_newer || (known.current.is_none() && known.available.is_none())) {
        *known = other;
    }
}
