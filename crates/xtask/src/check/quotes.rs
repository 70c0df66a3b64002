//! Programs that a document shows are files that a step runs, letter for letter.

use std::path::Path;

use anyhow::{Context, Result};

use crate::command::root;

/// Document, language of the block, and the file that it shows.
const QUOTES: [(&str, &str, &str); 1] = [("README.md", "ruby", "tests/conformance/ruby/account_numbers.rb")];

/// What does not match.
pub fn findings() -> Result<Vec<String>> {
    let root = root();
    let read = |path: &str| std::fs::read_to_string(Path::new(&root).join(path)).with_context(|| path.to_owned());
    let mut findings = Vec::new();
    for (document, language, file) in QUOTES {
        if !quotes(&read(document)?, language, &read(file)?) {
            findings.push(format!("{document} does not show {file} as it is, in a block of `{language}`"));
        }
    }
    Ok(findings)
}

fn quotes(document: &str, language: &str, program: &str) -> bool {
    document.contains(&format!("\n```{language}\n{program}```\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_quoted_whole_and_unchanged() {
        let document = "Run this:\n\n```ruby\nputs 1\nputs 2\n```\n\nDone.\n";
        assert!(quotes(document, "ruby", "puts 1\nputs 2\n"));
        for other in ["puts 1\n", "puts 2\n", "puts 1\nputs 3\n"] {
            assert!(!quotes(document, "ruby", other), "{other}");
        }
        assert!(!quotes(document, "python", "puts 1\nputs 2\n"));
    }
}
