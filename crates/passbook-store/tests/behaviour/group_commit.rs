//! Many writers at once: everybody gets the answer of their own change.

use std::sync::Arc;

use passbook_core::ids::LinkId;
use passbook_store::port::{AuditEntry, Changes, CommitError, Guard, Store};

use crate::examples::*;

crate::on_every_store! {
    winners_and_losers_of_one_moment_do_not_touch_each_other,
    an_acknowledged_write_is_read_at_once,
}

async fn winners_and_losers_of_one_moment_do_not_touch_each_other(store: Arc<dyn Store>) {
    let taken = stored_link(&*store, 0).await;
    let audit =
        AuditEntry { tenant: tenant(), actor: "client_1".into(), action: "create_link", link_id: None, at: second(0) };
    let writers: Vec<_> = (1..=120)
        .map(|number: u128| {
            let store = Arc::clone(&store);
            // Every third one loses after it has already inserted its link and its audit row.
            let jobs = if number.is_multiple_of(3) {
                vec![job(number, number, second(1)), job(number, number, second(1))]
            } else {
                vec![job(number, number, second(1))]
            };
            let commit =
                Changes { jobs, audit: vec![audit.clone(), audit.clone()], ..changes(insertion(link(number))) };
            let stale = changes(replacement(taken.clone(), 9));
            tokio::spawn(async move { (number, store.commit(commit).await, store.commit(stale).await) })
        })
        .collect();
    for writer in writers {
        let (number, result, stale) = writer.await.unwrap();
        let stored = store.lookup_link(&tenant(), &LinkId::from_bits(number)).await.unwrap();
        let job = store.lookup_job_state(&passbook_core::ids::JobId::from_bits(number)).await.unwrap();
        if number.is_multiple_of(3) {
            assert!(matches!(result, Err(CommitError::Conflict(Guard::Unique))), "{number}");
            assert!(stored.is_none() && job.is_none(), "{number}");
        } else {
            result.unwrap();
            assert!(stored.is_some() && job.is_some(), "{number}");
        }
        assert!(matches!(stale, Err(CommitError::Conflict(Guard::Link))));
    }
}

async fn an_acknowledged_write_is_read_at_once(store: Arc<dyn Store>) {
    let writers: Vec<_> = (1..=32)
        .map(|number: u128| {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                store.commit(changes(insertion(link(number)))).await.unwrap();
                store.lookup_link(&tenant(), &LinkId::from_bits(number)).await.unwrap().is_some()
            })
        })
        .collect();
    for writer in writers {
        assert!(writer.await.unwrap());
    }
}
