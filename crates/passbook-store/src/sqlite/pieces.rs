//! A commit with very many rows, in pieces: other commits go on between them.
//!
//! The rows are written first, a piece in each of several transactions. Nobody sees them meanwhile: readers of the link
//! keep to what was there before the first piece (`views`), other commits of the link wait, and a new link is a place
//! that no finder sees. The last transaction writes everything else of the commit, under all of its guards, and from
//! then on it is there. When a guard is lost, or the process ends in between, the pieces are taken back (`backlog`).
//!
//! The guards are tried before the first piece, too, so that a commit which is stale already costs nothing.

use passbook_core::ids::LinkId;
use rusqlite::Connection;

use super::{
    apply::apply,
    backlog, changes,
    failure::{ReadError, WriteError},
    investments,
    links::keep_place,
    request::Effects,
    transactions,
    undo::{Replaced, Table},
};
use crate::{
    port::{InvestmentWrites, TransactionWrites},
    stored::prepare::Prepared,
};

/// A commit that writes more rows than this goes in pieces; on the machine of the measurements these take 10 ms.
pub(super) const ROWS_AT_ONCE: usize = 2_000;
/// Rows between two looks at the time.
const ROWS_BETWEEN_LOOKS: usize = 128;

/// Of the disk that one row takes, on the safe side.
const BYTES_PER_ROW: u64 = 4 << 10;

/// What is written one after the other. The order is that of an ordinary commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Removed,
    Parked,
    Updated,
    Created,
    LogDropped,
    LogRemoved,
    LogUpdated,
    LogCreated,
    InvestmentsRemoved,
    InvestmentsUpdated,
    InvestmentsCreated,
}

const KINDS: [Kind; 11] = [
    Kind::Removed,
    Kind::Parked,
    Kind::Updated,
    Kind::Created,
    Kind::LogDropped,
    Kind::LogRemoved,
    Kind::LogUpdated,
    Kind::LogCreated,
    Kind::InvestmentsRemoved,
    Kind::InvestmentsUpdated,
    Kind::InvestmentsCreated,
];

/// How far a commit has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Place {
    kind: usize,
    row: usize,
}

/// A commit whose rows are apart from the rest.
pub(super) struct Pieces {
    link: LinkId,
    is_new: bool,
    transactions: TransactionWrites,
    investments: Option<InvestmentWrites>,
    rest: Prepared,
}

impl Pieces {
    /// Takes a large commit apart; gives an ordinary one back.
    pub(super) fn of(mut prepared: Prepared) -> Result<Self, Box<Prepared>> {
        let rows = count(&prepared);
        let Some(link) = link_of(&prepared).filter(|_| rows > ROWS_AT_ONCE) else { return Err(Box::new(prepared)) };
        let mut investments = prepared.rest.investments.take();
        if let Some(writes) = &mut investments {
            // The portfolio is one row, which everybody sees at once.
            let portfolio = writes.changes.portfolio.clone();
            let alone = passbook_core::reconcile::InvestmentChanges { portfolio, ..Default::default() };
            prepared.rest.investments = Some(InvestmentWrites { link_id: link.clone(), changes: alone });
        }
        Ok(Self {
            is_new: prepared.link.as_ref().is_some_and(|write| write.expected_version.is_none()),
            transactions: prepared.rest.transactions.take().unwrap_or_default(),
            investments,
            link,
            rest: prepared,
        })
    }

    pub(super) fn link(&self) -> &LinkId {
        &self.link
    }

    /// Whether the link becomes visible with this commit.
    pub(super) fn is_new(&self) -> bool {
        self.is_new
    }

    /// More than the commit takes of the disk: its rows, their index entries, their share of the log, and what they
    /// replace.
    pub(super) fn bytes(&self) -> u64 {
        KINDS.iter().map(|kind| self.length(*kind) as u64 * BYTES_PER_ROW).sum()
    }

    /// Finds out whether the commit could take effect now, and changes nothing.
    pub(super) fn try_guards(&self, connection: &Connection) -> Result<(), WriteError> {
        connection.prepare_cached("SAVEPOINT guards")?.execute([])?;
        let outcome = apply(connection, &self.rest, &mut Effects::default());
        if !connection.is_autocommit() {
            connection.prepare_cached("ROLLBACK TO guards")?.execute([])?;
            connection.prepare_cached("RELEASE guards")?.execute([])?;
        }
        outcome
    }

    /// Writes what comes before the first row.
    pub(super) fn begin(&self, connection: &Connection) -> Result<(), WriteError> {
        backlog::begin_commit(connection, &self.link, self.is_new)?;
        match &self.rest.link {
            Some(write) if self.is_new => keep_place(connection, &write.link),
            _ => Ok(()),
        }
    }

    /// Writes rows from `place` on until the time is up; where it ended, `None` behind the last row.
    pub(super) fn write(
        &self,
        connection: &Connection,
        mut place: Place,
        is_time_up: &dyn Fn() -> bool,
    ) -> Result<Option<Place>, WriteError> {
        let mut replaced = Replaced::default();
        while let Some(kind) = KINDS.get(place.kind) {
            let end = (place.row + ROWS_BETWEEN_LOOKS).min(self.length(*kind));
            if place.row >= end {
                place = Place { kind: place.kind + 1, row: 0 };
                continue;
            }
            self.write_rows(connection, *kind, place.row..end, &mut replaced)?;
            place.row = end;
            if is_time_up() {
                break;
            }
        }
        if !replaced.is_empty() {
            backlog::add_undo(connection, &self.link, &replaced)?;
        }
        Ok((place.kind < KINDS.len()).then_some(place))
    }

    /// Writes everything but the rows, under all guards: the commit takes effect.
    pub(super) fn take_effect(&self, connection: &Connection, effects: &mut Effects) -> Result<(), WriteError> {
        effects.has_backlog |= backlog::end_commit(connection, &self.link)?;
        apply(connection, &self.rest, effects)
    }

    fn length(&self, kind: Kind) -> usize {
        let (rows, log) = (&self.transactions, &self.transactions.log);
        let investments = self.investments.as_ref().map(|writes| &writes.changes);
        match kind {
            Kind::Removed => rows.removed.len(),
            Kind::Parked if rows.updated.len() == 1 => 0,
            Kind::Parked | Kind::Updated => rows.updated.len(),
            Kind::Created => rows.created.len(),
            Kind::LogDropped => log.dropped.len(),
            Kind::LogRemoved => log.removed.len(),
            Kind::LogUpdated => log.updated.len(),
            Kind::LogCreated => log.created.len(),
            Kind::InvestmentsRemoved => investments.map_or(0, |changes| changes.removed.len()),
            Kind::InvestmentsUpdated => investments.map_or(0, |changes| changes.updated.len()),
            Kind::InvestmentsCreated => investments.map_or(0, |changes| changes.created.len()),
        }
    }

    fn write_rows(
        &self,
        connection: &Connection,
        kind: Kind,
        range: std::ops::Range<usize>,
        replaced: &mut Replaced,
    ) -> Result<(), WriteError> {
        let (link, rows, log) = (&self.link, &self.transactions, &self.transactions.log);
        if !self.is_new {
            self.note(connection, kind, range.clone(), replaced)?;
        }
        match (kind, &self.investments) {
            (Kind::Removed, _) => transactions::remove(connection, link, &rows.removed[range]),
            (Kind::Parked, _) => transactions::park(connection, link, &rows.updated[range]),
            (Kind::Updated, _) => transactions::update(connection, link, &rows.updated[range]),
            (Kind::Created, _) => transactions::create(connection, link, &rows.created[range]),
            (Kind::LogDropped, _) => changes::drop_entries(connection, link, &log.dropped[range]),
            (Kind::LogRemoved, _) => changes::remove_entries(connection, link, &log.removed[range]),
            (Kind::LogUpdated, _) => changes::update_entries(connection, link, &log.updated[range]),
            (Kind::LogCreated, _) => changes::create_entries(connection, link, &log.created[range]),
            (Kind::InvestmentsRemoved, Some(writes)) => {
                investments::remove(connection, link, &writes.changes.removed[range])
            }
            (Kind::InvestmentsUpdated, Some(writes)) => {
                investments::update(connection, link, &writes.changes.updated[range])
            }
            (Kind::InvestmentsCreated, Some(writes)) => {
                investments::create(connection, link, &writes.changes.created[range])
            }
            (_, None) => Ok(()),
        }
    }

    /// Notes what is about to be replaced, in case the commit has to be taken back.
    fn note(
        &self,
        connection: &Connection,
        kind: Kind,
        range: std::ops::Range<usize>,
        replaced: &mut Replaced,
    ) -> Result<(), ReadError> {
        let (rows, log) = (&self.transactions, &self.transactions.log);
        let investments = self.investments.as_ref().map(|writes| &writes.changes);
        let mut note = |table, ids: &mut dyn Iterator<Item = &str>| {
            replaced.note(connection, self.link.as_str(), table, ids).map_err(ReadError::from)
        };
        match kind {
            Kind::Removed => note(Table::Transactions, &mut rows.removed[range].iter().map(|id| id.as_str())),
            Kind::Parked | Kind::Updated => {
                note(Table::Transactions, &mut rows.updated[range].iter().map(|row| row.id.as_str()))
            }
            Kind::Created => note(Table::Transactions, &mut rows.created[range].iter().map(|row| row.id.as_str())),
            Kind::LogDropped => note(Table::TransactionChanges, &mut log.dropped[range].iter().map(|id| id.as_str())),
            Kind::LogRemoved | Kind::LogUpdated | Kind::LogCreated => {
                let entries = match kind {
                    Kind::LogRemoved => &log.removed,
                    Kind::LogUpdated => &log.updated,
                    _ => &log.created,
                };
                note(Table::TransactionChanges, &mut entries[range].iter().map(|entry| entry.transaction_id.as_str()))
            }
            Kind::InvestmentsRemoved | Kind::InvestmentsUpdated | Kind::InvestmentsCreated => {
                let Some(changes) = investments else { return Ok(()) };
                let ids: Vec<&str> = match kind {
                    Kind::InvestmentsRemoved => changes.removed[range].iter().map(|id| id.as_str()).collect(),
                    Kind::InvestmentsUpdated => changes.updated[range].iter().map(|row| row.id.as_str()).collect(),
                    _ => changes.created[range].iter().map(|row| row.id.as_str()).collect(),
                };
                note(Table::InvestmentTransactions, &mut ids.into_iter())
            }
        }
    }
}

/// How many rows a commit writes, those that every commit has aside.
fn count(prepared: &Prepared) -> usize {
    let transactions = prepared.rest.transactions.as_ref().map_or(0, |rows| {
        let log = &rows.log;
        let logged = log.dropped.len() + log.removed.len() + log.updated.len() + log.created.len();
        rows.removed.len() + rows.updated.len() + rows.created.len() + logged
    });
    let investments =
        prepared.rest.investments.as_ref().map_or(0, |writes| {
            writes.changes.removed.len() + writes.changes.updated.len() + writes.changes.created.len()
        });
    transactions + investments
}

/// The one link that the commit writes; `None` when there is none or several, or when it is being deleted.
fn link_of(prepared: &Prepared) -> Option<LinkId> {
    let rest = &prepared.rest;
    let write = prepared.link.as_ref();
    let named = [
        write.map(|write| &write.link.id),
        rest.transactions.as_ref().and_then(|writes| writes.link_id.as_ref()),
        rest.investments.as_ref().map(|writes| &writes.link_id),
    ];
    let mut named = named.into_iter().flatten();
    let first = named.next()?;
    let is_whole = write.is_none_or(|write| !write.destroy) && named.all(|other| other == first);
    is_whole.then(|| first.clone())
}

/// The link whose rows or state the commit writes.
pub(super) fn written_link(prepared: &Prepared) -> Option<LinkId> {
    let rest = &prepared.rest;
    let of_rows = rest.transactions.as_ref().and_then(|writes| writes.link_id.clone());
    let of_investments = || rest.investments.as_ref().map(|writes| writes.link_id.clone());
    prepared.link.as_ref().map(|write| write.link.id.clone()).or(of_rows).or_else(of_investments)
}
