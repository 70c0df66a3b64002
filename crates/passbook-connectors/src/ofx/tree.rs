//! The elements of a file as a tree, whichever way its leaves are closed.
//!
//! In SGML a leaf has no closing tag, and an empty leaf looks like the beginning of an aggregate. Instead of a list of
//! every element that any bank ever sent, one rule decides: *an element whose closing tag never comes is a leaf, and
//! what followed it are its siblings*. The tree is stored in document order with the end of each subtree, so
//! demoting an element to a leaf is setting its end.
//!
//! The rule would hide transactions if the closing tag of an aggregate were lost (a truncated file, a bad edit). So
//! the aggregates that carry money or accounts are known by name, and the file is refused when one of them is not
//! closed, or closed without having been opened.

use std::borrow::Cow;

use super::{
    limits::{DEPTH_MAX, ELEMENTS_MAX, VALUE_BYTES_MAX},
    text::decode_entities,
    tokens::{Token, Tokens},
};
use crate::port::FileRefusal;

/// Aggregates that must be complete.
const AGGREGATES: [&str; 38] = [
    "OFX",
    "SIGNONMSGSRSV1",
    "SONRS",
    "STATUS",
    "FI",
    "BANKMSGSRSV1",
    "CREDITCARDMSGSRSV1",
    "INVSTMTMSGSRSV1",
    "LOANMSGSRSV1",
    "SIGNUPMSGSRSV1",
    "STMTTRNRS",
    "CCSTMTTRNRS",
    "INVSTMTTRNRS",
    "LOANSTMTTRNRS",
    "ACCTINFOTRNRS",
    "STMTRS",
    "CCSTMTRS",
    "INVSTMTRS",
    "LOANSTMTRS",
    "ACCTINFORS",
    "ACCTINFO",
    "BANKACCTFROM",
    "CCACCTFROM",
    "INVACCTFROM",
    "LOANACCTFROM",
    "BANKACCTTO",
    "CCACCTTO",
    "BANKTRANLIST",
    "BANKTRANLISTP",
    "LOANTRANLIST",
    "INVTRANLIST",
    "INVBANKTRAN",
    "STMTTRN",
    "STMTTRNP",
    "LOANSTMTTRN",
    "LEDGERBAL",
    "AVAILBAL",
    "INVBAL",
];

/// A file's elements.
pub(super) struct Tree<'a> {
    text: &'a str,
    nodes: Vec<Node<'a>>,
}

struct Node<'a> {
    name: &'a str,
    value: Cow<'a, str>,
    /// Where it starts in the text.
    offset: u32,
    /// The index after its last descendant.
    end: u32,
}

impl<'a> Tree<'a> {
    /// Reads all elements.
    ///
    /// # Errors
    /// Not OFX, incomplete, or past a limit; see the module page.
    pub(super) fn parse(text: &'a str) -> Result<Self, FileRefusal> {
        // Leaves are at most two tags. Counting first refuses a flood before anything is stored.
        let tags = text.bytes().filter(|byte| *byte == b'<').count();
        if tags > 2 * ELEMENTS_MAX {
            return Err(too_many_elements());
        }
        let mut builder = Builder { text, nodes: Vec::with_capacity(tags / 2 + 1), open: Vec::new() };
        let mut tokens = Tokens::new(text);
        while let Some((offset, token)) = tokens.next()? {
            match token {
                Token::Open { name, is_empty } => builder.open(offset, name, is_empty)?,
                Token::Close(name) => builder.close(offset, name)?,
                Token::Text(raw) => builder.append(offset, raw, decode_entities)?,
                Token::Literal(literal) => builder.append(offset, literal, Cow::Borrowed)?,
            }
        }
        builder.finish()
    }

    /// All elements in document order.
    pub(super) fn elements(&self) -> impl Iterator<Item = Element<'_>> {
        (0..self.nodes.len()).map(|index| Element { tree: self, index })
    }
}

/// One element of a tree.
#[derive(Clone, Copy)]
pub(super) struct Element<'t> {
    tree: &'t Tree<'t>,
    index: usize,
}

impl<'t> Element<'t> {
    /// Whether this is its name, in any case.
    pub(super) fn is(self, name: &str) -> bool {
        self.node().name.eq_ignore_ascii_case(name)
    }

    /// Its text, trimmed; `None` if there is none.
    pub(super) fn value(self) -> Option<&'t str> {
        let value = self.node().value.trim();
        (!value.is_empty()).then_some(value)
    }

    /// The elements directly inside.
    pub(super) fn children(self) -> impl Iterator<Item = Element<'t>> {
        let mut next = self.index + 1;
        let end = self.end();
        std::iter::from_fn(move || {
            let child = (next < end).then_some(Element { tree: self.tree, index: next })?;
            next = child.end();
            Some(child)
        })
    }

    /// All elements inside, in document order.
    pub(super) fn descendants(self) -> impl Iterator<Item = Element<'t>> {
        (self.index + 1..self.end()).map(move |index| Element { tree: self.tree, index })
    }

    /// The first element of this name directly inside.
    pub(super) fn child(self, name: &str) -> Option<Element<'t>> {
        self.children().find(|child| child.is(name))
    }

    /// The text of the first element of this name directly inside.
    pub(super) fn leaf(self, name: &str) -> Option<&'t str> {
        self.child(name).and_then(Element::value)
    }

    /// Whether `other` lies inside.
    pub(super) fn contains(self, other: Element<'_>) -> bool {
        (self.index + 1..self.end()).contains(&other.index)
    }

    /// Whether it starts before `other`.
    pub(super) fn precedes(self, other: Element<'_>) -> bool {
        self.index < other.index
    }

    /// The line it starts on, from 1.
    pub(super) fn line(self) -> usize {
        line_at(self.tree.text, self.node().offset as usize)
    }

    fn node(self) -> &'t Node<'t> {
        &self.tree.nodes[self.index]
    }

    fn end(self) -> usize {
        self.node().end as usize
    }
}

/// The line of a position, from 1.
pub(super) fn line_at(text: &str, offset: usize) -> usize {
    1 + text.as_bytes()[..offset].iter().filter(|byte| **byte == b'\n').count()
}

struct Builder<'a> {
    text: &'a str,
    nodes: Vec<Node<'a>>,
    /// Indices of the elements that are not closed yet, outermost first.
    open: Vec<usize>,
}

impl<'a> Builder<'a> {
    fn open(&mut self, offset: usize, name: &'a str, is_empty: bool) -> Result<(), FileRefusal> {
        if self.nodes.is_empty() && !name.eq_ignore_ascii_case("OFX") {
            return Err(not_ofx());
        }
        if let Some(&top) = self.open.last()
            && !self.nodes[top].value.trim_ascii().is_empty()
        {
            self.demote_to_leaf(top);
            self.open.pop();
        }
        if self.nodes.len() >= ELEMENTS_MAX {
            return Err(too_many_elements());
        }
        if self.open.len() >= DEPTH_MAX {
            return Err(FileRefusal::new(format!(
                "line {}: elements are nested too deeply",
                line_at(self.text, offset)
            )));
        }
        let index = self.nodes.len();
        self.nodes.push(Node { name, value: Cow::Borrowed(""), offset: narrow(offset), end: narrow(index + 1) });
        if !is_empty {
            self.open.push(index);
        }
        Ok(())
    }

    fn close(&mut self, offset: usize, name: &str) -> Result<(), FileRefusal> {
        let Some(at) = self.open.iter().rposition(|index| self.nodes[*index].name.eq_ignore_ascii_case(name)) else {
            // A leaf that the next tag has closed already.
            return match known_aggregate(name) {
                None => Ok(()),
                Some(name) => Err(FileRefusal::new(format!(
                    "line {}: {name} is closed but was not opened; the file is damaged",
                    line_at(self.text, offset)
                ))),
            };
        };
        while self.open.len() > at + 1 {
            let Some(unclosed) = self.open.pop() else { break };
            if let Some(name) = known_aggregate(self.nodes[unclosed].name) {
                return Err(self.never_closed(unclosed, name));
            }
            self.demote_to_leaf(unclosed);
        }
        self.open.pop().into_iter().for_each(|closed| self.nodes[closed].end = narrow(self.nodes.len()));
        Ok(())
    }

    /// Adds text to the value of the innermost open element; `decode` runs only on text within the limits.
    fn append(
        &mut self,
        offset: usize,
        raw: &'a str,
        decode: impl FnOnce(&'a str) -> Cow<'a, str>,
    ) -> Result<(), FileRefusal> {
        // Text after a child, outside of everything, or straight inside a known aggregate belongs to no leaf.
        let Some(&top) = self.open.last() else { return Ok(()) };
        let has_children = top + 1 != self.nodes.len();
        let node = &mut self.nodes[top];
        let starts_blank = node.value.is_empty() && raw.trim_ascii().is_empty();
        if has_children || starts_blank || known_aggregate(node.name).is_some() {
            return Ok(());
        }
        if node.value.len() + raw.len() > VALUE_BYTES_MAX {
            return Err(FileRefusal::new(format!("line {}: a value is too long", line_at(self.text, offset))));
        }
        let text = decode(raw);
        if node.value.is_empty() {
            node.value = text;
        } else {
            node.value.to_mut().push_str(&text);
        }
        Ok(())
    }

    fn finish(self) -> Result<Tree<'a>, FileRefusal> {
        let unclosed =
            self.open.iter().rev().find_map(|&index| Some((index, known_aggregate(self.nodes[index].name)?)));
        match unclosed {
            Some((index, name)) => Err(self.never_closed(index, name)),
            None if self.nodes.is_empty() => Err(not_ofx()),
            None => Ok(Tree { text: self.text, nodes: self.nodes }),
        }
    }

    fn demote_to_leaf(&mut self, index: usize) {
        self.nodes[index].end = narrow(index + 1);
    }

    fn never_closed(&self, index: usize, name: &str) -> FileRefusal {
        let line = line_at(self.text, self.nodes[index].offset as usize);
        FileRefusal::new(format!("line {line}: {name} is never closed; the file is incomplete or damaged"))
    }
}

/// The name as listed, if it is a known aggregate; safe to show, unlike the file's own spelling of anything.
fn known_aggregate(name: &str) -> Option<&'static str> {
    AGGREGATES.iter().find(|known| known.eq_ignore_ascii_case(name)).copied()
}

/// Files end at 16 MiB and decode to three times that at most, so positions fit.
fn narrow(position: usize) -> u32 {
    u32::try_from(position).unwrap_or(u32::MAX)
}

fn too_many_elements() -> FileRefusal {
    FileRefusal::new(format!("the file holds more than {ELEMENTS_MAX} elements"))
}

fn not_ofx() -> FileRefusal {
    FileRefusal::new("this is not an OFX, QFX or QBO file: it does not begin with an OFX element")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `NAME=value{children}`, to compare shapes.
    fn shape(text: &str) -> Result<String, String> {
        let tree = Tree::parse(text).map_err(|refusal| refusal.message)?;
        fn show(element: Element<'_>) -> String {
            let children: Vec<String> = element.children().map(show).collect();
            let value = element.value().map(|value| format!("={value}")).unwrap_or_default();
            let children = if children.is_empty() { String::new() } else { format!("{{{}}}", children.join(" ")) };
            format!("{}{value}{children}", element.node().name)
        }
        let root = tree.elements().next().expect("a parsed tree has a root");
        Ok(show(root))
    }

    #[test]
    fn leaves_are_found_however_they_are_closed() {
        for (text, expected) in [
            ("<OFX><A><B>1<C>2</A></OFX>", "OFX{A{B=1 C=2}}"),
            ("<OFX><A><B>1</B><C>2</C></A></OFX>", "OFX{A{B=1 C=2}}"),
            ("<OFX><A><EMPTY>\n<B>1\n<C>2\n</A></OFX>", "OFX{A{EMPTY B=1 C=2}}"),
            ("<OFX><A><E1><E2><B>1<E3></A><D>3</OFX>", "OFX{A{E1 E2 B=1 E3} D=3}"),
            ("<OFX><A><E/><B>1</A></OFX>", "OFX{A{E B=1}}"),
            ("<OFX><A><E></E><B>1</A></OFX>", "OFX{A{E B=1}}"),
            ("<ofx><stmttrn><Name>x</stmttrn></OFX>", "ofx{stmttrn{Name=x}}"),
            ("<OFX><A><B>1 < 2 &amp; 3<![CDATA[ <x>]]></B></A></OFX>", "OFX{A{B=1 < 2 & 3 <x>}}"),
            ("<OFX><A><B>x <b>y</b> z</B><C>1</A></OFX>", "OFX{A{B=x b=y C=1}}"),
            ("<OFX>stray<STMTTRN>stray<B>1</STMTTRN>stray</OFX>", "OFX{STMTTRN{B=1}}"),
        ] {
            assert_eq!(shape(text).unwrap(), expected, "{text}");
        }
    }

    #[test]
    fn lost_tags_of_aggregates_refuse_the_file() {
        for (text, expected) in [
            ("<OFX>", "line 1: OFX is never closed"),
            ("<OFX>\n<STMTTRN><B>1\n</OFX>", "line 2: STMTTRN is never closed"),
            ("<OFX>\n\n<B>1</STMTTRN></OFX>", "line 3: STMTTRN is closed but was not opened"),
            ("<html><OFX></OFX>", "not an OFX"),
            ("Date,Amount\n2024,1", "not an OFX"),
        ] {
            let message = shape(text).unwrap_err();
            assert!(message.contains(expected), "{message}");
        }
    }

    #[test]
    fn floods_are_refused_before_they_are_stored() {
        for (text, expected) in [
            (format!("<OFX>{}", "<A>".repeat(100_000)), "nested too deeply"),
            (format!("<OFX>{}</OFX>", "<A>1</A>".repeat(ELEMENTS_MAX)), "more than 500000 elements"),
            (format!("<OFX>{}</OFX>", "<A>1".repeat(ELEMENTS_MAX)), "more than 500000 elements"),
            (format!("<OFX><A>{}</OFX>", "x".repeat(VALUE_BYTES_MAX + 1)), "a value is too long"),
        ] {
            let message = shape(&text).unwrap_err();
            assert!(message.contains(expected), "{message}");
        }
        assert!(std::mem::size_of::<Node<'_>>() <= 48, "the element limit bounds memory only while elements are small");
    }
}
