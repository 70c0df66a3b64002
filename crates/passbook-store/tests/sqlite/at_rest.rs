//! What a thief of the files gets: nothing that can be read, and nothing that can be moved.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use passbook_core::{
    account_numbers::{AccountNumbers, AchNumber},
    ids::AccountId,
    link::LinkSecrets,
    secret::SecretBytes,
};
use passbook_store::{
    port::{Changes, LinkWrite, SessionWrite, Store, StoreError},
    sqlite::SqliteStore,
};
use rusqlite::{Connection, params};

use crate::{Home, examples::*};

const SEALED_COLUMNS: [&str; 5] = ["numbers_view", "numbers", "owners", "credential", "wrapped_key"];

/// Fails when `needle` is in any byte of any file of the home, in any usual spelling.
pub fn assert_absent(home: &Home, needle: &[u8]) {
    for entry in std::fs::read_dir(home.directory.path()).unwrap() {
        let path = entry.unwrap().path();
        let content = std::fs::read(&path).unwrap();
        for (name, spelling) in spellings(needle) {
            assert!(!contains(&content, &spelling), "{name} in {}", path.display());
        }
    }
}

fn contains(content: &[u8], needle: &[u8]) -> bool {
    content.windows(needle.len()).any(|window| window == needle)
}

fn spellings(needle: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let hex: String = needle.iter().map(|byte| format!("{byte:02x}")).collect();
    let mut spellings = vec![
        ("raw", needle.to_vec()),
        ("hexadecimal", hex.clone().into_bytes()),
        ("upper-case hexadecimal", hex.to_uppercase().into_bytes()),
        ("UTF-16 little endian", needle.iter().flat_map(|byte| [*byte, 0]).collect()),
        ("UTF-16 big endian", needle.iter().flat_map(|byte| [0, *byte]).collect()),
        ("reversed", needle.iter().rev().copied().collect()),
    ];
    for shift in 0..3 {
        // Characters that also depend on the neighbours are left out at both ends.
        let text = STANDARD.encode([&vec![0; shift], needle].concat());
        let text = text.trim_end_matches('=');
        spellings.push(("base64", text.as_bytes()[(shift * 4).div_ceil(3)..text.len() - 1].to_vec()));
    }
    spellings
}

#[test]
fn the_search_finds_every_spelling() {
    let canary = b"004477119922";
    for (name, spelling) in spellings(canary) {
        let home = Home::new();
        std::fs::write(home.path("file"), [&b"before"[..], &spelling, b"after"].concat()).unwrap();
        let found = std::panic::catch_unwind(|| assert_absent(&home, canary));
        assert!(found.is_err(), "{name}");
    }
    let embedded = STANDARD.encode([b"{\"a\":\"", &canary[..], b"\"}"].concat());
    assert!(spellings(canary).iter().any(|(_, spelling)| contains(embedded.as_bytes(), spelling)));
}

#[tokio::test]
async fn secrets_are_in_no_file_before_and_after_deletion() {
    const CANARIES: [&[u8]; 4] = [b"004477119922", b"hunter2-canary", b"canary-user@example.com", b"Canary Q. Holder"];
    let home = Home::new();
    let store = home.open();
    let numbers = AccountNumbers {
        ach: Some(AchNumber {
            account_number: "004477119922".into(),
            routing_number: "021000021".into(),
            wire_routing_number: None,
        }),
        ..AccountNumbers::default()
    };
    let owner = passbook_core::identity::Owner { names: vec!["Canary Q. Holder".into()], ..Default::default() };
    let account = AccountId::from_bits(1);
    let write = LinkWrite {
        numbers_view: Some(SecretBytes::new(br#"[{"account_number":"004477119922"}]"#.to_vec())),
        secrets: Some(LinkSecrets {
            numbers: [(account.clone(), numbers)].into(),
            owners: [(account, vec![owner])].into(),
        }),
        credential: Some(SecretBytes::new(b"hunter2-canary".to_vec())),
        ..insertion(connected_link(1))
    };
    let request = Some(SecretBytes::new(br#"{"customer_user_id":"canary-user@example.com"}"#.to_vec()));
    let session = SessionWrite { request, ..session_write(session(1), None) };
    let instance_values = vec![("signing_key".into(), SecretBytes::new(b"hunter2-canary".to_vec()))];
    store.commit(Changes { session: Some(session), instance_values, ..changes(write) }).await.unwrap();
    let wrapped: Vec<u8> = home.raw().query_row("SELECT wrapped_key FROM links", [], |row| row.get(0)).unwrap();

    for canary in CANARIES {
        assert_absent(&home, canary);
    }
    let stored = store.lookup_link(&tenant(), &link(1).id).await.unwrap().unwrap();
    store.commit(changes(deletion(stored.link, stored.version))).await.unwrap();
    store.close().await;
    for canary in CANARIES {
        assert_absent(&home, canary);
    }
    assert_absent(&home, &wrapped);
    let key = home.key.to_file_text();
    let digits = key.trim_end().rsplit(':').next().unwrap();
    let bytes: Vec<u8> = (0..32).map(|at| u8::from_str_radix(&digits[2 * at..2 * at + 2], 16).unwrap()).collect();
    assert_absent(&home, &bytes);
}

/// Five links of three tenants, each with secrets of its own.
async fn five_links(home: &Home) -> (SqliteStore, Vec<passbook_core::link::Link>) {
    let store = home.open();
    let mut links: Vec<_> = (1..=5).map(connected_link).collect();
    let [other_app, live] = strangers();
    links[3].tenant = other_app;
    links[4].tenant = live;
    for link in &links {
        store.commit(changes(insertion_with_secrets(link.clone()))).await.unwrap();
    }
    (store, links)
}

fn column_of(raw: &Connection, link: &passbook_core::link::Link, column: &str) -> Vec<u8> {
    let sql = format!("SELECT {column} FROM links WHERE link_id = ?1");
    raw.query_row(&sql, [link.id.as_str()], |row| row.get(0)).unwrap()
}

fn set_column(raw: &Connection, link: &passbook_core::link::Link, column: &str, value: &[u8]) {
    let sql = format!("UPDATE links SET {column} = ?2 WHERE link_id = ?1");
    assert_eq!(raw.execute(&sql, params![link.id.as_str(), value]).unwrap(), 1);
}

/// Which of the two reads of sealed values fail, closed.
async fn failing(store: &dyn Store, link: &passbook_core::link::Link) -> (bool, bool) {
    fn fails<T>(result: Result<Option<T>, StoreError>) -> bool {
        match result {
            Ok(found) => {
                assert!(found.is_some());
                false
            }
            Err(StoreError::Inconsistent { table: "links", .. }) => true,
            Err(error) => panic!("{error}"),
        }
    }
    (
        fails(store.lookup_numbers_answer(&link.tenant, &link.id).await),
        fails(store.lookup_secrets(&link.tenant, &link.id).await),
    )
}

#[tokio::test]
async fn a_moved_ciphertext_never_opens() {
    let home = Home::new();
    let (store, links) = five_links(&home).await;
    let raw = home.raw();
    let mut swaps = 0;
    for target in &links {
        for column in SEALED_COLUMNS {
            let own = column_of(&raw, target, column);
            for source in &links {
                for from in SEALED_COLUMNS {
                    if source.id == target.id && from == column {
                        continue;
                    }
                    set_column(&raw, target, column, &column_of(&raw, source, from));
                    let expected = match column {
                        "numbers_view" => (true, false),
                        "wrapped_key" => (true, true),
                        _ => (false, true),
                    };
                    assert_eq!(failing(&store, target).await, expected, "{from} of {} as {column}", source.id);
                    swaps += 1;
                }
            }
            set_column(&raw, target, column, &own);
        }
        assert_eq!(failing(&store, target).await, (false, false));
    }
    assert_eq!(swaps, 600);
}

#[tokio::test]
async fn a_ciphertext_moved_with_its_key_does_not_open_either() {
    let home = Home::new();
    let (store, links) = five_links(&home).await;
    let raw = home.raw();
    for (target, source) in links.iter().zip(links.iter().skip(1)) {
        for column in SEALED_COLUMNS {
            set_column(&raw, target, column, &column_of(&raw, source, column));
        }
        assert_eq!(failing(&store, target).await, (true, true));
    }
}

#[tokio::test]
async fn a_row_given_to_another_app_does_not_open() {
    let home = Home::new();
    let (store, mut links) = five_links(&home).await;
    let thief = app_id(9);
    home.raw().execute("UPDATE links SET app_id = ?1", [thief.as_str()]).unwrap();
    for link in &mut links {
        link.tenant.app_id = thief.clone();
        assert_eq!(failing(&store, link).await, (true, true));
    }
}

#[tokio::test]
async fn moved_session_requests_and_instance_values_do_not_open() {
    let home = Home::new();
    let store = home.open();
    for bits in 1..=2 {
        let request = Some(SecretBytes::new(b"{}".to_vec()));
        let session = SessionWrite { request, ..session_write(session(bits), None) };
        let instance_values = vec![(format!("value {bits}"), SecretBytes::new(b"secret".to_vec()))];
        store.commit(Changes { session: Some(session), instance_values, ..Changes::default() }).await.unwrap();
    }
    let raw = home.raw();
    raw.execute("UPDATE link_sessions SET request = (SELECT MAX(request) FROM link_sessions)", []).unwrap();
    // The store has values of its own beside these two.
    let moved = "UPDATE instance_values SET value = (SELECT MAX(value) FROM instance_values WHERE name LIKE 'value _')";
    raw.execute(moved, []).unwrap();
    let (mut sessions, mut values) = (0, 0);
    for bits in 1..=2 {
        let session = store.lookup_session(&session(bits).id).await;
        sessions += usize::from(matches!(session, Err(StoreError::Inconsistent { table: "link_sessions", .. })));
        let value = store.lookup_instance_value(&format!("value {bits}")).await;
        values += usize::from(matches!(value, Err(StoreError::Inconsistent { table: "instance_values", .. })));
    }
    assert_eq!((sessions, values), (1, 1), "each opens only where it was sealed");
}
