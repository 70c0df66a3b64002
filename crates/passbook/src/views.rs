//! Rendering: from the domain to the contract's words.
//!
//! The link object and the `accounts` array of the numbers answer are rendered when a link changes and stored beside
//! it, so that a read joins two byte slices ([`numbers_body`]). [`RENDERER`] says which code made them;
//! a stored view of another renderer is rendered again from the aggregate on the fly.

pub mod enrichment;
pub mod investments;
pub mod webhooks;

use std::collections::HashSet;

use moneykit::models;
use passbook_core::{
    account::{Account, Balances},
    account_numbers::AccountNumbers,
    change_log::ChangePage,
    identity::{Owner, PhoneKind},
    institution::{Country, Institution},
    link::{Link, LinkSecrets, LinkState},
    money::with_minor_digits,
    product::{Product, ProductRecord, ProductSettings},
    secret::SecretBytes,
    transaction::{Direction, Transaction},
};
use passbook_store::port::{ImportKey, LinkWrite, StoredLink};
use zeroize::Zeroizing;

/// Version of this file's output. Raise it with every change of a stored view.
pub const RENDERER: u32 = 2;

/// The `accounts` array of a link whose numbers were never fetched.
const NO_ACCOUNTS: &[u8] = b"[]";

/// The public link object.
pub fn link_common(link: &Link) -> models::LinkCommon {
    models::LinkCommon {
        link_id: link.id.as_str().into(),
        institution_id: link.institution.id.as_str().into(),
        institution_name: link.institution.name.clone(),
        institution_avatar: avatar(&link.institution.name, link.institution.color.as_deref()),
        state: link.state.as_str().into(),
        error_code: link.error.map(|code| code.as_str().into()),
        last_synced_at: link.last_synced_at(),
        provider: models::Provider::Moneykit,
        link_tags: Some(link.tags.clone()),
        tags: Some(link.tags.clone()),
        webhook: link.webhook.clone(),
        products: products(link),
        available_products: link.available_products().iter().map(|product| product.as_str().into()).collect(),
        missing_products: missing_products(link),
    }
}

fn missing_products(link: &Link) -> Vec<models::MissingProduct> {
    if link.state == LinkState::Deleted {
        return Vec::new();
    }
    let reason = |product| match link.offered.contains(product) {
        true => models::MissingProductReason::NotGranted,
        false => models::MissingProductReason::NotOffered,
    };
    // Enrichment comes and goes with transactions.
    Product::ALL
        .into_iter()
        .filter(|product| *product != Product::Enrichment && !link.products.contains_key(product))
        .map(|product| models::MissingProduct { product: product.as_str().into(), reason: reason(product) })
        .collect()
}

/// [`link_common`] as JSON, the `link_view` column.
pub fn link_view(link: &Link) -> Vec<u8> {
    json(&link_common(link))
}

/// What the numbers answer says of accounts, the `numbers_view` column: the `accounts` array, and behind it, as a further
/// field, which accounts are left out and why. Listed are open and permitted accounts that
/// have at least one set.
pub fn numbers_view(link: &Link, secrets: &LinkSecrets) -> SecretBytes {
    let accounts: Vec<_> = link
        .accounts
        .iter()
        .filter(|account| account.is_visible())
        .filter_map(|account| Some((account, secrets.numbers.get(&account.id)?)))
        .filter(|(_, numbers)| !numbers.is_empty())
        .map(|(account, numbers)| account_with_numbers(account, numbers))
        .collect();
    let mut view = json(&accounts);
    let left_out = accounts_without_numbers(link, secrets);
    if !left_out.is_empty() {
        view.extend_from_slice(b",\"accounts_without_numbers\":");
        view.extend_from_slice(&json(&left_out));
    }
    SecretBytes::new(view)
}

fn accounts_without_numbers(link: &Link, secrets: &LinkSecrets) -> Vec<models::AccountWithoutNumbers> {
    let is_fetched = link.products.get(&Product::AccountNumbers).is_some_and(|record| record.refreshed_at.is_some());
    let has_none = |account: &&Account| secrets.numbers.get(&account.id).is_none_or(AccountNumbers::is_empty);
    let reason = |account: &Account| match account.account_type.is_depository() {
        false => models::MissingNumbersReason::NotADepositAccount,
        true if is_fetched => models::MissingNumbersReason::NotGiven,
        true => models::MissingNumbersReason::NotFetched,
    };
    let left_out = link.accounts.iter().filter(|account| account.is_visible()).filter(has_none);
    left_out
        .map(|account| models::AccountWithoutNumbers {
            account_id: account.id.as_str().into(),
            reason: reason(account),
        })
        .collect()
}

/// The write of a changed link with its views. `secrets` must be given whenever accounts or numbers changed.
pub fn link_write(link: Link, expected_version: Option<u64>, secrets: Option<LinkSecrets>) -> LinkWrite {
    LinkWrite {
        renderer: RENDERER,
        link_view: link_view(&link),
        numbers_view: secrets.as_ref().map(|secrets| numbers_view(&link, secrets)),
        secrets,
        credential: None,
        destroy: false,
        import_key: ImportKey::Keep,
        expected_version,
        link,
    }
}

/// [`link_write`] for a link that was loaded.
pub fn link_update(stored: StoredLink, secrets: Option<LinkSecrets>) -> LinkWrite {
    link_write(stored.link, Some(stored.version), secrets)
}

/// The numbers answer from its two stored halves. The server's allocator wipes the buffer when the response
/// has been sent (ADR 0041).
pub fn numbers_body(accounts: &[u8], link_view: &[u8]) -> Zeroizing<Vec<u8>> {
    const PARTS: [&[u8]; 3] = [b"{\"accounts\":", b",\"link\":", b"}"];
    let accounts = if accounts.is_empty() { NO_ACCOUNTS } else { accounts };
    let mut body = Zeroizing::new(Vec::with_capacity(accounts.len() + link_view.len() + 24));
    for part in [PARTS[0], accounts, PARTS[1], link_view, PARTS[2]] {
        body.extend_from_slice(part);
    }
    body
}

/// The exchange answer around a stored link object.
pub fn exchange_body(link_id: &str, link_view: &[u8]) -> Vec<u8> {
    let mut body = Vec::with_capacity(link_view.len() + 64);
    body.extend_from_slice(b"{\"link_id\":\"");
    body.extend_from_slice(link_id.as_bytes());
    body.extend_from_slice(b"\",\"link\":");
    body.extend_from_slice(link_view);
    body.push(b'}');
    body
}

/// One account.
pub fn account(account: &Account) -> models::AccountResponse {
    models::AccountResponse {
        account_id: account.id.as_str().into(),
        account_type: account.account_type.0.clone(),
        name: account.name.clone(),
        nickname: account.nickname.clone(),
        account_mask: account.mask.clone(),
        balances: balances(&account.balances),
        original_id: account.original_id.clone(),
        closed: Some(account.closed),
    }
}

/// The account of a transaction in a listing over many links.
fn basic_account(link: &Link, account: &Account) -> models::BasicAccountDetails {
    models::BasicAccountDetails {
        name: account.name.clone(),
        last_synced_at: link.last_synced_at(),
        institution_id: link.institution.id.as_str().into(),
        link_id: link.id.as_str().into(),
    }
}

/// One page of the transactions of a user, with the accounts that occur in it.
pub fn user_transactions_page(
    links: &[StoredLink],
    page: u64,
    total: u64,
    items: Vec<Transaction>,
) -> models::GetUserTransactionsResponse {
    let shown: HashSet<_> = items.iter().map(|item| item.account_id.clone()).collect();
    let accounts = links.iter().flat_map(|stored| stored.link.accounts.iter().map(|account| (&stored.link, account)));
    models::GetUserTransactionsResponse {
        total,
        page,
        size: items.len() as u64,
        accounts: accounts
            .filter(|(_, account)| shown.contains(&account.id))
            .map(|(link, account)| (account.id.as_str().into(), basic_account(link, account)))
            .collect(),
        transactions: items.into_iter().map(transaction).collect(),
    }
}

/// One page of a link's transactions, with the accounts that occur in it.
pub fn transactions_page(
    link: &Link,
    page: u64,
    total: u64,
    items: Vec<Transaction>,
) -> models::GetTransactionsResponse {
    let shown: HashSet<_> = items.iter().map(|item| item.account_id.clone()).collect();
    models::GetTransactionsResponse {
        total,
        page,
        size: items.len() as u64,
        accounts: link.accounts.iter().filter(|account| shown.contains(&account.id)).map(account).collect(),
        link: link_common(link),
        transactions: items.into_iter().map(transaction).collect(),
    }
}

/// What one page of a link's change log tells, with the accounts that occur in it.
pub fn transactions_sync(
    link: &Link,
    page: ChangePage,
    next: String,
    has_more: bool,
) -> models::TransactionSyncResponse {
    let shown: HashSet<_> = page.created.iter().chain(&page.updated).map(|item| item.account_id.clone()).collect();
    models::TransactionSyncResponse {
        transactions: models::TransactionSync {
            created: page.created.into_iter().map(transaction).collect(),
            updated: page.updated.into_iter().map(transaction).collect(),
            removed: page.removed.iter().map(|id| id.as_str().into()).collect(),
        },
        accounts: link.accounts.iter().filter(|account| shown.contains(&account.id)).map(account).collect(),
        cursor: models::CursorPagination { next: Some(next) },
        has_more,
        link: link_common(link),
    }
}

/// One transaction.
pub fn transaction(row: Transaction) -> models::TransactionResponse {
    let details = row.details;
    models::TransactionResponse {
        transaction_id: row.id.as_str().into(),
        account_id: row.account_id.as_str().into(),
        amount: models::TransactionAmount::magnitude_of(with_minor_digits(details.amount, &details.currency)),
        transaction_type: match details.direction {
            Direction::Credit => models::TransactionType::Credit,
            Direction::Debit => models::TransactionType::Debit,
        },
        currency: details.currency,
        date: details.date,
        datetime: details.datetime,
        description: details.description,
        raw_description: details.raw_description,
        pending: details.pending,
        category: None,
        enrichment: row.enrichment.map(enrichment::enrichment),
        original_id: row.original_id,
        pending_transaction_id: row.pending_id.map(|id| id.as_str().into()),
    }
}

/// One directory record.
pub fn institution(institution: &Institution) -> models::Institution {
    models::Institution {
        institution_id: institution.id.as_str().into(),
        institution_id_aliases: institution.aliases.iter().map(Into::into).collect(),
        name: institution.name.clone(),
        country: match institution.country {
            Country::Us => models::Country::Us,
            Country::Gb => models::Country::Gb,
            Country::Ca => models::Country::Ca,
        },
        domain: institution.domain.clone(),
        // The contract allows null; older clients require a colour.
        color: Some(institution.color.clone().unwrap_or_else(|| format!("#{NEUTRAL_COLOR}"))),
        color_dark: institution.color_dark.clone(),
        is_featured: institution.is_featured,
    }
}

/// One account with its owners.
pub fn account_identity(account: &Account, owners: &[Owner]) -> models::AccountIdentity {
    models::AccountIdentity {
        account_id: account.id.as_str().into(),
        account_type: account.account_type.0.clone(),
        name: account.name.clone(),
        nickname: account.nickname.clone(),
        account_mask: account.mask.clone(),
        balances: balances(&account.balances),
        original_id: account.original_id.clone(),
        closed: Some(account.closed),
        owners: owners.iter().map(owner).collect(),
    }
}

fn owner(owner: &Owner) -> models::Owner {
    models::Owner {
        names: owner.names.clone(),
        addresses: owner
            .addresses
            .iter()
            .map(|address| models::Address {
                city: address.city.clone(),
                country: address.country.clone(),
                postal_code: address.postal_code.clone(),
                region: address.region.clone(),
                street: address.street.clone(),
                primary: address.primary,
            })
            .collect(),
        phone_numbers: owner
            .phone_numbers
            .iter()
            .map(|phone| models::PhoneNumber {
                number: phone.number.clone(),
                primary: phone.primary,
                phone_type: match phone.kind {
                    PhoneKind::Home => models::PhoneNumberType::Home,
                    PhoneKind::Work => models::PhoneNumberType::Work,
                    PhoneKind::Mobile => models::PhoneNumberType::Mobile,
                    PhoneKind::Other => models::PhoneNumberType::Other,
                },
            })
            .collect(),
        emails: owner
            .emails
            .iter()
            .map(|email| models::Email { address: email.address.clone(), primary: email.primary })
            .collect(),
    }
}

/// A value of ours as JSON bytes.
pub fn json<T: serde::Serialize>(value: &T) -> Vec<u8> {
    serde_json::to_vec(value).expect("models serialise: they hold no maps with other keys than text")
}

fn products(link: &Link) -> models::LinkProducts {
    let product = |product: Product| link.products.get(&product).map(product_status);
    models::LinkProducts {
        accounts: product(Product::Accounts),
        account_numbers: product(Product::AccountNumbers),
        identity: product(Product::Identity),
        transactions: product(Product::Transactions).map(|status| models::TransactionsLinkProduct {
            refreshed_at: status.refreshed_at,
            last_attempted_at: status.last_attempted_at,
            error_code: status.error_code,
            error_message: status.error_message,
            unavailable: status.unavailable,
            settings: status.settings.map(|settings| models::TransactionsProductSettings {
                required: settings.required,
                require_permission: settings.require_permission,
                prefetch: settings.prefetch,
                reason: settings.reason,
            }),
            // Deprecated but required; the contract asks for true.
            has_history: true,
        }),
        investments: product(Product::Investments),
        enrichment: product(Product::Enrichment),
    }
}

fn product_status(record: &ProductRecord) -> models::LinkProductResponse {
    models::LinkProductResponse {
        refreshed_at: record.refreshed_at,
        last_attempted_at: record.last_attempted_at,
        error_code: record.error.as_ref().map(|fault| product_error_name(fault.code).into()),
        error_message: record.error.as_ref().map(|fault| fault.message.clone()),
        unavailable: record.unavailable.clone(),
        settings: record.settings.as_ref().map(settings),
    }
}

fn settings(settings: &ProductSettings) -> models::ProductSettings {
    models::ProductSettings {
        required: settings.required,
        require_permission: settings.require_permission,
        prefetch: settings.prefetch,
        reason: settings.reason.clone(),
    }
}

fn product_error_name(code: passbook_core::product::ProductErrorCode) -> &'static str {
    use passbook_core::product::ProductErrorCode as Code;
    match code {
        Code::RateLimit => "rate_limit",
        Code::AuthExpired => "auth_expired",
        Code::NotSupported => "not_supported",
        Code::Timeout => "timeout",
        Code::Unknown => "unknown",
        Code::NoAccounts => "no_accounts",
        Code::InstitutionError => "institution_error",
        Code::NoPermission => "no_permission",
    }
}

fn balances(balances: &Balances) -> models::AccountBalances {
    models::AccountBalances {
        currency: balances.currency.clone(),
        available: balances.available,
        current: balances.current,
        limit: balances.limit,
        balance_date: balances.balance_date,
    }
}

fn account_with_numbers(account: &Account, numbers: &AccountNumbers) -> models::AccountWithAccountNumbers {
    models::AccountWithAccountNumbers {
        account_id: account.id.as_str().into(),
        account_type: account.account_type.0.clone(),
        name: account.name.clone(),
        nickname: account.nickname.clone(),
        account_mask: account.mask.clone(),
        balances: balances(&account.balances),
        original_id: account.original_id.clone(),
        closed: Some(account.closed),
        numbers: models::AccountNumbers {
            ach: numbers
                .ach
                .iter()
                .map(|set| models::AchNumber {
                    account_number: set.account_number.clone(),
                    routing_number: set.routing_number.clone(),
                    wire_routing_number: set.wire_routing_number.clone(),
                })
                .collect(),
            eft: numbers
                .eft
                .iter()
                .map(|set| models::EftNumber {
                    account_number: set.account_number.clone(),
                    institution_number: set.institution_number.clone(),
                    branch_number: set.branch_number.clone(),
                })
                .collect(),
            bacs: numbers
                .bacs
                .iter()
                .map(|set| models::BacsNumber {
                    account_number: set.account_number.clone(),
                    sort_code: set.sort_code.clone(),
                })
                .collect(),
            international: numbers
                .international
                .iter()
                .map(|set| models::InternationalNumber { iban: set.iban.clone(), bic: set.bic.clone() })
                .collect(),
        },
    }
}

/// The colour of an institution that has none of its own, in hexadecimal.
const NEUTRAL_COLOR: &str = "475569";

/// An avatar as a `data:` URL: the institution's initials on its colour. It needs no second request, works offline, and
/// does not depend on where this server happens to listen.
fn avatar(name: &str, color: Option<&str>) -> String {
    let initials: String = name
        .split_whitespace()
        .filter_map(|word| word.chars().find(char::is_ascii_alphanumeric))
        .take(2)
        .map(|letter| letter.to_ascii_uppercase())
        .collect();
    let color = color
        .and_then(|color| color.strip_prefix('#'))
        .filter(|hex| hex.len() == 6 && hex.bytes().all(|byte| byte.is_ascii_hexdigit()))
        .unwrap_or(NEUTRAL_COLOR);
    format!(
        "data:image/svg+xml,%3Csvg%20xmlns='http://www.w3.org/2000/svg'%20viewBox='0%200%2040%2040'%3E%3Crect%20width='40'\
         %20height='40'%20rx='8'%20fill='%23{color}'/%3E%3Ctext%20x='20'%20y='26'%20font-size='16'%20fill='%23fff'%20\
         text-anchor='middle'%20font-family='sans-serif'%3E{initials}%3C/text%3E%3C/svg%3E"
    )
}
