//! Following a link's change log: whatever happens between pages of whatever size, a reader ends with the server's set.

use std::collections::{BTreeMap, BTreeSet};

use passbook_core::{
    change_log::{Change, ChangeKind, ChangePage, LogEntry, LogWrites, LoggedChange, change_page, log_changes},
    ids::{AccountId, AppId, LinkId, TransactionId},
    institution::{Country, Institution},
    link::{Link, lifecycle::NewLink},
    product::Product,
    reconcile::TransactionChanges,
    tenant::{Environment, Tenant},
    transaction::{Direction, Transaction, TransactionDetails},
};
use proptest::prelude::*;

fn link() -> Link {
    let institution = Institution {
        id: "bank".into(),
        aliases: Vec::new(),
        name: "Bank".into(),
        country: Country::Us,
        domain: None,
        color: None,
        color_dark: None,
        is_featured: false,
        connector: "sandbox".into(),
        products: [Product::Transactions].into_iter().collect(),
    };
    Link::begin(NewLink {
        id: LinkId::from_bits(1),
        tenant: Tenant { app_id: AppId::from_bits(1), environment: Environment::Sandbox },
        customer_user_id: "user".into(),
        institution: &institution,
        webhook: None,
        tags: Vec::new(),
        now: jiff::Timestamp::UNIX_EPOCH,
    })
}

fn row(bits: u128, pending: bool) -> Transaction {
    Transaction {
        id: TransactionId::from_bits(bits),
        account_id: AccountId::from_bits(1),
        upstream_key: bits.to_string(),
        details: TransactionDetails {
            amount: 1.into(),
            direction: Direction::Debit,
            currency: "USD".into(),
            date: jiff::civil::date(2026, 1, 1),
            datetime: None,
            description: None,
            raw_description: None,
            pending,
        },
        original_id: None,
        pending_id: None,
        enrichment: None,
    }
}

struct LogRow {
    id: TransactionId,
    kind: ChangeKind,
    since: Option<u64>,
}

/// What a store does.
struct Server {
    link: Link,
    rows: BTreeMap<TransactionId, Transaction>,
    log: BTreeMap<u64, LogRow>,
    ever: u128,
}

impl Server {
    fn new() -> Self {
        Self { link: link(), rows: BTreeMap::new(), log: BTreeMap::new(), ever: 0 }
    }

    fn write(&mut self, changes: &TransactionChanges) {
        let LogWrites { dropped, removed, updated, created } = log_changes(&mut self.link, changes);
        self.log.retain(|_, row| !dropped.contains(&row.id));
        for entry in removed {
            let created = |row: &&LogRow| row.id == entry.transaction_id && row.kind == ChangeKind::Created;
            let since = self.log.iter().find(|(_, row)| created(row)).map(|(position, _)| *position);
            self.log.retain(|_, row| row.id != entry.transaction_id);
            if since.is_some() {
                self.add(entry, ChangeKind::Removed, since);
            }
        }
        for entry in updated {
            self.log.retain(|_, row| row.id != entry.transaction_id || row.kind != ChangeKind::Updated);
            self.add(entry, ChangeKind::Updated, None);
        }
        for entry in created {
            self.add(entry, ChangeKind::Created, None);
        }
        for row in &changes.removed {
            self.rows.remove(&row.id);
        }
        for row in changes.updated.iter().chain(&changes.created) {
            self.rows.insert(row.id.clone(), row.clone());
        }
    }

    fn add(&mut self, entry: LogEntry, kind: ChangeKind, since: Option<u64>) {
        let taken = self.log.insert(entry.position, LogRow { id: entry.transaction_id, kind, since });
        assert!(taken.is_none(), "a position is given once");
    }

    fn page(&self, after: u64, size: usize) -> (ChangePage, bool) {
        let visible = |row: &LogRow| row.since.is_none_or(|since| since <= after);
        let mut rows: Vec<_> = self
            .log
            .range(after + 1..)
            .filter(|(_, row)| visible(row))
            .take(size + 1)
            .map(|(position, row)| LoggedChange {
                position: *position,
                change: match row.kind {
                    ChangeKind::Created => Change::Created(self.rows[&row.id].clone()),
                    ChangeKind::Updated => Change::Updated(self.rows[&row.id].clone()),
                    ChangeKind::Removed => Change::Removed(row.id.clone()),
                },
            })
            .collect();
        let more = rows.len() > size;
        rows.truncate(size);
        (change_page(after, rows), more)
    }

    /// One refresh: pending rows are issued anew, some posted ones change or go, some rows appear.
    fn refresh(&mut self, refresh: &Refresh) {
        let mut changes = TransactionChanges::default();
        let posted: Vec<_> = self.rows.values().filter(|row| !row.details.pending).cloned().collect();
        changes.removed = self.rows.values().filter(|row| row.details.pending).cloned().collect();
        for (row, fate) in posted.into_iter().zip(refresh.fates.iter().cycle()) {
            match fate {
                0 => changes.removed.push(row),
                1 | 2 => {
                    let mut row = row;
                    row.details.amount += rust_decimal::Decimal::ONE;
                    changes.updated.push(row);
                }
                _ => {}
            }
        }
        for pending in &refresh.new {
            self.ever += 1;
            changes.created.push(row(self.ever, *pending));
        }
        self.write(&changes);
    }
}

/// What an app does with the answers.
#[derive(Default)]
struct Reader {
    position: u64,
    rows: BTreeMap<TransactionId, Transaction>,
    ever_created: BTreeSet<TransactionId>,
}

impl Reader {
    fn read(&mut self, server: &Server, size: usize) -> bool {
        let (page, more) = server.page(self.position, size);
        for row in page.created {
            assert!(self.ever_created.insert(row.id.clone()), "created twice on one chain");
            self.rows.insert(row.id.clone(), row);
        }
        for row in page.updated {
            assert!(!row.details.pending, "pending rows are never updated");
            assert!(self.rows.insert(row.id.clone(), row).is_some(), "updated before it was created");
        }
        for id in page.removed {
            assert!(self.rows.remove(&id).is_none_or(|row| !row.details.pending), "pending rows are never removed");
        }
        assert!(page.position > self.position || !more, "a page moves on");
        self.position = page.position;
        more
    }
}

#[derive(Debug, Clone)]
struct Refresh {
    fates: Vec<u8>,
    new: Vec<bool>,
}

fn refreshes() -> impl Strategy<Value = Refresh> {
    (prop::collection::vec(0_u8..12, 1..7), prop::collection::vec(prop::bool::weighted(0.3), 0..6))
        .prop_map(|(fates, new)| Refresh { fates, new })
}

fn posted(rows: &BTreeMap<TransactionId, Transaction>) -> Vec<&Transaction> {
    rows.values().filter(|row| !row.details.pending).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn a_reader_ends_with_the_servers_set_whatever_happens_between_its_pages(
        steps in prop::collection::vec((prop::option::of(refreshes()), 1_usize..9, any::<bool>()), 1..40),
    ) {
        let (mut server, mut early, mut late) = (Server::new(), Reader::default(), Reader::default());
        for (refresh, size, reads) in &steps {
            if let Some(refresh) = refresh {
                server.refresh(refresh);
            }
            early.read(&server, *size);
            if *reads {
                late.read(&server, size + 2);
            }
        }
        let mut fresh = Reader::default();
        for reader in [&mut early, &mut late, &mut fresh] {
            while reader.read(&server, 3) {}
            prop_assert_eq!(posted(&reader.rows), posted(&server.rows));
            // What is pending now was told; an app drops what a later refresh has replaced.
            prop_assert!(server.rows.keys().all(|id| reader.rows.contains_key(id)));
        }
        prop_assert_eq!(&fresh.rows, &server.rows, "who begins now is told of nothing that is gone");
        let of_data = 2 * server.rows.len() + server.ever as usize - server.rows.len();
        prop_assert!(server.log.len() <= of_data, "the log does not grow with the number of changes");
    }
}
