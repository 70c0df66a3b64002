//! Values that the cases are made of.

use jiff::{SignedDuration, Timestamp};
use passbook_core::{
    account::{Account, AccountType, Balances},
    account_numbers::{AccountNumbers, AchNumber, BacsNumber, EftNumber, InternationalNumber},
    identity::{Address, Email, Owner, PhoneKind, PhoneNumber},
    ids::{AccountId, AppId, JobId, LinkId, SessionId, TransactionId},
    institution::{Country, Institution},
    link::{Link, LinkSecrets, lifecycle::NewLink},
    product::{Product, ProductSet, ProductSettings},
    secret::SecretBytes,
    session::{LinkSession, SessionProgress},
    tenant::{Environment, Tenant},
    time::AppClock,
    transaction::{Direction, Transaction, TransactionDetails},
};
use passbook_store::port::{App, Changes, ImportKey, JobWork, LinkWrite, NewJob, SessionWrite, Store};

pub const NUMBERS_VIEW: &[u8] = br#"[{"account_number":"000123456789"}]"#;

pub fn at(text: &str) -> Timestamp {
    text.parse().expect("an instant")
}

/// Stands still before everything that the cases make.
pub struct FixedClock;

impl passbook_core::time::Clock for FixedClock {
    fn now(&self) -> Timestamp {
        second(-1)
    }
}

/// A fixed instant, `seconds` in.
pub fn second(seconds: i64) -> Timestamp {
    at("2024-05-01T00:00:00.000001Z") + SignedDuration::from_secs(seconds)
}

pub fn app_id(bits: u128) -> AppId {
    AppId::from_bits(bits)
}

pub fn tenant() -> Tenant {
    Tenant { app_id: app_id(1), environment: Environment::Sandbox }
}

/// Tenants that must see nothing of [`tenant`]'s.
pub fn strangers() -> [Tenant; 2] {
    [
        Tenant { app_id: app_id(2), environment: Environment::Sandbox },
        Tenant { app_id: app_id(1), environment: Environment::Live },
    ]
}

pub fn app(bits: u128) -> App {
    App {
        id: app_id(bits),
        name: format!("App {bits}"),
        clock: AppClock::default(),
        allowed_origins: vec!["http://localhost:*".into()],
        disabled_at: None,
    }
}

/// A link in state `connecting` with every product granted.
pub fn link(bits: u128) -> Link {
    let offered: ProductSet = Product::ALL.into_iter().collect();
    let institution = Institution {
        id: "credentials_bank".into(),
        aliases: Vec::new(),
        name: "Credentials Bank".into(),
        country: Country::Us,
        domain: None,
        color: Some("#1d4ed8".into()),
        color_dark: None,
        is_featured: true,
        connector: "sandbox".into(),
        products: offered,
    };
    let mut link = Link::begin(NewLink {
        id: LinkId::from_bits(bits),
        tenant: tenant(),
        customer_user_id: "user \u{e9}".into(),
        institution: &institution,
        webhook: Some("http://localhost:9/hook".into()),
        tags: vec!["b".into(), "a".into()],
        now: second(0),
    });
    let settings = ProductSettings { prefetch: true, reason: Some("why".into()), ..ProductSettings::default() };
    link.grant(&Product::ALL.map(|product| (product, settings.clone())));
    link
}

/// A connected link with data.
pub fn connected_link(bits: u128) -> Link {
    let mut link = link(bits);
    link.accounts.push(account(1));
    link.connect(second(1));
    link.note_fetched(Product::Accounts, second(2));
    link
}

pub fn account(bits: u128) -> Account {
    Account {
        id: AccountId::from_bits(bits),
        upstream_key: format!("upstream-{bits}"),
        account_type: AccountType::new("depository.checking"),
        name: "Checking".into(),
        nickname: Some("Mine".into()),
        mask: Some("6789".into()),
        balances: Balances {
            currency: Some("USD".into()),
            available: Some("12.30".parse().expect("a decimal")),
            current: Some("-0.01".parse().expect("a decimal")),
            limit: None,
            balance_date: Some(second(1)),
        },
        closed: false,
        permitted: true,
        original_id: Some("theirs".into()),
    }
}

pub fn secrets() -> LinkSecrets {
    let numbers = AccountNumbers {
        ach: Some(AchNumber {
            account_number: "000123456789".into(),
            routing_number: "021000021".into(),
            wire_routing_number: Some("026009593".into()),
        }),
        eft: Some(EftNumber {
            account_number: "111222333".into(),
            institution_number: "001".into(),
            branch_number: "00011".into(),
        }),
        bacs: Some(BacsNumber { account_number: "31926819".into(), sort_code: "601613".into() }),
        international: Some(InternationalNumber { iban: "GB29NWBK60161331926819".into(), bic: "NWBKGB2L".into() }),
    };
    let owner = Owner {
        names: vec!["Ada Lovelace".into()],
        addresses: vec![Address { city: Some("London".into()), primary: Some(true), ..Address::default() }],
        phone_numbers: vec![PhoneNumber { number: "+44 20".into(), primary: None, kind: PhoneKind::Mobile }],
        emails: vec![Email { address: "ada@example.com".into(), primary: Some(false) }],
    };
    LinkSecrets {
        numbers: [(AccountId::from_bits(1), numbers)].into(),
        owners: [(AccountId::from_bits(1), vec![owner])].into(),
    }
}

/// Inserts `link` without secrets.
pub fn insertion(link: Link) -> LinkWrite {
    LinkWrite {
        link_view: format!("{{\"id\":\"{}\"}}", link.id).into_bytes(),
        link,
        expected_version: None,
        renderer: 3,
        numbers_view: None,
        secrets: None,
        credential: None,
        destroy: false,
        import_key: ImportKey::Keep,
    }
}

/// Replaces `link` at `version`, keeping its secrets.
pub fn replacement(link: Link, version: u64) -> LinkWrite {
    LinkWrite { expected_version: Some(version), ..insertion(link) }
}

/// Inserts `link` with every kind of secret.
pub fn insertion_with_secrets(link: Link) -> LinkWrite {
    LinkWrite {
        numbers_view: Some(SecretBytes::new(NUMBERS_VIEW.to_vec())),
        secrets: Some(secrets()),
        credential: Some(SecretBytes::new(b"user_good:password".to_vec())),
        ..insertion(link)
    }
}

/// Deletes `link` at `version`.
pub fn deletion(mut link: Link, version: u64) -> LinkWrite {
    link.delete(second(100));
    LinkWrite { destroy: true, ..replacement(link, version) }
}

pub fn changes(link: LinkWrite) -> Changes {
    Changes { link: Some(link), ..Changes::default() }
}

/// A stored link without secrets.
pub async fn stored_link(store: &dyn Store, bits: u128) -> Link {
    let link = link(bits);
    store.commit(changes(insertion(link.clone()))).await.expect("a new link is stored");
    link
}

pub fn transaction(bits: u128, date: &str) -> Transaction {
    Transaction {
        id: TransactionId::from_bits(bits),
        account_id: AccountId::from_bits(1),
        upstream_key: format!("key-{bits}"),
        details: TransactionDetails {
            amount: "7.10".parse().expect("a decimal"),
            direction: Direction::Debit,
            currency: "USD".into(),
            date: date.parse().expect("a date"),
            datetime: None,
            description: Some("Coffee".into()),
            raw_description: None,
            pending: false,
        },
        original_id: None,
        pending_id: None,
        enrichment: None,
    }
}

pub fn job(bits: u128, link: u128, due: Timestamp) -> NewJob {
    NewJob {
        id: JobId::from_bits(bits),
        tenant: tenant(),
        link_id: LinkId::from_bits(link),
        work: JobWork::RefreshProducts { products: [Product::Accounts].into_iter().collect() },
        due_at: due,
        app_due_at: None,
    }
}

pub fn session(bits: u128) -> LinkSession {
    LinkSession {
        id: SessionId::from_bits(bits),
        tenant: tenant(),
        ordinal: 7,
        created_at: second(0),
        expires_at: second(14_400),
        link_id: None,
        progress: SessionProgress::Open,
    }
}

pub fn session_write(session: LinkSession, expected_version: Option<u64>) -> SessionWrite {
    SessionWrite { session, expected_version, request: None, wipe_request: false, spends_token: false }
}
