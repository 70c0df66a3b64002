//! How good enrichment is, measured on descriptions that a person has labelled.
//!
//! The set is split by a digest of the line. Rules may be made better by looking at the first half; the second half is
//! never looked at, so it tells how the rules do on descriptions they were not made for.

use aws_lc_rs::digest;
use passbook_core::{
    enrichment::{Enrichment, enrich},
    transaction::{Direction, TransactionDetails},
};

const LABELLED: &str = include_str!("data/enrichment_labelled.txt");

struct Label {
    line: &'static str,
    direction: Direction,
    description: &'static str,
    kind: Option<&'static str>,
    merchant: Option<&'static str>,
}

fn labels() -> Vec<Label> {
    LABELLED.lines().filter(|line| !line.starts_with('#') && !line.is_empty()).map(label).collect()
}

fn label(line: &'static str) -> Label {
    let fields: Vec<_> = line.split(" | ").map(str::trim).collect();
    let [direction, description, kind, merchant] = fields[..] else { panic!("{line}") };
    let known = |text: &'static str| (text != "-").then_some(text);
    let direction = match direction {
        "credit" => Direction::Credit,
        "debit" => Direction::Debit,
        _ => panic!("{line}"),
    };
    Label { line, direction, description, kind: known(kind), merchant: known(merchant) }
}

fn said(label: &Label) -> Option<Enrichment> {
    enrich(&TransactionDetails {
        amount: 1.into(),
        direction: label.direction,
        currency: "USD".into(),
        date: "2024-05-01".parse().unwrap(),
        datetime: None,
        description: None,
        raw_description: Some(label.description.to_owned()),
        pending: false,
    })
}

/// Shares in percent.
#[derive(Debug, Default)]
struct Score {
    lines: usize,
    /// Of the lines that say something, those that were given a category.
    covered: f64,
    /// Of the given categories, those that are right.
    category: f64,
    /// Of these, those whose subcategory is right too.
    subcategory: f64,
    /// Of the given merchants, those that are right.
    merchant: f64,
}

impl Score {
    fn print(&self, half: &str) {
        let Self { lines, covered, category, subcategory, merchant } = self;
        println!(
            "{half}: {lines} lines, coverage {covered:.1} %, precision of categories {category:.1} %, with subcategories \
             {subcategory:.1} %, of merchants {merchant:.1} %"
        );
    }
}

fn score(labels: &[&Label]) -> Score {
    let (mut speaking, mut given, mut category, mut subcategory, mut named, mut merchant) = (0, 0, 0, 0, 0, 0);
    let mut covered = 0;
    for label in labels {
        let said = said(label);
        speaking += usize::from(label.kind.is_some());
        covered += usize::from(label.kind.is_some() && said.is_some());
        let Some(said) = said else { continue };
        given += 1;
        let right = label.kind.map(|kind| kind.split_once('.').map_or(kind, |(category, _)| category));
        category += usize::from(right == Some(said.kind.category()));
        subcategory += usize::from(label.kind == Some(said.kind.to_string().as_str()));
        if let Some(name) = said.merchant {
            named += 1;
            merchant += usize::from(label.merchant == Some(name.name.as_str()));
        }
    }
    let share = |part: usize, whole: usize| 100.0 * part as f64 / whole.max(1) as f64;
    Score {
        lines: labels.len(),
        covered: share(covered, speaking),
        category: share(category, given),
        subcategory: share(subcategory, given),
        merchant: share(merchant, named),
    }
}

#[test]
fn precision_and_coverage_hold_on_both_halves() {
    let labels = labels();
    assert!(labels.len() >= 300, "{}", labels.len());
    let is_looked_at = |label: &&Label| digest::digest(&digest::SHA256, label.line.as_bytes()).as_ref()[0] % 2 == 0;
    let (tuned, held_out): (Vec<_>, Vec<_>) = labels.iter().partition(is_looked_at);
    // Those of the other half are not shown: nobody should be tempted to make the rules fit them.
    for label in &tuned {
        let said = said(label).map(|said| said.kind.to_string());
        if said.as_deref() != label.kind {
            println!("{} -> {said:?}", label.line);
        }
    }
    let (tuned, held_out) = (score(&tuned), score(&held_out));
    tuned.print("looked at");
    held_out.print("held out");
    assert!(tuned.covered >= 95.0 && tuned.category >= 95.0 && tuned.merchant >= 95.0, "{tuned:?}");
    assert!(held_out.covered >= 90.0 && held_out.category >= 90.0 && held_out.merchant >= 90.0, "{held_out:?}");
}
