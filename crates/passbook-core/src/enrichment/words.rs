//! The words of a description, as rules compare them.

/// Most characters of a description that are looked at; banks write fewer.
const CHARS_MAX: usize = 200;

/// Upper-case words of letters and digits; everything else separates, apart from an apostrophe, which is left out:
/// `Trader Joe's #12` is `TRADER JOES 12`.
pub(super) fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    for letter in text.chars().take(CHARS_MAX) {
        match letter {
            '\'' | '’' => {}
            _ if letter.is_alphanumeric() => word.extend(letter.to_uppercase()),
            _ if !word.is_empty() => words.push(std::mem::take(&mut word)),
            _ => {}
        }
    }
    if !word.is_empty() {
        words.push(word);
    }
    words
}

/// The words that hold no digit: what stays the same from one transaction to the next.
pub(super) fn without_numbers(text: &str) -> Vec<String> {
    let mut words = words(text);
    words.retain(|word| !word.contains(|letter: char| letter.is_numeric()));
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_letters_and_digits_in_upper_case() {
        for (text, expected) in [
            ("Trader Joe's #12", &["TRADER", "JOES", "12"][..]),
            ("AMZN Mktp US*2K8", &["AMZN", "MKTP", "US", "2K8"]),
            ("café – Zürich", &["CAFÉ", "ZÜRICH"]),
            ("  --  ", &[]),
        ] {
            assert_eq!(words(text), expected, "{text}");
        }
        assert_eq!(without_numbers("POS 0312 SHOP A1 B"), ["POS", "SHOP", "B"]);
        assert_eq!(words(&"a".repeat(10_000))[0].len(), CHARS_MAX);
    }
}
