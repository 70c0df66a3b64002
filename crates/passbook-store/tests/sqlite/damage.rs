//! Stores that are gone or damaged: refused by name, never taken for new ones.

use std::{
    fs::{self, File},
    os::unix::fs::{FileExt as _, PermissionsExt as _, symlink},
};

use passbook_store::{
    files::NotPrivate,
    port::{Store as _, StoreError},
    retention::RULES,
    sqlite::{OpenError, load_or_create_master_keys},
};

use crate::{Home, examples::*};

const PAGE: u64 = 8_192;

/// A store with a few links, closed.
async fn filled() -> Home {
    let home = Home::new();
    let store = home.open();
    for bits in 1..=60 {
        store.commit(changes(insertion_with_secrets(link(bits)))).await.unwrap();
    }
    store.close().await;
    home
}

fn refusal(home: &Home) -> OpenError {
    match home.try_open(Some(home.key.clone())) {
        Ok(_) => panic!("it was opened"),
        Err(refusal) => refusal,
    }
}

fn assert_damaged(home: &Home, why: &str) {
    let before = fs::read(home.database()).unwrap();
    let refusal = refusal(home);
    let text = refusal.to_string();
    assert!(matches!(refusal, OpenError::Damaged { .. }), "{why}: {text}");
    assert!(text.contains("passbook restore"), "the way back: {text}");
    assert!(fs::read(home.database()).unwrap() == before, "{why}: the refusal changed the file");
}

#[tokio::test]
async fn a_database_that_is_gone_is_missed() {
    let home = filled().await;
    fs::remove_file(home.database()).unwrap();
    for _ in 0..2 {
        assert!(matches!(refusal(&home), OpenError::Lost { trace, .. } if trace == home.path("deletions.ledger")));
        assert!(!home.database().exists(), "nothing was made in its place");
    }
}

#[tokio::test]
async fn a_key_file_without_its_database_makes_no_new_store() {
    let home = Home::new();
    let (key, ledger) = (home.path("master.key"), home.path("deletions.ledger"));
    let load = || load_or_create_master_keys(&key, &home.database(), &ledger);
    let made = load().unwrap();
    // Killed before the database was there: the next start goes on.
    assert_eq!(load().unwrap().len(), 1);
    home.try_open(made.first().cloned()).unwrap().close().await;
    fs::remove_file(home.database()).unwrap();
    fs::remove_file(&ledger).unwrap();
    assert!(matches!(load(), Err(OpenError::Lost { trace, .. }) if trace == key));
    fs::remove_file(&key).unwrap();
    assert_eq!(load().unwrap().len(), 1, "without a trace there never was a store");
}

#[tokio::test]
async fn a_first_start_that_was_killed_is_no_loss() {
    for half in ["", "not even a header"] {
        let home = Home::new();
        File::create(home.path("passbook.db.unfinished")).unwrap();
        fs::write(home.database(), half).unwrap();
        match half {
            "" => home.open().close().await,
            // What is there is not a database, so it is named and not overwritten.
            _ => assert_damaged(&home, half),
        }
    }
}

#[tokio::test]
async fn an_empty_or_cut_database_is_refused() {
    let home = filled().await;
    let whole = fs::metadata(home.database()).unwrap().len();
    assert_eq!(whole % PAGE, 0);
    for length in [0, 1, 99, 100, PAGE - 1, PAGE, whole / 2, whole - PAGE, whole - 1] {
        let home = filled().await;
        File::options().write(true).open(home.database()).unwrap().set_len(length).unwrap();
        assert_damaged(&home, &format!("cut to {length}"));
    }
}

#[tokio::test]
async fn a_short_file_whose_end_is_in_the_log_is_served() {
    let home = Home::new();
    let store = home.open();
    store.commit(changes(insertion_with_secrets(link(1)))).await.unwrap();
    // As a kill leaves it: most of the store is in the write-ahead log only.
    for name in ["passbook.db", "passbook.db-wal", "deletions.ledger"] {
        fs::copy(home.path(name), home.path(&format!("copy.{name}"))).unwrap();
    }
    store.close().await;
    drop(store);
    for name in ["passbook.db", "passbook.db-wal", "deletions.ledger"] {
        fs::rename(home.path(&format!("copy.{name}")), home.path(name)).unwrap();
    }
    let store = home.open();
    assert!(store.lookup_numbers_answer(&tenant(), &link(1).id).await.unwrap().is_some());
}

#[tokio::test]
async fn any_page_that_is_zeroed_or_changes_places_is_found() {
    let home = filled().await;
    let sound = fs::read(home.database()).unwrap();
    let pages = sound.len() as u64 / PAGE;
    let page = |number: u64| &sound[(number * PAGE) as usize..((number + 1) * PAGE) as usize];
    assert!(pages > 20);
    for number in 1..pages {
        let file = File::options().write(true).open(home.database()).unwrap();
        file.write_all_at(&[0; PAGE as usize], number * PAGE).unwrap();
        assert_damaged(&home, &format!("page {number} zeroed"));
        let other = 1 + number % (pages - 1);
        file.write_all_at(page(other), number * PAGE).unwrap();
        file.write_all_at(page(number), other * PAGE).unwrap();
        if page(number) != page(other) {
            assert_damaged(&home, &format!("pages {number} and {other} swapped"));
        }
        file.write_all_at(&sound, 0).unwrap();
    }
    home.open().close().await;
}

#[tokio::test]
async fn a_file_that_is_not_a_database_is_refused() {
    let home = filled().await;
    fs::write(home.database(), vec![7; 3 * PAGE as usize]).unwrap();
    assert_damaged(&home, "overwritten");
}

#[tokio::test]
async fn files_that_everybody_could_use_are_private_after_opening() {
    let home = filled().await;
    for name in ["passbook.db", "passbook.db.lock", "deletions.ledger"] {
        fs::set_permissions(home.path(name), fs::Permissions::from_mode(0o666)).unwrap();
    }
    let store = home.open();
    for entry in fs::read_dir(home.database().parent().unwrap()).unwrap() {
        let entry = entry.unwrap();
        let mode = entry.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{}", entry.path().display());
    }
    store.close().await;
}

#[tokio::test]
async fn a_lock_that_is_a_link_is_not_followed() {
    let home = filled().await;
    fs::remove_file(home.path("passbook.db.lock")).unwrap();
    symlink(home.path("elsewhere"), home.path("passbook.db.lock")).unwrap();
    assert!(matches!(refusal(&home), OpenError::NotPrivate(NotPrivate::OtherKind { .. })));
    assert!(!home.path("elsewhere").exists());
}

#[tokio::test]
async fn damage_that_is_met_while_serving_is_remembered_and_sound_rows_are_served() {
    let home = filled().await;
    let store = home.open();
    assert_eq!(store.met_damage(), None);
    home.raw().execute("UPDATE links SET numbers_view = X'00' WHERE link_id = ?1", [link(1).id.as_str()]).unwrap();
    let damaged = store.lookup_numbers_answer(&tenant(), &link(1).id).await;
    assert!(matches!(damaged, Err(StoreError::Inconsistent { .. })));
    let met = store.met_damage().expect("it is remembered");
    assert!(met.contains("links.numbers_view"), "{met}");
    assert!(store.lookup_numbers_answer(&tenant(), &link(2).id).await.unwrap().is_some());
    assert_eq!(store.met_damage(), Some(met));
}

#[tokio::test]
async fn every_table_has_a_rule_for_the_end_of_its_rows() {
    let home = Home::new();
    home.open().close().await;
    let connection = home.raw();
    let mut statement = connection
        .prepare("SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY name")
        .unwrap();
    let tables: Vec<String> = statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
    let ruled: Vec<_> = RULES.iter().map(|rule| rule.table).collect();
    assert_eq!(tables, ruled, "a new table needs a rule in src/retention.rs");
}
