//! The hot path, measured. Run with `--release --nocapture` for figures; the assertions hold in any build.

use std::{sync::Arc, time::Instant};

use passbook_core::ids::LinkId;
use passbook_store::port::Store as _;

use crate::{Home, examples::*};

const LINKS: u32 = 2_000;
const BATCHES: u32 = 100;
const READS: u32 = 200;
const COMMITS_EACH: u128 = 20;

#[tokio::test]
async fn a_numbers_read_answers_for_each_of_many_links() {
    let home = Home::new();
    let store = home.open();
    let started = Instant::now();
    let links = (0..u128::from(LINKS)).map(|bits| changes(insertion_with_secrets(connected_link(bits))));
    assert_eq!(store.bulk_load(links).await.unwrap(), u64::from(LINKS));
    println!("bulk load: {} us a link", started.elapsed().as_micros() / u128::from(LINKS));

    let (tenant, ids) = (tenant(), (0..u128::from(LINKS)).map(LinkId::from_bits).collect::<Vec<_>>());
    // In batches, because the fastest one tells the cost and the middle one how busy the machine was.
    let mut batches = Vec::new();
    for batch in 0..BATCHES {
        let started = Instant::now();
        for read in 0..READS {
            // A stride that visits every link, and neighbours never.
            let id = &ids[((batch * READS + read) as usize * 997) % ids.len()];
            let answer = store.lookup_numbers_answer(&tenant, id).await.unwrap().unwrap();
            assert_eq!(answer.accounts.expose().len(), NUMBERS_VIEW.len());
        }
        batches.push(started.elapsed().as_nanos() / u128::from(READS));
    }
    batches.sort_unstable();
    println!("numbers read: {} ns at best, {} ns in the middle", batches[0], batches[batches.len() / 2]);

    let started = Instant::now();
    for bits in 0..100 {
        store.commit(changes(insertion(link(1_000_000 + bits)))).await.unwrap();
    }
    println!("lone synced commit: {} us", started.elapsed().as_micros() / 100);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn waiting_commits_share_their_sync() {
    let home = Home::new();
    let store = Arc::new(home.open());
    let started = Instant::now();
    let writers: Vec<_> = (0..64_u128)
        .map(|writer| {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                for step in 0..COMMITS_EACH {
                    store.commit(changes(insertion(link(writer * COMMITS_EACH + step)))).await.unwrap();
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
    let commits = 64 * COMMITS_EACH;
    println!("grouped synced commits: {} a second", commits * 1_000_000 / started.elapsed().as_micros());
    for bits in 0..commits {
        assert!(store.lookup_link(&tenant(), &LinkId::from_bits(bits)).await.unwrap().is_some());
    }
}
