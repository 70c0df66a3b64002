//! Statement files that a person downloads from their bank: OFX and its relatives QFX and QBO.
//!
//! There is no sign-in and nothing to fetch: a link begins with a file and is updated by a newer one. [`OfxConnector`]
//! therefore refuses both with a text that says so ([`UNAVAILABLE`]) and reads files.
//!
//! A file passes through these modules, each of which can refuse it:
//!
//! | module | does |
//! | --- | --- |
//! | `encoding`, `header` | bytes to text |
//! | `tokens`, `tree` | text to elements, SGML and XML alike |
//! | `statement` | elements to accounts, with `accounts`, `balances`, `payment_numbers`, `transactions`, `ledger` |
//! | `amounts`, `dates`, `text` | values |
//! | `quotes` | account numbers that texts repeat |
//! | `limits`, `notes` | what a file may cost, and what is said about it |
//!
//! The reader is tolerant of form and strict about money: any spelling of the format that has one meaning is read, and
//! an amount, date or structure that could hide or distort a transaction refuses the file. It opens nothing, expands
//! no entities, and its messages name lines, standard tags and OFX status codes only. Numbers of other people's
//! accounts (`BANKACCTTO`, `CCACCTTO`) are read only to shorten quotes of them.
//!
//! Source: OFX 1.6 and 2.2, sections 2, 3 and 11; section numbers in here are those of 2.2.

mod accounts;
mod amounts;
mod balances;
mod dates;
mod encoding;
mod header;
mod ledger;
mod limits;
mod notes;
mod payment_numbers;
mod quotes;
mod statement;
mod text;
mod tokens;
mod transactions;
mod tree;

use async_trait::async_trait;
use passbook_core::{
    failure::{Failure, FailureClass},
    institution::{Country, Institution},
    product::Product,
    snapshot::StatementFile,
};

use crate::exported;
use crate::port::{Answer, Connector, Fetch, Fetched, FileRefusal, Progress, SignIn, StatementReading, Step};

/// Why products of a statement link cannot be refreshed; shown as the products' `unavailable` text.
pub const UNAVAILABLE: &str = "Only a newer statement file updates this link.";

/// Id of the institution that takes files whose own institution is not known.
pub const STATEMENT_FILE_INSTITUTION: &str = "statement_file";

/// Reads OFX 1.x and 2.x statement files, and exports of another Passbook.
#[derive(Debug, Clone, Copy, Default)]
pub struct OfxConnector;

#[async_trait]
impl Connector for OfxConnector {
    fn name(&self) -> &'static str {
        "ofx"
    }

    fn institutions(&self) -> Vec<Institution> {
        vec![Institution {
            id: STATEMENT_FILE_INSTITUTION.to_owned(),
            aliases: Vec::new(),
            name: "Statement file".to_owned(),
            country: Country::Us,
            domain: None,
            color: None,
            color_dark: None,
            is_featured: false,
            connector: self.name().to_owned(),
            products: [Product::Accounts, Product::AccountNumbers, Product::Transactions].into_iter().collect(),
        }]
    }

    async fn begin_sign_in(&self, _sign_in: &SignIn<'_>) -> Result<(Step, Progress), Failure> {
        Err(no_sign_in())
    }

    async fn continue_sign_in(
        &self,
        _sign_in: &SignIn<'_>,
        _progress: Progress,
        _answer: Answer,
    ) -> Result<(Step, Progress), Failure> {
        Err(no_sign_in())
    }

    async fn fetch(&self, _fetch: &Fetch<'_>, _product: Product) -> Result<Fetched, Failure> {
        Err(Failure::new(FailureClass::NotSupported, UNAVAILABLE))
    }

    async fn revoke(&self, _fetch: &Fetch<'_>) -> Result<(), Failure> {
        Ok(())
    }

    fn unavailable(&self) -> Option<&'static str> {
        Some(UNAVAILABLE)
    }

    fn read_statement(&self, file: &[u8], reading: &StatementReading<'_>) -> Result<StatementFile, FileRefusal> {
        if exported::is_one(file) {
            return exported::read(file, reading);
        }
        let mut notes = notes::Notes::default();
        let text = encoding::decode(file, &mut notes)?;
        let tree = tree::Tree::parse(&text)?;
        statement::read(&tree, reading, notes)
    }
}

fn no_sign_in() -> Failure {
    Failure::new(FailureClass::NotSupported, "This institution has no sign-in: upload a statement file instead.")
}
