//! Applying a prepared commit within the writer's transaction. Each table's own module knows its statements; this one
//! knows their order: guards that are cheap to lose come first, parents come before children.

use rusqlite::Connection;

use super::{
    answers::write_answer,
    clients::{add_token, check_app, check_client, write_app, write_client, write_clock},
    deliveries::switch_on,
    events::{add_audit_entry, add_event},
    failure::WriteError,
    instance::{add_instance_value, write_app_institution},
    investments::write_investments,
    jobs::{add_job, check_lease, finish_job},
    links::write_link,
    request::Effects,
    sessions::write_session,
    transactions::write_transactions,
    usage::count,
};
use crate::stored::prepare::Prepared;

/// Applies all of `prepared`; on an error the caller takes back what was done.
pub(super) fn apply(connection: &Connection, prepared: &Prepared, effects: &mut Effects) -> Result<(), WriteError> {
    let rest = &prepared.rest;
    if let Some(lease) = &rest.held_lease {
        check_lease(connection, lease)?;
    }
    if let Some(job) = &rest.finished_job {
        finish_job(connection, job)?;
    }
    if let Some(answer) = &prepared.answer {
        write_answer(connection, answer)?;
    }
    if let Some(session) = &prepared.session {
        write_session(connection, session)?;
    }
    if let Some(app) = &rest.app_was {
        check_app(connection, app)?;
    }
    if let Some(client) = &rest.client_was {
        check_client(connection, client)?;
    }
    if let Some(app) = &rest.app {
        write_app(connection, app)?;
    }
    if let Some(client) = &rest.client {
        write_client(connection, client)?;
    }
    if let Some(token) = &rest.token {
        add_token(connection, token)?;
    }
    for (name, sealed) in &prepared.instance_values {
        add_instance_value(connection, name, sealed)?;
    }
    if let Some((tenant, institution)) = &rest.institution {
        write_app_institution(connection, tenant, institution)?;
    }
    let link = prepared.link.as_ref();
    if let Some(link) = link {
        write_link(connection, link, effects)?;
    }
    if let Some(transactions) = &rest.transactions {
        write_transactions(connection, transactions, link.map(|link| &link.link))?;
    }
    if let Some(investments) = &rest.investments {
        write_investments(connection, investments)?;
    }
    if let Some(change) = &prepared.usage {
        count(connection, change)?;
    }
    for job in &rest.jobs {
        add_job(connection, job)?;
    }
    for event in &rest.events {
        add_event(connection, event)?;
    }
    for address in &rest.switched_on {
        switch_on(connection, address)?;
    }
    for entry in &rest.audit {
        add_audit_entry(connection, entry)?;
    }
    if let Some(clock) = &rest.clock {
        write_clock(connection, clock, effects)?;
    }
    Ok(())
}
