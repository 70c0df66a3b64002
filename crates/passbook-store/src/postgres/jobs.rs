//! The `jobs` table: durable work under leases.
//!
//! A lease is an owner, an end and a fence that rises with every lease. Only the newest fence may end, renew or
//! release a job, so a worker that was stopped past its lease cannot commit what it found.
//!
//! At most one job per link is under a lease, whoever leases: the unique index `jobs_one_lease_per_link` says so. Only
//! the first job of a link in order of due times is ever chosen, so two processes that choose at once meet at the same
//! row, and one of them skips it.

use std::borrow::Cow;

use async_trait::async_trait;
use jiff::Timestamp;
use passbook_core::{
    ids::{AppId, JobId, LinkId},
    tenant::{Environment, Tenant},
};
use tokio_postgres::Row;

use super::{
    clients::LIST_DISABLED_APPS,
    failure::WriteError,
    readers::Readers,
    values::{Value, values},
    work::{Step, Work},
    writers::Unit,
};
use crate::{
    port::{ClockWrite, FinishedJob, Guard, JobState, LeaseRef, LeasedJob, NewJob, StoreError},
    stored::{
        columns::Columns,
        rows,
        values::{NEVER, clock_text, due_micros, fence_number, job_state_word, micros},
    },
};

const TABLE: &str = "jobs";

const INSERT_JOB: &str = "INSERT INTO jobs (job_id, app_id, environment, link_id, work, due_at, app_due_at, state, \
    fence) VALUES ($1, $2, $3, $4, $5, $6, $7, 'open', 0)";
const FINISH_JOB: &str = "UPDATE jobs SET state = $3, finished_at = $4, lease_owner = NULL, lease_until = NULL \
    WHERE job_id = $1 AND fence = $2 AND state = 'open' AND lease_until IS NOT NULL";
// Changes nothing, but nobody can take the lease over before the commit that stands under it has ended.
const CHECK_LEASE: &str = "UPDATE jobs SET fence = fence \
    WHERE job_id = $1 AND fence = $2 AND state = 'open' AND lease_until IS NOT NULL";
// What is asked of `j` itself is asked again of a row that somebody else changed meanwhile.
const CHOOSE_JOBS: &str = "SELECT j.job_id, j.app_id, j.environment, j.link_id, j.work, j.fence FROM jobs j \
    WHERE j.state = 'open' AND j.due_at <= $1 AND (j.lease_until IS NULL OR j.lease_until <= $1) \
    AND NOT EXISTS (SELECT 1 FROM jobs o WHERE o.link_id = j.link_id AND o.state = 'open' \
    AND (o.lease_until > $1 OR (o.due_at, o.job_id) < (j.due_at, j.job_id))) \
    ORDER BY j.due_at, j.job_id LIMIT $2 FOR UPDATE SKIP LOCKED";
// Goes from application to application, so that the many jobs of an excepted one cost nothing.
const LONGEST_DUE: &str = "WITH RECURSIVE apps (app_id) AS (\
    (SELECT app_id FROM jobs WHERE state = 'open' ORDER BY app_id LIMIT 1) UNION ALL \
    SELECT (SELECT j.app_id FROM jobs j WHERE j.state = 'open' AND j.app_id > apps.app_id ORDER BY j.app_id LIMIT 1) \
    FROM apps WHERE apps.app_id IS NOT NULL) \
    SELECT apps.app_id FROM apps CROSS JOIN LATERAL (SELECT j.due_at FROM jobs j WHERE j.state = 'open' \
    AND j.app_id = apps.app_id ORDER BY j.due_at LIMIT 1) oldest \
    WHERE apps.app_id <> ALL($2) AND oldest.due_at <= $1 ORDER BY oldest.due_at LIMIT $3";
const CHOOSE_JOBS_OF_APPS: &str = "SELECT j.* FROM unnest($3::TEXT[]) AS apps (app_id) CROSS JOIN LATERAL \
    (SELECT j.job_id, j.app_id, j.environment, j.link_id, j.work, j.fence FROM jobs j \
    WHERE j.state = 'open' AND j.app_id = apps.app_id AND j.due_at <= $1 \
    AND (j.lease_until IS NULL OR j.lease_until <= $1) \
    AND NOT EXISTS (SELECT 1 FROM jobs o WHERE o.link_id = j.link_id AND o.state = 'open' \
    AND (o.lease_until > $1 OR (o.due_at, o.job_id) < (j.due_at, j.job_id))) \
    ORDER BY j.due_at LIMIT $2 FOR UPDATE SKIP LOCKED) j LIMIT $2";
// An expired lease on another job of the same link ends for good: its holder must not run beside the new one.
const END_EXPIRED_LEASES: &str = "UPDATE jobs SET lease_owner = NULL, lease_until = NULL, fence = fence + 1 \
    WHERE link_id = ANY($1) AND state = 'open' AND lease_until <= $2 AND job_id <> ALL($3)";
const LEASE_JOBS: &str = "UPDATE jobs SET fence = fence + 1, lease_owner = $2, lease_until = $3 \
    WHERE job_id = ANY($1)";
pub(super) const RENEW_LEASE: &str = "UPDATE jobs SET lease_until = $3 \
    WHERE job_id = $1 AND fence = $2 AND state = 'open' AND lease_until IS NOT NULL";
pub(super) const RELEASE_JOB: &str = "UPDATE jobs SET lease_owner = NULL, lease_until = NULL, due_at = $3 \
    WHERE job_id = $1 AND fence = $2 AND state = 'open' AND lease_until IS NOT NULL";
// Links that no lease touches: the oldest due time, straight from the index.
const NEXT_FREE: &str = "SELECT j.due_at FROM jobs j WHERE j.state = 'open' AND j.due_at < $1 AND NOT EXISTS \
    (SELECT 1 FROM jobs o WHERE o.link_id = j.link_id AND o.state = 'open' AND o.lease_until IS NOT NULL) \
    ORDER BY j.due_at LIMIT 1";
// The same when applications are left out; as above, their many jobs cost nothing.
const NEXT_FREE_OF_APPS: &str = "WITH RECURSIVE apps (app_id) AS (\
    (SELECT app_id FROM jobs WHERE state = 'open' ORDER BY app_id LIMIT 1) UNION ALL \
    SELECT (SELECT j.app_id FROM jobs j WHERE j.state = 'open' AND j.app_id > apps.app_id ORDER BY j.app_id LIMIT 1) \
    FROM apps WHERE apps.app_id IS NOT NULL) \
    SELECT MIN(oldest.due_at) FROM apps CROSS JOIN LATERAL (SELECT j.due_at FROM jobs j WHERE j.state = 'open' \
    AND j.app_id = apps.app_id AND j.due_at < $1 AND NOT EXISTS (SELECT 1 FROM jobs o WHERE o.link_id = j.link_id \
    AND o.state = 'open' AND o.lease_until IS NOT NULL) ORDER BY j.due_at LIMIT 1) oldest \
    WHERE apps.app_id <> ALL($2)";
// The few others: not before the lease ends, nor before the link's oldest job is due.
const NEXT_LEASED: &str = "SELECT MIN(GREATEST(j.lease_until, (SELECT MIN(o.due_at) FROM jobs o \
    WHERE o.link_id = j.link_id AND o.state = 'open'))) \
    FROM jobs j WHERE j.state = 'open' AND j.lease_until IS NOT NULL AND j.app_id <> ALL($1)";
const COUNT_DUE_JOBS: &str = "SELECT COUNT(*) FROM jobs WHERE app_id = $1 AND state = 'open' AND due_at <= $2";
const LOOKUP_JOB_STATE: &str = "SELECT state FROM jobs WHERE job_id = $1";
const SET_CLOCK: &str = "UPDATE apps SET clock = $3 WHERE app_id = $1 AND clock = $2";
const LIST_UNSCHEDULED_LINKS: &str = "SELECT l.link_id, l.app_id, l.environment FROM links l \
    WHERE l.state = 'connected' AND l.link_id > $1 AND NOT EXISTS (SELECT 1 FROM jobs j \
    WHERE j.link_id = l.link_id AND j.state = 'open' AND j.work LIKE '%\"follow_schedule\"%') \
    ORDER BY l.link_id LIMIT $2";
const LIST_TIMED_JOBS: &str = "SELECT job_id, app_due_at FROM jobs \
    WHERE app_id = $1 AND environment = $2 AND state = 'open' AND app_due_at IS NOT NULL";
const RETIME_JOBS: &str = "UPDATE jobs SET due_at = n.due_at \
    FROM unnest($2::TEXT[], $3::BIGINT[]) AS n (job_id, due_at) WHERE jobs.app_id = $1 AND jobs.job_id = n.job_id";

/// Leases due jobs.
pub(super) struct Lease {
    pub owner: String,
    pub now: Timestamp,
    pub until: Timestamp,
    pub limit: u32,
    /// Applications none of whose jobs are leased, beside those that are disabled.
    pub except: Vec<AppId>,
}

fn app_id(row: &Row) -> Result<Cow<'_, str>, StoreError> {
    Columns { row, table: TABLE, key: "" }.text(0, "app_id")
}

impl Lease {
    async fn choose(&self, work: &mut Work<'_>) -> Result<Vec<Row>, WriteError> {
        let now = micros(self.now);
        let disabled = work.lock(LIST_DISABLED_APPS, values![now]).await?;
        let disabled = disabled.iter().map(app_id).collect::<Result<Vec<_>, _>>()?;
        if self.except.is_empty() && disabled.is_empty() {
            return work.lock(CHOOSE_JOBS, values![now, self.limit]).await;
        }
        let disabled = disabled.iter().map(AsRef::as_ref);
        let left_out: Value<'_> = self.except.iter().map(AppId::as_str).chain(disabled).collect();
        let apps = work.lock(LONGEST_DUE, values![now, left_out, self.limit]).await?;
        let apps = apps.iter().map(app_id).collect::<Result<Vec<_>, _>>()?;
        let apps: Value<'_> = apps.iter().map(AsRef::as_ref).collect();
        work.lock(CHOOSE_JOBS_OF_APPS, values![now, self.limit, apps]).await
    }
}

#[async_trait]
impl Unit for Lease {
    type Answer = Vec<LeasedJob>;

    async fn run(&self, work: &mut Work<'_>) -> Result<Vec<LeasedJob>, WriteError> {
        let now = micros(self.now);
        let chosen = self.choose(work).await?;
        let chosen = chosen.iter().map(rows::job_to_lease).collect::<Result<Vec<_>, _>>()?;
        if chosen.is_empty() {
            return Ok(chosen);
        }
        let links: Value<'_> = chosen.iter().map(|job| job.link_id.as_str()).collect();
        let ids = || -> Value<'_> { chosen.iter().map(|job| job.lease.job_id.as_str()).collect() };
        let steps = [
            Step::new(END_EXPIRED_LEASES, values![links, now, ids()]),
            Step::new(LEASE_JOBS, values![ids(), &self.owner, micros(self.until)])
                .unique(Guard::Lease)
                .rows(chosen.len() as u64, Guard::Lease),
        ];
        match work.run(&steps).await {
            // Somebody else leased another job of one of these links at the same moment; theirs stands.
            Err(WriteError::Conflict(guard)) => Err(WriteError::Raced(guard)),
            other => other.map(|()| chosen),
        }
    }
}

/// Adds a job of an existing link.
pub(super) fn add_job(job: &NewJob) -> Step<'_> {
    let work = serde_json::to_string(&job.work).expect("work is plain data with string keys");
    let values = values![
        job.id.as_str(),
        job.tenant.app_id.as_str(),
        job.tenant.environment.as_str(),
        job.link_id.as_str(),
        work,
        due_micros(job.due_at),
        job.app_due_at.map(micros),
    ];
    Step::new(INSERT_JOB, values).unique(Guard::Unique).parent(Guard::Link)
}

pub(super) fn finish_job(job: &FinishedJob) -> Step<'_> {
    let values = values![
        job.lease.job_id.as_str(),
        fence_number(&job.lease),
        job_state_word(job.state),
        micros(job.finished_at),
    ];
    Step::new(FINISH_JOB, values).rows(1, Guard::Lease)
}

/// The lease must still be held when the commit takes effect.
pub(super) fn check_lease(lease: &LeaseRef) -> Step<'_> {
    Step::new(CHECK_LEASE, values![lease.job_id.as_str(), fence_number(lease)]).rows(1, Guard::Lease)
}

pub(super) async fn next_due_at(readers: &Readers, now: Timestamp) -> Result<Option<Timestamp>, StoreError> {
    let disabled = readers.points(LIST_DISABLED_APPS, values![micros(now)]).await?;
    let disabled = disabled.iter().map(app_id).collect::<Result<Vec<_>, _>>()?;
    let left_out = || -> Value<'_> { disabled.iter().map(AsRef::as_ref).collect() };
    let free = match disabled.is_empty() {
        true => readers.point(NEXT_FREE, values![NEVER]),
        false => readers.point(NEXT_FREE_OF_APPS, values![NEVER, left_out()]),
    };
    let (free, leased) = tokio::try_join!(free, readers.point(NEXT_LEASED, values![left_out()]))?;
    let due = |row: Option<tokio_postgres::Row>| {
        row.map(|row| Columns { row: &row, table: TABLE, key: "" }.optional_integer(0, "due_at")).transpose()
    };
    let next = due(free)?.flatten().into_iter().chain(due(leased)?.flatten()).filter(|due| *due < NEVER).min();
    // A time out of range is as good as never.
    Ok(next.and_then(|due| Timestamp::from_microsecond(due).ok()))
}

pub(super) async fn count_due_jobs(readers: &Readers, app: &AppId, now: Timestamp) -> Result<u64, StoreError> {
    let row = readers.point(COUNT_DUE_JOBS, values![app.as_str(), micros(now)]).await?;
    row.map_or(Ok(0), |row| Columns { row: &row, table: TABLE, key: app.as_str() }.integer(0, "count"))
}

pub(super) async fn lookup_job_state(readers: &Readers, job: &JobId) -> Result<Option<JobState>, StoreError> {
    let row = readers.point(LOOKUP_JOB_STATE, values![job.as_str()]).await?;
    row.map(|row| rows::job_state(&row, job.as_str())).transpose()
}

/// Sets a clock under its guard.
pub(super) fn set_clock(write: &ClockWrite) -> Step<'_> {
    let values = values![write.app_id.as_str(), clock_text(&write.expected), clock_text(&write.clock)];
    Step::new(SET_CLOCK, values).rows(1, Guard::Clock)
}

/// Recomputes the real due times of the application's timed sandbox work. Live work follows real time.
pub(super) async fn retime_jobs(work: &mut Work<'_>, write: &ClockWrite) -> Result<(), WriteError> {
    let app = write.app_id.as_str();
    let timed = work.lock(LIST_TIMED_JOBS, values![app, Environment::Sandbox.as_str()]).await?;
    let mut ids = Vec::with_capacity(timed.len());
    let mut due = Vec::with_capacity(timed.len());
    for row in &timed {
        let columns = Columns { row, table: TABLE, key: app };
        ids.push(columns.text(0, "job_id")?.into_owned());
        due.push(write.clock.real_due(columns.instant(1, "app_due_at")?).map_or(NEVER, due_micros));
    }
    if ids.is_empty() {
        return Ok(());
    }
    let (ids, due): (Value<'_>, Value<'_>) = (ids.into_iter().collect(), due.into_iter().collect());
    work.run(&[Step::new(RETIME_JOBS, values![app, ids, due])]).await
}

/// Links without a planned update.
pub(super) async fn list_unscheduled_links(
    readers: &Readers,
    after: Option<&LinkId>,
    limit: u32,
) -> Result<Vec<(Tenant, LinkId)>, StoreError> {
    let values = values![after.map_or("", LinkId::as_str), limit];
    readers.scan(LIST_UNSCHEDULED_LINKS, values).await?.iter().map(rows::link_of_tenant).collect()
}
