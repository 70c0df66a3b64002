//! The UK modulus check: whether an account number can exist under its sort code.
//!
//! Each UK bank chooses one or two arithmetic checks for its sort codes and publishes them, with a list of exceptions,
//! through Vocalink as "Validating account numbers: UK modulus checking". The weight and substitution tables change
//! several times a year and their licence does not let us ship them: an operator configures the files, the server reads
//! them and hands their text to [`ModulusTables::parse`]. Without tables every well-formed account is *unchecked*.
//!
//! Digits are named as in that document: `u v w x y z` are the sort code, `a b c d e f g h` the account.
//!
//! | exception | effect |
//! | --- | --- |
//! | 1 | 27 is added to the sum |
//! | 2 and 9 | two rows, either may pass; the first has other weights for some accounts, the second another sort code |
//! | 3 | the second check is left out when `c` is 6 or 9 |
//! | 4 | the remainder must equal the two digits `gh` |
//! | 5 | sort code may be substituted; `g` and `h` are the check digits of the first and second check |
//! | 6 | foreign-currency accounts are exempt |
//! | 7 | weights `u`-`b` are zero when `g` is 9 |
//! | 8 | checked under a fixed sort code |
//! | 10 and 11 | two rows, either may pass; the first has zero weights for some accounts |
//! | 12 and 13 | two rows, either may pass |
//! | 14 | when the check fails, tried once more without the last digit |

mod arithmetic;
mod tables;

pub use tables::{ModulusTables, Table, TableError, TableProblem};

use super::{Reason, UkAccount, Verdict};
use arithmetic::{is_foreign_currency, passes};
use tables::Rule;

/// Judges an account under the configured tables.
///
/// A foreign-currency account that exception 6 exempts is valid, as the published vectors say.
pub fn check(account: &UkAccount, tables: Option<&ModulusTables>) -> Verdict {
    let Some(tables) = tables else { return Verdict::Unchecked(Reason::NoModulusTables) };
    match tables.rule_for(account.sort_code) {
        None => Verdict::Unchecked(Reason::SortCodeNotInTables),
        Some(rule) if satisfies(rule, account, tables) => Verdict::Valid,
        Some(_) => Verdict::Invalid(Reason::ModulusMismatch),
    }
}

fn satisfies(rule: &Rule, account: &UkAccount, tables: &ModulusTables) -> bool {
    if rule.first.exception == Some(6) && is_foreign_currency(account) {
        return true;
    }
    let first_passes = passes(&rule.first, account, tables);
    let Some(second) = &rule.second else { return first_passes };
    match (rule.first.exception, second.exception) {
        (Some(2), Some(9)) | (Some(10), Some(11)) | (Some(12), Some(13)) => {
            first_passes || passes(second, account, tables)
        }
        (_, Some(3)) if matches!(account.account_values()[2], 6 | 9) => first_passes,
        _ => first_passes && passes(second, account, tables),
    }
}
