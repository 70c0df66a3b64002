//! The JSON form: `format`, `version`, `link`, and `accounts`, each with its `transactions`, in the API's own words.

use std::io::{self, Write};

use moneykit::models::{AccountResponse, LinkCommon, TransactionResponse};
use passbook_connectors::exported::{FORMAT, VERSION};
use serde_json::json;

use super::{Exported, Writer};

#[derive(Default)]
pub(super) struct Json {
    has_account: bool,
    has_transaction: bool,
}

impl Writer for Json {
    fn place(&self, _: &AccountResponse) -> Option<u8> {
        Some(0)
    }

    fn begin(&mut self, out: &mut dyn Write, link: &LinkCommon) -> io::Result<()> {
        let link = json!({
            "link_id": link.link_id,
            "institution_id": link.institution_id,
            "institution_name": link.institution_name,
            "last_synced_at": link.last_synced_at.map(passbook_core::time::format_instant),
        });
        write!(out, "{{\"format\":\"{FORMAT}\",\"version\":{VERSION},\"link\":{link},\"accounts\":[")
    }

    fn begin_account(&mut self, out: &mut dyn Write, exported: &Exported) -> io::Result<()> {
        if std::mem::replace(&mut self.has_account, true) {
            out.write_all(b",")?;
        }
        self.has_transaction = false;
        let account = serde_json::to_string(&exported.account)?;
        let inside = account.strip_suffix('}').unwrap_or(&account);
        write!(out, "\n{inside}")?;
        if let Some(numbers) = &exported.numbers {
            write!(out, ",\"numbers\":{}", serde_json::to_string(numbers)?)?;
        }
        out.write_all(b",\"transactions\":[")
    }

    fn transaction(&mut self, out: &mut dyn Write, _: &Exported, item: &TransactionResponse) -> io::Result<bool> {
        if std::mem::replace(&mut self.has_transaction, true) {
            out.write_all(b",")?;
        }
        write!(out, "\n{}", serde_json::to_string(item)?)?;
        Ok(true)
    }

    fn end_account(&mut self, out: &mut dyn Write, _: &Exported) -> io::Result<()> {
        out.write_all(b"]}")
    }

    fn end(&mut self, out: &mut dyn Write) -> io::Result<()> {
        out.write_all(b"]}\n")
    }
}
