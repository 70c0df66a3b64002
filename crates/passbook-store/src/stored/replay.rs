//! Destroying a link again that an older backup brought back.

use jiff::Timestamp;
use passbook_core::{event::Event, link::Link};

use crate::port::{ImportKey, LinkWrite, StoredLink};

/// How the stub of a deleted link is shown.
#[derive(Clone, Copy)]
pub(crate) struct Stubs<'a> {
    /// Which renderer `render` is.
    pub renderer: u32,
    /// Renders the public object of a deleted link.
    pub render: &'a (dyn Fn(&Link) -> Vec<u8> + Sync),
}

/// What deletes the link at `at`, as the ledger says it was, and the events of that.
pub(crate) fn deletion_again(stored: StoredLink, at: Timestamp, stubs: Stubs<'_>) -> (LinkWrite, Vec<Event>) {
    let mut link = stored.link;
    link.delete(at);
    let events = std::mem::take(&mut link.recorded);
    let write = LinkWrite {
        renderer: stubs.renderer,
        link_view: (stubs.render)(&link),
        link,
        expected_version: Some(stored.version),
        numbers_view: None,
        secrets: None,
        credential: None,
        destroy: true,
        import_key: ImportKey::Keep,
    };
    (write, events)
}
