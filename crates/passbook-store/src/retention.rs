//! How the rows of each table end. A table without a rule here fails a test of both stores.

/// The end of a table's rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    /// The table.
    pub table: &'static str,
    /// When its rows go, in words for operators.
    pub ends: &'static str,
    /// What removes them.
    pub by: By,
}

/// What removes rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// The maintenance task of a worker ([`crate::port::Store::cleanup`], [`crate::port::Store::forget`]).
    Maintenance,
    /// The commit that deletes the link.
    Deletion,
    /// The work that the rows stand for, with its last step.
    Completion,
    /// A command of the operator.
    Operator,
    /// The commit that replaces the row: their number does not grow.
    Replacement,
    /// Nothing: their number is bounded by what the row names.
    Bound,
}

impl By {
    /// In words for operators.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::Maintenance => "maintenance",
            Self::Deletion => "deleting the link",
            Self::Completion => "the work itself",
            Self::Operator => "the operator",
            Self::Replacement => "replacement",
            Self::Bound => "bounded",
        }
    }
}

/// Every table of both stores, by name.
pub const RULES: [Rule; 26] = [
    rule("access_tokens", "97 days after they expired", By::Maintenance),
    rule("app_institutions", "never; an app has at most 1,000", By::Bound),
    rule("app_usage", "never; at most 64 rows for each app", By::Bound),
    rule("apps", "never; only operators add apps", By::Operator),
    rule("audit", "after `store.audit_days`", By::Maintenance),
    rule("clients", "never; only operators add clients", By::Operator),
    rule("commit_marks", "after an hour", By::Maintenance),
    rule("deliveries", "with their event", By::Maintenance),
    rule("events", "90 days after they got their position", By::Maintenance),
    rule("holdings", "with their link", By::Deletion),
    rule("instance_values", "never; one for each purpose and webhook signing key", By::Bound),
    rule("investment_transactions", "when the bank withdraws them, or with their link", By::Deletion),
    rule("jobs", "90 days after they ended", By::Maintenance),
    rule("kept_answers", "a day after the response", By::Maintenance),
    rule(
        "link_sessions",
        "90 days after retention first saw them; what they say of a user goes with their end",
        By::Maintenance,
    ),
    rule("link_usage", "with their link", By::Deletion),
    rule(
        "links",
        "90 days after their deletion, when their last event and job are gone; their content goes at once",
        By::Maintenance,
    ),
    rule("master_keys", "when the key is retired", By::Operator),
    rule("ordinals", "never; one for each app and kind", By::Bound),
    rule("refinery_schema_history", "never; one for each migration", By::Bound),
    rule("transaction_changes", "with their link; at most three for each transaction", By::Deletion),
    rule("transactions", "when the bank withdraws them, or with their link", By::Deletion),
    rule("unfinished_work", "when the work they stand for is done; PostgreSQL never has any", By::Completion),
    rule("watched_time", "never; one row", By::Replacement),
    rule("webhook_addresses", "when their last delivery is gone", By::Maintenance),
    rule("write_probe", "never; one row", By::Replacement),
];

/// Tables that only one of the stores has.
pub const OWN_RULES: [Rule; 1] = [rule("schema_guard", "never; one row, on PostgreSQL only", By::Replacement)];

const fn rule(table: &'static str, ends: &'static str, by: By) -> Rule {
    Rule { table, ends, by }
}

/// The rules as the table in `docs/operating.md`.
#[must_use]
pub fn as_markdown() -> String {
    let head = "| Table | Rows go | Removed by |\n| --- | --- | --- |\n".to_owned();
    RULES
        .iter()
        .chain(&OWN_RULES)
        .fold(head, |text, rule| text + &format!("| `{}` | {} | {} |\n", rule.table, rule.ends, rule.by.words()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_table_has_one_rule_and_the_documentation_has_them_all() {
        let names: Vec<_> = RULES.iter().map(|rule| rule.table).collect();
        assert!(names.windows(2).all(|pair| pair[0] < pair[1]), "sorted, and none twice");
        let page = include_str!("../../../docs/operating.md");
        assert!(page.contains(&as_markdown()), "docs/operating.md needs this table:\n{}", as_markdown());
    }
}
