//! Links made of data that the app already has (`POST /links/import`), and more transactions for them.
//!
//! Such a link shows that its access has ended, and what was imported is readable all the same, until the end user
//! reconnects it. Then it is a link like any other, served by its institution: its accounts are found again by their
//! mask, its transactions by amount, date and words, and nothing more can be imported.

use std::{collections::HashMap, sync::Arc};

use jiff::{Timestamp, civil::Date};
use passbook_core::{
    account::{AccountType, Balances},
    ids::LinkId,
    institution::Institution,
    link::{Link, LinkErrorCode, LinkSecrets, derive_link_id, lifecycle::NewLink},
    product::{Product, ProductSettings},
    reconcile::{NewAccounts, TransactionChanges, reconcile_accounts, reconcile_transactions},
    snapshot::{BankAccount, BankTransaction, BankTransactions},
    transaction::{Direction, Transaction, TransactionDetails},
};
use rust_decimal::Decimal;

use super::{
    Actor, DECISIONS_MAX, Fault, Outcome, Services, changes_with_link,
    idempotency::Keep,
    imports::{ROWS_AT_ONCE_MAX, apart_if},
    links::LinkRefusal,
    transaction_writes,
};
use crate::views;

/// Stands where links name their connector. No connector has this name: an import is never fetched again, and a
/// reconnect, which brings a connector, fetches everything.
const NO_CONNECTOR: &str = "import";
/// What the caller's ids are prefixed by in upstream keys, so that none of them looks like a key of ours.
const THEIRS: &str = "import:";
/// Currency of transactions whose account has none.
const DEFAULT_CURRENCY: &str = "USD";
/// Providers whose own institution ids are understood, in the form `mx.chase`.
const PROVIDERS: [&str; 6] = ["moneykit", "finicity", "plaid", "yodlee", "mx", "akoya"];

/// A link to import.
pub struct LinkImport {
    /// The app's own id of the end user.
    pub customer_user_id: String,
    /// Id of an institution, or a provider's name for it.
    pub institution_id: String,
    /// At least one; ids are unique.
    pub accounts: Vec<ImportedAccount>,
    /// Of these accounts.
    pub transactions: Vec<ImportedTransaction>,
}

/// An account as the caller has it.
pub struct ImportedAccount {
    /// The caller's id.
    pub id: String,
    /// Display name.
    pub name: String,
    /// The user's name for it.
    pub nickname: Option<String>,
    /// Any text.
    pub account_type: String,
    /// The end of the account number.
    pub mask: Option<String>,
    /// Balances.
    pub balances: Balances,
}

/// A transaction as the caller has it.
#[derive(Clone)]
pub struct ImportedTransaction {
    /// The caller's id of the account.
    pub account_id: String,
    /// The caller's id; without one, equal transactions are counted.
    pub id: Option<String>,
    /// Positive credit, negative debit.
    pub amount: Decimal,
    /// Effective date.
    pub date: Date,
    /// When it was given to the second.
    pub datetime: Option<Timestamp>,
    /// Cleaned description.
    pub description: Option<String>,
}

/// What an import made.
pub struct ImportedLink {
    /// The link.
    pub link_id: LinkId,
    /// Its rendered object.
    pub link_view: Vec<u8>,
}

/// Why nothing was imported.
#[derive(Debug, thiserror::Error)]
pub enum ImportLinkRefusal {
    /// No institution has this id.
    #[error("unknown institution")]
    UnknownInstitution,
    /// A transaction names an account that the link does not have.
    #[error("transaction {0} is of an unknown account")]
    UnknownAccount(usize),
    /// The link was not imported, or was reconnected since.
    #[error("not an imported link")]
    NotImported,
    /// The link cannot be used.
    #[error(transparent)]
    Link(#[from] LinkRefusal),
    /// The store failed.
    #[error(transparent)]
    Fault(#[from] Fault),
}

impl Services {
    /// Makes a link of `import`.
    ///
    /// # Errors
    /// [`ImportLinkRefusal`].
    pub async fn import_link(
        self: &Arc<Self>,
        actor: &Actor,
        import: LinkImport,
        keep: &Keep<ImportedLink>,
    ) -> Result<ImportedLink, ImportLinkRefusal> {
        let institution =
            self.imported_institution(actor, &import.institution_id).ok_or(ImportLinkRefusal::UnknownInstitution)?;
        let now = self.now(&actor.tenant).await?;
        let mut link = self.new_imported_link(actor, &import.customer_user_id, &institution, now).await?;
        self.add_accounts(&mut link, import.accounts);
        let (mut link, rows) = self.merge_imported(link, Vec::new(), import.transactions).await?;
        self.check_quota(&actor.tenant, 1 + rows.created.len()).await?;
        link.note_fetched(Product::Accounts, now);
        link.note_fetched(Product::Transactions, now);
        link.fail(LinkErrorCode::AuthExpired, now);
        let imported = ImportedLink { link_id: link.id.clone(), link_view: views::link_view(&link) };
        let writes = transaction_writes(&mut link, rows);
        let mut changes = changes_with_link(link, None, Some(LinkSecrets::default()), |_| {});
        changes.transactions = writes;
        changes.audit.push(self.audit(actor, "import_link", Some(&imported.link_id)));
        keep.put(&mut changes, &imported, Some(&imported.link_id));
        match self.try_commit(changes).await? {
            Outcome::Committed => Ok(imported),
            // The id was made a moment ago, of an ordinal that is handed out once.
            Outcome::LostRace(_) => Err(Fault::too_many_races().into()),
        }
    }

    /// Adds transactions to an imported link; those it has under the same id are changed.
    ///
    /// # Errors
    /// [`ImportLinkRefusal`].
    pub async fn import_transactions(
        self: &Arc<Self>,
        actor: &Actor,
        id: &LinkId,
        transactions: Vec<ImportedTransaction>,
        keep: &Keep<ImportedLink>,
    ) -> Result<ImportedLink, ImportLinkRefusal> {
        for _ in 0..DECISIONS_MAX {
            let stored = self.load(actor, id).await?;
            if !stored.link.is_readable_import() {
                return Err(ImportLinkRefusal::NotImported);
            }
            let now = self.now(&actor.tenant).await?;
            let known = self.store.load_transactions(&actor.tenant, id, None).await.map_err(Fault::from)?;
            let (mut link, rows) = self.merge_imported(stored.link, known, transactions.clone()).await?;
            self.check_quota(&actor.tenant, rows.created.len()).await?;
            link.note_fetched(Product::Transactions, now);
            if !rows.is_empty() {
                link.announce_transactions(now);
            }
            let imported = ImportedLink { link_id: id.clone(), link_view: views::link_view(&link) };
            let writes = transaction_writes(&mut link, rows);
            let mut changes = changes_with_link(link, Some(stored.version), None, |_| {});
            changes.transactions = writes;
            changes.audit.push(self.audit(actor, "import_transactions", Some(id)));
            keep.put(&mut changes, &imported, Some(id));
            if let Outcome::Committed = self.try_commit(changes).await? {
                return Ok(imported);
            }
        }
        Err(Fault::too_many_races().into())
    }

    /// By id or alias, or by a provider's name for it.
    fn imported_institution(&self, actor: &Actor, id: &str) -> Option<Institution> {
        let environment = actor.tenant.environment;
        let theirs = id.split_once('.').filter(|(provider, _)| PROVIDERS.contains(provider)).map(|(_, theirs)| theirs);
        let found = self.directory.find(environment, id);
        found.or_else(|| self.directory.find(environment, theirs?)).cloned()
    }

    async fn new_imported_link(
        &self,
        actor: &Actor,
        customer_user_id: &str,
        institution: &Institution,
        now: Timestamp,
    ) -> Result<Link, Fault> {
        let ordinal = self.store.take_ordinal(&actor.tenant.app_id, "import").await?;
        // What can be added later is the institution's business; what was imported is there whatever it offers.
        let mut products = institution.products;
        products.insert(Product::Transactions);
        let source = Institution { connector: NO_CONNECTOR.to_owned(), products, ..institution.clone() };
        let mut link = Link::begin(NewLink {
            id: derive_link_id(&self.derivation, &actor.tenant, "import", ordinal),
            tenant: actor.tenant.clone(),
            customer_user_id: customer_user_id.to_owned(),
            institution: &source,
            webhook: None,
            tags: Vec::new(),
            now,
        });
        link.imported = true;
        link.grant(&[(Product::Transactions, ProductSettings::default())]);
        Ok(link)
    }

    fn add_accounts(&self, link: &mut Link, accounts: Vec<ImportedAccount>) {
        let accounts = accounts.into_iter().map(|account| BankAccount {
            upstream_key: format!("{THEIRS}{}", account.id),
            account_type: AccountType(normal_type(&account.account_type)),
            name: account.name,
            nickname: account.nickname,
            mask: account.mask.as_deref().and_then(normal_mask),
            balances: account.balances,
            closed: false,
        });
        reconcile_accounts(link, accounts.collect(), &NewAccounts::Permitted, false, &self.derivation);
        for account in &mut link.accounts {
            account.original_id = account.upstream_key.strip_prefix(THEIRS).map(str::to_owned);
        }
    }

    /// Compares rows, in turn with files.
    async fn merge_imported(
        self: &Arc<Self>,
        link: Link,
        stored: Vec<Transaction>,
        transactions: Vec<ImportedTransaction>,
    ) -> Result<(Link, TransactionChanges), ImportLinkRefusal> {
        let turn = self.import_turns.enter(&link.tenant).await;
        let turn = turn.map_err(|error| Fault::Unavailable(Box::new(error)))?;
        let services = self.clone();
        let count = stored.len() + transactions.len();
        let merged = apart_if(count > ROWS_AT_ONCE_MAX, move || {
            let _turn = turn;
            services.merge_transactions(link, stored, transactions)
        });
        merged.await?
    }

    fn merge_transactions(
        &self,
        mut link: Link,
        stored: Vec<Transaction>,
        transactions: Vec<ImportedTransaction>,
    ) -> Result<(Link, TransactionChanges), ImportLinkRefusal> {
        let currencies: HashMap<&str, Option<&str>> = link
            .accounts
            .iter()
            .filter_map(|account| Some((account.original_id.as_deref()?, account.balances.currency.as_deref())))
            .collect();
        let mut items = Vec::with_capacity(transactions.len());
        for (index, transaction) in transactions.into_iter().enumerate() {
            let currency = currencies.get(transaction.account_id.as_str());
            let currency = currency.ok_or(ImportLinkRefusal::UnknownAccount(index))?.unwrap_or(DEFAULT_CURRENCY);
            items.push(bank_transaction(transaction, currency));
        }
        let reported = BankTransactions { complete_since: None, items, withdrawn: Vec::new() };
        let mut rows = reconcile_transactions(&mut link, stored, reported, &self.derivation);
        for row in &mut rows.created {
            row.original_id = row.upstream_key.strip_prefix(THEIRS).map(str::to_owned);
        }
        Ok((link, rows))
    }
}

fn bank_transaction(transaction: ImportedTransaction, currency: &str) -> BankTransaction {
    let (amount, direction) = Direction::split(transaction.amount);
    BankTransaction {
        account_key: format!("{THEIRS}{}", transaction.account_id),
        upstream_key: transaction.id.map(|id| format!("{THEIRS}{id}")),
        replaces: None,
        details: TransactionDetails {
            amount,
            direction,
            currency: currency.to_owned(),
            date: transaction.date,
            datetime: transaction.datetime,
            description: transaction.description,
            raw_description: None,
            pending: false,
        },
    }
}

/// A type of the contract's list (contract, section 7); what is not in it is `unknown`.
fn normal_type(text: &str) -> String {
    const KNOWN: [&str; 23] = [
        "depository.cash",
        "depository.checking",
        "depository.savings",
        "depository.prepaid",
        "depository.money_market",
        "depository.cd",
        "depository.other",
        "liability.credit_card",
        "liability.line_of_credit",
        "liability.loan",
        "liability.mortgage",
        "liability.student_loan",
        "liability.auto_loan",
        "liability.other",
        "investment.brokerage",
        "investment.retirement",
        "investment.401k",
        "investment.ira",
        "investment.other",
        "other",
        "other.insurance",
        "unknown",
        "investment",
    ];
    let text = text.trim().to_lowercase();
    let dotted = match text.as_str() {
        "investment" => "investment.other".to_owned(),
        "credit_card" => "liability.credit_card".to_owned(),
        "loan.general" => "liability.loan".to_owned(),
        loan if loan.starts_with("loan.") => loan.replacen("loan.", "liability.", 1),
        bare if KNOWN.contains(&format!("depository.{bare}").as_str()) && bare != "other" => {
            format!("depository.{bare}")
        }
        other => other.to_owned(),
    };
    if KNOWN.contains(&dotted.as_str()) { dotted } else { "unknown".to_owned() }
}

/// The last four letters or digits: a caller may send the whole number, which has no business in a mask.
fn normal_mask(mask: &str) -> Option<String> {
    let letters: Vec<char> = mask.chars().filter(|letter| letter.is_ascii_alphanumeric()).collect();
    let last = &letters[letters.len().saturating_sub(4)..];
    (!last.is_empty()).then(|| last.iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_become_the_contracts() {
        for (given, normal) in [
            ("depository.checking", "depository.checking"),
            ("Checking", "depository.checking"),
            ("savings", "depository.savings"),
            ("credit_card", "liability.credit_card"),
            ("loan.mortgage", "liability.mortgage"),
            ("loan.general", "liability.loan"),
            ("investment", "investment.other"),
            ("other", "other"),
            ("piggy bank", "unknown"),
            ("", "unknown"),
        ] {
            assert_eq!(normal_type(given), normal, "{given}");
        }
    }

    #[test]
    fn a_mask_is_the_end_of_whatever_was_sent() {
        for (given, mask) in [("1234", Some("1234")), ("****9876", Some("9876")), ("000123456789", Some("6789"))] {
            assert_eq!(normal_mask(given).as_deref(), mask);
        }
        assert_eq!((normal_mask("12").as_deref(), normal_mask("--")), (Some("12"), None));
    }
}
