//! A prepared commit as one transaction. Each table's own module knows its statements; this one knows their order:
//! guards that are cheap to lose come first, parents come before children. The order is also the order of row locks.

use async_trait::async_trait;
use passbook_core::tenant::Tenant;

use super::{
    answers::write_answer,
    clients::{add_token, check_app, check_client, write_app, write_client},
    deliveries::{retime_deliveries, switch_on},
    events::{add_audit_entry, add_events},
    failure::WriteError,
    instance::{add_instance_value, write_app_institution},
    investments::write_investments,
    jobs::{add_job, check_lease, finish_job, retime_jobs, set_clock},
    links::write_link,
    sessions::write_session,
    transactions::write_transactions,
    usage,
    work::{Step, Work},
    writers::Unit,
};
use crate::stored::prepare::Prepared;

/// Everything one use case changes.
pub(super) struct Commit(pub Prepared);

#[async_trait]
impl Unit for Commit {
    type Answer = ();

    fn tenant(&self) -> Option<&Tenant> {
        self.0.tenant()
    }

    async fn run(&self, work: &mut Work<'_>) -> Result<(), WriteError> {
        work.run(&steps(&self.0)?).await?;
        if let Some(clock) = &self.0.rest.clock {
            retime_jobs(work, clock).await?;
            retime_deliveries(work, clock).await?;
        }
        Ok(())
    }
}

fn steps(prepared: &Prepared) -> Result<Vec<Step<'_>>, WriteError> {
    let rest = &prepared.rest;
    let mut steps = Vec::new();
    steps.extend(rest.held_lease.as_ref().map(check_lease));
    steps.extend(rest.finished_job.as_ref().map(finish_job));
    steps.extend(prepared.answer.as_ref().map(write_answer));
    steps.extend(prepared.session.as_ref().map(write_session).transpose()?);
    steps.extend(rest.app_was.as_ref().map(check_app));
    steps.extend(rest.client_was.as_ref().map(check_client));
    steps.extend(rest.app.as_ref().map(write_app));
    steps.extend(rest.client.iter().flat_map(write_client));
    steps.extend(rest.token.as_ref().map(add_token));
    steps.extend(prepared.instance_values.iter().map(|(name, sealed)| add_instance_value(name, sealed)));
    steps.extend(rest.institution.as_ref().map(|(tenant, named)| write_app_institution(tenant, named)));
    let link = prepared.link.as_ref();
    steps.extend(link.into_iter().flat_map(write_link));
    if let Some(transactions) = &rest.transactions {
        steps.extend(write_transactions(transactions, link.map(|link| &link.link))?);
    }
    steps.extend(rest.investments.iter().flat_map(write_investments));
    steps.extend(rest.jobs.iter().map(add_job));
    steps.extend(add_events(&rest.events));
    steps.extend(switch_on(&rest.switched_on));
    steps.extend(rest.audit.iter().map(add_audit_entry));
    steps.extend(rest.clock.as_ref().map(set_clock));
    // Last: the counters of an app are what its commits may wait for each other at.
    if let Some(change) = &prepared.usage {
        steps.extend(usage::count(change));
    }
    Ok(steps)
}
