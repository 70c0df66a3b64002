//! Parameters of statements. Their `Debug` shows no value, because the driver prints parameters when it is asked to
//! log in detail.

use std::{borrow::Cow, error::Error};

use bytes::BytesMut;
use tokio_postgres::types::{IsNull, ToSql, Type, to_sql_checked};

/// A parameter.
pub(super) enum Value<'a> {
    Null,
    Text(Cow<'a, str>),
    Bytes(Cow<'a, [u8]>),
    Integer(i64),
    Flag(bool),
    Texts(Vec<Option<Cow<'a, str>>>),
    ByteStrings(Vec<&'a [u8]>),
    Integers(Vec<Option<i64>>),
}

/// The statement takes another type in this place.
#[derive(Debug, thiserror::Error)]
#[error("a parameter of another type than the statement takes")]
struct OtherType;

fn checked<T: ToSql>(value: &T, ty: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
    if T::accepts(ty) { value.to_sql(ty, out) } else { Err(Box::new(OtherType)) }
}

/// Stands before what a stored text cannot hold: a NUL, which the server refuses and other stores keep. It is no
/// character that any text is meant to have; one that has it keeps it, escaped as well.
const ESCAPE: char = '\u{10FFFF}';

fn needs_escape(text: &str) -> bool {
    text.contains(['\0', ESCAPE])
}

/// A text as it is stored.
fn stored_text(text: &str) -> Cow<'_, str> {
    if !needs_escape(text) {
        return Cow::Borrowed(text);
    }
    let mut stored = String::with_capacity(text.len() + 8);
    for letter in text.chars() {
        match letter {
            '\0' => stored.extend([ESCAPE, '0']),
            ESCAPE => stored.extend([ESCAPE, '1']),
            other => stored.push(other),
        }
    }
    Cow::Owned(stored)
}

/// A stored text as it was given.
pub(super) fn read_text(stored: &str) -> Cow<'_, str> {
    if !stored.contains(ESCAPE) {
        return Cow::Borrowed(stored);
    }
    let mut text = String::with_capacity(stored.len());
    let mut letters = stored.chars();
    while let Some(letter) = letters.next() {
        text.push(match letter {
            ESCAPE if letters.next() == Some('0') => '\0',
            other => other,
        });
    }
    Cow::Owned(text)
}

impl ToSql for Value<'_> {
    fn to_sql(&self, ty: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        match self {
            Self::Null => Ok(IsNull::Yes),
            Self::Text(text) => checked(&stored_text(text), ty, out),
            Self::Bytes(bytes) => checked(&bytes.as_ref(), ty, out),
            Self::Integer(number) => checked(number, ty, out),
            Self::Flag(flag) => checked(flag, ty, out),
            Self::Texts(texts) if texts.iter().flatten().any(|text| needs_escape(text)) => {
                let texts: Vec<_> = texts.iter().map(|text| text.as_deref().map(stored_text)).collect();
                checked(&texts, ty, out)
            }
            Self::Texts(texts) => checked(texts, ty, out),
            Self::ByteStrings(strings) => checked(strings, ty, out),
            Self::Integers(numbers) => checked(numbers, ty, out),
        }
    }

    fn accepts(_: &Type) -> bool {
        // Decided for each value, when its type is known.
        true
    }

    to_sql_checked!();
}

impl std::fmt::Debug for Value<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("…")
    }
}

impl<'a> From<&'a str> for Value<'a> {
    fn from(text: &'a str) -> Self {
        Self::Text(Cow::Borrowed(text))
    }
}

impl<'a> From<&'a String> for Value<'a> {
    fn from(text: &'a String) -> Self {
        Self::Text(Cow::Borrowed(text))
    }
}

impl From<String> for Value<'_> {
    fn from(text: String) -> Self {
        Self::Text(Cow::Owned(text))
    }
}

impl<'a> From<&'a [u8]> for Value<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        Self::Bytes(Cow::Borrowed(bytes))
    }
}

impl<'a> From<&'a Vec<u8>> for Value<'a> {
    fn from(bytes: &'a Vec<u8>) -> Self {
        Self::Bytes(Cow::Borrowed(bytes))
    }
}

impl From<Vec<u8>> for Value<'_> {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Bytes(Cow::Owned(bytes))
    }
}

impl From<i64> for Value<'_> {
    fn from(number: i64) -> Self {
        Self::Integer(number)
    }
}

impl From<u32> for Value<'_> {
    fn from(number: u32) -> Self {
        Self::Integer(number.into())
    }
}

impl From<bool> for Value<'_> {
    fn from(flag: bool) -> Self {
        Self::Flag(flag)
    }
}

impl<'a, T: Into<Value<'a>>> From<Option<T>> for Value<'a> {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

impl<'a> FromIterator<&'a str> for Value<'a> {
    fn from_iter<I: IntoIterator<Item = &'a str>>(texts: I) -> Self {
        Self::Texts(texts.into_iter().map(|text| Some(Cow::Borrowed(text))).collect())
    }
}

impl<'a> FromIterator<Option<&'a str>> for Value<'a> {
    fn from_iter<I: IntoIterator<Item = Option<&'a str>>>(texts: I) -> Self {
        Self::Texts(texts.into_iter().map(|text| text.map(Cow::Borrowed)).collect())
    }
}

impl FromIterator<String> for Value<'_> {
    fn from_iter<I: IntoIterator<Item = String>>(texts: I) -> Self {
        Self::Texts(texts.into_iter().map(|text| Some(Cow::Owned(text))).collect())
    }
}

impl FromIterator<Option<String>> for Value<'_> {
    fn from_iter<I: IntoIterator<Item = Option<String>>>(texts: I) -> Self {
        Self::Texts(texts.into_iter().map(|text| text.map(Cow::Owned)).collect())
    }
}

impl FromIterator<i64> for Value<'_> {
    fn from_iter<I: IntoIterator<Item = i64>>(numbers: I) -> Self {
        Self::Integers(numbers.into_iter().map(Some).collect())
    }
}

impl FromIterator<Option<i64>> for Value<'_> {
    fn from_iter<I: IntoIterator<Item = Option<i64>>>(numbers: I) -> Self {
        Self::Integers(numbers.into_iter().collect())
    }
}

impl<'a> FromIterator<&'a [u8]> for Value<'a> {
    fn from_iter<I: IntoIterator<Item = &'a [u8]>>(strings: I) -> Self {
        Self::ByteStrings(strings.into_iter().collect())
    }
}

/// The parameters of one statement.
macro_rules! values {
    ($($value:expr),* $(,)?) => { vec![$($crate::postgres::values::Value::from($value)),*] };
}
pub(super) use values;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_of_another_type_is_refused_before_it_is_sent() {
        let mut out = BytesMut::new();
        assert!(Value::from("text").to_sql(&Type::INT8, &mut out).is_err());
        assert!(Value::from(7_i64).to_sql(&Type::INT4, &mut out).is_err());
        assert!(Value::from(7_i64).to_sql(&Type::INT8, &mut out).is_ok());
    }

    #[test]
    fn a_text_with_a_nul_is_stored_without_one_and_comes_back() {
        for text in ["", "plain", "a\0b", "\0\0", "\u{10ffff}", "\u{10ffff}0", "\u{10ffff}1\0"] {
            let stored = stored_text(text);
            assert!(!stored.contains('\0'), "{text:?}");
            assert_eq!(read_text(&stored), text);
        }
        assert_ne!(stored_text("\0"), stored_text("\u{10ffff}0"));
    }

    #[test]
    fn debug_shows_no_value() {
        assert_eq!(format!("{:?}", values!["Sesame", 7_i64]), "[…, …]");
    }
}
