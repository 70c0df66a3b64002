//! The header `Idempotency-Key`: a repeated call is answered with what the first one was answered.
//!
//! A call without the header takes no detour. Credentials, request limits, scope and the body were checked before this;
//! a repeated call passes the same checks as the first.

use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, request::Parts};

use super::{
    Api,
    caller::Caller,
    errors::{ApiError, Problem},
    links::json_response,
    operation::Operation,
};
use crate::services::idempotency::{Answer, Begun, Held};

/// What the client sends.
const KEY: &str = "Idempotency-Key";
/// Says that an answer was kept from an earlier call.
const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");
/// Longest key.
const KEY_MAX: usize = 255;

/// Marks a response that another call's work decided: its time is no measure of the server's.
#[derive(Clone)]
pub struct AnsweredByAnother;

/// Answers a request whose body was read: does `work` and keeps its answer, or answers as an earlier call with its key.
/// `work` puts its answer into its commit by what it is handed; see [`Held::keep`].
///
/// # Errors
/// What `work` refuses; 422 for a key that is malformed or belongs to another request; 503 when another call with the
/// key does not end.
pub async fn answer_once(
    api: &Api,
    caller: &Caller,
    request: &Parts,
    body: &[u8],
    work: impl AsyncFnOnce(Held) -> Result<Answer, ApiError>,
) -> Result<Response, ApiError> {
    let key = idempotency_key(&request.headers)?;
    // The body may have taken its time.
    caller.standing().check_withdrawal(&api.services).await?;
    let Some(key) = key else {
        return Ok(response(work(Held::default()).await?));
    };
    let operation = request.extensions.get::<Operation>().copied().unwrap_or(Operation::Unknown);
    let keyed = api.services.keyed_request(caller, operation.id(), &request.uri, key, body);
    let mut work = Some(work);
    loop {
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
            (Begun::StillRunning, _) => return Ok(by_another(ApiError::unavailable().into_response())),
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
    let mut response = by_another(response(answer));
    response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
    response
}

fn by_another(mut response: Response) -> Response {
    response.extensions_mut().insert(AnsweredByAnother);
    response
}
