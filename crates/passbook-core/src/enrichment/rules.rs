//! The rule set: phrases and what they mean, read from text.
//!
//! The format is described in `docs/enrichment.md`. A phrase matches where its words stand in a row. Of all phrases that
//! match, the one that says most decides: more letters say more, and a merchant's name says more than a general word.

use std::collections::HashMap;

use super::{Enrichment, Kind, Named, direction_of, words::words};
use crate::transaction::Direction;

/// The version of the format that this reads.
const VERSION: &str = "version 1";
/// The section whose phrases name who handles payments. They count at the beginning of a description only.
const PROCESSORS: &str = "processors";
/// Confidence of a merchant's name, and of a general word.
const MERCHANT: u8 = 95;
const GENERAL: u8 = 75;
/// A single short word says less: `BAR` is in many names.
const SHORT: u8 = 60;
const SHORT_LETTERS_MAX: usize = 4;
/// What a merchant's name is worth in letters, beside its own.
const MERCHANT_LETTERS: usize = 6;

/// Phrases by their first word.
#[derive(Debug)]
pub struct Rules {
    phrases: HashMap<String, Vec<Phrase>>,
    processors: Vec<(Vec<String>, String)>,
}

#[derive(Debug)]
struct Phrase {
    words: Vec<String>,
    kind: Kind,
    direction: Option<Direction>,
    merchant: Option<String>,
    weight: usize,
    confidence: u8,
}

/// A line of the rules that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {problem}")]
pub struct RuleError {
    /// From 1.
    pub line: usize,
    /// What is wrong with it.
    pub problem: &'static str,
}

/// What the lines after a heading are about.
#[derive(Clone, Copy)]
enum Section {
    Processors,
    Kind(Kind, Option<Direction>),
}

impl Rules {
    /// Reads a rule set.
    ///
    /// # Errors
    /// The first line that cannot be read, that names no category of the contract, or that repeats a phrase of its
    /// section.
    pub fn parse(text: &str) -> Result<Self, RuleError> {
        let mut rules = Self { phrases: HashMap::new(), processors: Vec::new() };
        let mut section = None;
        let mut is_known_version = false;
        for (number, line) in (1..).zip(text.lines()) {
            let wrong = |problem| RuleError { line: number, problem };
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            if !is_known_version {
                is_known_version = line == VERSION;
                if !is_known_version {
                    return Err(wrong("another version"));
                }
            } else if let Some(heading) = line.strip_prefix('[') {
                section = Some(Section::parse(heading).ok_or_else(|| wrong("not a heading"))?);
            } else {
                let section = section.ok_or_else(|| wrong("a phrase before the first heading"))?;
                rules.add(section, line).map_err(wrong)?;
            }
        }
        Ok(rules)
    }

    fn add(&mut self, section: Section, line: &str) -> Result<(), &'static str> {
        let (phrase, name) = match line.split_once(" = ") {
            Some((phrase, name)) => (phrase, Some(name.trim().to_owned())),
            None => (line, None),
        };
        let words = words(phrase);
        let first = words.first().ok_or("no word in it")?.clone();
        let (kind, direction) = match section {
            Section::Processors => {
                self.processors.push((words, name.ok_or("a processor without a name")?));
                return Ok(());
            }
            Section::Kind(kind, direction) => (kind, direction),
        };
        let letters: usize = words.iter().map(|word| word.chars().count()).sum();
        let phrase = Phrase {
            weight: letters + if name.is_some() { MERCHANT_LETTERS } else { 0 },
            confidence: match &name {
                Some(_) => MERCHANT,
                None if words.len() == 1 && letters <= SHORT_LETTERS_MAX => SHORT,
                None => GENERAL,
            },
            words,
            kind,
            direction,
            merchant: name,
        };
        let known = self.phrases.entry(first).or_default();
        let is_twin = |other: &Phrase| (&other.words, other.kind) == (&phrase.words, phrase.kind);
        if known.iter().any(is_twin) {
            return Err("a phrase of this section twice");
        }
        known.push(phrase);
        Ok(())
    }

    /// What the words say of money that went this way; `None` when they say too little.
    #[must_use]
    pub fn enrich(&self, text: &str, direction: Direction) -> Option<Enrichment> {
        let words = words(text);
        let fits = |phrase: &&Phrase, rest: &[String]| {
            rest.starts_with(&phrase.words) && phrase.direction.is_none_or(|only| only == direction)
        };
        let found = (0..words.len())
            .filter_map(|start| Some((self.phrases.get(&words[start])?, &words[start..])))
            .flat_map(|(phrases, rest)| phrases.iter().filter(move |phrase| fits(phrase, rest)))
            // Of equal ones the first: descriptions begin with what matters.
            .reduce(|best, next| if next.weight > best.weight { next } else { best })?;
        let processor = self.processors.iter().find(|(phrase, _)| words.starts_with(phrase));
        let named = |name: &String| Named { name: name.clone(), confidence: MERCHANT };
        Some(Enrichment {
            kind: found.kind,
            confidence: found.confidence,
            merchant: found.merchant.as_ref().map(named),
            processor: processor.map(|(_, name)| named(name)),
            corrected: false,
        })
    }
}

impl Section {
    /// `category.subcategory] direction`, without the bracket before.
    fn parse(heading: &str) -> Option<Self> {
        let (name, direction) = heading.split_once(']')?;
        if name == PROCESSORS {
            return Some(Self::Processors);
        }
        let direction = match direction.trim() {
            "" => None,
            word => Some(direction_of(word)?),
        };
        Some(Self::Kind(name.parse().ok()?, direction))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOME: &str = "version 1\n[processors]\nSQ = Square\n[food_and_drink.coffee] debit\nBLUE CAFE = Blue Café\nCAFE\n\
        [shopping.hobbies]\nBLUE\n";

    fn said(text: &str, direction: Direction) -> Option<(String, u8, Option<String>)> {
        let found = Rules::parse(SOME).unwrap().enrich(text, direction)?;
        Some((found.kind.to_string(), found.confidence, found.merchant.map(|merchant| merchant.name)))
    }

    #[test]
    fn the_phrase_that_says_most_decides() {
        let coffee = "food_and_drink.coffee".to_owned();
        assert_eq!(said("THE BLUE CAFE 12", Direction::Debit), Some((coffee.clone(), 95, Some("Blue Café".into()))));
        assert_eq!(said("CAFE RED", Direction::Debit), Some((coffee, 60, None)));
        assert_eq!(said("BLUE CAFE", Direction::Credit), Some(("shopping.hobbies".into(), 60, None)));
        assert_eq!(said("CAFETERIA", Direction::Debit), None, "whole words only");
        assert_eq!(said("", Direction::Debit), None);
    }

    #[test]
    fn a_processor_is_told_when_it_comes_first() {
        let rules = Rules::parse(SOME).unwrap();
        let processor = |text| rules.enrich(text, Direction::Debit).unwrap().processor.map(|named| named.name);
        assert_eq!(processor("SQ *BLUE CAFE"), Some("Square".into()));
        assert_eq!(processor("BLUE CAFE SQ"), None);
    }

    #[test]
    fn a_rule_set_that_cannot_be_read_names_its_line() {
        for (text, line) in [
            ("version 2", 1),
            ("version 1\nSTRAY", 2),
            ("version 1\n[nothing.at_all]", 2),
            ("version 1\n[transport.coffee]", 2),
            ("version 1\n[food_and_drink.coffee] sideways", 2),
            ("version 1\n[food_and_drink.coffee]\n***", 3),
            ("version 1\n# fine\n[food_and_drink.coffee]\nCAFE\nCafe", 5),
            ("version 1\n[processors]\nSQ", 3),
        ] {
            assert_eq!(Rules::parse(text).unwrap_err().line, line, "{text}");
        }
    }

    #[test]
    fn the_rules_of_this_release_can_be_read() {
        let rules = Rules::parse(include_str!("../../data/enrichment/rules.txt")).unwrap();
        assert!(rules.phrases.values().map(Vec::len).sum::<usize>() > 900);
    }
}
