//! Cuts a file into tags and text, the same way for SGML (OFX 1.x) and XML (OFX 2.x).
//!
//! One reader serves both because files mix them: closed leaves in SGML, unescaped ampersands in XML. It knows just
//! what OFX needs. Processing instructions and comments are skipped, name space prefixes and attributes are dropped,
//! and every other declaration (`<!DOCTYPE`, `<!ENTITY`) refuses the file, so there are no entities to expand and
//! nothing to fetch. A `<` that starts no tag is text.

use super::{
    limits::{NAME_BYTES_MAX, TAG_BYTES_MAX},
    tree::line_at,
};
use crate::port::FileRefusal;

/// A piece of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Token<'a> {
    /// An opening tag.
    Open {
        /// Name without prefix, as written.
        name: &'a str,
        /// `<NAME/>`.
        is_empty: bool,
    },
    /// A closing tag.
    Close(&'a str),
    /// Text with entities.
    Text(&'a str),
    /// Text without: the inside of `<![CDATA[…]]>`.
    Literal(&'a str),
}

/// The tokens of a text, from its first `<`; what stands before it is a header.
pub(super) struct Tokens<'a> {
    text: &'a str,
    position: usize,
}

impl<'a> Tokens<'a> {
    /// Starts at the first tag.
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, position: text.find('<').unwrap_or(text.len()) }
    }

    /// The next token and where it starts; `None` at the end.
    ///
    /// # Errors
    /// A declaration, an unfinished comment or section, or a tag past the limits.
    pub(super) fn next(&mut self) -> Result<Option<(usize, Token<'a>)>, FileRefusal> {
        loop {
            let start = self.position;
            let rest = &self.text[start..];
            if rest.is_empty() {
                return Ok(None);
            }
            if !rest.starts_with('<') {
                let end = rest.find('<').unwrap_or(rest.len());
                return Ok(Some(self.take(end, Token::Text(&rest[..end]))));
            }
            if rest.starts_with("<?") {
                self.position += self.length_until(rest, "?>")?;
            } else if rest.starts_with("<!--") {
                self.position += self.length_until(rest, "-->")?;
            } else if rest.starts_with("<![CDATA[") {
                let length = self.length_until(rest, "]]>")?;
                return Ok(Some(self.take(length, Token::Literal(&rest["<![CDATA[".len()..length - "]]>".len()]))));
            } else if rest.starts_with("<!") {
                return Err(FileRefusal::new(format!(
                    "line {}: document type and entity declarations are not accepted",
                    line_at(self.text, start)
                )));
            } else {
                let (length, token) = self.tag(rest)?.unwrap_or((1, Token::Text(&rest[..1])));
                return Ok(Some(self.take(length, token)));
            }
        }
    }

    fn take(&mut self, length: usize, token: Token<'a>) -> (usize, Token<'a>) {
        let start = self.position;
        self.position += length;
        (start, token)
    }

    fn length_until(&self, rest: &str, end: &str) -> Result<usize, FileRefusal> {
        match rest.find(end) {
            Some(at) => Ok(at + end.len()),
            None => Err(FileRefusal::new(format!(
                "line {}: a comment, section or instruction is never closed",
                line_at(self.text, self.position)
            ))),
        }
    }

    /// The tag at the start of `rest` with its length, or `None` when the `<` is only text.
    fn tag(&self, rest: &'a str) -> Result<Option<(usize, Token<'a>)>, FileRefusal> {
        let name_start = if rest.starts_with("</") { 2 } else { 1 };
        let bytes = rest.as_bytes();
        let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-' | b':');
        let name_length = bytes[name_start..].iter().take_while(|byte| is_name(byte)).take(TAG_BYTES_MAX).count();
        let name_end = name_start + name_length;
        if name_length == 0 || !(bytes[name_start].is_ascii_alphabetic() || bytes[name_start] == b'_') {
            return Ok(None);
        }
        if name_length > NAME_BYTES_MAX {
            return Err(self.tag_too_long());
        }
        if !bytes.get(name_end).is_some_and(|next| matches!(next, b'>' | b'/') || next.is_ascii_whitespace()) {
            return Ok(None);
        }
        // Ends at the next `<` at the latest, so that a stray `<` costs no more than the text up to the next one.
        let window = &bytes[name_end..bytes.len().min(TAG_BYTES_MAX)];
        let Some(end) = window.iter().position(|byte| matches!(byte, b'<' | b'>')) else {
            return if bytes.len() > TAG_BYTES_MAX { Err(self.tag_too_long()) } else { Ok(None) };
        };
        if window[end] == b'<' {
            return Ok(None);
        }
        let name = rest[name_start..name_end].rsplit(':').next().unwrap_or_default();
        let token = if name_start == 2 {
            Token::Close(name)
        } else {
            Token::Open { name, is_empty: window[..end].ends_with(b"/") }
        };
        Ok(Some((name_end + end + 1, token)))
    }

    fn tag_too_long(&self) -> FileRefusal {
        FileRefusal::new(format!("line {}: a tag is too long", line_at(self.text, self.position)))
    }
}

#[cfg(test)]
mod tests {
    use super::{Token::*, *};

    fn tokens(text: &str) -> Result<Vec<Token<'_>>, String> {
        let mut tokens = Tokens::new(text);
        let mut all = Vec::new();
        while let Some((_, token)) = tokens.next().map_err(|refusal| refusal.message)? {
            all.push(token);
        }
        Ok(all)
    }

    fn open(name: &str) -> Token<'_> {
        Open { name, is_empty: false }
    }

    #[test]
    fn tags_text_and_what_only_looks_like_a_tag() {
        for (text, expected) in [
            ("HEADER:1\n<OFX>", vec![open("OFX")]),
            ("<A>x</A>", vec![open("A"), Text("x"), Close("A")]),
            ("<A/><B />", vec![Open { name: "A", is_empty: true }, Open { name: "B", is_empty: true }]),
            ("<ofx:A xmlns:ofx=\"http://x\">", vec![open("A")]),
            ("<INTU.BID>3", vec![open("INTU.BID"), Text("3")]),
            ("<?xml?><?OFX a=\"1\"?><A><!-- <B> -->", vec![open("A")]),
            ("<A><![CDATA[x <b> & y]]>", vec![open("A"), Literal("x <b> & y")]),
            ("<A>1 < 2<B>", vec![open("A"), Text("1 "), Text("<"), Text(" 2"), open("B")]),
            ("<A><me@x.org><B>", vec![open("A"), Text("<"), Text("me@x.org>"), open("B")]),
            ("<A>I <b\n<C>", vec![open("A"), Text("I "), Text("<"), Text("b\n"), open("C")]),
            ("<A", vec![Text("<"), Text("A")]),
            ("<", vec![Text("<")]),
            ("</>", vec![Text("<"), Text("/>")]),
            ("no tags", vec![]),
        ] {
            assert_eq!(tokens(text).unwrap(), expected, "{text}");
        }
    }

    #[test]
    fn declarations_and_endless_constructs_are_refused() {
        for text in [
            "<!DOCTYPE x>".to_owned(),
            "<OFX><!ENTITY a \"b\">".to_owned(),
            "<!doctype x SYSTEM \"file:///etc/passwd\">".to_owned(),
            "<!-- never".to_owned(),
            "<![CDATA[ never".to_owned(),
            "<?never".to_owned(),
            format!("<{}>", "A".repeat(NAME_BYTES_MAX + 1)),
            format!("<A {}>", "a='b' ".repeat(80_000)),
        ] {
            assert!(tokens(&text).is_err(), "{}", &text[..text.len().min(40)]);
        }
    }
}
