//! Statements in the sources of a store.

use std::path::Path;

/// How a statement begins.
pub const VERBS: &[&str] = &[
    "ALTER",
    "ANALYZE",
    "BEGIN",
    "CALL",
    "COMMIT",
    "CREATE",
    "DECLARE",
    "DELETE",
    "DO",
    "DROP",
    "EXECUTE",
    "INSERT",
    "LISTEN",
    "LOCK",
    "MERGE",
    "NOTIFY",
    "ROLLBACK",
    "SAVEPOINT",
    "SELECT",
    "SET",
    "SHOW",
    "TRUNCATE",
    "UPDATE",
    "WITH",
];

/// A literal in a source that is a statement.
pub struct Statement {
    /// The constant that holds it; empty when none does.
    #[allow(dead_code, reason = "statements of the embedded store have no names")]
    pub name: String,
    pub text: String,
}

/// Every file of a directory of this crate, with its text, by name.
pub fn directory(path: &str) -> Vec<(String, String)> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    let mut files: Vec<_> = std::fs::read_dir(path)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.display().to_string(), std::fs::read_to_string(&path).unwrap()))
        .collect();
    files.sort();
    files
}

/// The string literals of a Rust source that begin with a verb of SQL.
pub fn statements_of(source: &str) -> Vec<Statement> {
    let code = source.split("#[cfg(test)]").next().unwrap_or_default();
    let mut statements = Vec::new();
    let mut name = String::new();
    let mut rest = code;
    while let Some(at) = rest.find(['"', '/', ';', 'c']) {
        let (found, after) = rest.split_at(at);
        let starts_a_word = !found.ends_with(|before: char| before.is_alphanumeric() || before == '_');
        if after.starts_with("//") {
            rest = after.split_once('\n').map_or("", |(_, next)| next);
        } else if starts_a_word && after.starts_with("const ") {
            name = after["const ".len()..].split(':').next().unwrap_or_default().trim().to_owned();
            // The type may hold a semicolon; what ends the constant comes after the equals sign.
            rest = after.split_once('=').map_or("", |(_, value)| value);
        } else if let Some(literal) = after.strip_prefix('"') {
            let (text, next) = literal_text(literal);
            if VERBS.contains(&text.split_whitespace().next().unwrap_or_default()) {
                statements.push(Statement { name: name.clone(), text });
            }
            rest = next;
        } else {
            if after.starts_with(';') {
                name.clear();
            }
            rest = &after[1..];
        }
    }
    statements
}

/// The text of a literal whose quotation mark was taken, and what follows it.
fn literal_text(literal: &str) -> (String, &str) {
    let mut text = String::new();
    let mut rest = literal;
    loop {
        let at = rest.find(['"', '\\']).expect("a literal ends");
        text.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if literal.as_bytes()[literal.len() - rest.len() - 1] == b'"' {
            return (text, rest);
        }
        if rest.starts_with('\n') {
            rest = rest.trim_start();
        } else {
            text.push('\\');
            text.push_str(&rest[..1]);
            rest = &rest[1..];
        }
    }
}
