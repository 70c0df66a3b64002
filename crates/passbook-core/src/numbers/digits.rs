//! Fixed-size runs of decimal digits.

use super::Reason;

/// The values (not characters) of exactly `N` ASCII digits.
///
/// # Errors
/// [`Reason::WrongLength`] before [`Reason::WrongCharacter`], both counted in characters.
pub(super) fn exactly<const N: usize>(text: &str) -> Result<[u8; N], Reason> {
    if text.chars().count() != N {
        return Err(Reason::WrongLength);
    }
    let mut values = [0; N];
    for (value, character) in values.iter_mut().zip(text.chars()) {
        *value = digit_value(character)?;
    }
    Ok(values)
}

/// Checks that `text` is between one and `length_max` ASCII digits.
pub(super) fn up_to(text: &str, length_max: usize) -> Result<(), Reason> {
    let length = text.chars().count();
    if length == 0 || length > length_max {
        return Err(Reason::WrongLength);
    }
    text.chars().try_for_each(|character| digit_value(character).map(drop))
}

/// Digit values back to text.
pub(super) fn to_text(values: &[u8]) -> String {
    values.iter().map(|value| char::from(b'0' + value)).collect()
}

fn digit_value(character: char) -> Result<u8, Reason> {
    // `char::to_digit` also rejects the decimal digits of other scripts.
    character.to_digit(10).and_then(|value| u8::try_from(value).ok()).ok_or(Reason::WrongCharacter)
}
