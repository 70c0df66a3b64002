//! Payment numbers of an account, when the file holds real ones.
//!
//! Only deposit accounts have them. A US set needs a valid ABA number in `BANKID` and dollars; a Canadian routing
//! number can pass the ABA check by chance, so files from Canada or in another currency never give a US set. A
//! Canadian set needs the institution to be Canadian, three digits in `BANKID` and five in `BRANCHID`. There is no wire
//! number in OFX and none is derived. `BANKID`s of other countries mean nothing here.

use passbook_core::{
    account_numbers::{AccountNumbers, AchNumber, EftNumber},
    institution::Country,
    numbers::{Verdict, aba, eft},
};

use super::{accounts::AccountIdentity, notes::Note};
use crate::port::StatementReading;

/// ACH allows 17 characters for an account number (Nacha file format, entry detail record); banks' own numbers have at
/// least four digits.
const ACCOUNT_DIGITS: std::ops::RangeInclusive<usize> = 4..=17;

/// The account's number sets.
///
/// # Errors
/// Why there are none although the account could have some.
pub(super) fn read(
    account: &AccountIdentity,
    currency: &str,
    reading: &StatementReading<'_>,
) -> Result<Option<AccountNumbers>, Note> {
    if !account.kind.account_type(None).is_depository() {
        return Ok(None);
    }
    let account_number: String = account.account_id.chars().filter(|character| *character != '-').collect();
    let is_complete = account_number.bytes().all(|byte| byte.is_ascii_digit());
    if !is_complete || !ACCOUNT_DIGITS.contains(&account_number.len()) {
        return Err(Note::AccountNumberIncomplete);
    }
    let numbers = match reading.country {
        Some(Country::Ca) => AccountNumbers { eft: eft_number(account, account_number), ..AccountNumbers::default() },
        None | Some(Country::Us) if currency == "USD" => {
            AccountNumbers { ach: ach_number(account, account_number), ..AccountNumbers::default() }
        }
        _ => AccountNumbers::default(),
    };
    if numbers.is_empty() { Err(Note::RoutingNumberMissing) } else { Ok(Some(numbers)) }
}

fn ach_number(account: &AccountIdentity, account_number: String) -> Option<AchNumber> {
    let routing_number = account.bank_id.to_string();
    let is_valid = aba::check(&routing_number) == Verdict::Valid;
    is_valid.then_some(AchNumber { account_number, routing_number, wire_routing_number: None })
}

fn eft_number(account: &AccountIdentity, account_number: String) -> Option<EftNumber> {
    let institution_number = account.bank_id.to_string();
    let branch_number = account.branch_id.to_string();
    let is_valid = eft::check(&institution_number, &branch_number, &account_number) == Verdict::Valid;
    is_valid.then_some(EftNumber { account_number, institution_number, branch_number })
}
