//! Every read of a store, for tests that damage what it reads.

use passbook_store::port::{Store, StoreError, TransactionFilter};

use crate::examples::*;

/// How many reads found something inconsistent. Leases are not taken: that would change the row.
pub async fn read_everything(store: &dyn Store) -> usize {
    let (tenant, id) = (tenant(), link(1).id);
    let filter = TransactionFilter { limit: 10, ..TransactionFilter::default() };
    [
        store.lookup_numbers_answer(&tenant, &id).await.err(),
        store.lookup_link_answer(&tenant, &id).await.err(),
        store.lookup_link(&tenant, &id).await.err(),
        store.lookup_secrets(&tenant, &id).await.err(),
        store.list_links(&tenant, None, 10).await.err(),
        store.list_transactions(&tenant, &id, &filter).await.err(),
        store.load_transactions(&tenant, &id, None).await.err(),
        store.lookup_session(&session(1).id).await.err(),
        store.lookup_app(&app_id(1)).await.err(),
        store.list_apps().await.err(),
        store.newest_time(&app_id(1)).await.err(),
        store.next_due_at().await.err(),
        store.lookup_job_state(&job(1, 1, second(0)).id).await.err(),
    ]
    .into_iter()
    .flatten()
    .map(|error| {
        let StoreError::Inconsistent { source, .. } = &error else { panic!("{error}") };
        assert!(!format!("{error:?} {source:?}").contains("Sesame"), "{error:?} quotes what it found");
    })
    .count()
}
