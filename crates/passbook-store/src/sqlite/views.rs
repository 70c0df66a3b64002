//! What readers of a link see while its rows are written before their commit takes effect.
//!
//! The write-ahead log keeps what was there for as long as somebody reads it. So before the first piece a connection
//! begins to read and goes on until the commit has taken effect or is taken back; whoever reads rows of the link
//! meanwhile reads on that connection. In between, while the last transaction is being committed, they wait for its end:
//! then the link's own row, which is read elsewhere, is never newer than what is read of its rows afterwards.

use std::{
    path::Path,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use passbook_core::ids::LinkId;
use rusqlite::{Connection, Transaction};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

use super::{
    connection::connect_reader,
    failure::{ReadError, unavailable},
};
use crate::port::StoreError;

/// How long a reader waits for a commit that is taking effect.
const WAIT_MAX: Duration = Duration::from_secs(10);
/// Begins to read: what this connection sees is fixed from here on.
const LOOK: &str = "SELECT 1 FROM write_probe WHERE probe_id = 1";

/// Shared by the writer and the readers.
#[derive(Default)]
pub(super) struct Views {
    view: Mutex<View>,
    turned: Condvar,
}

#[derive(Default)]
enum View {
    /// Everybody sees what is stored.
    #[default]
    Plain,
    /// Rows of this link are as this connection sees them.
    Before(Before),
    /// The commit is taking effect.
    Turning(Before),
}

#[derive(Clone)]
struct Before {
    link: LinkId,
    connection: Arc<Mutex<Connection>>,
    /// One reader at a time reads there, and only that one has a thread meanwhile.
    reader: Arc<Semaphore>,
}

/// What a reader of rows reads on.
pub(super) struct Rows<'a> {
    /// For the rows of every link but `held`.
    pub current: &'a Connection,
    /// A link whose rows are being written, and how to read what was there before.
    pub held: Option<(LinkId, &'a Connection)>,
}

impl Rows<'_> {
    /// The connection for a reader of one link.
    pub(super) fn of_one(&self) -> &Connection {
        self.held.as_ref().map_or(self.current, |(_, connection)| connection)
    }
}

/// The commit took longer than a reader waits.
#[derive(Debug, thiserror::Error)]
#[error("a large commit of the link is still taking effect")]
struct StillTurning;

impl Views {
    /// From now on rows of `link` are read as they are now.
    pub(super) fn hold(&self, path: &Path, link: &LinkId) -> rusqlite::Result<()> {
        let connection = connect_reader(path)?;
        connection.execute_batch("BEGIN")?;
        connection.query_row(LOOK, [], |_| Ok(()))?;
        // Readers that began before this line see the same.
        let connection = Arc::new(Mutex::new(connection));
        *self.locked() = View::Before(Before { link: link.clone(), connection, reader: Arc::new(Semaphore::new(1)) });
        Ok(())
    }

    /// Readers of the link wait for [`Views::release`] from now on.
    pub(super) fn turn(&self) {
        let mut view = self.locked();
        if let View::Before(before) = std::mem::take(&mut *view) {
            *view = View::Turning(before);
        }
    }

    /// The commit did not take effect.
    pub(super) fn turn_back(&self) {
        {
            let mut view = self.locked();
            match std::mem::take(&mut *view) {
                View::Turning(before) => *view = View::Before(before),
                other => *view = other,
            }
        }
        self.turned.notify_all();
    }

    /// Everybody sees what is stored.
    pub(super) fn release(&self) {
        *self.locked() = View::Plain;
        self.turned.notify_all();
    }

    /// A turn for a reader of these links, where only one at a time can read. `None`: none is needed.
    ///
    /// # Errors
    /// When none came in time.
    pub(super) async fn turn_of_reader(&self, links: &[LinkId]) -> Result<Option<OwnedSemaphorePermit>, StoreError> {
        let Some(reader) = self.reader_of(links) else { return Ok(None) };
        let turn = timeout(WAIT_MAX, Arc::clone(&reader).acquire_owned()).await.map_err(unavailable)?;
        // What comes after the commit needs none.
        let is_held = self.reader_of(links).is_some_and(|now| Arc::ptr_eq(&now, &reader));
        Ok(turn.ok().filter(|_| is_held))
    }

    fn reader_of(&self, links: &[LinkId]) -> Option<Arc<Semaphore>> {
        match &*self.locked() {
            View::Before(before) | View::Turning(before) if links.contains(&before.link) => Some(before.reader.clone()),
            _ => None,
        }
    }

    /// Reads rows of `links` on `connection`, in one transaction.
    pub(super) fn read<T>(
        &self,
        connection: &Connection,
        links: &[LinkId],
        read: impl FnOnce(&Rows<'_>) -> Result<T, ReadError>,
    ) -> Result<T, ReadError> {
        let (snapshot, before) = self.begin(connection, links)?;
        let result = match &before {
            None => read(&Rows { current: connection, held: None }),
            Some(before) => {
                let held = before.connection.lock().unwrap_or_else(PoisonError::into_inner);
                read(&Rows { current: connection, held: Some((before.link.clone(), &held)) })
            }
        };
        snapshot.finish()?;
        result
    }

    /// The beginning of a transaction and the decision where to read are one step: no piece comes in between.
    fn begin<'a>(
        &self,
        connection: &'a Connection,
        links: &[LinkId],
    ) -> Result<(Transaction<'a>, Option<Before>), ReadError> {
        let is_turning = |view: &mut View| matches!(view, View::Turning(before) if links.contains(&before.link));
        let (view, waited) =
            self.turned.wait_timeout_while(self.locked(), WAIT_MAX, is_turning).unwrap_or_else(PoisonError::into_inner);
        if waited.timed_out() {
            return Err(unavailable(StillTurning).into());
        }
        let before = match &*view {
            View::Before(before) if links.contains(&before.link) => Some(before.clone()),
            _ => None,
        };
        let snapshot = connection.unchecked_transaction()?;
        connection.prepare_cached(LOOK)?.query_row([], |_| Ok(()))?;
        drop(view);
        Ok((snapshot, before))
    }

    fn locked(&self) -> MutexGuard<'_, View> {
        self.view.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
