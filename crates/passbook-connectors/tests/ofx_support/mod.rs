//! What both OFX test binaries need: the fixtures and a reading without secrets.

use std::{fs, path::PathBuf};

use passbook_connectors::{
    ofx::OfxConnector,
    port::{Connector, FileRefusal, StatementReading},
};
use passbook_core::{institution::Country, snapshot::StatementFile};

/// A statement file under `fixtures/ofx`.
pub struct Fixture {
    /// File name.
    pub name: String,
    /// Content.
    pub bytes: Vec<u8>,
}

/// Where the fixtures are.
pub fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/ofx")
}

/// All statement files, by name.
pub fn fixtures() -> Vec<Fixture> {
    let mut fixtures: Vec<Fixture> = fs::read_dir(folder())
        .expect("the fixture folder is checked in")
        .map(|entry| entry.expect("its entries are readable").path())
        .filter(|path| {
            path.extension().is_some_and(|extension| ["ofx", "qfx", "qbo"].iter().any(|known| extension == *known))
        })
        .map(|path| Fixture {
            name: path.file_name().expect("a listed file has a name").to_string_lossy().into_owned(),
            bytes: fs::read(&path).expect("fixtures are readable"),
        })
        .collect();
    fixtures.sort_by(|one, other| one.name.cmp(&other.name));
    fixtures
}

/// Stands in for the server's keyed hash: stable, short, and without the text (FNV-1a).
pub fn fingerprint(text: &str) -> String {
    let hash = text
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
    format!("{hash:016x}")
}

/// Reads a file as of an institution in `country`.
pub fn read(file: &[u8], country: Option<Country>) -> Result<StatementFile, FileRefusal> {
    OfxConnector.read_statement(file, &StatementReading { fingerprint: &fingerprint, country })
}
