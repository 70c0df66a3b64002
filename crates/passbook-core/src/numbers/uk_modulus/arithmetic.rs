//! One row of the weight table applied to one account.

use super::tables::{Check, Method, ModulusTables};
use crate::numbers::{SortCode, UkAccount};

/// Positions of the digits `a`, `b`, `g` and `h` in the fourteen.
const A: usize = 6;
const B: usize = 7;
const G: usize = 12;
const H: usize = 13;

/// The sort code that holds all euro accounts of the bank using exceptions 2 and 9.
const EURO_SORT_CODE: SortCode = SortCode::from_values([3, 0, 9, 6, 3, 4]);
/// The sort code exception 8 checks under.
const EXCEPTION_8_SORT_CODE: SortCode = SortCode::from_values([0, 9, 0, 1, 2, 6]);

/// Weights of exception 2 for accounts whose `a` is not 0 and `g` is not 9.
const EXCEPTION_2: [i16; 14] = [0, 0, 1, 2, 5, 3, 6, 4, 8, 7, 10, 9, 3, 1];
/// Weights of exception 2 for accounts whose `a` is not 0 and `g` is 9.
const EXCEPTION_2_G9: [i16; 14] = [0, 0, 0, 0, 0, 0, 0, 0, 8, 7, 10, 9, 3, 1];

/// Whether exception 6 exempts the account: `a` is 4 to 8 and `g` equals `h`.
pub(super) fn is_foreign_currency(account: &UkAccount) -> bool {
    let [a, .., g, h] = account.account_values();
    (4..=8).contains(&a) && g == h
}

/// Whether the account passes this one check, exceptions applied.
pub(super) fn passes(check: &Check, account: &UkAccount, tables: &ModulusTables) -> bool {
    let sort_code = match check.exception {
        Some(5) => tables.substitute_for(account.sort_code).unwrap_or(account.sort_code),
        Some(8) => EXCEPTION_8_SORT_CODE,
        Some(9) => EURO_SORT_CODE,
        _ => account.sort_code,
    };
    let digits = join(sort_code, account);
    let remainder = remainder(check.method, &digits, &weights_for(check, &digits), check.exception);
    match check.exception {
        Some(4) => remainder == i32::from(digits[G]) * 10 + i32::from(digits[H]),
        Some(5) => check_digit_fits(check.method, remainder, &digits),
        Some(14) => remainder == 0 || passes_without_last_digit(check, digits),
        _ => remainder == 0,
    }
}

fn join(sort_code: SortCode, account: &UkAccount) -> [u8; 14] {
    let mut digits = [0; 14];
    digits[..A].copy_from_slice(&sort_code.values());
    digits[A..].copy_from_slice(&account.account_values());
    digits
}

fn weights_for(check: &Check, digits: &[u8; 14]) -> [i16; 14] {
    let g_is_nine = digits[G] == 9;
    match check.exception {
        Some(2) if digits[A] != 0 => {
            if g_is_nine {
                EXCEPTION_2_G9
            } else {
                EXCEPTION_2
            }
        }
        Some(7) if g_is_nine => without_leading_weights(check),
        Some(10) if g_is_nine && matches!((digits[A], digits[B]), (0 | 9, 9)) => without_leading_weights(check),
        _ => check.weights,
    }
}

/// The row's weights with `u` to `b` set to zero.
fn without_leading_weights(check: &Check) -> [i16; 14] {
    let mut weights = check.weights;
    weights[..=B].fill(0);
    weights
}

fn remainder(method: Method, digits: &[u8; 14], weights: &[i16; 14], exception: Option<u8>) -> i32 {
    let products = digits.iter().zip(weights).map(|(digit, weight)| i32::from(*digit) * i32::from(*weight));
    let sum: i32 = match method {
        Method::DoubleAlternate => products.map(digit_sum).sum(),
        Method::Modulus10 | Method::Modulus11 => products.sum(),
    };
    let added = if exception == Some(1) { 27 } else { 0 };
    // Some rows have a negative weight, and a remainder is never negative here.
    (sum + added).rem_euclid(method.modulus())
}

fn digit_sum(mut product: i32) -> i32 {
    let mut sum = 0;
    while product > 0 {
        sum += product % 10;
        product /= 10;
    }
    sum
}

/// Exception 5: the complement of the remainder is `g` in the modulus 11 check and `h` in the double alternate check.
/// Remainder 1 of modulus 11 would need a check digit of ten and is never valid.
fn check_digit_fits(method: Method, remainder: i32, digits: &[u8; 14]) -> bool {
    let position = if method == Method::Modulus11 { G } else { H };
    let expected = if remainder == 0 { 0 } else { method.modulus() - remainder };
    expected == i32::from(digits[position])
}

/// Exception 14: accounts of this bank may carry one digit more than the check was made for. The last digit, which must
/// be 0, 1 or 9, is dropped and the account moves one place to the right.
fn passes_without_last_digit(check: &Check, mut digits: [u8; 14]) -> bool {
    if !matches!(digits[H], 0 | 1 | 9) {
        return false;
    }
    digits[A..].rotate_right(1);
    digits[A] = 0;
    remainder(check.method, &digits, &check.weights, None) == 0
}
