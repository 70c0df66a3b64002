//! Compares two transcripts, and describes for people where they differ.

use super::transcript::{Exchange, Transcript};

/// Differing exchanges that are described; the others are only counted.
const DESCRIBED_MAX: usize = 20;
/// Characters shown before and behind the place where two lines part.
const BEFORE: usize = 60;
const BEHIND: usize = 120;

/// What differs; empty when the transcripts are equal.
pub fn differences(one: &Transcript, other: &Transcript) -> Vec<String> {
    let pairs = one.exchanges.iter().zip(&other.exchanges).enumerate();
    let differing: Vec<_> = pairs.filter(|(_, (one, other))| one != other).collect();
    let described = differing.iter().take(DESCRIBED_MAX);
    let mut lines: Vec<_> = described.map(|(position, (one, other))| describe(position + 1, one, other)).collect();
    let (length, other_length) = (one.exchanges.len(), other.exchanges.len());
    if !differing.is_empty() || length != other_length {
        lines.push(format!(
            "{} of {} exchanges differ; the transcripts have {length} and {other_length}",
            differing.len(),
            length.min(other_length)
        ));
    }
    lines
}

fn describe(number: usize, one: &Exchange, other: &Exchange) -> String {
    let mut described = format!("--- {number}: {}\n", one.request);
    if one.request != other.request {
        described.push_str(&format!("    the other asked: {}\n", other.request));
    }
    let (lines, others): (Vec<_>, Vec<_>) = (one.rest.lines().collect(), other.rest.lines().collect());
    for position in 0..lines.len().max(others.len()) {
        let (line, other) = (lines.get(position).unwrap_or(&""), others.get(position).unwrap_or(&""));
        if line != other {
            let parted = parted_at(line, other);
            described.push_str(&format!("    < {}\n    > {}\n", around(line, parted), around(other, parted)));
        }
    }
    described
}

/// How many characters two lines have in common at their beginning.
fn parted_at(line: &str, other: &str) -> usize {
    line.chars().zip(other.chars()).take_while(|(one, other)| one == other).count()
}

fn around(line: &str, position: usize) -> String {
    let begin = position.saturating_sub(BEFORE);
    let shown: String = line.chars().skip(begin).take(BEFORE + BEHIND).collect();
    let before = if begin > 0 { "…" } else { "" };
    let is_cut = line.chars().count() > begin + BEFORE + BEHIND;
    format!("{before}{shown}{}", if is_cut { "…" } else { "" })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(rests: &[&str]) -> Transcript {
        let exchange = |rest: &&str| Exchange { request: "GET /x".to_owned(), rest: (*rest).to_owned() };
        Transcript { exchanges: rests.iter().map(exchange).collect() }
    }

    #[test]
    fn equal_transcripts_have_no_difference() {
        assert!(differences(&of(&["200\n", "404\n"]), &of(&["200\n", "404\n"])).is_empty());
    }

    #[test]
    fn a_difference_is_described_with_both_lines_and_counted() {
        let described = differences(&of(&["200\na: 1\n", "same"]), &of(&["200\na: 2\n", "same"]));
        assert_eq!(described[0], "--- 1: GET /x\n    < a: 1\n    > a: 2\n");
        assert_eq!(described[1], "1 of 2 exchanges differ; the transcripts have 2 and 2");
    }

    #[test]
    fn a_long_line_is_shown_around_the_place_where_it_parts() {
        let (one, other) = ("x".repeat(500), format!("{}y{}", "x".repeat(300), "x".repeat(199)));
        let described = differences(&of(&[&one]), &of(&[&other]));
        assert!(described[0].contains('y') && described[0].len() < 700, "{}", described[0]);
    }

    #[test]
    fn a_transcript_that_ends_early_differs() {
        assert_eq!(differences(&of(&["a"]), &of(&["a", "b"])).len(), 1);
    }

    #[test]
    fn only_the_first_are_described_and_all_are_counted() {
        let described = differences(&of(&["a"; 30]), &of(&["b"; 30]));
        assert_eq!(described.len(), DESCRIBED_MAX + 1);
        assert!(described[DESCRIBED_MAX].starts_with("30 of 30"));
    }
}
