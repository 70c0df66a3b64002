//! Secrets to look for, in the forms in which they could leak.

use std::collections::BTreeSet;

use base64::{
    Engine,
    engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE_NO_PAD},
};
use passbook::system::hex;

/// Shorter texts are not unmistakable.
const SHORTEST: usize = 9;

/// Secrets by name.
#[derive(Default)]
pub struct Canaries {
    secrets: usize,
    needles: Vec<(String, Vec<u8>)>,
}

impl Canaries {
    /// Adds a secret; it must be long enough to be unmistakable.
    pub fn add(&mut self, name: &str, secret: &str) {
        self.add_bytes(name, secret.as_bytes());
        let reversed: String = secret.chars().rev().collect();
        let spaced: Vec<_> = secret.as_bytes().chunks(4).map(String::from_utf8_lossy).collect();
        let utf16: Vec<u8> = secret.encode_utf16().flat_map(u16::to_le_bytes).collect();
        let big_endian: Vec<u8> = secret.encode_utf16().flat_map(u16::to_be_bytes).collect();
        for (form, needle) in [
            ("upper case", secret.to_uppercase().into_bytes()),
            ("reversed", reversed.into_bytes()),
            ("in groups of four", spaced.join(" ").into_bytes()),
            ("UTF-16", utf16),
            ("UTF-16 big endian", big_endian),
        ] {
            self.needles.push((format!("{name} ({form})"), needle));
        }
    }

    /// The same for a secret that is no text.
    pub fn add_bytes(&mut self, name: &str, secret: &[u8]) {
        assert!(secret.len() >= SHORTEST, "{name} is too short to look for");
        self.secrets += 1;
        let listed: Vec<_> = secret.iter().map(ToString::to_string).collect();
        for (form, needle) in [
            ("raw", secret.to_vec()),
            ("base64", STANDARD_NO_PAD.encode(secret).into_bytes()),
            ("base64url", URL_SAFE_NO_PAD.encode(secret).into_bytes()),
            ("base64 of more", base64_within(secret, 0)),
            ("base64 of more", base64_within(secret, 1)),
            ("base64 of more", base64_within(secret, 2)),
            ("hex", hex(secret).into_bytes()),
            ("upper-case hex", hex(secret).to_uppercase().into_bytes()),
            ("list of bytes", listed.join(", ").into_bytes()),
        ] {
            self.needles.push((format!("{name} ({form})"), needle));
        }
    }

    /// How many secrets are looked for.
    pub fn count(&self) -> usize {
        self.secrets
    }

    /// Names and forms of the secrets that `text` holds.
    pub fn found_in(&self, text: &[u8]) -> Vec<String> {
        // Most places begin no needle; only the others are compared.
        let mut begins = vec![false; 1 << 16];
        for (_, needle) in &self.needles {
            begins[pair(needle)] = true;
        }
        let mut found = BTreeSet::new();
        for at in 0..text.len().saturating_sub(1) {
            let rest = &text[at..];
            if begins[pair(rest)] {
                found.extend((0..self.needles.len()).filter(|index| rest.starts_with(&self.needles[*index].1)));
            }
        }
        let mut names: Vec<_> = found.into_iter().map(|index| self.needles[index].0.clone()).collect();
        names.dedup();
        names
    }
}

/// The first two bytes as a number.
fn pair(text: &[u8]) -> usize {
    usize::from(text[0]) << 8 | usize::from(text[1])
}

/// What is always there of the secret when it stands `offset` bytes into something that is encoded. Characters that
/// depend on the neighbours as well are left out at both ends.
fn base64_within(secret: &[u8], offset: usize) -> Vec<u8> {
    let text = STANDARD.encode([&[0; 2][..offset], secret].concat());
    let text = text.trim_end_matches('=');
    text.as_bytes()[(offset * 4).div_ceil(3)..text.len() - 1].to_vec()
}
