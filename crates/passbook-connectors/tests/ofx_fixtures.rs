//! Every fixture gives exactly the snapshot, or the refusal, that is written down beside it.
//!
//! A fixture is named after what is awkward about it; `<name>.expected` is the compact rendering of what must come out.
//! All data is invented. When a difference is intended, copy the file that the failing test names over the
//! expectation and review it as part of the change.

mod ofx_support;

use std::{fmt::Write, fs, path::Path};

use ofx_support::{fixtures, folder, read};
use passbook_connectors::{
    ofx::{OfxConnector, STATEMENT_FILE_INSTITUTION, UNAVAILABLE},
    port::{Answer, Connector, Credential, Fetch, Progress, SignIn},
};
use passbook_core::{
    failure::FailureClass,
    ids::Derivation,
    institution::Country,
    product::Product,
    secret::SecretBytes,
    snapshot::{BankAccount, BankTransaction, StatementFile},
    transaction::Direction,
};
use rust_decimal::Decimal;
use serde_json::{Value, json};

fn country_of(fixture: &str) -> Option<Country> {
    fixture.starts_with("canadian").then_some(Country::Ca)
}

#[test]
fn every_fixture_reads_as_written_down() {
    let mut differing = Vec::new();
    let fixtures = fixtures();
    assert!(fixtures.len() >= 30, "fixtures are missing");
    for fixture in fixtures {
        let actual = match read(&fixture.bytes, country_of(&fixture.name)) {
            Ok(statement) => rendered(&statement),
            Err(refusal) => format!("refused: {refusal}\n"),
        };
        let expectation = format!("{}.expected", fixture.name);
        if fs::read_to_string(folder().join(&expectation)).ok().as_deref() != Some(actual.as_str()) {
            let copy = Path::new(env!("CARGO_TARGET_TMPDIR")).join(&expectation);
            fs::write(&copy, &actual).expect("the build folder is writable");
            differing.push(format!("{}:\n{actual}(see {})", fixture.name, copy.display()));
        }
    }
    assert!(differing.is_empty(), "{}", differing.join("\n\n"));
}

#[test]
fn files_of_an_independent_implementation_read_as_it_says() {
    let expected = fs::read_to_string(folder().join("ofxtools_expected.json")).expect("the expectation is checked in");
    let expected: Value = serde_json::from_str(&expected).expect("it is JSON");
    for name in ["ofxtools_102.ofx", "ofxtools_203.ofx"] {
        let statement = read(&fs::read(folder().join(name)).expect("the file is checked in"), None).unwrap();
        let institution = statement.institution.as_ref().unwrap();
        assert_eq!(json!({ "org": institution.org, "fid": institution.fid }), expected["institution"], "{name}");
        let accounts: Vec<Value> = statement.accounts.iter().map(|account| summary(account, &statement)).collect();
        assert_eq!(Value::from(accounts), expected["accounts"], "{name}");
        for account in &statement.accounts {
            assert_eq!(shown(account.balances.balance_date), expected["balance_date"].as_str().unwrap(), "{name}");
        }
        assert!(statement.notes.is_empty(), "{name}");
    }
}

/// An account as the building script states it.
fn summary(account: &BankAccount, statement: &StatementFile) -> Value {
    let items = statement.transactions.items.iter().filter(|item| item.account_key == account.upstream_key);
    let signed = items.map(|item| match item.details.direction {
        Direction::Credit => item.details.amount,
        Direction::Debit => -item.details.amount,
    });
    let signed: Vec<Decimal> = signed.collect();
    let numbers = statement.numbers.iter().find(|set| set.upstream_key == account.upstream_key);
    let ach = numbers.and_then(|set| set.numbers.ach.as_ref());
    json!({
        "account_type": account.account_type.0,
        "mask": account.mask,
        "current": account.balances.current.map(|amount| amount.to_string()),
        "available": account.balances.available.map(|amount| amount.to_string()),
        "ach": ach.map(|ach| json!({ "routing_number": ach.routing_number, "account_number": ach.account_number })),
        "transactions": signed.len(),
        "sum": signed.iter().sum::<Decimal>().to_string(),
    })
}

#[test]
fn the_same_account_keeps_its_key_in_a_newer_file() {
    let file = |account: &str| {
        format!(
            "<OFX><STMTRS><CURDEF>USD<BANKACCTFROM>{account}</BANKACCTFROM><BANKTRANLIST></BANKTRANLIST></STMTRS></OFX>"
        )
    };
    let key = |account: &str| read(file(account).as_bytes(), None).unwrap().accounts[0].upstream_key.clone();
    let first = key("<BANKID>021000021<ACCTID>000123456<ACCTTYPE>CHECKING");
    assert_eq!(key("<ACCTTYPE> checking\r\n<ACCTID> 000 123 456 </ACCTID><BANKID>0210 00021\n"), first);
    assert_ne!(key("<BANKID>021000021<ACCTID>123456<ACCTTYPE>CHECKING"), first);
    assert_ne!(key("<BANKID>021000021<ACCTID>000123456<ACCTTYPE>SAVINGS"), first);
    assert_ne!(key("<BANKID>021000021<BRANCHID>1<ACCTID>000123456<ACCTTYPE>CHECKING"), first);
}

#[test]
fn a_canadian_branch_counts_only_at_a_canadian_institution() {
    let fixture = fixtures().into_iter().find(|fixture| fixture.name == "canadian_branch.ofx").unwrap();
    for country in [None, Some(Country::Us), Some(Country::Gb)] {
        assert!(read(&fixture.bytes, country).unwrap().numbers.is_empty(), "{country:?}");
    }
    let numbers = read(&fixture.bytes, Some(Country::Ca)).unwrap().numbers;
    assert_eq!(numbers.len(), 1);
    assert!(numbers[0].numbers.eft.is_some() && numbers[0].numbers.ach.is_none());
}

#[test]
fn card_numbers_and_counterparties_leave_no_trace() {
    for (name, secrets) in [
        ("credit_card.qfx", &["4111111111111111", "4111 1111 1111 1111", "5500000000000004"][..]),
        ("counterparty_numbers.ofx", &["7777777777", "121000358", "9900112233-2024"]),
        ("mixed_accounts_two_statements.ofx", &["4400 001"]),
        ("refused_error_status.ofx", &["1000200030"]),
    ] {
        let fixture = fixtures().into_iter().find(|fixture| fixture.name == name).unwrap();
        let shown = match read(&fixture.bytes, None) {
            // `Debug` of the number sets is already free of digits; card accounts have none at all.
            Ok(statement) => format!("{statement:?}"),
            Err(refusal) => refusal.to_string(),
        };
        for secret in secrets {
            assert!(!shown.contains(secret), "{name} shows a number it must not keep");
        }
    }
}

#[test]
fn quoted_account_numbers_survive_in_the_sealed_sets_only() {
    let name = "quoted_account_numbers.ofx";
    let fixture = fixtures().into_iter().find(|fixture| fixture.name == name).unwrap();
    let statement = read(&fixture.bytes, None).unwrap();
    let mut sealed: Vec<&str> = statement
        .numbers
        .iter()
        .filter_map(|set| set.numbers.ach.as_ref())
        .map(|ach| ach.account_number.as_str())
        .collect();
    sealed.sort_unstable();
    assert_eq!(sealed, ["0007", "102030405060", "998877665544"]);
    // Without what may stand between groups, so that no grouping hides a number.
    let shown: String = format!("{statement:?}").chars().filter(|c| !c.is_whitespace() && *c != '-').collect();
    for number in ["102030405060", "998877665544", "4242424242424242", "6060707080"] {
        assert!(!shown.contains(number), "a full account number is shown");
        let end = &number[number.len() - 4..];
        assert!(shown.contains(&format!("…{end}")), "the end of a quoted number is kept");
        // No more of it than its end: the groups before are gone too.
        assert!(!shown.contains(&number[..number.len() - 4]), "the beginning of an account number is shown");
    }
}

#[test]
fn texts_are_cut_to_what_a_bank_can_mean() {
    let long = "é".repeat(3_000);
    let number = "998877665544";
    let file = |texts: &str| {
        format!(
            "<OFX><FI><ORG>{long}<FID>{long}</FI><ACCTINFO><DESC>{long}<CCACCTINFO><CCACCTFROM><ACCTID>{number}\
             </CCACCTFROM></CCACCTINFO></ACCTINFO><CCSTMTRS><CURDEF>USD<CCACCTFROM><ACCTID>{number}</CCACCTFROM>\
             <BANKTRANLIST><STMTTRN><DTPOSTED>20240501<TRNAMT>1<FITID>1{texts}</STMTTRN></BANKTRANLIST></CCSTMTRS></OFX>"
        )
    };
    let (label, description) = ("é".repeat(255), "é".repeat(1_000));
    let named_and_explained = format!("{label} {}", "é".repeat(744));
    // A number that the cut would fall into is shortened before, so no part of it stays.
    let number_at_the_end = format!("{} …5544", "x".repeat(249));
    for (texts, expected) in [
        (format!("<NAME>{long}"), &label),
        (format!("<PAYEE><NAME>{long}</PAYEE>"), &label),
        (format!("<MEMO>{long}"), &description),
        (format!("<NAME>{long}<MEMO>{}", &long[..2_000]), &label),
        (format!("<NAME>é<MEMO>{long}"), &description),
        (format!("<NAME>{long}a<MEMO>{long}b"), &named_and_explained),
        (format!("<NAME>{} {number}", "x".repeat(249)), &number_at_the_end),
    ] {
        let statement = read(file(&texts).as_bytes(), None).unwrap();
        let details = &statement.transactions.items[0].details;
        assert_eq!(details.raw_description.as_ref(), Some(expected));
        assert_eq!(details.description.as_ref(), Some(expected));
        let institution = statement.institution.unwrap();
        assert_eq!((institution.org.as_ref(), institution.fid.as_ref()), (Some(&label), Some(&label)));
        assert_eq!(statement.accounts[0].name, label);
    }
}

#[tokio::test]
async fn there_is_no_sign_in_and_nothing_to_fetch() {
    let institution = OfxConnector.institutions().remove(0);
    assert_eq!(
        (institution.id.as_str(), institution.connector.as_str()),
        (STATEMENT_FILE_INSTITUTION, OfxConnector.name())
    );
    assert_eq!(
        institution.products.iter().collect::<Vec<_>>(),
        [Product::Accounts, Product::AccountNumbers, Product::Transactions]
    );
    let derivation = Derivation::new(&[0; 32]);
    let now = jiff::Timestamp::UNIX_EPOCH;
    let sign_in = SignIn {
        institution: &institution,
        customer_user_id: "user",
        app_id: "app",
        now,
        derivation: &derivation,
        custom_sandbox_data: None,
        person_seed: None,
    };
    let refusal = OfxConnector.begin_sign_in(&sign_in).await.unwrap_err();
    assert_eq!(refusal.class, FailureClass::NotSupported);
    let progress = Progress(SecretBytes::default());
    let answer = Answer::Text(SecretBytes::default());
    let refusal = OfxConnector.continue_sign_in(&sign_in, progress, answer).await.unwrap_err();
    assert_eq!(refusal.class, FailureClass::NotSupported);

    let credential = Credential(SecretBytes::default());
    let fetch = Fetch { institution: &institution, credential: &credential, now, derivation: &derivation };
    for product in Product::ALL {
        let failure = OfxConnector.fetch(&fetch, product).await.unwrap_err();
        assert_eq!((failure.class, failure.message.as_str()), (FailureClass::NotSupported, UNAVAILABLE));
    }
    OfxConnector.revoke(&fetch).await.unwrap();
}

/// A snapshot as text, every field that can differ in it.
fn rendered(statement: &StatementFile) -> String {
    let mut text = String::new();
    if let Some(institution) = &statement.institution {
        let _ = writeln!(text, "institution {:?} {:?}", institution.org, institution.fid);
    }
    for account in &statement.accounts {
        let balances = &account.balances;
        let _ = writeln!(
            text,
            "account {} {} {:?} mask {} current {} available {} {} at {}",
            account.upstream_key,
            account.account_type.0,
            account.name,
            shown(account.mask.as_ref()),
            shown(balances.current),
            shown(balances.available),
            shown(balances.currency.as_ref()),
            shown(balances.balance_date),
        );
        for set in statement.numbers.iter().filter(|set| set.upstream_key == account.upstream_key) {
            if let Some(ach) = &set.numbers.ach {
                let _ = writeln!(
                    text,
                    "  ach {} {} wire {}",
                    ach.routing_number,
                    ach.account_number,
                    shown(ach.wire_routing_number.as_ref())
                );
            }
            if let Some(eft) = &set.numbers.eft {
                let _ = writeln!(text, "  eft {} {} {}", eft.institution_number, eft.branch_number, eft.account_number);
            }
            assert!(set.numbers.bacs.is_none() && set.numbers.international.is_none());
        }
        for item in statement.transactions.items.iter().filter(|item| item.account_key == account.upstream_key) {
            let _ = writeln!(text, "  {}", transaction(item));
        }
        for gone in statement.transactions.withdrawn.iter().filter(|gone| gone.account_key == account.upstream_key) {
            let _ = writeln!(text, "  withdrawn {}", gone.upstream_key);
        }
    }
    assert!(statement.transactions.complete_since.is_none(), "a file is never a complete window");
    for note in &statement.notes {
        let _ = writeln!(text, "note {note}");
    }
    text
}

fn transaction(item: &BankTransaction) -> String {
    let details = &item.details;
    let sign = match details.direction {
        Direction::Credit => '+',
        Direction::Debit => '-',
    };
    let mut text = format!("{} {sign}{} {}", details.date, details.amount, details.currency);
    let _ = write!(text, " id {}", shown(item.upstream_key.as_ref()));
    if let Some(replaced) = &item.replaces {
        let _ = write!(text, " replaces {replaced}");
    }
    if let Some(instant) = details.datetime {
        let _ = write!(text, " at {instant}");
    }
    if details.pending {
        text.push_str(" pending");
    }
    let _ = write!(text, " {:?}", details.description);
    if details.description != details.raw_description {
        let _ = write!(text, " raw {:?}", details.raw_description);
    }
    text
}

fn shown<T: std::fmt::Display>(value: Option<T>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}
