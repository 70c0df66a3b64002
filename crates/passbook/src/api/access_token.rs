//! `POST /auth/token` and `GET /auth/introspect`.

use std::net::{IpAddr, Ipv4Addr};

use axum::{
    Json,
    extract::{Request, State as Extract},
    response::{IntoResponse, Response},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use http::{Extensions, HeaderMap, StatusCode, header};
use moneykit::models::{AppClientResponse, AppResponse, CreateAccessTokenResponse};
use passbook_core::secret::SecretBytes;

use super::{
    State,
    caller::{Caller, wrong_secret},
    errors::ApiError,
    operation::Operation,
};
use crate::{http_server::ClientAddress, services::access::TokenRefusal};

/// Largest form of the token call.
const FORM_MAX: usize = 16 << 10;
/// Longest id or secret that is looked at.
const CREDENTIAL_MAX: usize = 256;

/// The fields of a token request.
#[derive(Default)]
struct TokenForm {
    grant_type: Option<String>,
    scope: Option<String>,
    client_id: Option<String>,
    client_secret: Option<SecretBytes>,
}

/// Trades client credentials for a bearer token.
pub async fn create_access_token(Extract(api): State, request: Request) -> Result<Response, ApiError> {
    super::caller::check_version_of(&request)?;
    if request.uri().query().is_some_and(|query| query.contains("client_secret") || query.contains("client_id")) {
        return Err(ApiError::malformed_credentials("Credentials are not accepted in the URL"));
    }
    let (parts, body) = request.into_parts();
    let bytes = api.bodies.of_address(address_of(&parts.extensions), &parts.headers, body, FORM_MAX).await?;
    let form = parse_form(&parts.headers, &bytes)?;
    match form.grant_type.as_deref() {
        None | Some("client_credentials") => {}
        Some(_) => return Err(ApiError::malformed_credentials("Only the grant type client_credentials is supported")),
    }
    let (client_id, secret) = credentials(&form, basic(&parts.headers)?)?;
    let secret = std::str::from_utf8(secret.expose()).map_err(|_| not_credentials())?;
    let client = api.services.verify_client(&client_id, secret).await?;
    let client =
        client.ok_or_else(|| wrong_secret(&api, &parts.extensions, &client_id, TokenRefusal::WrongCredentials))?;
    // Counted only now: before the secret is known to be right, anyone could use up the client's allowance.
    if let Some(limits) = &api.limits {
        limits.count_app(Operation::CreateAccessToken, &client.client_id, parts.extensions.get()).inspect_err(
            |_| {
                api.metrics.limited.inc();
            },
        )?;
    }
    let _place = api.admit_as(Operation::CreateAccessToken, &client.tenant).await?;
    let issued = api.services.create_access_token(client, &form.scope.unwrap_or_default()).await?;
    let answer = CreateAccessTokenResponse {
        access_token: issued.access_token,
        token_type: "bearer".to_owned(),
        expires_in: issued.expires_in.unsigned_abs(),
    };
    Ok((StatusCode::CREATED, Json(answer)).into_response())
}

/// Client, scope and app behind the caller. The operation id's spelling is the contract's.
pub async fn instrospect_client(Extract(api): State, caller: Caller) -> Result<Json<AppClientResponse>, ApiError> {
    let seen = api.services.introspect(&caller).await?;
    Ok(Json(AppClientResponse {
        client_id: seen.client_id,
        client_name: seen.client_name,
        scope: seen.scope,
        app: AppResponse {
            app_id: seen.app_id.clone(),
            name: seen.app_name.clone(),
            id: seen.app_id,
            app_name: seen.app_name,
        },
        disabled_at: seen.disabled_at,
    }))
}

/// Whose body it is, as long as nobody has said who calls. Requests that came by no connection share one address.
fn address_of(extensions: &Extensions) -> IpAddr {
    extensions.get::<ClientAddress>().map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |client| client.0)
}

fn parse_form(headers: &HeaderMap, bytes: &[u8]) -> Result<TokenForm, ApiError> {
    let mut form = TokenForm::default();
    if bytes.is_empty() {
        return Ok(form);
    }
    let media_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = media_type.split(';').next().unwrap_or_default().trim();
    if !essence.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
        return Err(ApiError::malformed_credentials("The body must be application/x-www-form-urlencoded"));
    }
    for (name, value) in url::form_urlencoded::parse(bytes) {
        let twice = match &*name {
            "grant_type" => form.grant_type.replace(value.into_owned()).is_some(),
            "scope" => form.scope.replace(value.into_owned()).is_some(),
            "client_id" => form.client_id.replace(value.into_owned()).is_some(),
            "client_secret" => form.client_secret.replace(SecretBytes::new(value.into_owned().into_bytes())).is_some(),
            _ => false,
        };
        if twice {
            return Err(ApiError::malformed_credentials("A form field is given twice"));
        }
    }
    Ok(form)
}

/// The HTTP Basic pair. One with an empty id is no credential: official Ruby clients send `Og==` beside the form.
fn basic(headers: &HeaderMap) -> Result<Option<(String, SecretBytes)>, ApiError> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(ApiError::malformed_credentials("More than one Authorization header"));
    }
    let pair = value
        .to_str()
        .ok()
        .and_then(|value| value.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("basic"))
        .and_then(|(_, encoded)| STANDARD.decode(encoded.trim()).ok())
        .and_then(|bytes| String::from_utf8(bytes).ok());
    let Some(pair) = pair else { return Err(not_credentials()) };
    let (id, secret) = pair.split_once(':').ok_or_else(not_credentials)?;
    Ok((!id.is_empty()).then(|| (id.to_owned(), SecretBytes::new(secret.as_bytes().to_vec()))))
}

/// Form fields win when present; two different pairs are refused.
fn credentials(form: &TokenForm, basic: Option<(String, SecretBytes)>) -> Result<(String, SecretBytes), ApiError> {
    let from_form = form.client_id.clone().filter(|id| !id.is_empty()).zip(form.client_secret.clone());
    let (id, secret) = match (from_form, basic) {
        (Some(form), Some(basic)) if form.0 != basic.0 || form.1.expose() != basic.1.expose() => {
            return Err(ApiError::malformed_credentials("Two different pairs of credentials"));
        }
        (Some(pair), _) | (None, Some(pair)) => pair,
        (None, None) => return Err(ApiError::malformed_credentials("Missing client credentials")),
    };
    if id.len() > CREDENTIAL_MAX || secret.expose().len() > CREDENTIAL_MAX {
        return Err(not_credentials());
    }
    Ok((id, secret))
}

fn not_credentials() -> ApiError {
    ApiError::malformed_credentials("Malformed client credentials")
}
