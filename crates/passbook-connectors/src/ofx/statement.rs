//! From elements to a snapshot: finds the statements in a file and gathers what they say, account by account.

use std::collections::HashMap;

use passbook_core::{
    account_numbers::AccountNumbers,
    institution::Country,
    snapshot::{BankAccount, BankAccountNumbers, BankTransactions, StatementFile, StatementInstitution},
};

use super::{
    accounts::AccountIdentity,
    balances,
    ledger::Ledger,
    notes::{Note, Notes},
    payment_numbers,
    quotes::QuotableNumbers,
    text,
    transactions::{self, RowContext, currency_code},
    tree::{Element, Tree},
};
use crate::port::{FileRefusal, StatementReading};

const STATEMENTS: [&str; 4] = ["STMTRS", "CCSTMTRS", "INVSTMTRS", "LOANSTMTRS"];
const TRANSACTIONS: [&str; 3] = ["STMTTRN", "STMTTRNP", "LOANSTMTTRN"];

/// Reads all statements of a file.
///
/// # Errors
/// The bank answered with an error, there is no statement, a statement names no account, or money in it cannot be read.
pub(super) fn read(
    tree: &Tree<'_>,
    reading: &StatementReading<'_>,
    mut notes: Notes,
) -> Result<StatementFile, FileRefusal> {
    refuse_error_status(tree)?;
    let statements = statements(tree)?;
    refuse_stray_transactions(tree, &statements)?;
    let numbers = QuotableNumbers::of_file(tree)?;
    let described = described_accounts(tree, &numbers, reading);
    let mut accounts = Accounts::default();
    for statement in statements {
        accounts.add(statement, &described, &numbers, reading, &mut notes)?;
    }
    Ok(accounts.finish(institution(tree), notes))
}

/// Refuses a file in which the bank reports a failure instead of data (`STATUS` with severity `ERROR`).
fn refuse_error_status(tree: &Tree<'_>) -> Result<(), FileRefusal> {
    for status in tree.elements().filter(|element| element.is("STATUS")) {
        let code = status.leaf("CODE").unwrap_or("0");
        let severity = status.leaf("SEVERITY").unwrap_or("ERROR");
        if code.bytes().all(|byte| byte == b'0') || !severity.eq_ignore_ascii_case("ERROR") {
            continue;
        }
        // Codes have at most five digits; anything else could be quoting the file.
        let is_code = code.len() <= 5 && code.bytes().all(|byte| byte.is_ascii_digit());
        let code = if is_code { code } else { "unknown" };
        return Err(FileRefusal::new(format!("the bank answered with an error instead of data: OFX status {code}")));
    }
    Ok(())
}

/// The statements, which never contain each other.
fn statements<'t>(tree: &'t Tree<'_>) -> Result<Vec<Element<'t>>, FileRefusal> {
    let mut statements: Vec<Element<'t>> = Vec::new();
    for element in tree.elements().filter(|element| STATEMENTS.iter().any(|name| element.is(name))) {
        if statements.last().is_some_and(|last| last.contains(element)) {
            return Err(FileRefusal::new(format!("line {}: a statement inside of another", element.line())));
        }
        statements.push(element);
    }
    if statements.is_empty() {
        return Err(FileRefusal::new("the file holds no account statement"));
    }
    Ok(statements)
}

/// A transaction outside of every statement is one whose surroundings were lost: refused rather than left out.
fn refuse_stray_transactions(tree: &Tree<'_>, statements: &[Element<'_>]) -> Result<(), FileRefusal> {
    for element in tree.elements().filter(|element| is_transaction(*element)) {
        let before = statements.partition_point(|statement| statement.precedes(element));
        let around = before.checked_sub(1).map(|last| statements[last]);
        if !around.is_some_and(|statement| statement.contains(element)) {
            return Err(FileRefusal::new(format!(
                "line {}: a transaction outside of every statement; the file is damaged",
                element.line()
            )));
        }
    }
    Ok(())
}

fn is_transaction(element: Element<'_>) -> bool {
    TRANSACTIONS.iter().any(|name| element.is(name))
}

/// What the list of accounts, if the file has one, says beside the statements.
#[derive(Default)]
struct Description {
    name: Option<String>,
    investment_type: Option<String>,
}

/// Descriptions by upstream key. Banks put account numbers into them; those are left out.
fn described_accounts(
    tree: &Tree<'_>,
    numbers: &QuotableNumbers,
    reading: &StatementReading<'_>,
) -> HashMap<String, Description> {
    let mut described = HashMap::new();
    for info in tree.elements().filter(|element| element.is("ACCTINFO")) {
        for kind in info.children() {
            let Some(account) = AccountIdentity::find(kind) else { continue };
            let name = info.leaf("DESC").filter(|name| !numbers.are_quoted_in(name)).and_then(text::label);
            let investment_type = kind.leaf("USPRODUCTTYPE").map(str::to_owned);
            described.insert(account.upstream_key(reading), Description { name, investment_type });
        }
    }
    described
}

/// The institution the file names.
fn institution(tree: &Tree<'_>) -> Option<StatementInstitution> {
    let fi = tree.elements().find(|element| element.is("FI"))?;
    let leaf = |name: &str| fi.leaf(name).and_then(text::label);
    let institution = StatementInstitution { org: leaf("ORG"), fid: leaf("FID") };
    (institution.org.is_some() || institution.fid.is_some()).then_some(institution)
}

/// The accounts of a file, each once however many statements it has.
#[derive(Default)]
struct Accounts {
    all: Vec<AccountReading>,
    by_key: HashMap<String, usize>,
}

struct AccountReading {
    account: BankAccount,
    numbers: Option<AccountNumbers>,
    ledger: Ledger,
}

impl Accounts {
    fn add(
        &mut self,
        statement: Element<'_>,
        described: &HashMap<String, Description>,
        quotable: &QuotableNumbers,
        reading: &StatementReading<'_>,
        notes: &mut Notes,
    ) -> Result<(), FileRefusal> {
        let identity = AccountIdentity::find(statement).ok_or_else(|| {
            FileRefusal::new(format!("line {}: the statement does not say which account it is about", statement.line()))
        })?;
        let key = identity.upstream_key(reading);
        let currency = currency(statement, reading, notes);
        let description = described.get(&key);
        let refinement =
            identity.loan_type.as_deref().or(description.and_then(|found| found.investment_type.as_deref()));
        let account_type = identity.kind.account_type(refinement);
        let balances = balances::read(statement, &account_type, &currency, notes)?;
        let index = match self.by_key.get(&key) {
            Some(&index) => {
                balances::merge(&mut self.all[index].account.balances, balances);
                index
            }
            None => {
                identity.note_kind(notes);
                let name = description.and_then(|found| found.name.clone());
                let account = BankAccount {
                    upstream_key: key.clone(),
                    account_type,
                    name: name.unwrap_or_else(|| identity.kind.display_name().to_owned()),
                    nickname: None,
                    mask: identity.mask(),
                    balances,
                    closed: false,
                };
                let numbers = payment_numbers::read(&identity, &currency, reading).unwrap_or_else(|note| {
                    notes.add(note);
                    None
                });
                self.all.push(AccountReading { account, numbers, ledger: Ledger::default() });
                self.by_key.insert(key, self.all.len() - 1);
                self.all.len() - 1
            }
        };
        let context = RowContext {
            numbers: quotable,
            currency: &currency,
            pending: false,
            account_position: index + 1,
            position: 0,
            reading,
        };
        add_transactions(statement, context, &mut self.all[index].ledger, notes)
    }

    fn finish(self, institution: Option<StatementInstitution>, notes: Notes) -> StatementFile {
        // A statement covers a period but not all of a link's, so nothing is ever inferred from absence.
        let mut transactions = BankTransactions { complete_since: None, items: Vec::new(), withdrawn: Vec::new() };
        let mut accounts = Vec::with_capacity(self.all.len());
        let mut number_sets = Vec::new();
        for AccountReading { account, numbers, ledger } in self.all {
            ledger.finish(&account.upstream_key, &mut transactions);
            number_sets.extend(
                numbers.map(|numbers| BankAccountNumbers { upstream_key: account.upstream_key.clone(), numbers }),
            );
            accounts.push(account);
        }
        StatementFile { institution, accounts, numbers: number_sets, transactions, notes: notes.into_texts() }
    }
}

/// Adds all transactions of a statement. Pending ones stand in a list or an element of their own.
fn add_transactions(
    statement: Element<'_>,
    mut context: RowContext<'_>,
    ledger: &mut Ledger,
    notes: &mut Notes,
) -> Result<(), FileRefusal> {
    let pending_list = statement.child("BANKTRANLISTP");
    for row in statement.descendants().filter(|element| is_transaction(*element)) {
        context.position += 1;
        context.pending = row.is("STMTTRNP") || pending_list.is_some_and(|list| list.contains(row));
        ledger.add(transactions::read(row, &context, notes)?, notes);
    }
    let investment_activity = statement.child("INVTRANLIST").into_iter().flat_map(Element::children);
    for element in investment_activity {
        if element.children().next().is_some() && !element.is("INVBANKTRAN") {
            notes.add(Note::InvestmentActivityLeftOut);
        }
    }
    Ok(())
}

/// `CURDEF`, or the currency of the institution's country.
fn currency(statement: Element<'_>, reading: &StatementReading<'_>, notes: &mut Notes) -> String {
    statement.leaf("CURDEF").and_then(currency_code).unwrap_or_else(|| {
        notes.add(Note::CurrencyAssumed);
        match reading.country {
            None | Some(Country::Us) => "USD",
            Some(Country::Ca) => "CAD",
            Some(Country::Gb) => "GBP",
        }
        .to_owned()
    })
}
