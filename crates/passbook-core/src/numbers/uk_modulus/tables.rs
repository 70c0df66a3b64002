//! The weight table and the substitution table, read from the text of the published files.
//!
//! Weight table, one check per line: first and last sort code of the range, method, fourteen weights `u`-`h`, and
//! optionally an exception. A second line with the same range is the second check. Substitution table, one pair per
//! line: the sort code and the one it is checked under.

use std::{collections::BTreeMap, fmt};

use crate::numbers::SortCode;

/// Published modulus tables of one version.
pub struct ModulusTables {
    version: String,
    rules: Vec<Rule>,
    substitutions: BTreeMap<SortCode, SortCode>,
}

/// The checks for one range of sort codes, both ends inclusive.
pub(super) struct Rule {
    first_sort_code: SortCode,
    last_sort_code: SortCode,
    pub(super) first: Check,
    pub(super) second: Option<Check>,
}

/// One line of the weight table.
pub(super) struct Check {
    pub(super) method: Method,
    pub(super) weights: [i16; 14],
    pub(super) exception: Option<u8>,
}

/// How products are summed and what the sum is divided by.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Method {
    Modulus10,
    Modulus11,
    /// The digits of the products are summed.
    DoubleAlternate,
}

impl Method {
    pub(super) fn modulus(self) -> i32 {
        match self {
            Self::Modulus10 | Self::DoubleAlternate => 10,
            Self::Modulus11 => 11,
        }
    }
}

/// A table that cannot be used, and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{table} table, line {line}: {problem}")]
pub struct TableError {
    /// Which of the two files.
    pub table: Table,
    /// Line number, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub problem: TableProblem,
}

/// One of the two published files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Table {
    /// Checks by range of sort codes.
    Weights,
    /// Replacement sort codes of exception 5.
    Substitutions,
}

impl fmt::Display for Table {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Weights => "weight",
            Self::Substitutions => "substitution",
        })
    }
}

/// What is wrong with a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TableProblem {
    /// Too few or too many columns.
    #[error("wrong number of columns")]
    ColumnCount,
    /// Not six digits.
    #[error("a sort code is not six digits")]
    SortCode,
    /// The range ends before it starts, or overlaps another range without being equal to it.
    #[error("the range is reversed or overlaps another")]
    Range,
    /// Not MOD10, MOD11 or DBLAL.
    #[error("the method is not known")]
    Method,
    /// Not a whole number from -999 to 999, or negative with DBLAL.
    #[error("a weight is not usable")]
    Weight,
    /// Not 1 to 14. A newer document may define more; guessing would flag good accounts.
    #[error("the exception is not known")]
    Exception,
    /// A third check for one range, or a second substitute for one sort code.
    #[error("the sort code has too many lines")]
    Repeated,
}

impl ModulusTables {
    /// Reads both tables. `version` is whatever names the release, such as its number or date, and is only repeated by
    /// [`ModulusTables::version`]. Blank lines are skipped; the order of lines matters only within one range.
    ///
    /// # Errors
    /// On the first line that cannot be used. A table is taken whole or not at all, because half a table would turn
    /// two-check accounts into one-check accounts without a word.
    pub fn parse(version: &str, weights: &str, substitutions: &str) -> Result<Self, TableError> {
        Ok(Self {
            version: version.to_owned(),
            rules: parse_weights(weights)?,
            substitutions: parse_substitutions(substitutions)?,
        })
    }

    /// The release these tables are.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.version
    }

    /// How many ranges of sort codes have a check.
    #[must_use]
    pub fn range_count(&self) -> usize {
        self.rules.len()
    }

    pub(super) fn rule_for(&self, sort_code: SortCode) -> Option<&Rule> {
        let after = self.rules.partition_point(|rule| rule.first_sort_code <= sort_code);
        self.rules[..after].last().filter(|rule| sort_code <= rule.last_sort_code)
    }

    pub(super) fn substitute_for(&self, sort_code: SortCode) -> Option<SortCode> {
        self.substitutions.get(&sort_code).copied()
    }
}

impl fmt::Debug for ModulusTables {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("ModulusTables")
            .field("version", &self.version)
            .field("ranges", &self.rules.len())
            .field("substitutions", &self.substitutions.len())
            .finish()
    }
}

fn parse_weights(text: &str) -> Result<Vec<Rule>, TableError> {
    let mut by_start: BTreeMap<SortCode, Rule> = BTreeMap::new();
    for (line, columns) in lines(text) {
        let fail = |problem| TableError { table: Table::Weights, line, problem };
        let (first_sort_code, last_sort_code, check) = parse_check(&columns).map_err(fail)?;
        match by_start.get_mut(&first_sort_code) {
            Some(rule) if rule.last_sort_code != last_sort_code => return Err(fail(TableProblem::Range)),
            Some(rule) if rule.second.is_some() => return Err(fail(TableProblem::Repeated)),
            Some(rule) => rule.second = Some(check),
            None => {
                let before = by_start.range(..first_sort_code).next_back();
                let after = by_start.range(first_sort_code..).next();
                if before.is_some_and(|(_, rule)| rule.last_sort_code >= first_sort_code)
                    || after.is_some_and(|(start, _)| *start <= last_sort_code)
                {
                    return Err(fail(TableProblem::Range));
                }
                let rule = Rule { first_sort_code, last_sort_code, first: check, second: None };
                by_start.insert(first_sort_code, rule);
            }
        }
    }
    Ok(by_start.into_values().collect())
}

fn parse_check(columns: &[&str]) -> Result<(SortCode, SortCode, Check), TableProblem> {
    let [first, last, method, rest @ ..] = columns else { return Err(TableProblem::ColumnCount) };
    let (weight_columns, exception) = match rest.len() {
        14 => (rest, None),
        15 => (&rest[..14], Some(rest[14])),
        _ => return Err(TableProblem::ColumnCount),
    };
    let (first, last) = (sort_code(first)?, sort_code(last)?);
    if last < first {
        return Err(TableProblem::Range);
    }
    let method = match *method {
        "MOD10" => Method::Modulus10,
        "MOD11" => Method::Modulus11,
        "DBLAL" => Method::DoubleAlternate,
        _ => return Err(TableProblem::Method),
    };
    let lowest = if method == Method::DoubleAlternate { 0 } else { -999 };
    let mut weights = [0; 14];
    for (weight, column) in weights.iter_mut().zip(weight_columns) {
        *weight = column.parse().ok().filter(|weight| (lowest..=999).contains(weight)).ok_or(TableProblem::Weight)?;
    }
    let exception = exception
        .map(|column| column.parse().ok().filter(|number| (1..=14).contains(number)).ok_or(TableProblem::Exception))
        .transpose()?;
    Ok((first, last, Check { method, weights, exception }))
}

fn parse_substitutions(text: &str) -> Result<BTreeMap<SortCode, SortCode>, TableError> {
    let mut substitutions = BTreeMap::new();
    for (line, columns) in lines(text) {
        let fail = |problem| TableError { table: Table::Substitutions, line, problem };
        let [from, to] = columns[..] else { return Err(fail(TableProblem::ColumnCount)) };
        let (from, to) = (sort_code(from).map_err(fail)?, sort_code(to).map_err(fail)?);
        if substitutions.insert(from, to).is_some() {
            return Err(fail(TableProblem::Repeated));
        }
    }
    Ok(substitutions)
}

fn lines(text: &str) -> impl Iterator<Item = (usize, Vec<&str>)> {
    text.lines()
        .enumerate()
        .map(|(index, line)| (index + 1, line.split_whitespace().collect::<Vec<_>>()))
        .filter(|(_, columns)| !columns.is_empty())
}

fn sort_code(column: &str) -> Result<SortCode, TableProblem> {
    SortCode::parse(column).map_err(|_| TableProblem::SortCode)
}
