//! The two things that come from the machine: the wall clock and fresh secrets. Nothing else reads either.

use jiff::Timestamp;
use passbook_core::time::Clock;
use passbook_store::sealing::random_bytes;

/// The machine's wall clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the one place that reads the wall clock")]
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}

/// 256 random bits as lower-case hex: access tokens and exchangeable tokens.
#[must_use]
pub fn random_hex() -> String {
    hex(&random_bytes::<32>())
}

/// 43 random letters and digits (more than 250 bits): client secrets.
#[must_use]
pub fn random_alphanumeric() -> String {
    const LETTERS: &[u8; 62] = b"0123456789ABCDEFGHJKLMNPQRSTUVWXYZIOabcdefghijklmnopqrstuvwxyz";
    let mut text = String::with_capacity(43);
    while text.len() < 43 {
        // Bytes of 248 and more are skipped, so that every letter is equally likely.
        for byte in random_bytes::<64>().into_iter().filter(|byte| *byte < 248).take(43 - text.len()) {
            text.push(char::from(LETTERS[usize::from(byte % 62)]));
        }
    }
    text
}

/// 128 random bits, for ids that no answer shows.
#[must_use]
pub fn random_bits() -> u128 {
    u128::from_be_bytes(random_bytes::<16>())
}

/// Lower-case hex.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |value: u8| char::from(DIGITS[usize::from(value)]);
    let mut text = String::with_capacity(bytes.len() * 2);
    bytes.iter().for_each(|byte| text.extend([digit(byte >> 4), digit(byte & 15)]));
    text
}

/// SHA-256, the form in which tokens are stored.
#[must_use]
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes).as_ref());
    hash
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_have_their_documented_form_and_differ() {
        let secret = random_alphanumeric();
        assert_eq!(secret.len(), 43);
        assert!(secret.bytes().all(|byte| byte.is_ascii_alphanumeric()));
        assert_ne!(secret, random_alphanumeric());
        let token = random_hex();
        assert_eq!(token.len(), 64);
        assert!(token.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')));
    }
}
