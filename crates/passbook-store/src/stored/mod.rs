//! What every store keeps in the same form, whichever database it runs on.
//!
//! | file | tells |
//! | --- | --- |
//! | `columns`, `rows` | decoding columns, and the rows that hold them |
//! | `document` | the stored form of the link aggregate |
//! | `met` | damage that was met while the store was used |
//! | `prepare` | a commit, serialised and sealed before any database is touched |
//! | `ledger`, `replay` | how deletions outlive a restored backup |
//! | `rotation` | data keys wrapped anew under another master key |
//! | `salvage` | what is left of a link whose document cannot be read |
//! | `sealed` | opening what is sealed in a row |
//! | `usage` | how much of an app's storage a commit takes |
//! | `values` | instants, words and keys as columns, and how a wrong one is reported |

pub(crate) mod columns;
pub(crate) mod document;
pub(crate) mod ledger;
pub(crate) mod met;
pub(crate) mod prepare;
pub(crate) mod replay;
pub(crate) mod rotation;
pub(crate) mod rows;
pub(crate) mod salvage;
pub(crate) mod sealed;
pub(crate) mod usage;
pub(crate) mod values;
