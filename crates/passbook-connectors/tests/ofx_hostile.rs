//! Hostile files: ten thousand damaged ones and the named bombs. None may panic, take long, or take much memory.
//!
//! Mutations are seeded, so a failure names the seed that repeats it. Times are asserted generously, for a debug build
//! on a busy machine, and printed. Memory is the peak of the whole process, where the system tells it: no single file can
//! have taken more. The tests take turns so that they do not add up.

mod ofx_support;

use std::{
    fs,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use ofx_support::{fixtures, read};

const MUTATIONS: u64 = 10_000;
/// What one small file may take. Measured in a release build it takes far below 100 ms.
const TIME_MAX: Duration = Duration::from_secs(1);
/// What the process may take, in kibibytes: 64 MiB for reading, the rest for the largest file and the tests themselves.
const PROCESS_KIB_MAX: u64 = (64 + 32) * 1024;

/// Held by every test while it runs.
static ALONE: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

#[test]
fn damaged_files_are_read_or_refused_and_never_panic() {
    let _alone = alone();
    let fixtures = fixtures();
    let (mut slowest, mut accepted) = (Duration::ZERO, 0);
    for seed in 0..MUTATIONS {
        let mut random = Random::new(seed);
        let mut file = fixtures[random.below(fixtures.len())].bytes.clone();
        for _ in 0..=random.below(3) {
            mutate(&mut file, &fixtures[random.below(fixtures.len())].bytes, &mut random);
        }
        let (duration, outcome) = timed(&file);
        assert!(duration < TIME_MAX, "seed {seed}: {duration:?}");
        slowest = slowest.max(duration);
        accepted += u64::from(outcome.is_ok());
    }
    println!("{MUTATIONS} mutations: {accepted} accepted, slowest {slowest:?}");
    // Both outcomes must occur often, or the mutations test only one path.
    assert!((MUTATIONS / 20..MUTATIONS / 2).contains(&accepted), "{accepted} accepted");
    assert_memory_bounded();
}

#[test]
fn accepted_mutations_keep_the_snapshot_consistent() {
    let _alone = alone();
    let fixtures = fixtures();
    for seed in MUTATIONS..MUTATIONS + 2_000 {
        let mut random = Random::new(seed);
        let mut file = fixtures[random.below(fixtures.len())].bytes.clone();
        mutate(&mut file, &fixtures[random.below(fixtures.len())].bytes, &mut random);
        let Ok(statement) = read(&file, None) else { continue };
        let mut accounts: Vec<&str> = statement.accounts.iter().map(|account| account.upstream_key.as_str()).collect();
        accounts.sort_unstable();
        accounts.windows(2).for_each(|pair| assert_ne!(pair[0], pair[1], "seed {seed}: an account twice"));
        let mut keys = Vec::new();
        for item in &statement.transactions.items {
            assert!(accounts.binary_search(&item.account_key.as_str()).is_ok(), "seed {seed}: an unknown account");
            assert!(!item.details.amount.is_sign_negative(), "seed {seed}: a negative amount");
            keys.extend(item.upstream_key.as_ref().map(|key| (&item.account_key, key)));
        }
        keys.sort_unstable();
        keys.windows(2).for_each(|pair| assert_ne!(pair[0], pair[1], "seed {seed}: a transaction key twice"));
        for gone in &statement.transactions.withdrawn {
            let is_kept = keys.binary_search(&(&gone.account_key, &gone.upstream_key)).is_ok();
            assert!(!is_kept, "seed {seed}: both kept and withdrawn");
        }
    }
}

#[test]
fn bombs_are_refused() {
    let _alone = alone();
    let mut slowest = Duration::ZERO;
    for (name, file) in bombs() {
        let (duration, outcome) = timed(&file());
        assert!(outcome.is_err(), "{name} was accepted");
        assert!(duration < TIME_MAX, "{name}: {duration:?}");
        slowest = slowest.max(duration);
    }
    println!("bombs: slowest {slowest:?}");
    assert_memory_bounded();
}

/// Reading opens no file and makes no connection: there is no such call in the connector, and no entity is expanded.
#[test]
fn entities_are_never_resolved() {
    let _alone = alone();
    for reference in ["&xxe;", "&file;", "%remote;"] {
        let file = statement(&format!("<DTPOSTED>20240501<TRNAMT>1<FITID>1<NAME>{reference}"));
        let statement = read(file.as_bytes(), None).unwrap();
        assert_eq!(statement.transactions.items[0].details.description.as_deref(), Some(reference));
    }
}

#[test]
fn a_large_file_is_read_in_linear_time_and_a_larger_one_refused() {
    let _alone = alone();
    let file = |transactions: usize| {
        let row = |number| {
            format!(
                "<STMTTRN><TRNTYPE>POS<DTPOSTED>20240501<TRNAMT>-{number}.25<FITID>{number}<NAME>SHOP {number}</STMTTRN>\n"
            )
        };
        let rows: String = (0..transactions).map(row).collect();
        format!(
            "<OFX><STMTRS><CURDEF>USD<BANKACCTFROM><BANKID>021000021<ACCTID>123456<ACCTTYPE>CHECKING</BANKACCTFROM>\
             <BANKTRANLIST>{rows}</BANKTRANLIST></STMTRS></OFX>"
        )
    };
    let (duration, outcome) = timed(file(4_000).as_bytes());
    println!("4,000 transactions: {duration:?}");
    assert_eq!(outcome.unwrap(), 4_000);
    assert!(duration < TIME_MAX, "{duration:?}");
    let (duration, outcome) = timed(file(64_000).as_bytes());
    println!("64,000 transactions: {duration:?}");
    assert_eq!(outcome.unwrap(), 64_000);
    assert!(duration < 20 * TIME_MAX, "{duration:?}");
    let (duration, outcome) = timed(file(128_000).as_bytes());
    println!("128,000 transactions: {duration:?}");
    assert!(outcome.is_err(), "a file past the element limit was accepted");
    assert_memory_bounded();
}

#[test]
fn thousands_of_rows_with_one_id_do_not_cost_their_square() {
    let _alone = alone();
    let rows: String =
        (0..20_000).map(|number| format!("<STMTTRN><DTPOSTED>20240501<TRNAMT>{number}<FITID>same</STMTTRN>")).collect();
    let file = format!("<OFX><STMTRS><CURDEF>USD<CCACCTFROM><ACCTID>12345678</CCACCTFROM>{rows}</STMTRS></OFX>");
    let (duration, outcome) = timed(file.as_bytes());
    println!("20,000 transactions with one id: {duration:?}");
    assert_eq!(outcome.unwrap(), 20_000);
    assert!(duration < 10 * TIME_MAX, "{duration:?}");
}

#[test]
fn thousands_of_numbers_are_looked_for_in_one_pass() {
    let _alone = alone();
    // Numbers that differ late, and texts that nearly are such a number at every position.
    let accounts: String = (0..20_000).map(|number| format!("<A><ACCTID>{}{number:05}</A>", "1".repeat(55))).collect();
    let row = format!("<STMTTRN><DTPOSTED>20240501<TRNAMT>1<NAME>x<MEMO>{}</STMTTRN>", "1".repeat(15_000));
    let file =
        format!("<OFX>{accounts}<STMTRS><BANKACCTFROM><ACCTID>123456</BANKACCTFROM>{}</STMTRS></OFX>", row.repeat(100));
    let (duration, outcome) = timed(file.as_bytes());
    println!("20,000 numbers looked for in 1.5 MB: {duration:?}");
    assert_eq!(outcome.unwrap(), 100);
    assert!(duration < 10 * TIME_MAX, "{duration:?}");
    assert_memory_bounded();
}

/// A bomb, made when it is its turn.
type Bomb = (&'static str, Box<dyn Fn() -> Vec<u8>>);

/// The named bombs.
fn bombs() -> Vec<Bomb> {
    let mut bombs = markup_bombs();
    bombs.extend(encoding_bombs());
    bombs.extend(value_bombs());
    bombs
}

fn markup_bombs() -> Vec<Bomb> {
    vec![
        bomb("billion laughs", || with_entities(&laughs())),
        bomb("external entity, file", || with_entities("<!ENTITY a SYSTEM \"file:///etc/passwd\">")),
        bomb("external entity, http", || with_entities("<!ENTITY a SYSTEM \"http://127.0.0.1:9/\">")),
        bomb("external DTD", || "OFXHEADER:100\n\n<!DOCTYPE OFX SYSTEM \"http://127.0.0.1:9/\"><OFX></OFX>".into()),
        bomb("80,000 attributes", || flood("<OFX ", "a=\"b\" ", 80_000, "></OFX>")),
        bomb("1,000,000 name spaces", || flood("<OFX ", "xmlns:a=\"b\" ", 1_000_000, "></OFX>")),
        bomb("1,000,000 elements with name spaces", || flood("<OFX>", "<a:b xmlns=\"\"/>", 1_000_000, "</OFX>")),
        bomb("100,000 levels", || flood(&"<OFX>".repeat(100_000), "</OFX>", 100_000, "")),
        bomb("100,000 unclosed leaves", || flood("<OFX>", "<A>", 100_000, "</OFX>")),
        bomb("OFX alone", || "<OFX>".into()),
        bomb("empty OFX", || "<OFX></OFX>".into()),
        bomb("unclosed tags", || "<OFX><STMTRS><BANKACCTFROM><ACCTID>12345678<STMTTRN><TRNAMT>1".into()),
        bomb("an unclosed tag", || "<OFX><STMTRS><BANKACCTFROM".into()),
        bomb("nested statements", || flood("<OFX>", "<STMTRS>", 50, &format!("{}</OFX>", "</STMTRS>".repeat(50)))),
        bomb("openings only", || flood("", "<", 16 << 20, "")),
        bomb("openings of tags only", || flood("<OFX>", "<A ", 5 << 20, "")),
        bomb("ampersands only", || flood("<OFX><A>", "&", 15 << 20, "</OFX>")),
        bomb("an endless name", || flood("<OFX><", "A", 15 << 20, "")),
        bomb("an endless comment", || flood("<OFX><!--", "-", 15 << 20, "")),
        bomb("an endless section", || flood("<OFX><![CDATA[", "]", 15 << 20, "")),
        bomb("an endless value", || flood("<OFX><A>", "x", 15 << 20, "</OFX>")),
        bomb("a value in pieces", || flood("<OFX><A>", "x<!---->", 1 << 20, "</OFX>")),
    ]
}

fn encoding_bombs() -> Vec<Bomb> {
    vec![
        bomb("NUL", || with_row("<DTPOSTED>20240501<TRNAMT>1<NAME>a\0b")),
        bomb("UTF-16 without a mark", || with_row("").into_iter().flat_map(|byte| [byte, 0]).collect()),
        bomb("wrong charset", || [&b"CHARSET:EBCDIC\n"[..], &with_row("<NAME>"), b"\xe9"].concat()),
        bomb("gzip", || [&[0x1f, 0x8b, 8, 0][..], &[0; 16 * 1024]].concat()),
        bomb("zip", || b"PK\x03\x04rest".to_vec()),
        bomb("nothing", Vec::new),
        bomb("more than 16 MiB", || vec![b' '; (16 << 20) + 1]),
    ]
}

fn value_bombs() -> Vec<Bomb> {
    vec![
        bomb("1e400", || with_row("<DTPOSTED>20240501<TRNAMT>1e400")),
        bomb("NaN", || with_row("<DTPOSTED>20240501<TRNAMT>NaN")),
        bomb("infinity", || with_row("<DTPOSTED>20240501<TRNAMT>-Infinity")),
        bomb("400 digits", || with_row(&format!("<DTPOSTED>20240501<TRNAMT>{}", "9".repeat(400)))),
        bomb("year 9999", || with_row("<DTPOSTED>99991231<TRNAMT>1")),
        bomb("month 13", || with_row("<DTPOSTED>20241301<TRNAMT>1")),
        bomb("no date", || with_row("<TRNAMT>1")),
        bomb("no amount", || with_row("<DTPOSTED>20240501")),
        bomb("a number no account has", || {
            with_row(&format!("<DTPOSTED>20240501<TRNAMT>1<A><ACCTID>{}</A>", "1".repeat(65)))
        }),
        bomb("20,000 accounts", || {
            let accounts: String = (0..20_000).map(|number| format!("<A><ACCTID>{number:0<60}</A>")).collect();
            with_row(&format!("<DTPOSTED>20240501<TRNAMT>1{accounts}"))
        }),
        bomb("two amounts", || with_row("<DTPOSTED>20240501<TRNAMT>1<TRNAMT>2")),
    ]
}

fn bomb(name: &'static str, make: impl Fn() -> Vec<u8> + 'static) -> Bomb {
    (name, Box::new(make))
}

fn flood(start: &str, piece: &str, times: usize, end: &str) -> Vec<u8> {
    let mut file = Vec::with_capacity(start.len() + piece.len() * times + end.len());
    file.extend(start.bytes());
    (0..times).for_each(|_| file.extend_from_slice(piece.as_bytes()));
    file.extend(end.bytes());
    file
}

fn laughs() -> String {
    let level = |level: usize| format!("<!ENTITY a{level} \"{}\">", format!("&a{};", level - 1).repeat(10));
    format!("<!ENTITY a0 \"ha\">{}", (1..10).map(level).collect::<String>())
}

fn with_entities(declaration: &str) -> Vec<u8> {
    let file = statement("<DTPOSTED>20240501<TRNAMT>1<NAME>&a;");
    format!("<?xml version=\"1.0\"?><!DOCTYPE OFX [{declaration}]>{file}").into_bytes()
}

fn with_row(fields: &str) -> Vec<u8> {
    statement(fields).into_bytes()
}

/// A file with one transaction made of `fields`.
fn statement(fields: &str) -> String {
    format!(
        "<OFX><STMTRS><CURDEF>USD<BANKACCTFROM><BANKID>021000021<ACCTID>123456<ACCTTYPE>CHECKING</BANKACCTFROM>\
         <BANKTRANLIST><STMTTRN>{fields}</STMTTRN></BANKTRANLIST></STMTRS></OFX>"
    )
}

/// Reads a file; gives the time that took and how many transactions came of it.
fn timed(file: &[u8]) -> (Duration, Result<usize, String>) {
    let start = Instant::now();
    let outcome = read(file, None);
    let duration = start.elapsed();
    (duration, outcome.map(|statement| statement.transactions.items.len()).map_err(|refusal| refusal.message))
}

fn assert_memory_bounded() {
    let Ok(status) = fs::read_to_string("/proc/self/status") else { return };
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("the system states the peak");
    let peak: u64 = peak.split_whitespace().next().and_then(|kib| kib.parse().ok()).expect("in kibibytes");
    println!("peak memory of the process: {peak} KiB");
    assert!(peak < PROCESS_KIB_MAX, "the process took {peak} KiB");
}

/// Damages a file in one of the ways files get damaged, or attacked.
fn mutate(file: &mut Vec<u8>, other: &[u8], random: &mut Random) {
    if file.is_empty() {
        file.push(b'<');
    }
    let at = random.below(file.len());
    let end = (at + 1 + random.below(200)).min(file.len());
    match random.below(10) {
        0 => file[at] ^= 1 << random.below(8),
        1 => file.truncate(at),
        2 => {
            let piece = file[at..end].to_vec();
            file.splice(at..at, piece);
        }
        3 => drop(file.drain(at..end)),
        4 => {
            let from = random.below(other.len());
            let until = (from + 1 + random.below(400)).min(other.len());
            file.splice(at..end, other[from..until].iter().copied());
        }
        5 => {
            let noise: Vec<u8> = (0..random.below(64)).map(|_| random.byte()).collect();
            file.splice(at..at, noise);
        }
        6 => delete_tag(file, at),
        7 => {
            let snippets: [&[u8]; 8] =
                [b"<", b">", b"</STMTTRN>", b"<STMTTRN>", b"&#0;", b"<![CDATA[", b"<!--", b"<TRNAMT>1,234"];
            file.splice(at..at, snippets[random.below(snippets.len())].iter().copied());
        }
        8 => {
            if let Some(digit) = file[at..].iter_mut().find(|byte| byte.is_ascii_digit()) {
                *digit = b'0' + u8::try_from(random.below(10)).expect("a digit is small");
            }
        }
        _ => file[at] = random.byte(),
    }
}

/// Removes the first tag after `at`.
fn delete_tag(file: &mut Vec<u8>, at: usize) {
    let Some(start) = file[at..].iter().position(|byte| *byte == b'<').map(|offset| at + offset) else { return };
    let Some(length) = file[start..].iter().position(|byte| *byte == b'>') else { return };
    file.drain(start..=start + length);
}

/// SplitMix64: seeded, so that every run and every machine sees the same files.
struct Random(u64);

impl Random {
    fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound.max(1) as u64).expect("a remainder fits")
    }

    fn byte(&mut self) -> u8 {
        self.next().to_le_bytes()[0]
    }
}
