//! CSV files of banks, by a profile that says what their columns are.
//!
//! A profile is a small TOML file; `docs/csv-files.md` describes it. Rows become the JSON of an export, so that the server
//! knows one form fewer. A row that cannot be read refuses the file, naming its line and the column.

use std::collections::BTreeMap;

use anyhow::{Context as _, bail, ensure};
use encoding_rs::WINDOWS_1252;
use jiff::civil::Date;
use rust_decimal::Decimal;
use serde::Deserialize;
use serde_json::{Value, json};

use passbook_connectors::exported::{FORMAT, VERSION};

/// Profiles that come with the program.
const BUILT_IN: [(&str, &str); 2] =
    [("passbook", include_str!("csv_profiles/passbook.toml")), ("generic", include_str!("csv_profiles/generic.toml"))];

/// What a cell says of a transaction that has not posted.
const PENDING: [&str; 4] = ["true", "yes", "pending", "1"];

/// What a bank's CSV files look like.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    #[serde(default)]
    file: FileShape,
    columns: Columns,
    #[serde(default)]
    values: ValueShape,
    #[serde(default)]
    account: AccountOfProfile,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct FileShape {
    delimiter: char,
    encoding: Encoding,
    /// Lines before the header, or before the first row.
    skip_lines: usize,
    /// Whether the first line names the columns; otherwise they are numbers from 1.
    header: bool,
}

#[derive(Debug, Clone, Copy, Deserialize)]
enum Encoding {
    #[serde(rename = "utf-8")]
    Utf8,
    #[serde(rename = "windows-1252")]
    Windows1252,
}

/// A column by its name, or by its number from 1.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
enum Column {
    Number(usize),
    Name(String),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Columns {
    date: Column,
    description: Column,
    /// Signed; money that enters is positive.
    amount: Option<Column>,
    /// Without a sign, beside `credit`.
    debit: Option<Column>,
    credit: Option<Column>,
    id: Option<Column>,
    raw_description: Option<Column>,
    currency: Option<Column>,
    pending: Option<Column>,
    account: Option<Column>,
    account_name: Option<Column>,
    account_type: Option<Column>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct ValueShape {
    /// In the words of `strftime`.
    date: String,
    decimal_sign: char,
    /// Turns the sign of `amount`.
    debit_is_positive: bool,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct AccountOfProfile {
    id: String,
    name: String,
    #[serde(rename = "type")]
    account_type: String,
    currency: String,
    mask: Option<String>,
}

impl Default for FileShape {
    fn default() -> Self {
        Self { delimiter: ',', encoding: Encoding::Utf8, skip_lines: 0, header: true }
    }
}

impl Default for ValueShape {
    fn default() -> Self {
        Self { date: "%Y-%m-%d".to_owned(), decimal_sign: '.', debit_is_positive: false }
    }
}

impl Default for AccountOfProfile {
    fn default() -> Self {
        Self {
            id: "csv".to_owned(),
            name: "Account".to_owned(),
            account_type: "depository.checking".to_owned(),
            currency: "USD".to_owned(),
            mask: None,
        }
    }
}

impl Profile {
    /// A built-in profile by its name, or one from a file.
    ///
    /// # Errors
    /// When there is none, or it is not one.
    pub fn find(name: &str) -> anyhow::Result<Self> {
        let text = match BUILT_IN.iter().find(|(known, _)| *known == name) {
            Some((_, text)) => (*text).to_owned(),
            None => std::fs::read_to_string(name).with_context(|| {
                format!("{name} is neither a profile (passbook, generic) nor a file that can be read")
            })?,
        };
        let profile: Self = toml::from_str(&text).with_context(|| format!("{name} is not a profile"))?;
        let Columns { amount, debit, credit, .. } = &profile.columns;
        ensure!(
            amount.is_some() != (debit.is_some() && credit.is_some()),
            "{name}: columns must have either `amount`, or `debit` and `credit`"
        );
        Ok(profile)
    }

    /// The export that a file's rows make.
    ///
    /// # Errors
    /// The first row that cannot be read.
    pub fn read(&self, file: &[u8]) -> anyhow::Result<Value> {
        let text = match self.file.encoding {
            Encoding::Utf8 => std::str::from_utf8(file.strip_prefix(b"\xef\xbb\xbf").unwrap_or(file))
                .context("the file is not UTF-8; `encoding = \"windows-1252\"` may fit")?
                .to_owned(),
            Encoding::Windows1252 => WINDOWS_1252.decode(file).0.into_owned(),
        };
        let text: String = text.split_inclusive('\n').skip(self.file.skip_lines).collect();
        let delimiter = u8::try_from(self.file.delimiter).context("the delimiter must be one ASCII character")?;
        let mut reader = csv::ReaderBuilder::new()
            .delimiter(delimiter)
            .has_headers(self.file.header)
            .flexible(true)
            .from_reader(text.as_bytes());
        let names = if self.file.header { reader.headers().context("the header")?.clone() } else { Default::default() };
        let mut accounts = BTreeMap::<String, (Value, Vec<Value>)>::new();
        let mut occurrences = BTreeMap::<String, u32>::new();
        for row in reader.records() {
            let row = row.map_err(|error| {
                let line = error.position().map_or(0, csv::Position::line);
                anyhow::anyhow!("line {}: not a row of CSV", line + self.file.skip_lines as u64)
            })?;
            if row.iter().all(|cell| cell.trim().is_empty()) {
                continue;
            }
            let line = row.position().map_or(0, csv::Position::line) + self.file.skip_lines as u64;
            let row = Row { names: &names, row: &row, line };
            let (id, account) = self.account_of(&row)?;
            let transaction = self.transaction(&row, &id, &mut occurrences)?;
            accounts.entry(id).or_insert_with(|| (account, Vec::new())).1.push(transaction);
        }
        ensure!(!accounts.is_empty(), "there is no row in the file");
        let accounts: Vec<Value> = accounts
            .into_values()
            .map(|(mut account, transactions)| {
                account["transactions"] = transactions.into();
                account
            })
            .collect();
        Ok(json!({"format": FORMAT, "version": VERSION, "link": {}, "accounts": accounts}))
    }

    fn account_of(&self, row: &Row<'_>) -> anyhow::Result<(String, Value)> {
        let AccountOfProfile { id, name, account_type, mask, .. } = self.account.clone();
        let of = |column: &Option<Column>, otherwise: String| -> anyhow::Result<String> {
            let found = column.as_ref().map(|column| row.cell(column)).transpose()?;
            Ok(found.filter(|text| !text.is_empty()).map_or(otherwise, str::to_owned))
        };
        let id = of(&self.columns.account, id)?;
        let account = json!({
            "account_id": id,
            "name": unguarded(&of(&self.columns.account_name, name)?),
            "account_type": of(&self.columns.account_type, account_type)?,
            "account_mask": mask,
            "balances": {"currency": self.currency_of(row)?},
        });
        Ok((id, account))
    }

    fn currency_of(&self, row: &Row<'_>) -> anyhow::Result<String> {
        let given = self.columns.currency.as_ref().map(|column| row.cell(column)).transpose()?.unwrap_or_default();
        Ok(if given.is_empty() { self.account.currency.clone() } else { given.to_owned() })
    }

    fn transaction(
        &self,
        row: &Row<'_>,
        account: &str,
        occurrences: &mut BTreeMap<String, u32>,
    ) -> anyhow::Result<Value> {
        let columns = &self.columns;
        let written = row.cell(&columns.date)?;
        let date = Date::strptime(&self.values.date, written)
            .map_err(|_| row.wrong(&columns.date, &format!("not a date like {}", self.values.date)))?;
        let signed = self.amount(row)?;
        let description = unguarded(row.cell(&columns.description)?);
        let raw = columns.raw_description.as_ref().map(|column| row.cell(column)).transpose()?.map(unguarded);
        let given = columns.id.as_ref().map(|column| row.cell(column)).transpose()?.filter(|id| !id.is_empty());
        let id = match given {
            Some(id) => id.to_owned(),
            None => {
                // The same row again is the same transaction; a second one like it in one file is another.
                let content = format!("{account}|{date}|{}|{description}", signed.normalize());
                let occurrence = occurrences.entry(content.clone()).or_insert(0);
                *occurrence += 1;
                crate::system::hex(&crate::system::sha256(format!("{content}|{occurrence}").as_bytes())[..16])
            }
        };
        let pending = columns.pending.as_ref().map(|column| row.cell(column)).transpose()?.unwrap_or_default();
        let is_pending = PENDING.iter().any(|word| pending.eq_ignore_ascii_case(word));
        Ok(json!({
            "transaction_id": id,
            "amount": signed.abs().to_string(),
            "type": if signed.is_sign_negative() && !signed.is_zero() { "debit" } else { "credit" },
            "currency": self.currency_of(row)?,
            "date": date.to_string(),
            "description": description,
            "raw_description": raw.unwrap_or(description),
            "pending": is_pending,
        }))
    }

    /// Money that enters is positive.
    fn amount(&self, row: &Row<'_>) -> anyhow::Result<Decimal> {
        let read = |column: &Column| -> anyhow::Result<Option<Decimal>> {
            let written = row.cell(column)?;
            if written.is_empty() {
                return Ok(None);
            }
            self.number(written).map(Some).ok_or_else(|| row.wrong(column, "not an amount"))
        };
        let Columns { amount, debit, credit, .. } = &self.columns;
        if let Some(column) = amount {
            let amount = read(column)?.ok_or_else(|| row.wrong(column, "no amount"))?;
            return Ok(if self.values.debit_is_positive { -amount } else { amount });
        }
        let (Some(debit), Some(credit)) = (debit, credit) else { bail!("the profile names no amount") };
        match (read(debit)?, read(credit)?) {
            (Some(debit), None) => Ok(-debit.abs()),
            (None, Some(credit)) => Ok(credit.abs()),
            (Some(zero), Some(amount)) if zero.is_zero() => Ok(amount.abs()),
            (Some(amount), Some(zero)) if zero.is_zero() => Ok(-amount.abs()),
            (Some(_), Some(_)) => Err(row.wrong(credit, "an amount beside the one in the other column")),
            (None, None) => Err(row.wrong(debit, "no amount in either column")),
        }
    }

    /// Signs of currencies and of thousands are passed over; brackets are a minus.
    fn number(&self, written: &str) -> Option<Decimal> {
        let decimal_sign = self.values.decimal_sign;
        let is_bracketed = written.starts_with('(') && written.ends_with(')');
        let mut digits = String::new();
        for letter in written.chars() {
            match letter {
                '0'..='9' | '-' | '+' => digits.push(letter),
                _ if letter == decimal_sign => digits.push('.'),
                ',' | '.' | '\'' | ' ' | '\u{a0}' | '\u{202f}' | '(' | ')' | '$' | '£' | '€' => {}
                _ => return None,
            }
        }
        let amount: Decimal = digits.parse().ok()?;
        Some(if is_bracketed { -amount } else { amount })
    }
}

/// One row, with what is needed to say where something is wrong.
struct Row<'a> {
    names: &'a csv::StringRecord,
    row: &'a csv::StringRecord,
    line: u64,
}

impl<'a> Row<'a> {
    fn cell(&self, column: &Column) -> anyhow::Result<&'a str> {
        let place = match column {
            Column::Number(number) => number.checked_sub(1),
            Column::Name(name) => self.names.iter().position(|known| known.trim().eq_ignore_ascii_case(name)),
        };
        let place = place.ok_or_else(|| self.wrong(column, "there is no such column"))?;
        self.row.get(place).map(str::trim).ok_or_else(|| self.wrong(column, "the row is too short"))
    }

    fn wrong(&self, column: &Column, problem: &str) -> anyhow::Error {
        match column {
            Column::Number(number) => anyhow::anyhow!("line {}, column {number}: {problem}", self.line),
            Column::Name(name) => anyhow::anyhow!("line {}, column {name}: {problem}", self.line),
        }
    }
}

/// A text without the apostrophe that keeps spreadsheets from running it.
fn unguarded(text: &str) -> &str {
    match text.strip_prefix('\'') {
        Some(rest) if rest.trim_start().starts_with(['=', '+', '-', '@', '＝', '＋', '－', '＠']) => rest,
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn profile(text: &str) -> Profile {
        toml::from_str(text).unwrap()
    }

    #[test]
    fn the_built_in_profiles_are_profiles() {
        for (name, _) in BUILT_IN {
            Profile::find(name).unwrap();
        }
    }

    #[test]
    fn rows_become_transactions_and_equal_rows_stay_two() {
        let file = b"Date,Description,Amount\n2024-05-01,Kiosk,-7.50\n2024-05-01,Kiosk,-7.50\n\n2024-05-02,\"Pay, May\",\"1,234.00\"\n";
        let export = Profile::find("generic").unwrap().read(file).unwrap();
        let items = export["accounts"][0]["transactions"].as_array().unwrap();
        let outline: Vec<_> =
            items.iter().map(|item| (item["type"].as_str().unwrap(), item["amount"].as_str().unwrap())).collect();
        assert_eq!(outline, [("debit", "7.50"), ("debit", "7.50"), ("credit", "1234.00")]);
        assert_ne!(items[0]["transaction_id"], items[1]["transaction_id"]);
        assert_eq!(Profile::find("generic").unwrap().read(file).unwrap(), export, "and the same again");
    }

    #[test]
    fn columns_by_number_other_signs_and_encodings() {
        let profile = profile(
            "[file]\ndelimiter = \";\"\nheader = false\nskip_lines = 1\nencoding = \"windows-1252\"\n\
             [columns]\ndate = 1\ndescription = 2\ndebit = 3\ncredit = 4\n[values]\ndate = \"%d.%m.%Y\"\ndecimal_sign = \",\"\n\
             [account]\nname = \"Giro\"\ncurrency = \"EUR\"\n",
        );
        let export = profile.read(b"Konto 1\n31.01.2024;Caf\xe9;1.234,50;\n01.02.2024;Lohn;;2000,00\n").unwrap();
        let account = &export["accounts"][0];
        assert_eq!((&account["name"], &account["balances"]["currency"]), (&json!("Giro"), &json!("EUR")));
        let first = &account["transactions"][0];
        assert_eq!(
            (&first["description"], &first["amount"], &first["type"]),
            (&json!("Café"), &json!("1234.50"), &json!("debit"))
        );
    }

    #[test]
    fn what_cannot_be_read_names_line_and_column() {
        let generic = Profile::find("generic").unwrap();
        for (file, expected) in [
            ("Date,Description,Amount\n2024-05-01,a,1\n01/02/2024,b,2\n", "line 3, column Date"),
            ("Date,Description,Amount\n2024-05-01,a,one\n", "line 2, column Amount: not an amount"),
            ("Date,Description,Amount\n2024-05-01,a,\n", "line 2, column Amount: no amount"),
            ("Date,Description\n2024-05-01,a\n", "line 2, column Amount: there is no such column"),
            ("Date,Description,Amount\n2024-05-01\n", "line 2, column Amount: the row is too short"),
            ("Date,Description,Amount\n", "no row"),
        ] {
            let refusal = generic.read(file.as_bytes()).unwrap_err().to_string();
            assert!(refusal.contains(expected), "{refusal}");
        }
        assert!(
            generic.read(b"Date,Description,Amount\n2024-05-01,\xe9,1\n").unwrap_err().to_string().contains("UTF-8")
        );
    }
}
