//! Statement files: a file becomes a link, a newer file of the same user and institution extends it.
//!
//! Idempotent: accounts are matched by a keyed hash of their number, transactions by the bank's id within the account,
//! so the same file twice writes nothing at all.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use jiff::Timestamp;
use passbook_connectors::port::{FileRefusal, StatementReading};
use passbook_core::{
    ids::LinkId,
    institution::{Country, Institution},
    link::{ACCOUNTS_MAX, Link, LinkSecrets, derive_link_id, lifecycle::NewLink},
    product::ProductSettings,
    reconcile::{NewAccounts, TransactionChanges, reconcile_accounts, reconcile_numbers, reconcile_transactions},
    shares::Bounds,
    snapshot::{StatementFile, StatementInstitution},
    tenant::Tenant,
    transaction::Transaction,
};
use passbook_store::{
    compute::{self, NoResult},
    places::{Place, Places},
    port::{AppInstitution, Changes, ImportKey, StoreError},
};

use super::{Actor, DECISIONS_MAX, Fault, Outcome, Services, changes_with_link, idempotency::Keep, transaction_writes};
use crate::{
    directory::{STATEMENT_FILE, file_institution},
    views,
};

/// Statement files read at once. The largest needs some 200 MiB while it is.
const IMPORTS_MAX: u32 = 3;
/// Of these, turns that a tenant leaves to others.
const IMPORTS_RESERVE: u32 = 1;
/// A file of at most so many bytes is read at once, and at most so many rows are compared at once: handing them to
/// another thread would take longer.
const BYTES_AT_ONCE_MAX: usize = 16 << 10;
pub(super) const ROWS_AT_ONCE_MAX: usize = 100;
/// Files of one tenant that wait for their turn.
const IMPORTS_WAITING_MAX: u32 = 64;
/// How long a file waits for its turn.
const IMPORT_PATIENCE: Duration = Duration::from_secs(30);
/// Institutions that the files of an app may name, beside those of the directory.
const APP_INSTITUTIONS_MAX: usize = 1_000;
/// Longest slug made of a name in a file.
const SLUG_MAX: usize = 60;

/// The turns in which statement files are read; tenants share them fairly.
pub fn import_turns() -> Arc<Places<Tenant>> {
    let bounds = Bounds {
        limit: IMPORTS_MAX,
        reserve: IMPORTS_RESERVE,
        patient_below: u32::MAX,
        waiting_max: IMPORTS_WAITING_MAX,
    };
    Places::new(bounds, IMPORT_PATIENCE)
}

/// What `work` gives: at once, or on a thread of its own where it takes long. Reading a file and comparing its rows is
/// pure computing, a second of it for tens of thousands of rows.
pub(super) async fn apart_if<T: Send + 'static>(
    takes_long: bool,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Fault> {
    if !takes_long {
        return Ok(work());
    }
    compute::run_apart(work).await.map_err(|none| match none {
        NoResult::Busy => Fault::Unavailable(Box::new(none)),
        NoResult::Panicked => Fault::Internal(Box::new(none)),
    })
}

/// A file to import.
pub struct Import {
    /// The app's own id of the end user.
    pub customer_user_id: String,
    /// The institution, when the caller knows better than the file.
    pub institution_id: Option<String>,
    /// The file.
    pub file: Bytes,
}

/// What an import did.
pub struct Imported {
    /// The link.
    pub link_id: LinkId,
    /// Its rendered object.
    pub link_view: Vec<u8>,
    /// The link is new.
    pub new_link: bool,
    /// Transactions added.
    pub created: usize,
    /// Transactions changed.
    pub updated: usize,
    /// Transactions removed.
    pub removed: usize,
    /// Transactions that were stored already, exactly so.
    pub unchanged: usize,
    /// What was left out or repaired.
    pub notes: Vec<String>,
}

/// Why a file was not imported. Nothing changed.
#[derive(Debug, thiserror::Error)]
pub enum ImportRefusal {
    /// The file cannot be read.
    #[error(transparent)]
    File(#[from] FileRefusal),
    /// The institution parameter names none.
    #[error("unknown institution")]
    UnknownInstitution,
    /// The store failed.
    #[error(transparent)]
    Fault(#[from] Fault),
}

impl From<StoreError> for ImportRefusal {
    fn from(error: StoreError) -> Self {
        Self::Fault(error.into())
    }
}

/// What the decision was made from, and the link after it.
struct Decided {
    imported: Imported,
    /// The file holds nothing new; the changes write the link as it is, which guards an answer that is kept.
    unchanged: bool,
    changes: Changes,
}

impl Services {
    /// Imports a statement file.
    ///
    /// # Errors
    /// [`ImportRefusal`].
    pub async fn import_file(
        self: &Arc<Self>,
        actor: &Actor,
        import: Import,
        keep: &Keep<Imported>,
    ) -> Result<Imported, ImportRefusal> {
        // One file may need ten times its size while it is read and compared, so few are taken at once.
        let turn = self.import_turns.enter(&actor.tenant).await;
        let turn = Arc::new(turn.map_err(|error| Fault::Unavailable(Box::new(error)))?);
        let chosen = match &import.institution_id {
            Some(id) => Some(self.known_institution(actor, id).await?.ok_or(ImportRefusal::UnknownInstitution)?),
            None => None,
        };
        let country = chosen.as_ref().map(|institution| institution.country);
        let file = Arc::new(self.read_file(actor, import.file, country, &turn).await?);
        let (institution, named) = match chosen {
            Some(institution) => (institution, None),
            None => self.institution_of_file(actor, file.institution.as_ref())?,
        };
        if let Some(named) = &named {
            self.refuse_too_many_institutions(actor, named).await?;
        }
        for _ in 0..DECISIONS_MAX {
            let decided = self.decide_import(actor, &import.customer_user_id, &institution, &file, &turn).await?;
            if decided.unchanged && !keep.is_waiting() {
                return Ok(decided.imported);
            }
            let new_rows = usize::from(decided.imported.new_link) + decided.imported.created;
            self.check_quota(&actor.tenant, new_rows).await?;
            let mut changes = decided.changes;
            if !decided.unchanged {
                changes.institution = named.clone().map(|named| (actor.tenant.clone(), named));
            }
            keep.put(&mut changes, &decided.imported, Some(&decided.imported.link_id));
            if let Outcome::Committed = self.try_commit(changes).await? {
                return Ok(decided.imported);
            }
        }
        Err(Fault::too_many_races().into())
    }

    async fn decide_import(
        self: &Arc<Self>,
        actor: &Actor,
        customer_user_id: &str,
        institution: &Institution,
        file: &Arc<StatementFile>,
        turn: &Arc<Place<Tenant>>,
    ) -> Result<Decided, ImportRefusal> {
        let import_key = self.keys.fingerprint(&actor.tenant, &format!("{customer_user_id}\n{}", institution.id));
        let now = self.now(&actor.tenant).await?;
        let existing = match self.store.find_link_by_import_key(&actor.tenant, &import_key).await? {
            Some(id) => self.store.lookup_link(&actor.tenant, &id).await?,
            None => None,
        };
        let version = existing.as_ref().map(|stored| stored.version);
        let link = match existing {
            Some(stored) => stored.link,
            None => self.new_file_link(actor, customer_user_id, institution, now).await?,
        };
        let (before, secrets_before) = (link.clone(), self.secrets_of(&link).await?.secrets);
        let stored_rows = match version {
            Some(_) => self.store.load_transactions(&actor.tenant, &link.id, None).await?,
            None => Vec::new(),
        };
        let (rows, secrets) = (link, secrets_before.clone());
        let services = self.clone();
        let statement = file.clone();
        let turn = turn.clone();
        let count = stored_rows.len() + statement.transactions.items.len();
        let merged = apart_if(count > ROWS_AT_ONCE_MAX, move || {
            let _turn = turn;
            services.merge(rows, secrets, stored_rows, &statement)
        });
        let (mut link, rows, secrets) = merged.await??;
        let unchanged = version.is_some() && rows.is_empty() && link == before && secrets == secrets_before;
        let mut imported = Imported {
            link_id: link.id.clone(),
            link_view: Vec::new(),
            new_link: version.is_none(),
            created: rows.created.len(),
            updated: rows.updated.len(),
            removed: rows.removed.len(),
            unchanged: rows.unchanged,
            notes: file.notes.clone(),
        };
        if unchanged {
            imported.link_view = views::link_view(&link);
            let changes = changes_with_link(link, version, None, |_| {});
            return Ok(Decided { imported, unchanged, changes });
        }
        self.note_import(&mut link, !rows.is_empty(), now);
        imported.link_view = views::link_view(&link);
        let writes = transaction_writes(&mut link, rows);
        let mut changes = changes_with_link(link, version, Some(secrets), |write| {
            write.import_key = ImportKey::Set(import_key);
        });
        changes.transactions = writes;
        changes.audit.push(self.audit(actor, "import_file", Some(&imported.link_id)));
        Ok(Decided { imported, unchanged, changes })
    }

    fn merge(
        &self,
        mut link: Link,
        mut secrets: LinkSecrets,
        stored_rows: Vec<Transaction>,
        file: &StatementFile,
    ) -> Result<(Link, TransactionChanges, LinkSecrets), FileRefusal> {
        let accounts = file.accounts.clone();
        let report = reconcile_accounts(&mut link, accounts, &NewAccounts::Permitted, false, &self.derivation);
        if report.left_out > 0 {
            return Err(FileRefusal::new(format!("the link would hold more than {ACCOUNTS_MAX} accounts")));
        }
        reconcile_numbers(&link, &mut secrets, file.numbers.clone(), false);
        let rows = reconcile_transactions(&mut link, stored_rows, file.transactions.clone(), &self.derivation);
        Ok((link, rows, secrets))
    }

    fn note_import(&self, link: &mut Link, new_rows: bool, now: Timestamp) {
        let unavailable = self.file_connector_text();
        link.connect(now);
        for product in self.directory.file_products().iter() {
            link.note_fetched(product, now);
            if let Some(record) = link.products.get_mut(&product) {
                record.unavailable.clone_from(&unavailable);
            }
        }
        if new_rows {
            link.announce_transactions(now);
        }
    }

    async fn new_file_link(
        &self,
        actor: &Actor,
        customer_user_id: &str,
        institution: &Institution,
        now: Timestamp,
    ) -> Result<Link, Fault> {
        let ordinal = self.store.take_ordinal(&actor.tenant.app_id, "import").await?;
        let products = self.directory.file_products();
        let from_file = Institution { connector: self.file_connector_name(), products, ..institution.clone() };
        let mut link = Link::begin(NewLink {
            id: derive_link_id(&self.derivation, &actor.tenant, "import", ordinal),
            tenant: actor.tenant.clone(),
            customer_user_id: customer_user_id.to_owned(),
            institution: &from_file,
            webhook: None,
            tags: Vec::new(),
            now,
        });
        let granted: Vec<_> =
            self.directory.file_products().iter().map(|product| (product, ProductSettings::default())).collect();
        link.grant(&granted);
        Ok(link)
    }

    /// A large file is read apart. It has the turn until that is done, even if nobody waits for it any longer.
    async fn read_file(
        self: &Arc<Self>,
        actor: &Actor,
        file: Bytes,
        country: Option<Country>,
        turn: &Arc<Place<Tenant>>,
    ) -> Result<StatementFile, ImportRefusal> {
        let services = self.clone();
        let (tenant, turn) = (actor.tenant.clone(), turn.clone());
        let reading = apart_if(file.len() > BYTES_AT_ONCE_MAX, move || {
            let _turn = turn;
            let fingerprint = |text: &str| services.keys.fingerprint(&tenant, text);
            let reading = StatementReading { fingerprint: &fingerprint, country };
            match services.directory.connector(&services.file_connector_name()) {
                Some(connector) => connector.read_statement(&file, &reading),
                None => Err(FileRefusal::new("this server reads no statement files")),
            }
        });
        Ok(reading.await??)
    }

    async fn known_institution(&self, actor: &Actor, id: &str) -> Result<Option<Institution>, Fault> {
        if let Some(institution) = self.directory.find(actor.tenant.environment, id) {
            return Ok(Some(institution.clone()));
        }
        let named = self.store.list_app_institutions(&actor.tenant).await?;
        let products = self.directory.file_products();
        Ok(named.iter().find(|named| named.id == id).map(|named| file_institution(named, products)))
    }

    /// The institution a file names, and its record when no directory has it.
    fn institution_of_file(
        &self,
        actor: &Actor,
        named: Option<&StatementInstitution>,
    ) -> Result<(Institution, Option<AppInstitution>), ImportRefusal> {
        let slug = named.and_then(|named| {
            let fid = named.fid.as_deref().map(slug).filter(|fid| !fid.is_empty());
            let org = named.org.as_deref().map(slug).filter(|org| !org.is_empty());
            // Both, when there are both: two organisations may differ in nothing else once made a slug.
            let id = match (org, &fid) {
                (Some(org), Some(fid)) => format!("{org}_{fid}"),
                (Some(only), None) => only,
                (None, Some(only)) => only.clone(),
                (None, None) => return None,
            };
            Some((fid.map(|fid| format!("ofx_{fid}")), id, named))
        });
        let Some((by_fid, id, named)) = slug else {
            let fallback =
                self.directory.find_anywhere(STATEMENT_FILE).cloned().ok_or(ImportRefusal::UnknownInstitution)?;
            return Ok((fallback, None));
        };
        if let Some(listed) = by_fid.and_then(|fid| self.directory.find(actor.tenant.environment, &fid)) {
            return Ok((listed.clone(), None));
        }
        // A file must not be able to pass itself off as a listed institution by its name alone.
        let id = if self.directory.find_anywhere(&id).is_some() { format!("file_{id}") } else { id };
        let name = named.org.clone().or_else(|| named.fid.clone()).unwrap_or_else(|| id.clone());
        let named = AppInstitution { id, name, country: Country::Us };
        Ok((file_institution(&named, self.directory.file_products()), Some(named)))
    }

    /// An app's institutions stay as long as the app does, so files must not make any number of them.
    async fn refuse_too_many_institutions(&self, actor: &Actor, named: &AppInstitution) -> Result<(), ImportRefusal> {
        let known = self.store.list_app_institutions(&actor.tenant).await?;
        if known.len() < APP_INSTITUTIONS_MAX || known.iter().any(|known| known.id == named.id) {
            return Ok(());
        }
        let text =
            format!("files have named {APP_INSTITUTIONS_MAX} institutions for this app already; name a listed one");
        Err(FileRefusal::new(text).into())
    }

    fn file_connector_name(&self) -> String {
        self.directory
            .find_anywhere(STATEMENT_FILE)
            .map(|institution| institution.connector.clone())
            .unwrap_or_default()
    }

    fn file_connector_text(&self) -> Option<String> {
        let connector = self.directory.connector(&self.file_connector_name())?;
        connector.unavailable().map(str::to_owned)
    }
}

/// A name as an id: lower-case letters and digits with single underscores between.
fn slug(name: &str) -> String {
    let mut slug = String::new();
    for letter in name.chars().take(SLUG_MAX) {
        if letter.is_ascii_alphanumeric() {
            slug.push(letter.to_ascii_lowercase());
        } else if !slug.is_empty() && !slug.ends_with('_') {
            slug.push('_');
        }
    }
    slug.trim_end_matches('_').to_owned()
}

#[cfg(test)]
mod tests {
    use super::slug;

    #[test]
    fn names_become_slugs() {
        for (name, id) in [("First Bank & Trust", "first_bank_trust"), ("B1", "b1"), ("  --  ", ""), ("Ünion", "nion")]
        {
            assert_eq!(slug(name), id);
        }
    }
}
