//! What a filter of transactions means in a query, the same for every table of a link's dated rows.

use passbook_core::{ids::LinkId, tenant::Tenant};
use rusqlite::ToSql;

use crate::port::TransactionFilter;

/// A query's conditions with its parameters.
pub(super) struct Conditions {
    /// From `FROM` on.
    pub sql: String,
    /// By their numbers, from 1.
    pub parameters: Vec<Box<dyn ToSql>>,
}

impl Conditions {
    /// `of_link` takes link, app and environment as its first parameters and calls the rows `t`. `None` when the filter
    /// lets no account through.
    pub(super) fn of(of_link: &str, tenant: &Tenant, link: &LinkId, filter: &TransactionFilter) -> Option<Self> {
        let mut conditions = Self {
            sql: of_link.to_owned(),
            parameters: vec![
                Box::new(link.as_str().to_owned()),
                Box::new(tenant.app_id.as_str().to_owned()),
                Box::new(tenant.environment.as_str()),
            ],
        };
        for (comparison, date) in [(">=", filter.start_date), ("<=", filter.end_date)] {
            if let Some(date) = date {
                let place = conditions.bind(date.to_string());
                conditions.sql.push_str(&format!(" AND t.date {comparison} {place}"));
            }
        }
        if let Some(accounts) = &filter.accounts {
            if accounts.is_empty() {
                return None;
            }
            let places: Vec<_> = accounts.iter().map(|id| conditions.bind(id.as_str().to_owned())).collect();
            conditions.sql.push_str(&format!(" AND t.account_id IN ({})", places.join(", ")));
        }
        Some(conditions)
    }

    /// Adds a parameter; its name in the query.
    pub(super) fn bind(&mut self, value: impl ToSql + 'static) -> String {
        self.parameters.push(Box::new(value));
        format!("?{}", self.parameters.len())
    }

    /// Adds limit and offset of the filter's page.
    pub(super) fn page(&mut self, filter: &TransactionFilter) -> String {
        let limit = self.bind(i64::from(filter.limit));
        let offset = self.bind(i64::try_from(filter.offset).unwrap_or(i64::MAX));
        format!("LIMIT {limit} OFFSET {offset}")
    }
}
