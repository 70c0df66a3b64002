//! The CSV form (RFC 4180): a header and a row for each transaction. No cell is one that a spreadsheet would run.

use std::io::{self, Write};

use moneykit::models::{AccountResponse, LinkCommon, TransactionResponse};

use super::{Exported, Writer, signed};

const HEADER: &str = "account_id,account_name,account_type,transaction_id,date,datetime,amount,currency,description,\
    raw_description,pending,category,subcategory,merchant\r\n";

pub(super) struct Csv;

impl Writer for Csv {
    fn place(&self, _: &AccountResponse) -> Option<u8> {
        Some(0)
    }

    fn begin(&mut self, out: &mut dyn Write, _: &LinkCommon) -> io::Result<()> {
        out.write_all(HEADER.as_bytes())
    }

    fn begin_account(&mut self, _: &mut dyn Write, _: &Exported) -> io::Result<()> {
        Ok(())
    }

    fn transaction(
        &mut self,
        out: &mut dyn Write,
        exported: &Exported,
        item: &TransactionResponse,
    ) -> io::Result<bool> {
        let account = &exported.account;
        let known = item.enrichment.as_ref();
        let cells = [
            cell(account.account_id.as_str()),
            cell(&account.name),
            cell(&account.account_type),
            cell(item.transaction_id.as_str()),
            item.date.to_string(),
            item.datetime.map(passbook_core::time::format_instant).unwrap_or_default(),
            // A number, whatever its sign; a spreadsheet must be able to add it.
            signed(item),
            cell(&item.currency),
            cell(item.description.as_deref().unwrap_or_default()),
            cell(item.raw_description.as_deref().unwrap_or_default()),
            item.pending.to_string(),
            cell(known.map(|known| known.category.value.as_str()).unwrap_or_default()),
            cell(known.and_then(|known| Some(known.subcategory.as_ref()?.value.as_str())).unwrap_or_default()),
            cell(known.and_then(|known| known.merchant.as_ref()?.name.as_deref()).unwrap_or_default()),
        ];
        write!(out, "{}\r\n", cells.join(","))?;
        Ok(true)
    }

    fn end_account(&mut self, _: &mut dyn Write, _: &Exported) -> io::Result<()> {
        Ok(())
    }

    fn end(&mut self, _: &mut dyn Write) -> io::Result<()> {
        Ok(())
    }
}

/// A text as a cell. Spreadsheets run what begins with one of these signs, also in their full-width forms; an apostrophe
/// before it makes them show it (OWASP, "CSV Injection", read 2026-11-26).
fn cell(text: &str) -> String {
    const RUN: [char; 10] = ['=', '+', '-', '@', '\t', '\r', '＝', '＋', '－', '＠'];
    let text = text.replace('\0', "");
    let guard = if text.trim_start_matches(' ').starts_with(RUN) { "'" } else { "" };
    match text.contains([',', '"', '\r', '\n', '\'']) || !guard.is_empty() {
        true => format!("\"{guard}{}\"", text.replace('"', "\"\"")),
        false => text,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_a_spreadsheet_would_run_is_guarded() {
        for (text, expected) in [
            ("Coffee", "Coffee"),
            ("a,b", "\"a,b\""),
            ("say \"hi\"", "\"say \"\"hi\"\"\""),
            ("=1+1", "\"'=1+1\""),
            ("@SUM(A1)", "\"'@SUM(A1)\""),
            ("  -2+3", "\"'  -2+3\""),
            ("＝1", "\"'＝1\""),
        ] {
            assert_eq!(cell(text), expected);
        }
    }

    proptest! {
        #[test]
        fn a_cell_is_one_cell_and_never_begins_with_a_formula(text in ".{0,40}") {
            let written = cell(&text);
            let inside = written.strip_prefix('"').map_or(written.as_str(), |quoted| &quoted[..quoted.len() - 1]);
            prop_assert!(!inside.trim_start_matches(' ').starts_with(['=', '+', '-', '@', '\t', '\r']));
            let unquoted = inside.replace("\"\"", "");
            prop_assert!(!unquoted.contains('"'));
            prop_assert!(written.starts_with('"') || !written.contains([',', '\n', '\r']));
        }
    }
}
