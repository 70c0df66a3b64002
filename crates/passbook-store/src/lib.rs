//! passbook-store
