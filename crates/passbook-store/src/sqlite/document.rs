//! The stored form of the link aggregate: JSON that starts with its format number.
//!
//! A newer format is read if it can be and never written over; release N reads N and writes N - 1 while a roll-out
//! lasts. One document of every format is checked in and must always load.

use passbook_core::link::Link;
use serde::{Deserialize, Serialize};

use super::{columns::malformed_json, failure::ReadError};

/// The format this release writes.
pub(super) const DOCUMENT_FORMAT: u32 = 1;

#[derive(Serialize)]
struct Written<'a> {
    format: u32,
    link: &'a Link,
}

#[derive(Deserialize)]
struct Read {
    #[expect(dead_code, reason = "one format so far; the column of the same name guards writes")]
    format: u32,
    link: Link,
}

/// Serialises a link.
pub(super) fn write_document(link: &Link) -> Vec<u8> {
    serde_json::to_vec(&Written { format: DOCUMENT_FORMAT, link })
        .expect("a link has string keys only, and its types serialise without failing")
}

/// Reads a stored document of `link_id`.
pub(super) fn read_document(link_id: &str, bytes: &[u8]) -> Result<Link, ReadError> {
    serde_json::from_slice::<Read>(bytes)
        .map(|document| document.link)
        .map_err(|error| malformed_json("links", "document", link_id, &error))
}
