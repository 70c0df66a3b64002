//! The `instance_values`, `ordinals`, `app_institutions` and `watched_time` tables.

use async_trait::async_trait;
use passbook_core::{ids::AppId, institution::Country, retention::TimeWatch, secret::SecretBytes, tenant::Tenant};

use super::{
    failure::{WriteError, unavailable},
    readers::Readers,
    values::values,
    work::{Step, Work},
    writers::{Unit, Writers},
};
use crate::{
    port::{AppInstitution, Guard, StoreError},
    sealing::{Keys, SealedUnder},
    stored::{
        columns::Columns,
        rows,
        values::{micros, whole_micros},
    },
};

const LOOKUP_INSTANCE_VALUE: &str = "SELECT key_version, value FROM instance_values WHERE name = $1";
const INSERT_INSTANCE_VALUE: &str = "INSERT INTO instance_values (name, key_version, value) VALUES ($1, $2, $3)";
const TAKE_ORDINAL: &str = "INSERT INTO ordinals (app_id, kind, value) VALUES ($1, $2, 1) \
    ON CONFLICT (app_id, kind) DO UPDATE SET value = ordinals.value + 1 RETURNING value";
const LIST_APP_INSTITUTIONS: &str = "SELECT institution_id, name, country FROM app_institutions \
    WHERE app_id = $1 AND environment = $2 ORDER BY institution_id";
const WRITE_APP_INSTITUTION: &str = "INSERT INTO app_institutions (app_id, environment, institution_id, name, \
    country) VALUES ($1, $2, $3, $4, $5) ON CONFLICT (app_id, environment, institution_id) \
    DO UPDATE SET name = excluded.name, country = excluded.country";
const LOOKUP_WATCHED_TIME: &str = "SELECT seen_at, hold FROM watched_time WHERE watch_id = 1";
const FIRST_WATCHED_TIME: &str =
    "INSERT INTO watched_time (watch_id, seen_at, hold) VALUES (1, $1, $2) ON CONFLICT (watch_id) DO NOTHING";
const NEXT_WATCHED_TIME: &str =
    "UPDATE watched_time SET seen_at = $1, hold = $2 WHERE watch_id = 1 AND seen_at = $3 AND hold = $4";
const PING: &str = "SELECT probe_id FROM write_probe WHERE probe_id = 1";

pub(super) async fn lookup_instance_value(
    readers: &Readers,
    keys: &Keys,
    name: &str,
) -> Result<Option<SecretBytes>, StoreError> {
    let row = readers.point(LOOKUP_INSTANCE_VALUE, values![name]).await?;
    row.map(|row| rows::instance_value(&row, keys, name)).transpose()
}

pub(super) fn add_instance_value<'a>(name: &'a str, sealed: &'a SealedUnder<Vec<u8>>) -> Step<'a> {
    Step::new(INSERT_INSTANCE_VALUE, values![name, sealed.key_version, &sealed.value]).unique(Guard::Unique)
}

/// Takes an ordinal.
pub(super) struct TakeOrdinal {
    pub app: AppId,
    pub kind: String,
}

#[async_trait]
impl Unit for TakeOrdinal {
    type Answer = u64;

    async fn run(&self, work: &mut Work<'_>) -> Result<u64, WriteError> {
        let taken = work.change(Step::new(TAKE_ORDINAL, values![self.app.as_str(), &self.kind])).await?;
        let row = taken.first().ok_or_else(|| unavailable("no ordinal was given"))?;
        Ok(Columns { row, table: "ordinals", key: self.app.as_str() }.integer(0, "value")?)
    }
}

pub(super) async fn list_app_institutions(
    readers: &Readers,
    tenant: &Tenant,
) -> Result<Vec<AppInstitution>, StoreError> {
    let values = values![tenant.app_id.as_str(), tenant.environment.as_str()];
    let found = readers.points(LIST_APP_INSTITUTIONS, values).await?;
    found.iter().map(|row| rows::app_institution(row, &tenant.app_id)).collect()
}

/// Adds an institution, or takes over the name and country that a newer file gives it.
pub(super) fn write_app_institution<'a>(tenant: &'a Tenant, institution: &'a AppInstitution) -> Step<'a> {
    let country = match institution.country {
        Country::Us => "US",
        Country::Gb => "GB",
        Country::Ca => "CA",
    };
    let values =
        values![tenant.app_id.as_str(), tenant.environment.as_str(), &institution.id, &institution.name, country,];
    Step::new(WRITE_APP_INSTITUTION, values)
}

pub(super) async fn ping(readers: &Readers) -> Result<(), StoreError> {
    readers.point(PING, values![]).await?;
    Ok(())
}

pub(super) async fn lookup_watched_time(readers: &Readers) -> Result<Option<TimeWatch>, StoreError> {
    let row = readers.point(LOOKUP_WATCHED_TIME, values![]).await?;
    row.map(|row| rows::watched_time(&row)).transpose()
}

/// One conditional write; its row count says who was first.
pub(super) async fn write_watched_time(
    writers: &Writers,
    expected: Option<&TimeWatch>,
    watch: &TimeWatch,
) -> Result<bool, StoreError> {
    let (seen_at, hold) = (micros(watch.seen_at), whole_micros(watch.hold));
    let written = match expected {
        None => writers.execute(FIRST_WATCHED_TIME, values![seen_at, hold]).await?,
        Some(was) => {
            let values = values![seen_at, hold, micros(was.seen_at), whole_micros(was.hold)];
            writers.execute(NEXT_WATCHED_TIME, values).await?
        }
    };
    Ok(written == 1)
}
