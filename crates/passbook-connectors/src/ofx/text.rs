//! Text values: entities decoded, descriptions cleaned and cut.

use std::borrow::Cow;

use super::limits::LABEL_CHARS_MAX;

/// The longest entity worth looking for, `&#x10FFFF;`, without the ampersand.
const ENTITY_BYTES_MAX: usize = 10;

/// Decodes character entities once. What is not an entity stays as it is, so that the bare ampersand in `AT&T` and
/// the HTML entities that some banks send survive.
pub(super) fn decode_entities(text: &str) -> Cow<'_, str> {
    let Some(first) = text.find('&') else { return Cow::Borrowed(text) };
    let mut decoded = String::with_capacity(text.len());
    decoded.push_str(&text[..first]);
    let mut rest = &text[first..];
    while let Some(at) = rest.find('&') {
        decoded.push_str(&rest[..at]);
        rest = &rest[at..];
        match entity(&rest[1..]) {
            Some((character, length)) => {
                decoded.push(character);
                rest = &rest[1 + length..];
            }
            None => {
                decoded.push('&');
                rest = &rest[1..];
            }
        }
    }
    decoded.push_str(rest);
    Cow::Owned(decoded)
}

/// The character of the entity that `text` starts with, and the length of its name and semicolon.
fn entity(text: &str) -> Option<(char, usize)> {
    let end = text.bytes().take(ENTITY_BYTES_MAX).position(|byte| byte == b';')?;
    let name = &text[..end];
    let character = match name.to_ascii_lowercase().as_str() {
        "amp" => '&',
        "lt" => '<',
        "gt" => '>',
        "quot" => '"',
        "apos" => '\'',
        "nbsp" => '\u{a0}',
        other => {
            let code = match other.strip_prefix("#x") {
                Some(hexadecimal) => u32::from_str_radix(hexadecimal, 16).ok()?,
                None => other.strip_prefix('#')?.parse().ok()?,
            };
            // A reference to NUL would bring back what the decoder refuses.
            char::from_u32(code).filter(|character| !character.is_control() || character.is_whitespace())?
        }
    };
    Some((character, end + 1))
}

/// Collapses white space, drops control characters, and gives `None` for nothing left.
pub(super) fn clean(text: &str) -> Option<String> {
    let mut cleaned = String::with_capacity(text.len());
    for word in text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty()) {
        if !cleaned.is_empty() {
            cleaned.push(' ');
        }
        cleaned.push_str(word);
    }
    (!cleaned.is_empty()).then_some(cleaned)
}

/// The first `chars_max` characters.
pub(super) fn cut(text: &str, chars_max: usize) -> &str {
    text.char_indices().nth(chars_max).map_or(text, |(end, _)| text[..end].trim_end())
}

/// A name, [cleaned](clean) and cut to [`LABEL_CHARS_MAX`].
pub(super) fn label(text: &str) -> Option<String> {
    clean(text).map(|text| cut(&text, LABEL_CHARS_MAX).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entities_are_decoded_once_and_the_rest_is_left_alone() {
        for (text, expected) in [
            ("plain", "plain"),
            ("AT&T", "AT&T"),
            ("A &amp; B &LT;C&gt;", "A & B <C>"),
            ("&amp;lt;", "&lt;"),
            ("caf&#233; &#xE9;", "café é"),
            ("&eacute; &#0; &#x110000; &;", "&eacute; &#0; &#x110000; &;"),
            ("tail &", "tail &"),
            ("&&amp;&", "&&&"),
            ("&#é;", "&#é;"),
            ("&éééééééééé;", "&éééééééééé;"),
        ] {
            assert_eq!(decode_entities(text), expected, "{text}");
        }
    }

    #[test]
    fn descriptions_lose_only_their_spacing() {
        assert_eq!(clean("  COFFEE \u{a0} SHOP\r\n  #12 ").as_deref(), Some("COFFEE SHOP #12"));
        assert_eq!(clean("a\u{7}b").as_deref(), Some("a b"));
        assert_eq!(clean(" \t "), None);
    }

    #[test]
    fn texts_are_cut_between_characters() {
        for (text, expected) in [("", ""), ("éé", "éé"), ("ééé", "ééé"), ("éééé", "ééé"), ("a  bc", "a")]
        {
            assert_eq!(cut(text, 3), expected, "{text}");
        }
        assert_eq!(label(&format!(" {}", "é\n".repeat(300))).unwrap().chars().count(), LABEL_CHARS_MAX);
    }
}
