//! `GET /links`, `GET /links/{id}` and `DELETE /links/{id}`.

use axum::{
    Json,
    body::Body,
    extract::{Request, State as Extract},
    response::Response,
};
use bytes::Bytes;
use http::{HeaderValue, StatusCode, header, request::Parts};
use moneykit::models::{GetLinksLink, GetLinksResponse};
use passbook_core::ids::LinkId;
use passbook_store::port::LinkPosition;

use super::{Api, State, body, caller::Caller, errors::ApiError, path::LinkPath, query::Query};

/// Ids of links that connected, have data and are not deleted; oldest first.
pub async fn get_links(
    Extract(api): State,
    caller: Caller,
    request: Request,
) -> Result<Json<GetLinksResponse>, ApiError> {
    let context = [caller.tenant.app_id.as_str(), caller.tenant.environment.as_str(), "links"];
    let (limit, after) = Query::read(&request, |query| {
        let limit = query.number("limit", 500, 5000, 1000) as u32;
        let after = query.text("cursor").filter(|cursor| !cursor.is_empty()).and_then(|cursor| {
            let position = api.services.cursors.open(&context, &cursor).and_then(|text| read_position(&text));
            if position.is_none() {
                query.problem("cursor", "value_error.cursor", "is not a cursor of this listing");
            }
            position
        });
        (limit, after)
    })?;
    let _place = api.admit(&caller).await?;
    let (page, more) = api.services.list_links(&caller, after.as_ref(), limit).await?;
    let next_cursor = match page.last() {
        Some(last) if more => api.services.cursors.seal(&context, &write_position(last)),
        _ => String::new(),
    };
    let links = page
        .into_iter()
        .map(|position| GetLinksLink { link_id: position.id.as_str().into(), created_at: position.created_at })
        .collect();
    Ok(Json(GetLinksResponse { links, next_cursor }))
}

/// The link; of a deleted one the stub.
pub async fn get_link(Extract(api): State, caller: Caller, LinkPath(id): LinkPath) -> Result<Response, ApiError> {
    Ok(json_response(StatusCode::OK, api.services.get_link(&caller, &id).await?))
}

/// Deletes the link.
pub async fn delete_link(Extract(api): State, caller: Caller, LinkPath(id): LinkPath) -> Result<StatusCode, ApiError> {
    let _place = api.admit(&caller).await?;
    api.services.delete_link(&caller, &id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The head and the body of a call that changes this link. The contract answers 404 and 410 before it looks at the body.
pub async fn read_change(
    api: &Api,
    caller: &Caller,
    id: &LinkId,
    request: Request,
) -> Result<(Parts, Bytes), ApiError> {
    api.services.load(caller, id).await?;
    api.receive(caller, request, body::JSON_MAX).await
}

/// An answer that is JSON already.
pub fn json_response(status: StatusCode, body: impl Into<Body>) -> Response {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

fn write_position(position: &LinkPosition) -> String {
    format!("{} {}", position.created_at.as_microsecond(), position.id)
}

fn read_position(text: &str) -> Option<LinkPosition> {
    let (created_at, id) = text.split_once(' ')?;
    Some(LinkPosition {
        created_at: jiff::Timestamp::from_microsecond(created_at.parse().ok()?).ok()?,
        id: LinkId::parse(id)?,
    })
}
