//! The hot path, measured. Run with `--release --nocapture` for figures; the assertions hold in any build.

use std::{sync::Arc, time::Instant};

use passbook_core::ids::LinkId;
use passbook_store::port::{Changes, Store as _, TransactionWrites};

use crate::{Home, examples::*};

const READS_EACH: u128 = 250;
const COMMITS_EACH: u128 = 10;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reads_commits_and_imports_of_many_callers_are_answered() {
    let Some(home) = Home::create().await else { return };
    let store = Arc::new(home.open().await);
    for bits in 0..100 {
        store.commit(changes(insertion_with_secrets(connected_link(bits)))).await.unwrap();
    }
    let started = Instant::now();
    let readers: Vec<_> = (0..16_u128)
        .map(|reader| {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                for read in 0..READS_EACH {
                    let id = LinkId::from_bits((reader * 7 + read * 13) % 100);
                    let answer = store.lookup_numbers_answer(&tenant(), &id).await.unwrap().unwrap();
                    assert_eq!(answer.accounts.expose(), NUMBERS_VIEW);
                }
            })
        })
        .collect();
    for reader in readers {
        reader.await.unwrap();
    }
    let read_within = started.elapsed().as_micros();
    for stranger in strangers() {
        assert!(store.lookup_numbers_answer(&stranger, &LinkId::from_bits(1)).await.unwrap().is_none());
    }
    println!("numbers reads: {} a second", 16 * READS_EACH * 1_000_000 / read_within);

    let started = Instant::now();
    let writers: Vec<_> = (0..16_u128)
        .map(|writer| {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                for step in 0..COMMITS_EACH {
                    let bits = 1000 + writer * COMMITS_EACH + step;
                    store.commit(changes(insertion(link(bits)))).await.unwrap();
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
    println!("commits: {} a second", 16 * COMMITS_EACH * 1_000_000 / started.elapsed().as_micros());

    let created = (0..4000).map(|bits| transaction(bits, "2024-05-01")).collect();
    let writes = TransactionWrites { link_id: Some(LinkId::from_bits(1)), created, ..TransactionWrites::default() };
    let started = Instant::now();
    store.commit(Changes { transactions: Some(writes), ..Changes::default() }).await.unwrap();
    println!("import of 4,000 transactions: {} ms", started.elapsed().as_millis());
    assert_eq!(store.load_transactions(&tenant(), &LinkId::from_bits(1), None).await.unwrap().len(), 4000);
    store.close().await;
    home.database.remove().await;
}
