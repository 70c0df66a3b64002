//! The report: one table of comparisons, some sentences, and how to get them again.

use std::fmt::Write as _;

use super::pairs::{Comparison, Spread};
use super::{Scale, Subject};
use crate::record::{machine, today};
use crate::torture::StoreKind;

/// Titles of the sections.
const EMBEDDED: &str = "# Measurements";
const WEBHOOKS: &str = "# Measurements of webhooks";
const POSTGRES: &str = "# Measurements with PostgreSQL";
/// The order of the sections.
const TITLES: [&str; 3] = [EMBEDDED, WEBHOOKS, POSTGRES];

/// A report being collected.
pub struct Report {
    head: String,
    rows: Vec<String>,
    notes: Vec<String>,
}

impl Report {
    /// An empty report that says where and how it was made.
    pub fn new(scale: &Scale, store: StoreKind, subject: Subject, commit: &str, quick: bool) -> Self {
        let (title, command) = match store {
            _ if subject == Subject::Webhooks => (WEBHOOKS, "cargo xtask bench -- --subject webhooks"),
            StoreKind::Sqlite => (EMBEDDED, "cargo xtask bench"),
            StoreKind::Postgres => (POSTGRES, "cargo xtask bench -- --store postgres"),
        };
        let command = if quick { format!("{command} --quick") } else { command.to_owned() };
        let head = format!(
            "{title}\n\nMade by `{command}` on {}, commit {}, {}.\n\n\
             Load generator, server and yardstick share the machine. {} connections, closed loop; {} alternating pairs of \
             {} s; the ratio is taken pair by pair. The yardstick (static answer) is the same HTTP stack answering the \
             same headers and body from memory. CPU is the process's own user and system time.\n",
            today(),
            commit,
            machine(),
            scale.connections,
            scale.pairs,
            scale.seconds.as_secs(),
        );
        Self { head, rows: Vec::new(), notes: Vec::new() }
    }

    /// Adds a comparison as a row.
    pub fn add(&mut self, title: &str, comparison: &Comparison) {
        let row = [&comparison.first, &comparison.second, &comparison.ratio].map(shown);
        let row = format!("| {title} | {} |", row.join(" | "));
        eprintln!("{row}");
        self.rows.push(row);
    }

    /// Adds a sentence.
    pub fn note(&mut self, note: &str) {
        eprintln!("{note}");
        self.notes.push(note.to_owned());
    }

    /// The whole report as Markdown.
    pub fn text(&self) -> String {
        let mut text = self.head.clone();
        text.push_str(
            "\n| First / second: figure | first: median (min to max) | second | ratio |\n|---|---|---|---|\n",
        );
        for row in &self.rows {
            writeln!(text, "{row}").expect("writing to a string");
        }
        for note in &self.notes {
            write!(text, "\n{note}\n").expect("writing to a string");
        }
        text
    }
}

/// `known` with its section of the same title replaced by `section`, in the order of the titles.
pub fn with_section(known: &str, section: &str) -> String {
    let title = |text: &str| text.lines().next().unwrap_or_default().to_owned();
    let begins: Vec<usize> = known.match_indices("# ").map(|(at, _)| at).filter(|at| is_heading(known, *at)).collect();
    let ends = begins.iter().skip(1).copied().chain([known.len()]);
    let mut sections: Vec<&str> = begins.iter().zip(ends).map(|(begin, end)| &known[*begin..end]).collect();
    sections.retain(|known| title(known) != title(section));
    sections.push(section);
    sections.sort_by_key(|text| TITLES.iter().position(|known| *known == title(text)));
    sections.iter().map(|text| text.trim()).collect::<Vec<_>>().join("\n\n") + "\n"
}

fn is_heading(text: &str, at: usize) -> bool {
    at == 0 || text.as_bytes()[at - 1] == b'\n'
}

fn shown(spread: &Spread) -> String {
    // Three significant figures: no measurement here is better than that.
    let number = |value: f64| match value.abs() {
        large if large >= 100.0 => format!("{value:.0}"),
        medium if medium >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    };
    format!("{} ({} to {})", number(spread.median), number(spread.min), number(spread.max))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_section_replaces_its_own_and_leaves_the_other() {
        let both = with_section(EMBEDDED, POSTGRES);
        assert_eq!(both, format!("{EMBEDDED}\n\n{POSTGRES}\n"));
        assert_eq!(with_section(&both, &format!("{POSTGRES}\nnew\n")), format!("{EMBEDDED}\n\n{POSTGRES}\nnew\n"));
        assert_eq!(with_section(&both, &format!("{EMBEDDED}\nnew\n")), format!("{EMBEDDED}\nnew\n\n{POSTGRES}\n"));
        assert_eq!(with_section(&both, WEBHOOKS), format!("{EMBEDDED}\n\n{WEBHOOKS}\n\n{POSTGRES}\n"));
    }

    #[test]
    fn figures_are_shown_with_three_digits_and_their_spread() {
        let spread = Spread { min: 0.512_3, median: 12.345, max: 45_678.9 };
        assert_eq!(shown(&spread), "12.3 (0.51 to 45679)");
    }
}
