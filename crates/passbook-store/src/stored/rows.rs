//! What a row of each table says. The order of the columns is that of the statements of every store.

use std::{borrow::Cow, collections::HashMap};

use jiff::SignedDuration;
use passbook_core::{
    change_log::{Change, ChangeKind, LoggedChange},
    delivery::Failing,
    delivery_shares::{Destination, ReadyQueue},
    event::Event,
    ids::{AppId, InvestmentTransactionId, LinkId, SecurityId, TransactionId},
    investment::{InvestmentTransaction, Portfolio},
    link::LinkSecrets,
    product::ProductSet,
    retention::TimeWatch,
    secret::SecretBytes,
    session::{LinkSession, SessionProgress},
    tenant::{ScopeSet, Tenant},
    transaction::{Transaction, TransactionDetails},
};

use super::{
    columns::{Columns, StoredRow},
    document::read_document,
    prepare::answer_place,
    sealed::{KeyMissing, open_field, secret_from_json, unwrap_data_key},
    values::{Unexpected, job_state_word, word},
};
use crate::{
    port::{
        Address, AddressStatus, AnswerKey, App, AppInstitution, Client, DeliveryLease, DeliveryState, DeliveryStatus,
        JobState, KeptAnswer, LeaseRef, LeasedDelivery, LeasedJob, LedgerEvent, LinkAnswer, LinkPosition,
        NumbersAnswer, Reservation, StoreError, StoredLink, StoredSecrets, StoredSession, Token, UndispatchedEvent,
    },
    sealing::{Keys, Place, SealingKey},
};

const LINKS: &str = "links";
const DELIVERIES: &str = "deliveries";
pub(crate) const INVESTMENT_TRANSACTIONS: &str = "investment_transactions";

/// Whether a row whose `app_id` and `environment` are in column `from` and the next is the tenant's. What cannot be read
/// is nobody's.
pub(crate) fn is_of(row: &impl StoredRow, tenant: &Tenant, from: usize) -> bool {
    let says = |index, word: &str| matches!(row.optional_text(index), Ok(Some(stored)) if stored == word);
    says(from, tenant.app_id.as_str()) && says(from + 1, tenant.environment.as_str())
}

/// `state, error, granted, deleted_at, renderer, link_view`.
pub(crate) fn link_answer(row: &impl StoredRow, id: &LinkId) -> Result<LinkAnswer, StoreError> {
    let columns = Columns { row, table: LINKS, key: id.as_str() };
    Ok(LinkAnswer {
        state: columns.word(0, "state")?,
        error: columns.optional_word(1, "error")?,
        granted: ProductSet::from_bits(columns.integer(2, "granted")?),
        deleted_at: columns.optional_instant(3, "deleted_at")?,
        renderer: columns.integer(4, "renderer")?,
        link_view: columns.bytes(5, "link_view")?.to_vec(),
    })
}

/// As [`link_answer`], then `numbers_view, wrapped_key, key_version`.
pub(crate) fn numbers_answer(
    row: &impl StoredRow,
    keys: &Keys,
    tenant: &Tenant,
    id: &LinkId,
) -> Result<NumbersAnswer, StoreError> {
    let columns = Columns { row, table: LINKS, key: id.as_str() };
    let link = link_answer(row, id)?;
    let accounts = match (columns.optional_bytes(6, "numbers_view")?, data_key(row, keys, tenant, id, 7)?) {
        (None, _) => SecretBytes::default(),
        (Some(_), None) => return Err(columns.wrong("wrapped_key", KeyMissing)),
        (Some(sealed), Some(key)) => open_field(&key, tenant, id, "numbers_view", sealed)?,
    };
    Ok(NumbersAnswer { link, accounts })
}

/// `version, document`.
pub(crate) fn stored_link(row: &impl StoredRow, id: &LinkId) -> Result<StoredLink, StoreError> {
    let columns = Columns { row, table: LINKS, key: id.as_str() };
    let link = read_document(id.as_str(), columns.bytes(1, "document")?)?;
    Ok(StoredLink { link, version: columns.integer(0, "version")? })
}

/// `link_id, app_id, environment`.
pub(crate) fn link_of_tenant(row: &impl StoredRow) -> Result<(Tenant, LinkId), StoreError> {
    let columns = Columns { row, table: LINKS, key: "" };
    Ok((columns.tenant(1)?, columns.link_id(0)?))
}

/// `version, document, link_id`.
pub(crate) fn stored_link_of_user(row: &impl StoredRow) -> Result<StoredLink, StoreError> {
    let id = Columns { row, table: LINKS, key: "" }.link_id(2)?;
    stored_link(row, &id)
}

/// `numbers, owners, credential, wrapped_key, key_version`; `None` when there is no key.
pub(crate) fn stored_secrets(
    row: &impl StoredRow,
    keys: &Keys,
    tenant: &Tenant,
    id: &LinkId,
) -> Result<Option<StoredSecrets>, StoreError> {
    let columns = Columns { row, table: LINKS, key: id.as_str() };
    let Some(key) = data_key(row, keys, tenant, id, 3)? else { return Ok(None) };
    let opened = |index, column| {
        let sealed = columns.optional_bytes(index, column)?;
        sealed.map(|sealed| open_field(&key, tenant, id, column, sealed)).transpose()
    };
    Ok(Some(StoredSecrets {
        secrets: LinkSecrets {
            numbers: secret_from_json(opened(0, "numbers")?, "numbers", id)?,
            owners: secret_from_json(opened(1, "owners")?, "owners", id)?,
        },
        credential: opened(2, "credential")?,
    }))
}

/// The data key wrapped in column `index`, with the key version in the next one.
pub(crate) fn data_key(
    row: &impl StoredRow,
    keys: &Keys,
    tenant: &Tenant,
    id: &LinkId,
    index: usize,
) -> Result<Option<SealingKey>, StoreError> {
    let columns = Columns { row, table: LINKS, key: id.as_str() };
    let Some(wrapped) = columns.optional_bytes(index, "wrapped_key")? else { return Ok(None) };
    let Some(version) = columns.optional_integer(index + 1, "key_version")? else {
        return Err(columns.wrong("key_version", KeyMissing));
    };
    Ok(Some(unwrap_data_key(keys, tenant, id, version, wrapped)?))
}

/// `link_id`.
pub(crate) fn link_id(row: &impl StoredRow) -> Result<LinkId, StoreError> {
    Columns { row, table: LINKS, key: "" }.link_id(0)
}

/// `link_id, created_at`.
pub(crate) fn link_position(row: &impl StoredRow) -> Result<LinkPosition, StoreError> {
    let columns = Columns { row, table: LINKS, key: "" };
    Ok(LinkPosition { id: columns.link_id(0)?, created_at: columns.instant(1, "created_at")? })
}

/// A transaction of `link`, from column `from` on: `transaction_id, account_id, upstream_key, amount, direction,
/// currency, date, datetime, description, raw_description, pending, original_id, pending_id, enrichment`.
pub(crate) fn transaction(row: &impl StoredRow, link: &LinkId, from: usize) -> Result<Transaction, StoreError> {
    let columns = Columns { row, table: "transactions", key: link.as_str() };
    let owned = |text: Option<Cow<'_, str>>| text.map(Cow::into_owned);
    let id: TransactionId = columns.transaction_id(from)?;
    Ok(Transaction {
        id,
        account_id: columns.account_id(from + 1)?,
        upstream_key: columns.text(from + 2, "upstream_key")?.into_owned(),
        details: TransactionDetails {
            amount: columns.parsed(from + 3, "amount", |text| text.parse().ok())?,
            direction: columns.word(from + 4, "direction")?,
            currency: columns.text(from + 5, "currency")?.into_owned(),
            date: columns.date(from + 6, "date")?,
            datetime: columns.optional_instant(from + 7, "datetime")?,
            description: owned(columns.optional_text(from + 8, "description")?),
            raw_description: owned(columns.optional_text(from + 9, "raw_description")?),
            pending: columns.integer::<u8>(from + 10, "pending")? != 0,
        },
        original_id: owned(columns.optional_text(from + 11, "original_id")?),
        pending_id: columns
            .optional_text(from + 12, "pending_id")?
            .map(|text| TransactionId::parse(&text).ok_or_else(|| columns.wrong("pending_id", Unexpected)))
            .transpose()?,
        enrichment: columns.optional_json(from + 13, "enrichment")?,
    })
}

/// `portfolio`.
pub(crate) fn portfolio(row: &impl StoredRow, link: &LinkId) -> Result<Portfolio, StoreError> {
    Columns { row, table: "holdings", key: link.as_str() }.json(0, "portfolio")
}

/// An investment transaction of `link`, from column `from` on: `investment_transaction_id, account_id, upstream_key,
/// security_id, details`.
pub(crate) fn investment_transaction(
    row: &impl StoredRow,
    link: &LinkId,
    from: usize,
) -> Result<InvestmentTransaction, StoreError> {
    let columns = Columns { row, table: INVESTMENT_TRANSACTIONS, key: link.as_str() };
    let security_id = columns
        .optional_text(from + 3, "security_id")?
        .map(|text| SecurityId::parse(&text).ok_or_else(|| columns.wrong("security_id", Unexpected)))
        .transpose()?;
    Ok(InvestmentTransaction {
        id: columns.parsed(from, "investment_transaction_id", InvestmentTransactionId::parse)?,
        account_id: columns.account_id(from + 1)?,
        upstream_key: columns.text(from + 2, "upstream_key")?.into_owned(),
        security_id,
        details: columns.json(from + 4, "details")?,
    })
}

/// A value for a JSON column.
pub(crate) fn to_json<T: serde::Serialize>(value: &T) -> String {
    serde_json::to_string(value).expect("plain data with string keys")
}

/// A row of the change log of `link`: `position, kind, transaction_id`, then the [`transaction`], absent when it is
/// gone.
pub(crate) fn logged_change(row: &impl StoredRow, link: &LinkId) -> Result<LoggedChange, StoreError> {
    let columns = Columns { row, table: "transaction_changes", key: link.as_str() };
    let word = |word: &str| ChangeKind::ALL.into_iter().find(|kind| kind.as_str() == word);
    let change = match columns.parsed(1, "kind", word)? {
        ChangeKind::Created => Change::Created(transaction(row, link, 3)?),
        ChangeKind::Updated => Change::Updated(transaction(row, link, 3)?),
        ChangeKind::Removed => Change::Removed(columns.transaction_id(2)?),
    };
    Ok(LoggedChange { position: columns.integer(0, "position")?, change })
}

/// `job_id, app_id, environment, link_id, work, fence`; the lease is one fence further.
pub(crate) fn job_to_lease(row: &impl StoredRow) -> Result<LeasedJob, StoreError> {
    let columns = Columns { row, table: "jobs", key: "" };
    let fence: u64 = columns.integer(5, "fence")?;
    Ok(LeasedJob {
        lease: LeaseRef { job_id: columns.job_id(0)?, fence: fence + 1 },
        tenant: columns.tenant(1)?,
        link_id: columns.link_id(3)?,
        work: columns.json(4, "work")?,
    })
}

/// `body, webhook`, from column `from` on.
fn event_of(row: &impl StoredRow, from: usize) -> Result<Event, StoreError> {
    let columns = Columns { row, table: "events", key: "" };
    let event: Event = columns.json(from, "body")?;
    let webhook = columns.optional_text(from + 1, "webhook")?;
    Ok(Event { webhook: webhook.map(Cow::into_owned), ..event })
}

/// `app_id, environment, body, webhook` of an event; `None` when it cannot be read, so that it does not hold up all others.
pub(crate) fn undispatched_event(row: &impl StoredRow) -> Option<UndispatchedEvent> {
    let columns = Columns { row, table: "events", key: "" };
    let read = || Ok(UndispatchedEvent { tenant: columns.tenant(0)?, event: event_of(row, 2)? });
    let unread = |error: &StoreError| {
        tracing::error!(error = error as &dyn std::error::Error, "an event cannot be read, and is not dispatched");
    };
    read().inspect_err(unread).ok()
}

/// `position, body, webhook` of an event; its deliveries are still to be added.
pub(crate) fn ledger_event(row: &impl StoredRow) -> Result<LedgerEvent, StoreError> {
    let columns = Columns { row, table: "events", key: "" };
    Ok(LedgerEvent { position: columns.integer(0, "position")?, event: event_of(row, 1)?, deliveries: Vec::new() })
}

/// `token, app_id, environment, link_id, address_id, url, host, body, attempts, tries, fence, failing_since, failures`.
pub(crate) fn delivery_to_lease(row: &impl StoredRow) -> Result<LeasedDelivery, StoreError> {
    let columns = Columns { row, table: DELIVERIES, key: "" };
    let fence: u64 = columns.integer(10, "fence")?;
    let id = columns.text(4, "address_id")?.into_owned();
    Ok(LeasedDelivery {
        lease: DeliveryLease { token: columns.text(0, "token")?.into_owned(), fence: fence + 1 },
        tenant: columns.tenant(1)?,
        link_id: columns.link_id(3)?,
        address: Address { url: columns.text(5, "url")?.into_owned(), host: host_or_address(&columns, 6, &id)?, id },
        body: columns.text(7, "body")?.into_owned(),
        attempts: columns.integer(8, "attempts")?,
        tries: columns.integer(9, "tries")?,
        failing: Failing {
            since: columns.optional_instant(11, "failing_since")?,
            attempts: columns.integer(12, "failures")?,
        },
    })
}

/// `app_id, environment, address_id, host, failing_since, count, due_at`: deliveries that are ready.
pub(crate) fn ready_queue(row: &impl StoredRow) -> Result<ReadyQueue, StoreError> {
    let columns = Columns { row, table: DELIVERIES, key: "" };
    let address_id = columns.text(2, "address_id")?.into_owned();
    let destination = Destination {
        tenant: columns.tenant(0)?,
        host: host_or_address(&columns, 3, &address_id)?,
        is_failing: columns.optional_integer(4, "failing_since")?.is_some(),
        address_id,
    };
    Ok(ReadyQueue { destination, count: columns.integer(5, "count")?, due_at: columns.instant(6, "due_at")? })
}

/// An address whose host is not known is a host of its own.
fn host_or_address<R: StoredRow>(columns: &Columns<'_, R>, index: usize, id: &str) -> Result<String, StoreError> {
    Ok(columns.optional_text(index, "host")?.map_or_else(|| id.to_owned(), Cow::into_owned))
}

/// `link_id, sequence, token, url, state, attempts, app_due_at, last_status, last_error`: of which event, and its delivery.
pub(crate) fn delivery_status(row: &impl StoredRow) -> Result<((LinkId, u64), DeliveryStatus), StoreError> {
    let columns = Columns { row, table: DELIVERIES, key: "" };
    let state: DeliveryState = columns.parsed(4, "state", word)?;
    let status = columns.optional_integer(7, "last_status")?;
    let delivery = DeliveryStatus {
        token: columns.text(2, "token")?.into_owned(),
        url: columns.text(3, "url")?.into_owned(),
        state,
        attempts: columns.integer(5, "attempts")?,
        app_due_at: (state == DeliveryState::Waiting).then(|| columns.instant(6, "app_due_at")).transpose()?,
        last_status: status.map(u16::try_from).transpose().map_err(|_| columns.wrong("last_status", Unexpected))?,
        last_error: columns.optional_text(8, "last_error")?.map(Cow::into_owned),
    };
    Ok(((columns.link_id(0)?, columns.integer(1, "sequence")?), delivery))
}

/// `app_id, environment, url, failing_since, switched_off`.
pub(crate) fn address_status(row: &impl StoredRow) -> Result<AddressStatus, StoreError> {
    let columns = Columns { row, table: "webhook_addresses", key: "" };
    Ok(AddressStatus {
        tenant: columns.tenant(0)?,
        url: columns.text(2, "url")?.into_owned(),
        failing_since: columns.optional_instant(3, "failing_since")?,
        switched_off: columns.optional_text(4, "switched_off")?.map(Cow::into_owned),
    })
}

/// Hands each event its deliveries.
pub(crate) fn join_deliveries(events: &mut [LedgerEvent], deliveries: Vec<((LinkId, u64), DeliveryStatus)>) {
    let mut by_event: HashMap<_, Vec<_>> = HashMap::new();
    for (place, delivery) in deliveries {
        by_event.entry(place).or_default().push(delivery);
    }
    for one in events {
        one.deliveries = by_event.remove(&(one.event.link_id.clone(), one.event.sequence)).unwrap_or_default();
    }
}

/// `state` of a job.
pub(crate) fn job_state(row: &impl StoredRow, key: &str) -> Result<JobState, StoreError> {
    Columns { row, table: "jobs", key }.parsed(0, "state", |word| {
        [JobState::Open, JobState::Done, JobState::Failed].into_iter().find(|state| job_state_word(*state) == word)
    })
}

/// `session_id, app_id, environment, ordinal, version, created_at, expires_at, link_id, progress, exchange_hash,
/// exchange_expires_at, request`.
pub(crate) fn session(row: &impl StoredRow, keys: &Keys) -> Result<StoredSession, StoreError> {
    let table = "link_sessions";
    let id = Columns { row, table, key: "" }.session_id(0)?;
    let columns = Columns { row, table, key: id.as_str() };
    let tenant = columns.tenant(1)?;
    let progress = match &*columns.text(8, "progress")? {
        "open" => SessionProgress::Open,
        "succeeded" => SessionProgress::Succeeded {
            exchange_hash: columns.hash(9, "exchange_hash")?,
            exchange_expires_at: columns.instant(10, "exchange_expires_at")?,
        },
        "exchanged" => SessionProgress::Exchanged,
        _ => return Err(columns.wrong("progress", Unexpected)),
    };
    let request = columns
        .optional_bytes(11, "request")?
        .map(|sealed| {
            let place = Place { app: tenant.app_id.as_str(), row: id.as_str(), column: "request" };
            keys.session_key(&tenant.app_id, &id).open(place, sealed).map_err(|error| columns.wrong("request", error))
        })
        .transpose()?;
    let link_id = columns
        .optional_text(7, "link_id")?
        .map(|text| LinkId::parse(&text).ok_or_else(|| columns.wrong("link_id", Unexpected)))
        .transpose()?;
    Ok(StoredSession {
        version: columns.integer(4, "version")?,
        request,
        session: LinkSession {
            ordinal: columns.integer(3, "ordinal")?,
            created_at: columns.instant(5, "created_at")?,
            expires_at: columns.instant(6, "expires_at")?,
            link_id,
            progress,
            tenant,
            id: id.clone(),
        },
    })
}

/// `app_id, name, clock, allowed_origins, disabled_at`.
pub(crate) fn app(row: &impl StoredRow) -> Result<App, StoreError> {
    let id = Columns { row, table: "apps", key: "" }.parsed(0, "app_id", AppId::parse)?;
    let columns = Columns { row, table: "apps", key: id.as_str() };
    Ok(App {
        name: columns.text(1, "name")?.into_owned(),
        clock: columns.json(2, "clock")?,
        allowed_origins: columns.json(3, "allowed_origins")?,
        disabled_at: columns.optional_instant(4, "disabled_at")?,
        id: id.clone(),
    })
}

/// `client_id, app_id, environment, name, secret_hashes, scopes, disabled_at`, and `disabled_at` of its app.
pub(crate) fn client(row: &impl StoredRow) -> Result<Client, StoreError> {
    let client_id = Columns { row, table: "clients", key: "" }.text(0, "client_id")?;
    let columns = Columns { row, table: "clients", key: &client_id };
    let (secret_hashes, rest) = columns.bytes(4, "secret_hashes")?.as_chunks::<32>();
    if !rest.is_empty() {
        return Err(columns.wrong("secret_hashes", "not a multiple of 32 bytes"));
    }
    Ok(Client {
        client_id: client_id.clone().into_owned(),
        tenant: columns.tenant(1)?,
        name: columns.text(3, "name")?.into_owned(),
        secret_hashes: secret_hashes.to_vec(),
        scopes: ScopeSet::from_bits(columns.integer(5, "scopes")?),
        disabled_at: columns.optional_instant(6, "disabled_at")?,
        app_disabled_at: columns.optional_instant(7, "disabled_at")?,
    })
}

/// `client_id`, name of the client, `app_id, environment`, name of the app, scopes of token and client, `expires_at`.
pub(crate) fn token(row: &impl StoredRow) -> Result<Token, StoreError> {
    let columns = Columns { row, table: "access_tokens", key: "" };
    let of_token: u16 = columns.integer(5, "scopes")?;
    let of_client: u16 = columns.integer(6, "scopes")?;
    Ok(Token {
        client_id: columns.text(0, "client_id")?.into_owned(),
        client_name: columns.text(1, "name")?.into_owned(),
        tenant: columns.tenant(2)?,
        app_name: columns.text(4, "name")?.into_owned(),
        scopes: ScopeSet::from_bits(of_token & of_client),
        expires_at: columns.instant(7, "expires_at")?,
    })
}

/// `institution_id, name, country`.
pub(crate) fn app_institution(row: &impl StoredRow, app: &AppId) -> Result<AppInstitution, StoreError> {
    let columns = Columns { row, table: "app_institutions", key: app.as_str() };
    Ok(AppInstitution {
        id: columns.text(0, "institution_id")?.into_owned(),
        name: columns.text(1, "name")?.into_owned(),
        country: columns.word(2, "country")?,
    })
}

/// `key_version, value` of an instance value.
pub(crate) fn instance_value(row: &impl StoredRow, keys: &Keys, name: &str) -> Result<SecretBytes, StoreError> {
    let columns = Columns { row, table: "instance_values", key: name };
    let version = columns.integer(0, "key_version")?;
    keys.open_instance_value(name, version, columns.bytes(1, "value")?).map_err(|error| columns.wrong("value", error))
}

/// `request_hash, status, body`: what became of an idempotency key that could not be reserved.
pub(crate) fn known_answer(
    row: &impl StoredRow,
    keys: &Keys,
    key: &AnswerKey,
    request_hash: &[u8; 32],
) -> Result<Reservation, StoreError> {
    let columns = Columns { row, table: "kept_answers", key: &key.hash };
    if columns.bytes(0, "request_hash")? != request_hash {
        return Ok(Reservation::OtherRequest);
    }
    let Some(status) = columns.optional_integer(1, "status")? else { return Ok(Reservation::Running) };
    let body = keys
        .answer_key(&key.tenant.app_id)
        .open(answer_place(key), columns.bytes(2, "body")?)
        .map_err(|error| columns.wrong("body", error))?;
    let status = u16::try_from(status).map_err(|error| columns.wrong("status", error))?;
    Ok(Reservation::Answered(KeptAnswer { status, body }))
}

/// `seen_at, hold` of the watched time.
pub(crate) fn watched_time(row: &impl StoredRow) -> Result<TimeWatch, StoreError> {
    let columns = Columns { row, table: "watched_time", key: "1" };
    let hold = SignedDuration::from_micros(columns.integer(1, "hold")?);
    Ok(TimeWatch { seen_at: columns.instant(0, "seen_at")?, hold })
}
