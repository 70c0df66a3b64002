//! The connector port and the connectors behind it.
//!
//! A connector translates one upstream into Passbook's model and decides nothing else: it drives sign-in as a sequence
//! of [`port::Step`]s, fetches one product at a time as a normalised [`passbook_core::snapshot::Snapshot`], classifies
//! failures, and revokes. It stores nothing and knows nothing of links, applications or the API.
#![deny(missing_docs)]

pub mod edits;
pub mod exported;
pub mod ofx;
pub mod port;
pub mod sandbox;
