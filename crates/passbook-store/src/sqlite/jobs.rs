//! The `jobs` table: durable work under leases.
//!
//! A lease is an owner, an end and a fence that rises with every lease. Only the newest fence may end, renew or
//! release a job, so a worker that was stopped past its lease cannot commit what it found. At most one job per link is
//! under a lease.

use jiff::Timestamp;
use passbook_core::{
    ids::{AppId, JobId, LinkId},
    tenant::{Environment, Tenant},
    time::AppClock,
};
use rusqlite::{Connection, OptionalExtension as _, Row, params};

use super::{
    clients::list_disabled_apps,
    failure::{ReadError, WriteError, constraint_as, one_row},
    links::first,
};
use crate::{
    port::{FinishedJob, Guard, JobState, LeaseRef, LeasedJob, NewJob},
    stored::{
        columns::Columns,
        rows,
        values::{NEVER, due_micros, fence_number, job_state_word, micros},
    },
};

const TABLE: &str = "jobs";

pub(super) fn add_job(connection: &Connection, job: &NewJob) -> Result<(), WriteError> {
    const EXISTS: &str = "SELECT 1 FROM jobs WHERE job_id = ?1";
    const SQL: &str = "INSERT INTO jobs (job_id, app_id, environment, link_id, work, due_at, app_due_at, state, fence) \
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, 'open', 0)";
    if connection.prepare_cached(EXISTS)?.exists([job.id.as_str()])? {
        return Err(WriteError::Conflict(Guard::Unique));
    }
    let work = serde_json::to_string(&job.work).expect("work is plain data with string keys");
    connection
        .prepare_cached(SQL)?
        .execute(params![
            job.id.as_str(),
            job.tenant.app_id.as_str(),
            job.tenant.environment.as_str(),
            job.link_id.as_str(),
            work,
            due_micros(job.due_at),
            job.app_due_at.map(micros),
        ])
        // The remaining constraint: the link exists.
        .map_err(constraint_as(Guard::Link))?;
    Ok(())
}

pub(super) fn finish_job(connection: &Connection, job: &FinishedJob) -> Result<(), WriteError> {
    const SQL: &str = "UPDATE jobs SET state = ?3, finished_at = ?4, lease_owner = NULL, lease_until = NULL \
        WHERE job_id = ?1 AND fence = ?2 AND state = 'open' AND lease_until IS NOT NULL";
    let changed = connection.prepare_cached(SQL)?.execute(params![
        job.lease.job_id.as_str(),
        fence_number(&job.lease),
        job_state_word(job.state),
        micros(job.finished_at),
    ])?;
    one_row(changed, Guard::Lease)
}

/// The lease must still be held.
pub(super) fn check_lease(connection: &Connection, lease: &LeaseRef) -> Result<(), WriteError> {
    const SQL: &str =
        "SELECT 1 FROM jobs WHERE job_id = ?1 AND fence = ?2 AND state = 'open' AND lease_until IS NOT NULL";
    let held = connection.prepare_cached(SQL)?.exists(params![lease.job_id.as_str(), fence_number(lease)])?;
    if held { Ok(()) } else { Err(WriteError::Conflict(Guard::Lease)) }
}

/// Links without a planned update.
pub(super) fn list_unscheduled_links(
    connection: &Connection,
    after: Option<&LinkId>,
    limit: u32,
) -> Result<Vec<(Tenant, LinkId)>, ReadError> {
    const SQL: &str = "SELECT l.link_id, l.app_id, l.environment FROM links l \
        WHERE l.state = 'connected' AND l.link_id > ?1 AND NOT EXISTS (SELECT 1 FROM jobs j \
        WHERE j.link_id = l.link_id AND j.state = 'open' AND j.work LIKE '%\"follow_schedule\"%') \
        ORDER BY l.link_id LIMIT ?2";
    let mut statement = connection.prepare_cached(SQL)?;
    let mut found = statement.query(params![after.map_or("", LinkId::as_str), limit])?;
    let mut links = Vec::new();
    while let Some(row) = found.next()? {
        links.push(rows::link_of_tenant(row)?);
    }
    Ok(links)
}

pub(super) fn lease_jobs(
    connection: &Connection,
    owner: &str,
    until: Timestamp,
    chosen: &[LeasedJob],
) -> Result<(), WriteError> {
    // An expired lease on another job of the same link ends for good: its holder must not run beside the new one.
    let mut end_others = connection.prepare_cached(
        "UPDATE jobs SET lease_owner = NULL, lease_until = NULL, fence = fence + 1 \
         WHERE link_id = ?1 AND state = 'open' AND lease_until IS NOT NULL AND job_id <> ?2",
    )?;
    let mut lease = connection
        .prepare_cached("UPDATE jobs SET fence = ?2, lease_owner = ?3, lease_until = ?4 WHERE job_id = ?1")?;
    for job in chosen {
        end_others.execute([job.link_id.as_str(), job.lease.job_id.as_str()])?;
        lease.execute(params![job.lease.job_id.as_str(), fence_number(&job.lease), owner, micros(until)])?;
    }
    Ok(())
}

/// The jobs that are due longest, of all applications or of those that are neither excepted nor disabled.
pub(super) fn choose_jobs(
    connection: &Connection,
    now: Timestamp,
    limit: u32,
    except: &[AppId],
) -> Result<Vec<LeasedJob>, ReadError> {
    const DUE: &str = "SELECT j.job_id, j.app_id, j.environment, j.link_id, j.work, j.fence FROM jobs j \
        WHERE j.state = 'open' AND j.due_at <= ?1 AND NOT EXISTS (SELECT 1 FROM jobs o \
        WHERE o.link_id = j.link_id AND o.state = 'open' AND o.lease_until > ?1) ORDER BY j.due_at, j.job_id";
    const DUE_OF_APP: &str = "SELECT j.job_id, j.app_id, j.environment, j.link_id, j.work, j.fence FROM jobs j \
        WHERE j.state = 'open' AND j.app_id = ?2 AND j.due_at <= ?1 AND NOT EXISTS (SELECT 1 FROM jobs o \
        WHERE o.link_id = j.link_id AND o.state = 'open' AND o.lease_until > ?1) ORDER BY j.due_at";
    let mut chosen = Vec::new();
    let mut left_out = list_disabled_apps(connection, now)?;
    left_out.extend(except.iter().map(ToString::to_string));
    if left_out.is_empty() {
        let mut due = connection.prepare_cached(DUE)?;
        first_of_each_link(due.query([micros(now)])?, limit, &mut chosen)?;
        return Ok(chosen);
    }
    let mut due = connection.prepare_cached(DUE_OF_APP)?;
    for app in longest_due(connection, now, &left_out)?.into_iter().take(limit as usize) {
        first_of_each_link(due.query(params![micros(now), app])?, limit, &mut chosen)?;
    }
    Ok(chosen)
}

/// Adds jobs until there are `limit`, at most one of each link.
fn first_of_each_link(mut due: rusqlite::Rows<'_>, limit: u32, chosen: &mut Vec<LeasedJob>) -> Result<(), ReadError> {
    while chosen.len() < limit as usize {
        let Some(row) = due.next()? else { break };
        let job = rows::job_to_lease(row)?;
        if chosen.iter().all(|other| other.link_id != job.link_id) {
            chosen.push(job);
        }
    }
    Ok(())
}

/// Applications with an open job. Goes from application to application, so that the many jobs of one that is left out
/// cost nothing.
fn apps_with_jobs(connection: &Connection, left_out: &[String]) -> Result<Vec<String>, ReadError> {
    const NEXT: &str = "SELECT app_id FROM jobs WHERE state = 'open' AND app_id > ?1 ORDER BY app_id LIMIT 1";
    let mut next = connection.prepare_cached(NEXT)?;
    let mut found = Vec::new();
    let mut after = String::new();
    while let Some(app) = next.query_row([&after], |row| row.get::<_, String>(0)).optional()? {
        if !left_out.contains(&app) {
            found.push(app.clone());
        }
        after = app;
    }
    Ok(found)
}

/// Applications with a due job, that of the oldest one first.
fn longest_due(connection: &Connection, now: Timestamp, left_out: &[String]) -> Result<Vec<String>, ReadError> {
    const OLDEST: &str = "SELECT MIN(due_at) FROM jobs WHERE state = 'open' AND app_id = ?1";
    let mut oldest = connection.prepare_cached(OLDEST)?;
    let mut found: Vec<(i64, String)> = Vec::new();
    for app in apps_with_jobs(connection, left_out)? {
        let due: i64 = oldest.query_row([&app], |row| row.get(0))?;
        if due <= micros(now) {
            found.push((due, app));
        }
    }
    found.sort();
    Ok(found.into_iter().map(|(_, app)| app).collect())
}

pub(super) fn renew_lease(connection: &Connection, lease: &LeaseRef, until: Timestamp) -> Result<bool, WriteError> {
    const SQL: &str = "UPDATE jobs SET lease_until = ?3 \
        WHERE job_id = ?1 AND fence = ?2 AND state = 'open' AND lease_until IS NOT NULL";
    let changed =
        connection.prepare_cached(SQL)?.execute(params![lease.job_id.as_str(), fence_number(lease), micros(until)])?;
    Ok(changed == 1)
}

pub(super) fn release_job(connection: &Connection, lease: &LeaseRef, due_at: Timestamp) -> Result<(), WriteError> {
    const SQL: &str = "UPDATE jobs SET lease_owner = NULL, lease_until = NULL, due_at = ?3 \
        WHERE job_id = ?1 AND fence = ?2 AND state = 'open' AND lease_until IS NOT NULL";
    connection.prepare_cached(SQL)?.execute(params![lease.job_id.as_str(), fence_number(lease), due_micros(due_at)])?;
    Ok(())
}

/// Ends every lease: after a restart of the only process that can hold one, nobody does.
pub(super) fn end_all_leases(connection: &Connection) -> rusqlite::Result<usize> {
    connection.execute(
        "UPDATE jobs SET lease_owner = NULL, lease_until = NULL WHERE state = 'open' AND lease_until IS NOT NULL",
        [],
    )
}

fn due_at(row: &Row<'_>) -> Result<Option<i64>, ReadError> {
    Ok(Columns { row, table: TABLE, key: "" }.optional_integer(0, "due_at")?)
}

/// When the oldest job of a link is due that no lease touches, straight from the index; of all applications or of those
/// that are not left out.
fn next_free(connection: &Connection, left_out: &[String]) -> Result<Option<i64>, ReadError> {
    const FREE: &str = "SELECT j.due_at FROM jobs j WHERE j.state = 'open' AND j.due_at < ?1 AND NOT EXISTS \
        (SELECT 1 FROM jobs o WHERE o.link_id = j.link_id AND o.state = 'open' AND o.lease_until IS NOT NULL) \
        ORDER BY j.due_at LIMIT 1";
    const FREE_OF_APP: &str = "SELECT j.due_at FROM jobs j WHERE j.state = 'open' AND j.app_id = ?2 \
        AND j.due_at < ?1 AND NOT EXISTS (SELECT 1 FROM jobs o WHERE o.link_id = j.link_id AND o.state = 'open' \
        AND o.lease_until IS NOT NULL) ORDER BY j.due_at LIMIT 1";
    if left_out.is_empty() {
        return Ok(first(connection, FREE, [NEVER], due_at)?.flatten());
    }
    let mut next: Option<i64> = None;
    for app in apps_with_jobs(connection, left_out)? {
        let due = first(connection, FREE_OF_APP, params![NEVER, app], due_at)?.flatten();
        next = next.into_iter().chain(due).min();
    }
    Ok(next)
}

pub(super) fn next_due_at(connection: &Connection, now: Timestamp) -> Result<Option<Timestamp>, ReadError> {
    // Links under a lease are few: not before it ends, nor before the link's oldest job is due.
    const LEASED: &str = "SELECT MIN(CASE WHEN j.lease_until > o.oldest THEN j.lease_until ELSE o.oldest END) \
        FROM jobs j JOIN (SELECT link_id, MIN(due_at) AS oldest FROM jobs WHERE state = 'open' AND link_id IN \
        (SELECT link_id FROM jobs WHERE state = 'open' AND lease_until IS NOT NULL) GROUP BY link_id) o \
        ON o.link_id = j.link_id WHERE j.state = 'open' AND j.lease_until IS NOT NULL AND NOT EXISTS \
        (SELECT 1 FROM apps a WHERE a.app_id = j.app_id AND a.disabled_at <= ?1)";
    let free = next_free(connection, &list_disabled_apps(connection, now)?)?;
    let leased = first(connection, LEASED, [micros(now)], |row| {
        Ok(Columns { row, table: TABLE, key: "" }.optional_integer(0, "lease_until")?)
    })?
    .flatten();
    let next = free.into_iter().chain(leased).filter(|due| *due < NEVER).min();
    // A time out of range is as good as never.
    Ok(next.and_then(|due| Timestamp::from_microsecond(due).ok()))
}

pub(super) fn count_due_jobs(connection: &Connection, app: &AppId, now: Timestamp) -> Result<u64, ReadError> {
    const SQL: &str = "SELECT COUNT(*) FROM jobs WHERE app_id = ?1 AND state = 'open' AND due_at <= ?2";
    let count = first(connection, SQL, params![app.as_str(), micros(now)], |row| {
        Ok(Columns { row, table: TABLE, key: app.as_str() }.integer(0, "count")?)
    })?;
    Ok(count.unwrap_or(0))
}

pub(super) fn lookup_job_state(connection: &Connection, job: &JobId) -> Result<Option<JobState>, ReadError> {
    const SQL: &str = "SELECT state FROM jobs WHERE job_id = ?1";
    first(connection, SQL, [job.as_str()], |row| Ok(rows::job_state(row, job.as_str())?))
}

/// Up to `limit` open jobs of the application's sandbox that follow its clock. Live work follows real time.
pub(super) fn list_timed_jobs(connection: &Connection, app: &AppId, limit: u32) -> Result<Vec<JobId>, ReadError> {
    const TIMED: &str = "SELECT job_id FROM jobs \
        WHERE app_id = ?1 AND environment = ?2 AND state = 'open' AND app_due_at IS NOT NULL LIMIT ?3";
    let mut statement = connection.prepare_cached(TIMED)?;
    let mut found = statement.query(params![app.as_str(), Environment::Sandbox.as_str(), limit])?;
    let mut jobs = Vec::new();
    while let Some(row) = found.next()? {
        jobs.push(Columns { row, table: TABLE, key: app.as_str() }.job_id(0)?);
    }
    Ok(jobs)
}

/// Recomputes the real due times of these jobs, as far as they are still open.
pub(super) fn retime_jobs(connection: &Connection, jobs: &[JobId], clock: &AppClock) -> Result<(), WriteError> {
    const DUE: &str = "SELECT app_due_at FROM jobs WHERE job_id = ?1 AND state = 'open'";
    let mut update = connection.prepare_cached("UPDATE jobs SET due_at = ?2 WHERE job_id = ?1")?;
    for job in jobs {
        let due = first(connection, DUE, [job.as_str()], |row| {
            Ok(Columns { row, table: TABLE, key: job.as_str() }.optional_instant(0, "app_due_at")?)
        })?;
        if let Some(app_due_at) = due.flatten() {
            update.execute(params![job.as_str(), clock.real_due(app_due_at).map_or(NEVER, due_micros)])?;
        }
    }
    Ok(())
}
