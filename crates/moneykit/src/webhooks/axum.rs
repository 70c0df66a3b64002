//! Webhooks as an argument of an axum handler.

use axum_core::{
    extract::{FromRef, FromRequest, Request},
    response::{IntoResponse, Response},
};
use http_body_util::{BodyExt as _, Limited};

use super::{Delivery, VerificationError, Verifier, rejection::Kind};

/// Longest body that [`VerifiedWebhook`] reads; events are far smaller.
pub const BODY_BYTES_MAX: usize = 64 * 1024;

/// Extracts a verified webhook; the state of the router gives the [`Verifier`]. A webhook that does not verify never
/// reaches the handler: it is answered with [`VerificationError::status`].
///
/// ```no_run
/// use axum::{Router, http::StatusCode, routing::post};
/// use moneykit::{Client, webhooks::{Verifier, VerifiedWebhook}};
///
/// async fn receive(VerifiedWebhook(delivery): VerifiedWebhook) -> StatusCode {
///     println!("{}", delivery.event.name());
///     StatusCode::NO_CONTENT
/// }
///
/// # fn app(client: &Client) -> Router {
/// Router::new().route("/webhooks", post(receive)).with_state(Verifier::new(client))
/// # }
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct VerifiedWebhook(pub Delivery);

impl<S> FromRequest<S> for VerifiedWebhook
where
    Verifier: FromRef<S>,
    S: Send + Sync,
{
    type Rejection = VerificationError;

    async fn from_request(request: Request, state: &S) -> Result<Self, VerificationError> {
        let (parts, body) = request.into_parts();
        let body = Limited::new(body, BODY_BYTES_MAX).collect().await.map_err(|_| Kind::Body)?.to_bytes();
        Ok(Self(Verifier::from_ref(state).verify(&parts.headers, &body).await?))
    }
}

impl IntoResponse for VerificationError {
    fn into_response(self) -> Response {
        (self.status(), self.to_string()).into_response()
    }
}
