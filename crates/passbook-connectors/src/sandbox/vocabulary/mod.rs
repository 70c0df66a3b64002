//! The words simulated people are made of. All merchants and employers are invented.
//!
//! The order of a table's entries is part of everybody's data; append nothing without meaning to change it.

pub(super) mod merchants;
pub(super) mod names;
pub(super) mod places;
