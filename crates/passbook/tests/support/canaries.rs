//! Secrets to look for, in the forms in which they could leak.

use base64::{
    Engine,
    engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD},
};
use passbook::system::hex;

/// Shorter texts are not unmistakable.
const SHORTEST: usize = 9;

/// Secrets by name.
#[derive(Default)]
pub struct Canaries(Vec<(String, String)>);

impl Canaries {
    /// Adds a secret; it must be long enough to be unmistakable.
    pub fn add(&mut self, name: &str, secret: &str) {
        assert!(secret.len() >= SHORTEST, "{name} is too short to look for");
        self.0.push((name.to_owned(), secret.to_owned()));
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Names and forms of the secrets that `text` holds.
    pub fn found_in(&self, text: &[u8]) -> Vec<String> {
        let mut found = Vec::new();
        for (name, secret) in &self.0 {
            for (form, needle) in forms(secret) {
                if memmem(text, &needle) {
                    found.push(format!("{name} ({form})"));
                }
            }
        }
        found
    }
}

fn forms(secret: &str) -> Vec<(&'static str, Vec<u8>)> {
    let bytes = secret.as_bytes();
    let reversed: String = secret.chars().rev().collect();
    let spaced: Vec<_> = bytes.chunks(4).map(String::from_utf8_lossy).collect();
    let utf16: Vec<u8> = secret.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let listed: Vec<_> = bytes.iter().map(ToString::to_string).collect();
    vec![
        ("raw", bytes.to_vec()),
        ("upper case", secret.to_uppercase().into_bytes()),
        ("reversed", reversed.into_bytes()),
        ("in groups of four", spaced.join(" ").into_bytes()),
        ("base64", STANDARD_NO_PAD.encode(bytes).into_bytes()),
        ("base64url", URL_SAFE_NO_PAD.encode(bytes).into_bytes()),
        ("hex", hex(bytes).into_bytes()),
        ("upper-case hex", hex(bytes).to_uppercase().into_bytes()),
        ("UTF-16", utf16),
        ("list of bytes", listed.join(", ").into_bytes()),
    ]
}

fn memmem(text: &[u8], needle: &[u8]) -> bool {
    text.windows(needle.len()).any(|window| window == needle)
}
