//! Public keys that verify webhook signatures (`/.well-known/jwks.json`).

use serde::{Deserialize, Serialize};

/// A JSON Web Key Set (RFC 7517 section 5). Keys rotate; the previous key stays listed for a while.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JWKSet {
    /// The keys, in no particular order.
    pub keys: Vec<JsonWebKey>,
}

/// One public key (RFC 7517 section 4, RFC 7518 section 6.2). MoneyKit publishes ES256 keys on the curve P-256.
///
/// The members that do not apply to a key are absent rather than null, as RFC 7517 wants it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JsonWebKey {
    /// Key type; `EC`.
    pub kty: String,
    /// Purpose; `sig`. Some verifiers drop keys without it.
    #[serde(rename = "use", default, skip_serializing_if = "Option::is_none")]
    pub key_use: Option<String>,
    /// Algorithm; `ES256`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alg: Option<String>,
    /// Key id, named by the signature's header.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kid: Option<String>,
    /// Curve; `P-256`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub crv: Option<String>,
    /// X coordinate, base64url without padding.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub x: Option<String>,
    /// Y coordinate, base64url without padding.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub y: Option<String>,
}
