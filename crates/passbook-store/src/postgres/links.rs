//! The `links` table.

use passbook_core::{ids::LinkId, tenant::Tenant};

use super::{
    readers::Readers,
    usage::{FORGET_USAGE, GIVE_BACK_USAGE},
    values::values,
    work::Step,
};
use crate::{
    port::{Guard, ImportKey, LinkAnswer, LinkPosition, NumbersAnswer, StoreError, StoredLink, StoredSecrets},
    sealing::{Keys, SealingKey},
    stored::{
        document::{DOCUMENT_FORMAT, NewerFormat, newest_instant},
        prepare::PreparedLink,
        rows, salvage,
        values::{inconsistent, micros},
    },
};

// A link is found by its id alone, and the program compares app and environment: with both in the condition, a planner
// without statistics finds an index on app and environment just as good, and walks every link of the app.
const LOOKUP_NUMBERS_ANSWER: &str = "SELECT state, error, granted, deleted_at, renderer, link_view, numbers_view, \
    wrapped_key, key_version, app_id, environment FROM links WHERE link_id = $1";
const LOOKUP_LINK_ANSWER: &str = "SELECT state, error, granted, deleted_at, renderer, link_view, app_id, environment \
    FROM links WHERE link_id = $1";
const LOOKUP_LINK: &str = "SELECT version, document, app_id, environment FROM links WHERE link_id = $1";
const LOOKUP_LINK_UNSCOPED: &str = "SELECT version, document FROM links WHERE link_id = $1";
const LOOKUP_LINK_REMAINS: &str = "SELECT version, app_id, environment, institution_id, created_at, first_data_at, \
    deleted_at, changed_at, (SELECT COALESCE(MAX(sequence), 0) FROM events WHERE events.link_id = links.link_id) \
    FROM links WHERE link_id = $1";
const LOOKUP_SECRETS: &str = "SELECT numbers, owners, credential, wrapped_key, key_version, app_id, environment \
    FROM links WHERE link_id = $1";
const LOOKUP_DATA_KEY: &str = "SELECT wrapped_key, key_version, app_id, environment FROM links WHERE link_id = $1";
const FIND_LINK_BY_IMPORT_KEY: &str =
    "SELECT link_id FROM links WHERE app_id = $1 AND environment = $2 AND import_key = $3";
// By the expression that the index `links_connected` begins with.
const FIND_CONNECTED_LINK: &str = "SELECT link_id FROM links \
    WHERE (app_id || '/' || environment || '/' || customer_user_id) = $1 AND institution_id = $2 \
    AND state = 'connected' ORDER BY created_at, link_id LIMIT 1";
const LIST_LINKS: &str = "SELECT link_id, created_at FROM links \
    WHERE app_id = $1 AND environment = $2 AND first_data_at IS NOT NULL AND deleted_at IS NULL \
    AND (created_at, link_id) > ($3, $4) ORDER BY created_at, link_id LIMIT $5";
const LOOKUP_DOCUMENT_FORMAT: &str = "SELECT document_format FROM links WHERE link_id = $1";

const INSERT_LINK: &str = "INSERT INTO links (link_id, app_id, environment, customer_user_id, institution_id, state, \
    error, granted, created_at, first_data_at, deleted_at, changed_at, newest_at, renderer, link_view, \
    document_format, document, numbers_view, numbers, owners, credential, import_key, wrapped_key, key_version, \
    version) SELECT $1::TEXT, $2::TEXT, $3::TEXT, $4::TEXT, $5::TEXT, $6::TEXT, $7::TEXT, $8::BIGINT, $9::BIGINT, \
    $10::BIGINT, $11::BIGINT, $12::BIGINT, $13::BIGINT, $14::BIGINT, $15::BYTEA, $16::BIGINT, $17::BYTEA, \
    $18::BYTEA, $19::BYTEA, $20::BYTEA, $21::BYTEA, $22::TEXT, $23::BYTEA, $24::BIGINT, 1 WHERE $24 IS NULL OR \
    EXISTS (SELECT 1 FROM master_keys WHERE master_keys.key_version = $24)";
// A deleted link never comes back, and a document of a newer release is never replaced, except by the stub of a
// deletion: what it says is to be gone. `IS NOT DISTINCT FROM` compares without offering an index to the planner.
const UPDATE_LINK: &str = "UPDATE links SET customer_user_id = $4, institution_id = $5, state = $6, error = $7, \
    granted = $8, first_data_at = $9, deleted_at = $10, changed_at = $11, newest_at = $12, renderer = $13, \
    link_view = $14, document_format = $15, document = $16, numbers_view = COALESCE($17, numbers_view), \
    numbers = COALESCE($18, numbers), owners = COALESCE($19, owners), credential = COALESCE($20, credential), \
    import_key = CASE WHEN $23 THEN NULL ELSE COALESCE($21, import_key) END, version = version + 1 \
    WHERE link_id = $1 AND app_id IS NOT DISTINCT FROM $2 AND environment IS NOT DISTINCT FROM $3 \
    AND version = $22 AND (document_format <= $15 OR $10::BIGINT IS NOT NULL) AND (deleted_at IS NULL OR $10::BIGINT IS NOT NULL)";
const DESTROY_KEYS: &str = "UPDATE links SET wrapped_key = NULL, key_version = NULL, numbers_view = NULL, \
    numbers = NULL, owners = NULL, credential = NULL, import_key = NULL WHERE link_id = $1";
const DESTROY_TRANSACTIONS: &str = "DELETE FROM transactions WHERE link_id = $1";
const DESTROY_CHANGES: &str = "DELETE FROM transaction_changes WHERE link_id = $1";
const DESTROY_INVESTMENTS: &str = "DELETE FROM investment_transactions WHERE link_id = $1";
const DESTROY_HOLDINGS: &str = "DELETE FROM holdings WHERE link_id = $1";
const DESTROY_ANSWERS: &str = "DELETE FROM kept_answers WHERE link_id = $1";
const DESTROY_REQUESTS: &str = "UPDATE link_sessions SET request = NULL WHERE link_id = $1 AND request IS NOT NULL";

/// What [`LinkWrite::destroy`](crate::port::LinkWrite::destroy) does, in the order of row locks.
const DESTROY: [&str; 9] = [
    DESTROY_KEYS,
    DESTROY_TRANSACTIONS,
    DESTROY_CHANGES,
    DESTROY_INVESTMENTS,
    DESTROY_HOLDINGS,
    DESTROY_ANSWERS,
    DESTROY_REQUESTS,
    GIVE_BACK_USAGE,
    FORGET_USAGE,
];

pub(super) async fn lookup_numbers_answer(
    readers: &Readers,
    keys: &Keys,
    tenant: &Tenant,
    id: &LinkId,
) -> Result<Option<NumbersAnswer>, StoreError> {
    let row = readers.point(LOOKUP_NUMBERS_ANSWER, values![id.as_str()]).await?;
    row.filter(|row| rows::is_of(row, tenant, 9)).map(|row| rows::numbers_answer(&row, keys, tenant, id)).transpose()
}

pub(super) async fn lookup_link_answer(
    readers: &Readers,
    tenant: &Tenant,
    id: &LinkId,
) -> Result<Option<LinkAnswer>, StoreError> {
    let row = readers.point(LOOKUP_LINK_ANSWER, values![id.as_str()]).await?;
    row.filter(|row| rows::is_of(row, tenant, 6)).map(|row| rows::link_answer(&row, id)).transpose()
}

pub(super) async fn lookup_link(
    readers: &Readers,
    tenant: &Tenant,
    id: &LinkId,
) -> Result<Option<StoredLink>, StoreError> {
    let row = readers.point(LOOKUP_LINK, values![id.as_str()]).await?;
    row.filter(|row| rows::is_of(row, tenant, 2)).map(|row| rows::stored_link(&row, id)).transpose()
}

/// A link whoever owns it, for the store's own upkeep.
pub(super) async fn lookup_link_unscoped(readers: &Readers, id: &LinkId) -> Result<Option<StoredLink>, StoreError> {
    let row = readers.point(LOOKUP_LINK_UNSCOPED, values![id.as_str()]).await?;
    row.map(|row| rows::stored_link(&row, id)).transpose()
}

/// What is known of a link whose document cannot be read.
pub(super) async fn lookup_remains(readers: &Readers, id: &LinkId) -> Result<Option<StoredLink>, StoreError> {
    let row = readers.point(LOOKUP_LINK_REMAINS, values![id.as_str()]).await?;
    row.map(|row| salvage::remains(&row, id)).transpose()
}

pub(super) async fn lookup_secrets(
    readers: &Readers,
    keys: &Keys,
    tenant: &Tenant,
    id: &LinkId,
) -> Result<Option<StoredSecrets>, StoreError> {
    let row = readers.point(LOOKUP_SECRETS, values![id.as_str()]).await?.filter(|row| rows::is_of(row, tenant, 5));
    Ok(row.map(|row| rows::stored_secrets(&row, keys, tenant, id)).transpose()?.flatten())
}

/// The data key of a link; `None` when there is none.
pub(super) async fn lookup_data_key(
    readers: &Readers,
    keys: &Keys,
    tenant: &Tenant,
    id: &LinkId,
) -> Result<Option<SealingKey>, StoreError> {
    let row = readers.point(LOOKUP_DATA_KEY, values![id.as_str()]).await?.filter(|row| rows::is_of(row, tenant, 2));
    Ok(row.map(|row| rows::data_key(&row, keys, tenant, id, 0)).transpose()?.flatten())
}

pub(super) async fn find_link_by_import_key(
    readers: &Readers,
    tenant: &Tenant,
    import_key: &str,
) -> Result<Option<LinkId>, StoreError> {
    let values = values![tenant.app_id.as_str(), tenant.environment.as_str(), import_key];
    readers.point(FIND_LINK_BY_IMPORT_KEY, values).await?.map(|row| rows::link_id(&row)).transpose()
}

pub(super) async fn find_connected_link(
    readers: &Readers,
    tenant: &Tenant,
    customer_user_id: &str,
    institution_id: &str,
) -> Result<Option<LinkId>, StoreError> {
    let values = values![user_key(tenant, customer_user_id), institution_id];
    readers.point(FIND_CONNECTED_LINK, values).await?.map(|row| rows::link_id(&row)).transpose()
}

/// What the indexes over the links of an end user begin with.
pub(super) fn user_key(tenant: &Tenant, customer_user_id: &str) -> String {
    format!("{}/{}/{customer_user_id}", tenant.app_id, tenant.environment.as_str())
}

pub(super) async fn list_links(
    readers: &Readers,
    tenant: &Tenant,
    after: Option<&LinkPosition>,
    limit: u32,
) -> Result<Vec<LinkPosition>, StoreError> {
    let (created_at, id) = after.map_or((i64::MIN, ""), |after| (micros(after.created_at), after.id.as_str()));
    let values = values![tenant.app_id.as_str(), tenant.environment.as_str(), created_at, id, limit];
    readers.scan_for(tenant, LIST_LINKS, values).await?.iter().map(rows::link_position).collect()
}

/// Inserts or replaces a link under its version guard.
pub(super) fn write_link(prepared: &PreparedLink) -> Vec<Step<'_>> {
    let mut steps = vec![match prepared.expected_version {
        None => insert(prepared),
        Some(version) => update(prepared, version),
    }];
    if prepared.destroy {
        // Makes everything sealed under the link's key unreadable for ever. Jobs of the link stay for their workers,
        // which find the link deleted and end them as failed: so every accepted job has exactly one end.
        let id = prepared.link.id.as_str();
        for sql in DESTROY {
            steps.push(Step::new(sql, values![id]));
        }
    }
    steps
}

fn insert(prepared: &PreparedLink) -> Step<'_> {
    let link = &prepared.link;
    let values = values![
        link.id.as_str(),
        link.tenant.app_id.as_str(),
        link.tenant.environment.as_str(),
        &link.customer_user_id,
        &link.institution.id,
        link.state.as_str(),
        link.error.map(|error| error.as_str()),
        i64::from(link.granted().bits()),
        micros(link.created_at),
        link.first_data_at.map(micros),
        link.deleted_at.map(micros),
        micros(link.changed_at),
        micros(newest_instant(link)),
        prepared.renderer,
        &prepared.link_view,
        DOCUMENT_FORMAT,
        &prepared.document,
        prepared.sealed.numbers_view.as_ref(),
        prepared.sealed.numbers.as_ref(),
        prepared.sealed.owners.as_ref(),
        prepared.sealed.credential.as_ref(),
        set_key(&prepared.import_key),
        prepared.wrapped_key.as_ref().map(|wrapped| &wrapped.value),
        prepared.wrapped_key.as_ref().map(|wrapped| wrapped.key_version),
    ];
    // Wrapped before the key was retired and stored after it: nobody could open it any more. Trying again wraps anew.
    Step::new(INSERT_LINK, values).unique(Guard::Link).rows(1, Guard::Link)
}

fn update(prepared: &PreparedLink, version: u64) -> Step<'_> {
    let link = &prepared.link;
    let values = values![
        link.id.as_str(),
        link.tenant.app_id.as_str(),
        link.tenant.environment.as_str(),
        &link.customer_user_id,
        &link.institution.id,
        link.state.as_str(),
        link.error.map(|error| error.as_str()),
        i64::from(link.granted().bits()),
        link.first_data_at.map(micros),
        link.deleted_at.map(micros),
        micros(link.changed_at),
        micros(newest_instant(link)),
        prepared.renderer,
        &prepared.link_view,
        DOCUMENT_FORMAT,
        &prepared.document,
        prepared.sealed.numbers_view.as_ref(),
        prepared.sealed.numbers.as_ref(),
        prepared.sealed.owners.as_ref(),
        prepared.sealed.credential.as_ref(),
        set_key(&prepared.import_key),
        i64::try_from(version).unwrap_or(-1),
        prepared.import_key == ImportKey::Free,
    ];
    Step::new(UPDATE_LINK, values).unique(Guard::Link).rows(1, Guard::Link)
}

fn set_key(key: &ImportKey) -> Option<&str> {
    match key {
        ImportKey::Set(key) => Some(key),
        ImportKey::Keep | ImportKey::Free => None,
    }
}

/// Whether an update that changed no row met a document of a newer release.
pub(super) async fn refuse_newer_format(readers: &Readers, id: &LinkId) -> Result<(), StoreError> {
    let row = readers.point(LOOKUP_DOCUMENT_FORMAT, values![id.as_str()]).await?;
    let columns = |row| crate::stored::columns::Columns { row, table: "links", key: id.as_str() };
    match row.as_ref().map(|row| columns(row).integer::<i64>(0, "document_format")).transpose()? {
        Some(format) if format > i64::from(DOCUMENT_FORMAT) => {
            Err(inconsistent("links", "document_format", id.as_str(), NewerFormat(format)))
        }
        _ => Ok(()),
    }
}
