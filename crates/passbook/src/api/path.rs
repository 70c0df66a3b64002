//! Ids from the raw path.
//!
//! axum's own path extractor answers 400 to bytes that are not UTF-8; the contract wants the resource's 404. So the
//! segment is decoded here, and whatever is not a well-formed id simply is not known.

use std::{borrow::Cow, sync::Arc};

use axum::extract::FromRequestParts;
use http::{Uri, request::Parts};
use passbook_core::ids::LinkId;

use super::{Api, caller::UnknownVersion, errors::ApiError, operation::Operation};

/// The `n`-th segment of the path as it was sent, from 0; empty when there is none.
pub fn segment(uri: &Uri, n: usize) -> &str {
    uri.path().split('/').nth(n + 1).unwrap_or_default()
}

/// A segment decoded, if it is text.
pub fn text(segment: &str) -> Option<Cow<'_, str>> {
    percent_encoding::percent_decode_str(segment).decode_utf8().ok()
}

/// The segment with the link's id: `/links/{id}...`, `/sandbox/links/{id}...` or `/webhooks/test/link/{id}`.
fn link_segment(uri: &Uri) -> &str {
    let position = match segment(uri, 0) {
        "webhooks" => 3,
        "sandbox" => 2,
        _ => 1,
    };
    segment(uri, position)
}

/// What request limits count the link in the path by: its id however it was escaped, so that `mk%5F…` is no second
/// allowance.
pub fn link_key(uri: &Uri) -> Cow<'_, [u8]> {
    percent_encoding::percent_decode_str(link_segment(uri)).into()
}

/// The link id in the path. Rejected with the link's 404 when it cannot be an id at all. Taken after
/// [`super::caller::Caller`], so that nobody learns anything without a token.
pub struct LinkPath(pub LinkId);

impl FromRequestParts<Arc<Api>> for LinkPath {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, api: &Arc<Api>) -> Result<Self, ApiError> {
        let id =
            text(link_segment(&parts.uri)).and_then(|id| LinkId::parse(&id)).ok_or_else(ApiError::link_not_found)?;
        if let Some(unknown) = parts.extensions.remove::<UnknownVersion>() {
            let looked_at = match parts.extensions.get() {
                // A deleted link can be read.
                Some(Operation::GetLink) => api.services.get_link(unknown.actor(), &id).await.map(drop),
                _ => api.services.load(unknown.actor(), &id).await.map(drop),
            };
            return looked_at.map_err(ApiError::from).and(Err(unknown.refusal()));
        }
        Ok(Self(id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_are_taken_as_sent() {
        let uri: Uri = "/links/mk_%2e%2e/accounts/acc_1?x=/".parse().unwrap();
        assert_eq!(segment(&uri, 1), "mk_%2e%2e");
        assert_eq!(segment(&uri, 3), "acc_1");
        assert_eq!(segment(&uri, 9), "");
        assert_eq!(text("%ff"), None);
        assert_eq!(text("a%5Fb").as_deref(), Some("a_b"));
    }

    #[test]
    fn a_link_is_counted_by_what_its_id_means() {
        let key = |path: &'static str| link_key(&Uri::from_static(path)).into_owned();
        assert_eq!(key("/links/mk%5F1/accounts"), key("/links/mk_1/identity"));
        assert_eq!(key("/links/%6dk_1"), b"mk_1");
        assert_ne!(key("/links/%ff"), key("/links/%fe"));
        assert_eq!(key("/webhooks/test/link/mk%5F1"), b"mk_1");
    }
}
