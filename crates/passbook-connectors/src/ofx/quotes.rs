//! Account numbers that a file repeats in its texts.
//!
//! Banks write numbers into descriptions (`XFER TO 9988-7766-5544`), names of accounts and transaction ids. Texts are
//! stored and shown as they are, while account numbers are sealed, so every number that the file gives as one
//! (`ACCTID` of any account in it, the other side of a transfer included) is shortened wherever it is quoted.
//!
//! All numbers are looked for at once (Aho and Corasick, "Efficient string matching", 1975): one pass over a text
//! however many accounts a hostile file makes up. Grouping and letter case do not count. Holds full numbers, so there
//! is no `Debug`.

use std::{borrow::Cow, collections::HashMap, ops::Range};

use super::{
    accounts::MASK_CHARS,
    limits::{ACCOUNT_NUMBER_CHARS_MAX, ACCOUNT_NUMBERS_CHARS_MAX},
    tree::Tree,
};
use crate::port::FileRefusal;

/// The elements that give account numbers, in whatever aggregate they stand.
const NUMBERS: [&str; 2] = ["ACCTID", "LOANACCTID"];

/// Stands for the part of a number that is not shown.
const HIDDEN: char = '…';

/// The node in which nothing has been recognised.
const ROOT: u32 = 0;

/// The account numbers of a file, ready to be found in its texts.
pub(super) struct QuotableNumbers {
    nodes: Vec<Node>,
    edges: HashMap<(u32, char), u32>,
}

/// A beginning of a number.
#[derive(Clone, Copy, Default)]
struct Node {
    /// The longest shorter beginning that this one ends with.
    suffix: u32,
    /// Characters of the longest number that ends here; 0 for none.
    longest: u32,
}

/// A node on the way into the automaton.
struct Added {
    depth: u32,
    parent: u32,
    character: char,
    child: u32,
}

impl QuotableNumbers {
    /// Gathers the numbers of all accounts that the file names.
    ///
    /// # Errors
    /// A number is longer than any account number, or there are more than a file of one person can hold.
    pub(super) fn of_file(tree: &Tree<'_>) -> Result<Self, FileRefusal> {
        let mut numbers = Self { nodes: vec![Node::default()], edges: HashMap::new() };
        let mut added = Vec::new();
        for element in tree.elements().filter(|element| NUMBERS.iter().any(|name| element.is(name))) {
            let number = element.value().unwrap_or_default();
            // One more than a number may have tells it apart from anything longer.
            let length = plain(number).take(ACCOUNT_NUMBER_CHARS_MAX + 1).count();
            if length > ACCOUNT_NUMBER_CHARS_MAX {
                return Err(FileRefusal::new(format!(
                    "line {}: an account number of more than {ACCOUNT_NUMBER_CHARS_MAX} characters",
                    element.line()
                )));
            }
            // What is no longer than its own mask is shown everywhere and is found in too many texts by chance.
            if length > MASK_CHARS {
                numbers.add(number, &mut added);
            }
            if numbers.nodes.len() > ACCOUNT_NUMBERS_CHARS_MAX {
                return Err(FileRefusal::new("the file names too many different accounts"));
            }
        }
        numbers.link(added);
        Ok(numbers)
    }

    fn add(&mut self, number: &str, added: &mut Vec<Added>) {
        let mut node = ROOT;
        let mut depth = 0;
        for character in plain(number) {
            depth += 1;
            // The number of nodes is bounded far below the width of an index.
            let next = u32::try_from(self.nodes.len()).unwrap_or(ROOT);
            let child = *self.edges.entry((node, character)).or_insert(next);
            if child == next {
                self.nodes.push(Node::default());
                added.push(Added { depth, parent: node, character, child });
            }
            node = child;
        }
        self.nodes[node as usize].longest = depth;
    }

    /// Finds the suffixes, shorter beginnings first, as those of longer ones are found through them.
    fn link(&mut self, mut added: Vec<Added>) {
        added.sort_unstable_by_key(|added| added.depth);
        for Added { parent, character, child, .. } in added {
            let suffix = if parent == ROOT { ROOT } else { self.next(self.nodes[parent as usize].suffix, character) };
            let inherited = self.nodes[suffix as usize].longest;
            let node = &mut self.nodes[child as usize];
            node.suffix = suffix;
            node.longest = node.longest.max(inherited);
        }
    }

    /// Whether `text` quotes one of the numbers.
    pub(super) fn are_quoted_in(&self, text: &str) -> bool {
        self.ends(plain(text)).any(|longest| longest > 0)
    }

    /// `text` with every quoted number shortened to its last four characters: `XFER TO …5544`.
    pub(super) fn shorten_in<'t>(&self, text: &'t str) -> Cow<'t, str> {
        if !self.are_quoted_in(text) {
            return Cow::Borrowed(text);
        }
        let kept: Vec<(usize, char)> = text.char_indices().filter(|(_, character)| !is_separator(*character)).collect();
        let mut shortened = String::with_capacity(text.len());
        let mut rest = 0;
        for quote in self.quotes(&kept) {
            shortened.push_str(&text[rest..kept[quote.start].0]);
            shortened.push(HIDDEN);
            shortened.extend(kept[quote.end - MASK_CHARS..quote.end].iter().map(|(_, character)| character));
            let (at, last) = kept[quote.end - 1];
            rest = at + last.len_utf8();
        }
        shortened.push_str(&text[rest..]);
        Cow::Owned(shortened)
    }

    /// Where numbers are quoted, in order. Overlapping ones are one quote, or the end of the first would show the
    /// beginning of the second.
    fn quotes(&self, kept: &[(usize, char)]) -> Vec<Range<usize>> {
        let mut quotes: Vec<Range<usize>> = Vec::new();
        let characters = kept.iter().map(|(_, character)| character.to_ascii_uppercase());
        for (index, longest) in self.ends(characters).enumerate().filter(|(_, longest)| *longest > 0) {
            let mut quote = index + 1 - longest..index + 1;
            while let Some(before) = quotes.pop_if(|before| before.end > quote.start) {
                quote.start = quote.start.min(before.start);
            }
            quotes.push(quote);
        }
        quotes
    }

    /// For each character the length of the longest number that ends with it.
    fn ends(&self, characters: impl Iterator<Item = char>) -> impl Iterator<Item = usize> {
        characters.scan(ROOT, |node, character| {
            *node = self.next(*node, character);
            Some(self.nodes[*node as usize].longest as usize)
        })
    }

    fn next(&self, mut node: u32, character: char) -> u32 {
        loop {
            match self.edges.get(&(node, character)) {
                Some(&next) => return next,
                None if node == ROOT => return ROOT,
                None => node = self.nodes[node as usize].suffix,
            }
        }
    }
}

/// The characters that make up a number, in one letter case.
fn plain(text: &str) -> impl Iterator<Item = char> {
    text.chars().filter(|character| !is_separator(*character)).map(|character| character.to_ascii_uppercase())
}

/// What may stand between the groups of a number: white space and dashes, and what becomes white space when a
/// description is cleaned or is not seen at all.
fn is_separator(character: char) -> bool {
    character.is_whitespace()
        || character.is_control()
        || matches!(
            character,
            '-' | '\u{2010}'..='\u{2015}' | '\u{2212}' | '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{2060}' | '\u{feff}'
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shortened(numbers: &[&str], text: &str) -> String {
        let elements: String = numbers.iter().map(|number| format!("<X><ACCTID>{number}</X>")).collect();
        let file = format!("<OFX>{elements}</OFX>");
        let numbers = QuotableNumbers::of_file(&Tree::parse(&file).unwrap()).unwrap();
        numbers.shorten_in(text).into_owned()
    }

    #[test]
    fn numbers_are_shortened_however_they_are_grouped() {
        for (text, expected) in [
            ("XFER TO 998877665544", "XFER TO …5544"),
            ("9988 7766 5544", "…5544"),
            ("to 9988-7766-5544, thanks", "to …5544, thanks"),
            ("9988\u{2013}7766\u{a0}\u{7}5544.", "…5544."),
            ("9 9 8 8 7 7 6 6 5 5 4 - 4 é", "…5544 é"),
            ("REF00998877665544/998877665544", "REF00…5544/…5544"),
            ("gb12abcd34 and GB12 ABCD 34", "…cd34 and …CD34"),
            ("99887766554 99887766554", "99887766554 99887766554"),
            ("nothing  here", "nothing  here"),
            ("", ""),
        ] {
            assert_eq!(shortened(&["9988-7766 5544", "GB12abcd34"], text), expected, "{text}");
        }
    }

    #[test]
    fn short_ids_are_left_alone() {
        assert_eq!(shortened(&["5544", "55 44", ""], "5544 55 44"), "5544 55 44");
        assert_eq!(shortened(&["15544"], "15544"), "…5544");
    }

    #[test]
    fn numbers_within_and_across_numbers_are_shortened_as_one() {
        for (numbers, text, expected) in [
            (&["12345", "1234567"][..], "1234567 12345", "…4567 …2345"),
            (&["99912345", "2345678"], "99912345678", "…5678"),
            (&["345678", "12345", "56789"], "1 2345-6789", "…6789"),
            (&["1234567890", "45678"], "123456789", "123…56789"),
            (&["11111"], "111111111", "…1111"),
        ] {
            assert_eq!(shortened(numbers, text), expected, "{text}");
        }
    }
}
