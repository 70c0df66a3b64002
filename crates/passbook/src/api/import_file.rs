//! `POST /passbook/links/import-file`: a statement file becomes a link, or extends one.

use axum::{
    extract::{Request, State as Extract},
    response::Response,
};
use serde::Serialize;
use serde_json::value::RawValue;

use super::{State, caller::Caller, errors::ApiError, idempotency::answer_once, query::Query};
use crate::{
    services::{
        idempotency::Answer,
        imports::{Import, Imported},
    },
    views,
};

/// Largest statement file.
const FILE_MAX: usize = 16 << 20;

#[derive(Serialize)]
struct ImportAnswer<'a> {
    link_id: &'a str,
    link: &'a RawValue,
    /// Transactions added.
    created: usize,
    /// Transactions changed by a correction.
    updated: usize,
    /// Transactions withdrawn by the bank.
    removed: usize,
    /// Transactions that were stored already.
    unchanged: usize,
    /// What was left out or repaired.
    notes: &'a [String],
}

/// 201 for a new link, 200 for an existing one.
pub async fn import_file(Extract(api): State, caller: Caller, request: Request) -> Result<Response, ApiError> {
    let (customer_user_id, institution_id) = Query::read(&request, |query| {
        let customer_user_id = query.text("customer_user_id").unwrap_or_default();
        if !(4..=150).contains(&customer_user_id.chars().take(151).count()) {
            query.problem("customer_user_id", "value_error", "must have 4 to 150 characters");
        }
        (customer_user_id, query.text("institution_id"))
    })?;
    let (parts, file) = api.receive(&caller, request, FILE_MAX).await?;
    answer_once(&api, &caller, &parts, &file.clone(), async |held| {
        let keep = held.keep(import_answer);
        let import = Import { customer_user_id, institution_id, file };
        Ok(import_answer(&api.services.import_file(&caller, import, &keep).await?))
    })
    .await
}

fn import_answer(imported: &Imported) -> Answer {
    let link = RawValue::from_string(String::from_utf8_lossy(&imported.link_view).into_owned());
    let answer = ImportAnswer {
        link_id: imported.link_id.as_str(),
        link: &link.expect("a rendered view is JSON"),
        created: imported.created,
        updated: imported.updated,
        removed: imported.removed,
        unchanged: imported.unchanged,
        notes: &imported.notes,
    };
    let status = if imported.new_link { 201 } else { 200 };
    Answer { status, body: views::json(&answer) }
}
