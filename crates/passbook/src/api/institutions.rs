//! `GET /institutions` and `GET /institutions/{id}`.

use axum::{
    Json,
    extract::{Request, State as Extract},
};
use moneykit::models::{self, CursorPagination, GetInstitutionsResponse};
use passbook_core::institution::Institution;

use super::{State, caller::Caller, errors::ApiError, path, query::Query};
use crate::{
    directory::{file_institution, name_matches},
    views,
};

/// A page of the directory, by id.
pub async fn get_institutions(
    Extract(api): State,
    caller: Caller,
    request: Request,
) -> Result<Json<GetInstitutionsResponse>, ApiError> {
    let (featured, limit, name, after) = Query::read(&request, |query| {
        let featured = query.boolean("featured");
        let limit = query.number("limit", 1, 1000, 50) as usize;
        let name = query.text("name").unwrap_or_default();
        let context = listing(&caller, featured, &name);
        let cursor = query.text("cursor").filter(|cursor| !cursor.is_empty());
        let after = cursor.map(|cursor| api.services.cursors.open(&context, &cursor));
        if after == Some(None) {
            query.problem("cursor", "value_error.cursor", "is not a cursor of this listing");
        }
        (featured, limit, name, after.flatten().unwrap_or_default())
    })?;

    let own = own_institutions(&api, &caller).await?;
    let mut matching: Vec<&Institution> = api
        .services
        .directory
        .list(caller.tenant.environment)
        .chain(&own)
        .filter(|institution| !featured || institution.is_featured)
        .filter(|institution| name_matches(&institution.name, &name))
        .filter(|institution| institution.id.as_str() > after.as_str())
        .collect();
    matching.sort_by(|a, b| a.id.cmp(&b.id));
    let page: Vec<models::Institution> = matching.iter().take(limit).map(|found| views::institution(found)).collect();
    let next = (matching.len() > limit).then(|| {
        let context = listing(&caller, featured, &name);
        api.services.cursors.seal(&context, &matching[limit - 1].id)
    });
    Ok(Json(GetInstitutionsResponse { institutions: page, cursors: CursorPagination { next } }))
}

/// What a cursor belongs to: one listing, of this app, under this filter.
fn listing<'a>(caller: &'a Caller, featured: bool, name: &'a str) -> [&'a str; 4] {
    [caller.tenant.app_id.as_str(), "institutions", name, if featured { "featured" } else { "all" }]
}

/// One institution by id or alias.
pub async fn get_institution(
    Extract(api): State,
    caller: Caller,
    request: Request,
) -> Result<Json<models::Institution>, ApiError> {
    let id = path::text(path::segment(request.uri(), 1)).unwrap_or_default();
    if let Some(found) = api.services.directory.find(caller.tenant.environment, &id) {
        return Ok(Json(views::institution(found)));
    }
    let own = own_institutions(&api, &caller).await?;
    let found = own.iter().find(|institution| institution.id == id).ok_or_else(ApiError::institution_not_found)?;
    Ok(Json(views::institution(found)))
}

/// Institutions that only this app's statement files named.
async fn own_institutions(api: &super::Api, caller: &Caller) -> Result<Vec<Institution>, ApiError> {
    let named = api.services.store.list_app_institutions(&caller.tenant).await.map_err(crate::services::Fault::from)?;
    let products = api.services.directory.file_products();
    Ok(named.iter().map(|named| file_institution(named, products)).collect())
}
