//! Key material of the instance beyond the master key: the seed, and the keys of link-session tokens and cursors.

use aws_lc_rs::hmac;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jiff::Timestamp;
use passbook_core::{ids::Derivation, secret::SecretBytes};
use serde::{Deserialize, Serialize};

/// Name of the instance value that holds the seed.
pub const SEED: &str = "seed";

/// Signs and reads link-session tokens: compact JWS, HS256 with a key of its own. The session row decides everything;
/// the token only proves that we made it.
pub struct SessionTokens {
    encoding: jsonwebtoken::EncodingKey,
    decoding: jsonwebtoken::DecodingKey,
}

#[derive(Serialize, Deserialize)]
struct SessionClaims {
    jti: String,
    iat: i64,
    exp: i64,
}

const SESSION_TOKEN_TYPE: &str = "link-session+jwt";

impl SessionTokens {
    /// Uses this key.
    pub fn new(key: &SecretBytes) -> Self {
        Self {
            encoding: jsonwebtoken::EncodingKey::from_secret(key.expose()),
            decoding: jsonwebtoken::DecodingKey::from_secret(key.expose()),
        }
    }

    /// A token for the session `id`; `issued_at` is real time.
    ///
    /// # Errors
    /// Never in practice: the claims are plain text and numbers.
    pub fn sign(
        &self,
        id: &str,
        institution_id: Option<&str>,
        issued_at: Timestamp,
        lifetime_seconds: i64,
    ) -> Result<String, jsonwebtoken::errors::Error> {
        let mut header = jsonwebtoken::Header::new(jsonwebtoken::Algorithm::HS256);
        header.typ = Some(SESSION_TOKEN_TYPE.to_owned());
        // Older native SDKs read the institution from here.
        header.extras.insert("institution_id".to_owned(), institution_id.unwrap_or_default());
        let iat = issued_at.as_second();
        let claims = SessionClaims { jti: id.to_owned(), iat, exp: iat + lifetime_seconds };
        jsonwebtoken::encode(&header, &claims, &self.encoding)
    }

    /// The session id of a token that we made; `None` for anything else. Expiry is the session row's business, because
    /// it runs on the application's clock.
    pub fn verify(&self, token: &str) -> Option<String> {
        let mut validation = jsonwebtoken::Validation::new(jsonwebtoken::Algorithm::HS256);
        validation.validate_exp = false;
        validation.validate_aud = false;
        validation.set_required_spec_claims(&["exp"]);
        let data = jsonwebtoken::decode::<SessionClaims>(token, &self.decoding, &validation).ok()?;
        (data.header.typ.as_deref() == Some(SESSION_TOKEN_TYPE)).then_some(data.claims.jti)
    }
}

/// Makes and reads opaque cursors: `base64url(position ‖ MAC)`, bound to tenant, endpoint and filter. Deterministic, so
/// the same seed gives the same bytes.
pub struct Cursors {
    key: hmac::Key,
}

const CURSOR_MAC_LENGTH: usize = 12;

impl Cursors {
    /// Derives the key from the instance seed.
    pub fn new(derivation: &Derivation) -> Self {
        Self { key: hmac::Key::new(hmac::HMAC_SHA256, &derivation.bytes("cursor", &[], 0)) }
    }

    /// The cursor that stands at `position` of `context`.
    pub fn seal(&self, context: &[&str], position: &str) -> String {
        let mut bytes = position.as_bytes().to_vec();
        bytes.extend_from_slice(&self.mac(context, position.as_bytes()));
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// The position of a cursor that we made for exactly this context.
    pub fn open(&self, context: &[&str], cursor: &str) -> Option<String> {
        let bytes = URL_SAFE_NO_PAD.decode(cursor).ok()?;
        let (position, mac) = bytes.split_at_checked(bytes.len().checked_sub(CURSOR_MAC_LENGTH)?)?;
        // Constant time: a cursor must not be forgeable byte by byte.
        aws_lc_rs::constant_time::verify_slices_are_equal(&self.mac(context, position), mac).ok()?;
        String::from_utf8(position.to_vec()).ok()
    }

    fn mac(&self, context: &[&str], position: &[u8]) -> [u8; CURSOR_MAC_LENGTH] {
        let mut mac = hmac::Context::with_key(&self.key);
        for part in context {
            mac.update(&(part.len() as u64).to_be_bytes());
            mac.update(part.as_bytes());
        }
        mac.update(&u64::MAX.to_be_bytes());
        mac.update(position);
        let mut short = [0; CURSOR_MAC_LENGTH];
        short.copy_from_slice(&mac.sign().as_ref()[..CURSOR_MAC_LENGTH]);
        short
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(byte: u8) -> SecretBytes {
        SecretBytes::new(vec![byte; 32])
    }

    #[test]
    fn cursors_open_only_where_they_were_made() {
        let cursors = Cursors::new(&Derivation::new(b"seed"));
        let cursor = cursors.seal(&["app", "links"], "42");
        assert_eq!(cursors.open(&["app", "links"], &cursor).as_deref(), Some("42"));
        assert_eq!(cursors.open(&["app2", "links"], &cursor), None);
        assert_eq!(cursors.open(&["app", "links"], &cursor[1..]), None);
        for garbage in ["", "A", "====", "não", &"A".repeat(10_000)] {
            assert_eq!(cursors.open(&["app", "links"], garbage), None);
        }
        let mut flipped = cursor.into_bytes();
        flipped[0] ^= 1;
        assert_eq!(cursors.open(&["app", "links"], std::str::from_utf8(&flipped).unwrap()), None);
    }

    #[test]
    fn session_tokens_are_three_parts_with_the_institution_in_the_header() {
        let tokens = SessionTokens::new(&key(7));
        let token = tokens.sign("ls_1", Some("credentials_bank"), Timestamp::UNIX_EPOCH, 60).unwrap();
        let parts: Vec<_> = token.split('.').collect();
        assert_eq!(parts.len(), 3);
        let header: serde_json::Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(parts[0]).unwrap()).unwrap();
        assert_eq!(header["typ"], "link-session+jwt");
        assert_eq!(header["institution_id"], "credentials_bank");
        assert_eq!(tokens.verify(&token).as_deref(), Some("ls_1"), "expiry is the session row's business");
        assert_eq!(SessionTokens::new(&key(8)).verify(&token), None);
    }

    #[test]
    fn unsigned_and_foreign_tokens_are_refused() {
        let tokens = SessionTokens::new(&key(7));
        let part = |json: &str| URL_SAFE_NO_PAD.encode(json);
        let claims = part(r#"{"jti":"ls_1","iat":0,"exp":99999999999}"#);
        for header in
            [r#"{"alg":"none","typ":"link-session+jwt"}"#, r#"{"alg":"HS256"}"#, r#"{"typ":"link-session+jwt"}"#]
        {
            for signature in ["", "AAAA"] {
                assert_eq!(tokens.verify(&format!("{}.{claims}.{signature}", part(header))), None);
            }
        }
        for garbage in ["", ".", "..", "a.b.c", &".".repeat(10_000)] {
            assert_eq!(tokens.verify(garbage), None);
        }
    }
}
