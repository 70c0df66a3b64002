//! Tables for people, and text from servers made harmless for a terminal.

/// A line to standard error, if that is possible: `eprintln!` panics when it is closed.
macro_rules! note {
    ($($text:tt)*) => {{
        use std::io::Write as _;
        let _nowhere_to_say_it = writeln!(std::io::stderr().lock(), $($text)*);
    }};
}

/// Rows of text in aligned columns, with a heading.
pub struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    pub fn new(heading: &[&str]) -> Self {
        Self { rows: vec![heading.iter().map(ToString::to_string).collect()] }
    }

    pub fn row<const COLUMNS: usize>(&mut self, cells: [&dyn std::fmt::Display; COLUMNS]) {
        self.rows.push(cells.iter().map(|cell| printable(&cell.to_string())).collect());
    }

    pub fn render(&self) -> String {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or_default();
        let width =
            |column: usize| self.rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
        let widths: Vec<_> = (0..columns).map(|column| width(column).unwrap_or_default()).collect();
        let mut text = String::new();
        for row in &self.rows {
            let cells: Vec<_> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
            text.push_str(cells.join("  ").trim_end());
            text.push('\n');
        }
        text
    }
}

/// The value, or a dash.
pub fn or_dash<T: ToString>(value: Option<T>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

/// Server text without control characters, which could otherwise drive the terminal.
pub fn printable(text: &str) -> String {
    text.chars().map(|character| if character.is_control() { '\u{fffd}' } else { character }).collect()
}

/// The last four characters of a number, the rest hidden.
pub fn masked(number: &str) -> String {
    let last_four = number.char_indices().rev().nth(3).map_or("", |(at, _)| &number[at..]);
    format!("****{last_four}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_control_characters_gone() {
        let mut table = Table::new(&["ID", "NAME"]);
        table.row([&"acc_1", &"red\u{1b}[31m"]);
        table.row([&"a", &or_dash(None::<&str>)]);
        assert_eq!(table.render(), "ID     NAME\nacc_1  red\u{fffd}[31m\na      -\n");
    }

    #[test]
    fn masks_show_four_characters_or_none() {
        assert_eq!(masked("000123456789"), "****6789");
        assert_eq!(masked("1234"), "****1234");
        assert_eq!(masked("123"), "****");
        assert_eq!(masked("äöüßé"), "****öüßé");
    }
}
