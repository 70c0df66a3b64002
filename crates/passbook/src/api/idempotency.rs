//! The header `Idempotency-Key`: a repeated call is answered with what the first one was answered.
//!
//! A call without the header takes no detour. Credentials, request limits, scope and the body were checked before this;
//! a repeated call passes the same checks as the first.

use axum::response::Response;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, request::Parts};

use super::{
    Api,
    caller::Caller,
    errors::{ApiError, Problem},
    links::json_response,
};
use crate::{
    services::idempotency::{Answer, Begun, Held, Patience},
    system::sha256,
};

/// What the client sends.
const KEY: &str = "Idempotency-Key";
/// Says that an answer was kept from an earlier call.
const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");
/// Longest key.
const KEY_MAX: usize = 255;

/// Answers a request whose body was read: takes a place, does `work` and keeps its answer, or answers as an earlier call
/// with its key. `work` puts its answer into its commit by what it is handed; see [`Held::keep`].
///
/// # Errors
/// What `work` refuses; 422 for a key that is malformed or belongs to another request; 503 when another call with the
/// key does not end.
pub async fn answer_once(
    api: &Api,
    caller: &Caller,
    request: &Parts,
    body: &Bytes,
    work: impl AsyncFnOnce(Held) -> Result<Answer, ApiError>,
) -> Result<Response, ApiError> {
    let key = idempotency_key(&request.headers)?;
    // The body may have taken its time.
    caller.standing().check_withdrawal(&api.services).await?;
    let Some(key) = key else {
        let _place = api.admit(caller).await?;
        return Ok(response(work(Held::default()).await?));
    };
    let bytes = body.clone();
    let body_hash = api.apart_if_large(&caller.tenant, body.len(), move || sha256(&bytes)).await?;
    let keyed = api.services.keyed_request(caller, caller.operation().id(), &request.uri, key, &body_hash);
    let mut work = Some(work);
    let (mut patience, mut has_waited) = (Patience::default(), false);
    loop {
        let place = match api.admit(caller).await {
            // Whoever waits for another call was let in once; no place for another look only means a longer wait.
            Err(_) if has_waited && api.services.wait_for_key(&keyed, &mut patience).await => continue,
            admitted => admitted?,
        };
        match (api.services.begin_once(&keyed).await?, work.take()) {
            (Begun::Mine(held), Some(work)) => match work_for(api, caller, held.clone(), work).await {
                Ok(answer) => return Ok(response(held.finish(answer).await)),
                // Another call took the key over and has an answer, or will have one.
                Err(refusal) if refusal.lost_its_key() => {}
                Err(refusal) => {
                    held.give_back().await;
                    return Err(refusal);
                }
            },
            // The work was done once and lost its key, and whoever took it over gave it back.
            (Begun::Mine(held), None) => {
                held.give_back().await;
                return Err(ApiError::unavailable());
            }
            (Begun::Kept(answer), _) => return Ok(replayed(answer)),
            (Begun::OtherRequest, _) => return Err(refused("belongs to an earlier request with another content")),
            (Begun::StillRunning, unused) => {
                (work, has_waited) = (unused, true);
                // Whoever waits for another call holds no place meanwhile.
                drop(place);
                if !api.services.wait_for_key(&keyed, &mut patience).await {
                    return Err(ApiError::unavailable());
                }
            }
        }
    }
}

/// Works, if the caller is still welcome: it may have waited for another call with its key.
async fn work_for(
    api: &Api,
    caller: &Caller,
    held: Held,
    work: impl AsyncFnOnce(Held) -> Result<Answer, ApiError>,
) -> Result<Answer, ApiError> {
    caller.standing().check_withdrawal(&api.services).await?;
    work(held).await
}

fn idempotency_key(headers: &HeaderMap) -> Result<Option<&str>, ApiError> {
    let mut values = headers.get_all(KEY).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(refused("must be given once"));
    }
    let printable = value.as_bytes().iter().all(|byte| matches!(byte, b' '..=b'~'));
    let key = value.to_str().ok().filter(|key| printable && (1..=KEY_MAX).contains(&key.len()));
    key.map(Some).ok_or_else(|| refused("must have 1 to 255 printable ASCII characters"))
}

fn refused(message: &str) -> ApiError {
    ApiError::validation(vec![Problem::field("header", KEY, "value_error.idempotency_key", message)])
}

fn response(answer: Answer) -> Response {
    // Only statuses of ours are kept; a row that was tampered with does not get to choose another one.
    let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    json_response(status, answer.body)
}

fn replayed(answer: Answer) -> Response {
    let mut response = response(answer);
    response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
    response
}
