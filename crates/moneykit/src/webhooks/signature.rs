//! The signature itself: an ES256 JWT whose claims hold the digest of the body and when it was made.

use aws_lc_rs::{constant_time::verify_slices_are_equal, digest};
use jiff::{SignedDuration, Timestamp};
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use serde::Deserialize;

use super::rejection::{Kind, VerificationError};

/// How far the clocks of both sides may be apart. Every attempt is signed anew, so an old signature is a repetition by
/// somebody else.
const SKEW_MAX: SignedDuration = SignedDuration::from_mins(5);
/// Longest token looked at; the server's have some 300 bytes.
const TOKEN_BYTES_MAX: usize = 4096;
/// Longest key id looked at.
const KEY_ID_BYTES_MAX: usize = 256;

#[derive(Deserialize)]
struct Claims {
    iat: i64,
    request_body_sha256: String,
    #[serde(default)]
    exp: Option<i64>,
    #[serde(default)]
    iss: Option<String>,
}

/// The key that a token says it was signed with. Nothing of it is believed yet.
pub(super) fn key_id(token: &str) -> Result<String, VerificationError> {
    if token.len() > TOKEN_BYTES_MAX {
        return Err(Kind::Malformed.into());
    }
    let header = decode_header(token).map_err(|_| Kind::Malformed)?;
    match header.kid {
        // The algorithm is fixed here and nowhere taken from the token.
        Some(kid) if header.alg == Algorithm::ES256 && kid.len() <= KEY_ID_BYTES_MAX => Ok(kid),
        _ => Err(Kind::Malformed.into()),
    }
}

/// Everything that must be true of a token, the body it came with, and the time.
pub(super) fn check(
    token: &str,
    body: &[u8],
    key: &DecodingKey,
    issuer: Option<&str>,
    now: Timestamp,
) -> Result<(), VerificationError> {
    let mut validation = Validation::new(Algorithm::ES256);
    // The times are compared below, with the caller's clock.
    validation.required_spec_claims.clear();
    validation.validate_exp = false;
    validation.validate_aud = false;
    let claims = decode::<Claims>(token, key, &validation).map_err(|error| match error.kind() {
        jsonwebtoken::errors::ErrorKind::InvalidSignature => Kind::WrongSignature,
        _ => Kind::Malformed,
    })?;
    let Claims { iat, request_body_sha256, exp, iss } = claims.claims;
    // Compared in constant time, although a digest of a known body is no secret: nobody should have to think about it.
    let digest = hex(digest::digest(&digest::SHA256, body).as_ref());
    verify_slices_are_equal(digest.as_bytes(), request_body_sha256.as_bytes()).map_err(|_| Kind::WrongBody)?;
    let signed = Timestamp::from_second(iat).map_err(|_| Kind::WrongTime)?;
    let is_now = signed.duration_until(now).abs() <= SKEW_MAX;
    let is_over = exp.is_some_and(|exp| exp.saturating_add(SKEW_MAX.as_secs()) < now.as_second());
    if !is_now || is_over {
        return Err(Kind::WrongTime.into());
    }
    if issuer.is_some() && issuer != iss.as_deref() {
        return Err(Kind::WrongIssuer.into());
    }
    Ok(())
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
