//! Enrichment in the contract's words.

use std::collections::HashSet;

use moneykit::models;
use passbook_core::enrichment::{Enrichment, Named};

use super::{account, link_common, transaction};
use crate::services::enrichment::Corrected;

/// What a correction changed, with the accounts that occur in it.
pub fn corrected(corrected: &Corrected) -> models::CorrectEnrichmentResponse {
    let Corrected { link, transactions } = corrected;
    let shown: HashSet<_> = transactions.iter().map(|item| &item.account_id).collect();
    models::CorrectEnrichmentResponse {
        accounts: link.accounts.iter().filter(|account| shown.contains(&account.id)).map(account).collect(),
        transactions: transactions.iter().cloned().map(transaction).collect(),
        link: link_common(link),
        cursor: models::CursorPagination { next: None },
    }
}

/// What is known of one transaction.
pub(super) fn enrichment(known: Enrichment) -> models::TransactionEnrichmentResponse {
    let confidence = Some(i64::from(known.confidence));
    models::TransactionEnrichmentResponse {
        category: models::TransactionCategoryResponse { value: known.kind.category().into(), confidence },
        subcategory: known
            .kind
            .subcategory()
            .map(|value| models::TransactionSubcategoryResponse { value: value.into(), confidence }),
        merchant: known.merchant.map(|Named { name, confidence }| models::TransactionMerchantResponse {
            id: None,
            name: Some(name),
            logo: None,
            confidence: Some(confidence.into()),
        }),
        processor: known.processor.map(|Named { name, confidence }| models::TransactionProcessorResponse {
            id: None,
            name: Some(name),
            logo: None,
            confidence: Some(confidence.into()),
        }),
        recurrence: None,
    }
}
