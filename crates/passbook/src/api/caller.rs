//! Who is calling: the proof of access that every protected handler takes.
//!
//! Order of checks (contract, section 2.2): credentials, request limit, scope; then the handler goes on with the link,
//! and only a link that is there gets to hear what is wrong with the rest of the request, its version included.
//! A wrong secret has a limit of its own, counted after it was found wrong: the right one passes however many others
//! guess.

use std::sync::Arc;

use axum::extract::{FromRequestParts, Request};
use http::{Extensions, HeaderMap, HeaderName, header, request::Parts};

use super::{
    Api,
    allowance::Counted,
    errors::{ApiError, Problem},
    operation::{Narrow, Operation},
    path,
    standing::{AskedBy, Standing},
};
use crate::{
    http_server::ClientAddress,
    services::{
        Actor,
        access::{AccessRefusal, Recognised},
    },
};
use passbook_core::tenant::Environment;

const CLIENT_ID: HeaderName = HeaderName::from_static("x-client-id");
const CLIENT_SECRET: HeaderName = HeaderName::from_static("x-client-secret");
const VERSION: HeaderName = HeaderName::from_static("moneykit-version");

/// A recognised caller who may call this operation.
pub struct Caller(Standing);

impl Caller {
    /// Who this is, to be asked again by whoever works for it for long.
    pub fn standing(&self) -> &Standing {
        &self.0
    }

    /// The operation it calls.
    pub fn operation(&self) -> Operation {
        self.0.operation()
    }
}

/// A request in a version that is not spoken, about a link that must be looked at first; see [`path::LinkPath`].
#[derive(Clone)]
pub struct UnknownVersion(Arc<Recognised>);

impl UnknownVersion {
    /// Who asks.
    pub fn actor(&self) -> &Actor {
        &self.0.actor
    }

    /// The 422 answer.
    pub fn refusal(&self) -> ApiError {
        unknown_version()
    }
}

impl std::ops::Deref for Caller {
    type Target = Actor;

    fn deref(&self) -> &Actor {
        self.0.actor()
    }
}

impl FromRequestParts<Arc<Api>> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, api: &Arc<Api>) -> Result<Self, ApiError> {
        let operation = parts.extensions.get::<Operation>().copied().unwrap_or(Operation::Unknown);
        let recognised = recognise(api, parts).await?;
        let actor = &recognised.actor;
        if let Some(limits) = &api.limits {
            let app = actor.tenant.app_id.as_str();
            let told = parts.extensions.get::<Counted>();
            let counted = limits.count_app(operation, app, told).and_then(|()| match operation.narrow() {
                Narrow::Link(_) => limits.count_narrow(operation, app, &path::link_key(&parts.uri), told),
                Narrow::User(_) | Narrow::None => Ok(()),
            });
            counted.inspect_err(|_| {
                api.metrics.limited.inc();
            })?;
        }
        if operation.sandbox_only() && !(api.sandbox && actor.tenant.environment == Environment::Sandbox) {
            return Err(ApiError::route_not_found());
        }
        check_scope(operation, actor)?;
        let standing = Standing::new(recognised.clone(), operation);
        if let Some(asked_by) = parts.extensions.get::<AskedBy>() {
            asked_by.note(&standing);
        }
        match check_version(&parts.headers) {
            // A link that is unknown or deleted comes before anything wrong with the request.
            Err(_) if operation.concerns_link() => {
                parts.extensions.insert(UnknownVersion(recognised.clone()));
            }
            checked => checked?,
        }
        Ok(Self(standing))
    }
}

/// Whether the scopes of `actor` cover the operation.
///
/// # Errors
/// The 401 answer.
pub fn check_scope(operation: Operation, actor: &Actor) -> Result<(), ApiError> {
    let scopes = [operation.scope(), operation.further_scope()];
    match scopes.into_iter().flatten().all(|scope| actor.may(scope)) {
        true => Ok(()),
        false if operation.concerns_link() => Err(ApiError::out_of_scope()),
        false => Err(ApiError::unauthorized("The client's scope does not cover this call")),
    }
}

/// A bearer token, the header pair, or both of the same client.
async fn recognise(api: &Api, parts: &Parts) -> Result<Arc<Recognised>, ApiError> {
    // A token in the URL ends up in logs and histories: never accepted, not even beside a good header.
    if parts.uri.query().is_some_and(|query| query.contains("access_token=")) {
        return Err(ApiError::unauthorized("Access tokens are not accepted in the URL"));
    }
    let bearer = bearer_token(&parts.headers)?;
    let pair = header_pair(&parts.headers)?;
    match (bearer, pair) {
        (Some(token), None) => Ok(api.services.recognise_token(token).await?),
        (None, Some((id, secret))) => recognise_pair(api, parts, id, secret).await,
        (Some(token), Some((id, secret))) => {
            let by_token = api.services.recognise_token(token).await?;
            let by_pair = recognise_pair(api, parts, id, secret).await?;
            match by_token.actor.client_id == by_pair.actor.client_id {
                true => Ok(by_token),
                false => Err(ApiError::unauthorized("The credentials of this request belong to different clients")),
            }
        }
        (None, None) => Err(ApiError::unauthorized("Missing access token")),
    }
}

async fn recognise_pair(api: &Api, parts: &Parts, id: &str, secret: &str) -> Result<Arc<Recognised>, ApiError> {
    api.services.recognise_client(id, secret).await.map_err(|refusal| match refusal {
        AccessRefusal::Unauthorized => wrong_secret(api, &parts.extensions, id, refusal),
        AccessRefusal::Expired | AccessRefusal::Fault(_) => refusal.into(),
    })
}

/// The answer to a wrong secret: the refusal itself, or 429 once too many were tried for this client id or from this
/// address, which the request's `extensions` hold.
pub fn wrong_secret(api: &Api, extensions: &Extensions, client_id: &str, refusal: impl Into<ApiError>) -> ApiError {
    let from = extensions.get::<ClientAddress>().map(|from| from.0);
    match api.limits.as_ref().map(|limits| limits.count_wrong_secret(client_id, from)) {
        Some(Err(limited)) => {
            api.metrics.limited.inc();
            limited
        }
        Some(Ok(())) | None => {
            tracing::info!(client.address = ?from, "a wrong secret was tried");
            refusal.into()
        }
    }
}

fn bearer_token(headers: &HeaderMap) -> Result<Option<&str>, ApiError> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(ApiError::unauthorized("More than one Authorization header"));
    }
    let token = value
        .to_str()
        .ok()
        .and_then(|value| value.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .map(|(_, token)| token.trim_start_matches(' '));
    token.map(Some).ok_or_else(|| ApiError::unauthorized("The Authorization header holds no bearer token"))
}

/// `X-Client-Id` with `X-Client-Secret`. The id alone names a client for the key set and proves nothing.
fn header_pair(headers: &HeaderMap) -> Result<Option<(&str, &str)>, ApiError> {
    let one = |name: HeaderName| {
        let mut values = headers.get_all(name).iter();
        let value = values.next().map(|value| value.to_str());
        match (value, values.next()) {
            (None, None) => Ok(None),
            (Some(Ok(value)), None) => Ok(Some(value)),
            _ => Err(ApiError::unauthorized("Malformed client credentials")),
        }
    };
    Ok(one(CLIENT_ID)?.zip(one(CLIENT_SECRET)?))
}

/// The version header: absent or empty means the default.
fn check_version(headers: &HeaderMap) -> Result<(), ApiError> {
    let known =
        headers.get_all(VERSION).iter().all(|version| version.is_empty() || version.as_bytes() == b"2023-02-18");
    if known { Ok(()) } else { Err(unknown_version()) }
}

fn unknown_version() -> ApiError {
    let message = "this server speaks version 2023-02-18";
    ApiError::validation(vec![Problem::field("header", "MoneyKit-Version", "value_error.const", message)])
}

/// For handlers without a caller: the version check alone.
pub fn check_version_of(request: &Request) -> Result<(), ApiError> {
    check_version(request.headers())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in pairs {
            map.append(*name, value.parse().unwrap());
        }
        map
    }

    #[test]
    fn exactly_one_bearer_token_is_accepted() {
        assert_eq!(bearer_token(&headers(&[("authorization", "bearer abc")])).unwrap(), Some("abc"));
        assert_eq!(bearer_token(&headers(&[])).unwrap(), None);
        for bad in ["abc", "Basic Og==", "Bearer", ""] {
            assert!(bearer_token(&headers(&[("authorization", bad)])).is_err(), "{bad:?}");
        }
        assert!(bearer_token(&headers(&[("authorization", "Bearer a"), ("authorization", "Bearer a")])).is_err());
    }

    #[test]
    fn an_empty_version_is_the_default_and_an_unknown_one_is_refused() {
        assert!(check_version(&headers(&[])).is_ok());
        assert!(check_version(&headers(&[("MoneyKit-Version", "")])).is_ok());
        assert!(check_version(&headers(&[("moneykit-version", "2023-02-18")])).is_ok());
        assert!(check_version(&headers(&[("moneykit-version", "2030-01-01")])).is_err());
    }

    #[test]
    fn a_client_id_alone_is_no_credential() {
        assert_eq!(header_pair(&headers(&[("x-client-id", "a")])).unwrap(), None);
        assert_eq!(header_pair(&headers(&[("x-client-id", "a"), ("x-client-secret", "b")])).unwrap(), Some(("a", "b")));
        let twice = headers(&[("x-client-id", "a"), ("x-client-id", "a"), ("x-client-secret", "b")]);
        assert!(header_pair(&twice).is_err());
    }
}
