//! How much a statement file may ask of the reader.
//!
//! Every bound is checked before the work it bounds, so a hostile file costs one pass over its bytes at most. A real
//! file stays far below: one transaction takes about eight elements and 300 bytes, a year of one account about 4,000
//! transactions.

/// Size of a file. Sixteen mebibytes are some 50,000 transactions.
pub(super) const FILE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Elements in a file. With [`super::tree`]'s fixed cost per element this bounds the reader's memory.
pub(super) const ELEMENTS_MAX: usize = 500_000;

/// Elements open at once. OFX itself needs about ten; empty SGML leaves stay open until their parent is closed.
pub(super) const DEPTH_MAX: usize = 64;

/// Bytes of one tag from `<` to `>`. OFX has no attributes apart from an XML name space on the root.
pub(super) const TAG_BYTES_MAX: usize = 1024;

/// Bytes of one element name.
pub(super) const NAME_BYTES_MAX: usize = 64;

/// Bytes of one value as it is read. The longest that OFX defines, `MEMO`, has 255 characters.
pub(super) const VALUE_BYTES_MAX: usize = 16 * 1024;

/// Bytes at the start of a file in which a header is looked for.
pub(super) const HEADER_BYTES_MAX: usize = 4 * 1024;

/// Characters of one account number, without grouping. OFX 11.3.1 allows 22, an IBAN has up to 34.
pub(super) const ACCOUNT_NUMBER_CHARS_MAX: usize = 64;

/// Characters of all different account numbers together, shared beginnings once: more than 10,000 numbers, the other
/// sides of transfers included.
/// Bounds the memory of [`super::quotes`].
pub(super) const ACCOUNT_NUMBERS_CHARS_MAX: usize = 250_000;

/// Characters kept of a name: `ORG` and `FID` of the institution, `DESC` of an account, `NAME` of a transaction. `NAME`
/// has room for 32 by the standard, and banks write more.
pub(super) const LABEL_CHARS_MAX: usize = 255;

/// Characters kept of a `MEMO`, and of name and memo together. OFX allows 255.
pub(super) const DESCRIPTION_CHARS_MAX: usize = 1_000;

/// Characters of a transaction id; OFX 11.4.3 allows 255. A longer one is treated as missing.
pub(super) const FITID_CHARS_MAX: usize = 255;
