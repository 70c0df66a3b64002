//! Typed identifiers and their derivation.
//!
//! Identifiers that appear in answers are **derived**, never drawn: HMAC-SHA256 over (application, kind, parent,
//! ordinal) under the instance seed. The ordinal is stored with the parent, so the order in which workers run cannot
//! change an identifier, and the same seed gives the same identifiers on every machine.

use std::fmt;

use aws_lc_rs::hmac;
use serde::{Deserialize, Serialize};

/// The 57 characters of an identifier: digits and letters without `0 O 1 I l`, in ASCII order.
const ALPHABET: &[u8; 57] = b"23456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";
/// 57^22 is just above 2^128, so 22 characters hold 128 bits.
const BODY_LENGTH: usize = 22;

macro_rules! typed_id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Box<str>);

        impl $name {
            /// What every identifier of this kind starts with.
            pub const PREFIX: &'static str = $prefix;

            /// Encodes 128 derived bits.
            #[must_use]
            pub fn from_bits(bits: u128) -> Self {
                Self(encode(Self::PREFIX, bits).into())
            }

            /// Reads an identifier as a client wrote it; `None` for any text that cannot be one.
            #[must_use]
            pub fn parse(text: &str) -> Option<Self> {
                is_well_formed(Self::PREFIX, text).then(|| Self(text.into()))
            }

            /// The identifier as it appears on the wire.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str(&self.0)
            }
        }

        impl TryFrom<String> for $name {
            type Error = MalformedId;

            fn try_from(text: String) -> Result<Self, MalformedId> {
                Self::parse(&text).ok_or(MalformedId { prefix: Self::PREFIX })
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.0.into()
            }
        }
    };
}

typed_id! {
    /// A link: one end user's lasting authorisation at one institution.
    LinkId, "mk_"
}
typed_id! {
    /// An account under a link.
    AccountId, "acc_"
}
typed_id! {
    /// A transaction of an account.
    TransactionId, "txn_"
}
typed_id! {
    /// A security that a link's investment accounts hold or traded.
    SecurityId, "sec_"
}
typed_id! {
    /// An investment transaction of an account.
    InvestmentTransactionId, "it_"
}
typed_id! {
    /// An application: the tenant that owns links.
    AppId, "app_"
}
typed_id! {
    /// A link session. Internal: clients hold its signed token instead.
    SessionId, "ls_"
}
typed_id! {
    /// An event of a link.
    EventId, "evt_"
}
typed_id! {
    /// The delivery of an event to an address.
    DeliveryId, "dlv_"
}
typed_id! {
    /// A durable job. Internal.
    JobId, "job_"
}

/// The text is not an identifier of the expected kind.
#[derive(Debug, thiserror::Error)]
#[error("not an identifier starting with {prefix}")]
pub struct MalformedId {
    prefix: &'static str,
}

fn encode(prefix: &str, mut bits: u128) -> String {
    let mut body = [ALPHABET[0]; BODY_LENGTH];
    for slot in body.iter_mut().rev() {
        *slot = ALPHABET[(bits % 57) as usize];
        bits /= 57;
    }
    let mut text = String::with_capacity(prefix.len() + BODY_LENGTH);
    text.push_str(prefix);
    text.extend(body.iter().map(|byte| char::from(*byte)));
    text
}

/// Whether `byte` is in [`ALPHABET`]. Every request asks this of each byte of an id, hence not a search.
fn is_letter(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() && !matches!(byte, b'0' | b'1' | b'I' | b'O' | b'l')
}

fn is_well_formed(prefix: &str, text: &str) -> bool {
    text.strip_prefix(prefix).is_some_and(|body| body.len() == BODY_LENGTH && body.bytes().all(is_letter))
}

/// The instance seed, from which identifiers and simulated bank data are derived.
///
/// It is secret in a hosted instance (identifiers must not be predictable there) and a small number in `passbook dev`.
#[derive(Clone)]
pub struct Derivation {
    key: hmac::Key,
}

impl Derivation {
    /// Uses `seed` as the key of every derivation.
    #[must_use]
    pub fn new(seed: &[u8]) -> Self {
        Self { key: hmac::Key::new(hmac::HMAC_SHA256, seed) }
    }

    /// 256 bits for the `ordinal`-th thing of `kind` under `scope`.
    ///
    /// `scope` names the parents from the outside in, for instance application then link. Parts are
    /// length-prefixed, so no two different scopes run together.
    #[must_use]
    pub fn bytes(&self, kind: &str, scope: &[&str], ordinal: u64) -> [u8; 32] {
        let mut context = hmac::Context::with_key(&self.key);
        for part in std::iter::once(&kind).chain(scope) {
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part.as_bytes());
        }
        context.update(&ordinal.to_be_bytes());
        let tag = context.sign();
        let mut bytes = [0; 32];
        bytes.copy_from_slice(tag.as_ref());
        bytes
    }

    /// The first 128 bits of [`Derivation::bytes`], as the typed identifiers take them.
    #[must_use]
    pub fn bits(&self, kind: &str, scope: &[&str], ordinal: u64) -> u128 {
        let bytes = self.bytes(kind, scope, ordinal);
        let mut half = [0; 16];
        half.copy_from_slice(&bytes[..16]);
        u128::from_be_bytes(half)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_have_the_contracts_form() {
        for bits in [0, 1, u128::MAX, 0x1234_5678_9abc_def0] {
            let id = LinkId::from_bits(bits);
            assert_eq!(id.as_str().len(), 25);
            assert_eq!(LinkId::parse(id.as_str()), Some(id));
        }
        assert_ne!(LinkId::from_bits(1), LinkId::from_bits(2));
    }

    #[test]
    fn other_text_is_not_an_identifier() {
        let good = AccountId::from_bits(7);
        for bad in
            ["", "acc_", "mk_2222222222222222222222", "acc_222222222222222222222l", &format!("{good}2"), "acc_\u{0}"]
        {
            assert_eq!(AccountId::parse(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn the_letters_of_an_identifier_are_those_of_the_alphabet() {
        assert!((0..=u8::MAX).all(|byte| is_letter(byte) == ALPHABET.contains(&byte)));
    }

    #[test]
    fn derivation_separates_kind_scope_and_ordinal() {
        let derivation = Derivation::new(b"seed");
        let base = derivation.bytes("link", &["app", "1"], 1);
        assert_eq!(base, derivation.bytes("link", &["app", "1"], 1));
        assert_ne!(base, derivation.bytes("link", &["app1"], 1));
        assert_ne!(base, derivation.bytes("link", &["app", "1"], 2));
        assert_ne!(base, derivation.bytes("account", &["app", "1"], 1));
        assert_ne!(base, Derivation::new(b"other").bytes("link", &["app", "1"], 1));
    }
}
