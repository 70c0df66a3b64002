//! Account numbers, routing numbers and IBANs of the simulated banks.
//!
//! Every number has the national form and right check digits. Each is drawn from a stream of its own name, so an
//! account keeps its number whatever else its owner has.

use passbook_core::{
    account::AccountType,
    account_numbers::{AccountNumbers, AchNumber, BacsNumber, EftNumber, InternationalNumber},
    numbers::{Iban, aba},
};

use super::{
    bank::{Bank, NumberRange},
    stream::PersonKey,
};

const MASK_LENGTH: usize = 4;
const CARD_NUMBER_LENGTH: usize = 16;

/// The account's own number. Cards and loans have one too, but only its last digits are ever shown.
pub(super) fn account_number(bank: &Bank, person: &PersonKey, account_key: &str, account_type: &AccountType) -> String {
    let mut stream = person.stream("account_number", account_key);
    let length = if account_type.is_depository() {
        match bank.number_range {
            NumberRange::Ach { .. } => stream.between(10, 12) as usize,
            NumberRange::Eft { .. } => stream.between(7, 12) as usize,
            NumberRange::Bacs { .. } => 8,
        }
    } else {
        CARD_NUMBER_LENGTH
    };
    stream.digits(length)
}

/// The last four characters, or all of a shorter number; `None` for an empty one.
pub(super) fn mask(number: &str) -> Option<String> {
    let start = number.char_indices().rev().nth(MASK_LENGTH - 1).map_or(0, |(index, _)| index);
    (!number.is_empty()).then(|| number[start..].to_owned())
}

/// The sets of a depository account by the scheme of the bank's country; none for other accounts.
///
/// All accounts of a person are at one branch. A wire routing number belongs to checking accounts only.
pub(super) fn payment_numbers(
    bank: &Bank,
    person: &PersonKey,
    account_type: &AccountType,
    account_number: String,
) -> AccountNumbers {
    if !account_type.is_depository() {
        return AccountNumbers::default();
    }
    let mut branch = person.stream("branch", bank.id);
    match bank.number_range {
        NumberRange::Ach { routing_prefix } => {
            let region = branch.below(50);
            let routing = |region: u64| routing_number(&format!("{routing_prefix}{region:02}"));
            let takes_wires = account_type.0 == "depository.checking";
            let ach = AchNumber {
                account_number,
                routing_number: routing(region),
                // The upper half of the regions, so that the two numbers always differ.
                wire_routing_number: takes_wires.then(|| routing(region + 50)),
            };
            AccountNumbers { ach: Some(ach), ..AccountNumbers::default() }
        }
        NumberRange::Eft { institution_number } => {
            let eft = EftNumber {
                account_number,
                institution_number: institution_number.to_owned(),
                branch_number: format!("{:05}", branch.between(1, 99_999)),
            };
            AccountNumbers { eft: Some(eft), ..AccountNumbers::default() }
        }
        NumberRange::Bacs { sort_code_prefix, bic } => {
            let sort_code = format!("{sort_code_prefix}{:02}", branch.below(100));
            let international = InternationalNumber {
                iban: british_iban(&format!("{}{sort_code}{account_number}", &bic[..4])),
                bic: bic.to_owned(),
            };
            let bacs = BacsNumber { account_number, sort_code };
            AccountNumbers { bacs: Some(bacs), international: Some(international), ..AccountNumbers::default() }
        }
    }
}

/// Eight digits and their check digit.
fn routing_number(eight_digits: &str) -> String {
    let check_digit = aba::check_digit(eight_digits).expect("a bank's six digits and two more are eight digits");
    format!("{eight_digits}{check_digit}")
}

/// A British IBAN from its bank code, sort code and account number.
fn british_iban(national: &str) -> String {
    let iban = Iban::from_bban("GB", national).expect("a bank's four letters and fourteen digits are the British form");
    iban.as_str().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sandbox::bank::BANKS;

    #[test]
    fn every_banks_range_makes_numbers() {
        for bank in &BANKS {
            for seed in 0..100 {
                let checking = AccountType::new("depository.checking");
                let person = PersonKey::new([seed; 32]);
                let number = account_number(bank, &person, "checking", &checking);
                assert!(!payment_numbers(bank, &person, &checking, number).is_empty());
            }
        }
    }

    #[test]
    fn masks_are_the_last_four_characters() {
        for (number, expected) in
            [("0123456789", Some("6789")), ("12", Some("12")), ("", None), ("12é45", Some("2é45"))]
        {
            assert_eq!(mask(number).as_deref(), expected);
        }
    }
}
