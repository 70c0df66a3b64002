//! The hot path, measured. Run with `--release --nocapture` for figures; the assertions hold in any build.

use std::time::Instant;

use passbook_core::ids::LinkId;
use passbook_store::port::Store as _;

use crate::{Home, examples::*};

const LINKS: u32 = 2_000;
const READS: u32 = 20_000;

#[tokio::test]
async fn a_numbers_read_answers_for_each_of_many_links() {
    let home = Home::new();
    let store = home.open();
    let started = Instant::now();
    let links = (0..u128::from(LINKS)).map(|bits| changes(insertion_with_secrets(connected_link(bits))));
    assert_eq!(store.bulk_load(links).await.unwrap(), u64::from(LINKS));
    println!("bulk load: {} us a link", started.elapsed().as_micros() / u128::from(LINKS));

    let (tenant, ids) = (tenant(), (0..u128::from(LINKS)).map(LinkId::from_bits).collect::<Vec<_>>());
    let started = Instant::now();
    for read in 0..READS {
        // A stride that visits every link, and neighbours never.
        let id = &ids[(read as usize * 997) % ids.len()];
        let answer = store.lookup_numbers_answer(&tenant, id).await.unwrap().unwrap();
        assert_eq!(answer.accounts.expose().len(), NUMBERS_VIEW.len());
    }
    println!("numbers read: {} ns", started.elapsed().as_nanos() / u128::from(READS));

    let started = Instant::now();
    for bits in 0..100 {
        store.commit(changes(insertion(link(1_000_000 + bits)))).await.unwrap();
    }
    println!("lone synced commit: {} us", started.elapsed().as_micros() / 100);
}
