//! Account ids survive what banks do to accounts: at least 200 labelled mutations, no duplicate, no wrong merge.
//!
//! Each case begins with a household's accounts and applies one or two things that banks do. Every account carries a label
//! that the rules never see, so the outcome can be judged: who was who, and who is new. A case in which nothing tells two
//! accounts apart any more must not merge them wrongly; it may give new ids.

use std::collections::{BTreeMap, BTreeSet};

use passbook_core::{
    account::AccountType,
    ids::{AccountId, AppId, Derivation, LinkId},
    institution::{Country, Institution},
    link::{Link, lifecycle::NewLink},
    product::Product,
    reconcile::{NewAccounts, reconcile_accounts},
    snapshot::{BankAccount, balance},
    tenant::{Environment, Tenant},
};

/// An account at the bank, with who it really is.
#[derive(Clone, Debug)]
struct Real {
    label: String,
    key: String,
    kind: &'static str,
    name: String,
    mask: Option<String>,
    currency: &'static str,
    closed: bool,
}

type Bank = Vec<Real>;

fn real(label: &str, kind: &'static str, name: &str, mask: &str) -> Real {
    Real {
        label: label.to_owned(),
        key: format!("key-{label}"),
        kind,
        name: name.to_owned(),
        mask: Some(mask.to_owned()),
        currency: "USD",
        closed: false,
    }
}

fn households() -> Vec<(&'static str, Bank)> {
    let checking = "depository.checking";
    let one = |label: &str| real(label, checking, "Everyday Checking", "1234");
    let savings = real("s", "depository.savings", "Savings", "5678");
    let card = real("c", "liability.credit_card", "Rewards Card", "9012");
    let mut euro = one("e");
    euro.currency = "EUR";
    vec![
        ("one account", vec![one("a")]),
        ("three kinds", vec![one("a"), savings.clone(), card.clone()]),
        ("same name and mask, two kinds", vec![one("a"), real("b", "depository.savings", "Everyday Checking", "1234")]),
        ("same name and mask, two currencies", vec![one("a"), euro]),
        ("same name, other mask", vec![one("a"), real("b", checking, "Everyday Checking", "4321"), savings.clone()]),
        ("same mask, other name", vec![one("a"), real("b", checking, "Household Checking", "1234"), card]),
        ("twins", vec![one("a"), one("b"), savings]),
    ]
}

/// One thing that a bank, or a change of provider, does.
type Change = fn(&mut Bank);

const CHANGES: [(&str, Change); 15] = [
    ("nothing", |_| {}),
    ("reversed order", |bank| bank.reverse()),
    ("rotated order", |bank| bank.rotate_left(1)),
    ("the first is renamed", |bank| bank[0].name = "Bills".to_owned()),
    ("all are renamed", |bank| {
        for (number, account) in bank.iter_mut().enumerate() {
            account.name = format!("Product {number}");
        }
    }),
    ("names are shouted", |bank| {
        for account in bank {
            account.name = format!("  {} ", account.name.to_uppercase().replace(' ', "   "));
        }
    }),
    ("the first has another number and mask", |bank| bank[0].mask = Some("0001".to_owned())),
    ("all have other masks", |bank| {
        for (number, account) in bank.iter_mut().enumerate() {
            account.mask = Some(format!("{number:04}"));
        }
    }),
    ("masks are hidden", |bank| bank.iter_mut().for_each(|account| account.mask = None)),
    ("another provider names all keys", |bank| {
        bank.iter_mut().for_each(|account| account.key = format!("other-{}", account.key));
    }),
    ("the first has another key", |bank| bank[0].key = format!("moved-{}", bank[0].key)),
    ("the last is closed", |bank| bank.last_mut().expect("an account").closed = true),
    ("the first is gone", |bank| {
        bank.remove(0);
    }),
    ("a new account of another kind", |bank| bank.insert(0, real("n", "depository.cd", "One Year CD", "7777"))),
    ("a new account that looks like the first", |bank| {
        let mut new = bank[0].clone();
        (new.label, new.key, new.mask) = ("n".to_owned(), "key-n".to_owned(), Some("8888".to_owned()));
        bank.push(new);
    }),
];

/// Changes that take away what an account could be recognised by.
fn is_lost(household: &str, one: &str, other: &str) -> bool {
    let did = |change: &str| one == change || other == change;
    let rekeyed = did("another provider names all keys");
    let moved = did("the first has another key");
    let unmasked = did("all have other masks") || did("masks are hidden");
    let first_unmasked = unmasked || did("the first has another number and mask");
    let renamed = did("all are renamed") || did("the first is renamed");
    match household {
        // Nothing but their keys ever told twins apart.
        "twins" => rekeyed || moved,
        _ if rekeyed => {
            (first_unmasked && (renamed || household == "same name, other mask"))
                || (household == "same mask, other name" && did("all are renamed"))
        }
        // One account under another key is recognised by its mask: while the bank uses its keys, a name proves nothing.
        _ if moved => first_unmasked || household == "same mask, other name" && renamed,
        _ => false,
    }
}

fn link() -> Link {
    let institution = Institution {
        id: "bank".into(),
        aliases: Vec::new(),
        name: "Bank".into(),
        country: Country::Us,
        domain: None,
        color: None,
        color_dark: None,
        is_featured: false,
        connector: "test".into(),
        products: [Product::Accounts].into_iter().collect(),
    };
    Link::begin(NewLink {
        id: LinkId::from_bits(1),
        tenant: Tenant { app_id: AppId::from_bits(1), environment: Environment::Sandbox },
        customer_user_id: "user-1".into(),
        institution: &institution,
        webhook: None,
        tags: Vec::new(),
        now: "2026-01-01T00:00:00Z".parse().unwrap(),
    })
}

fn report(bank: &Bank, link: &mut Link) {
    let accounts = bank
        .iter()
        .map(|account| BankAccount {
            upstream_key: account.key.clone(),
            account_type: AccountType::new(account.kind),
            name: account.name.clone(),
            nickname: None,
            mask: account.mask.clone(),
            balances: balance(account.currency, None, None, None),
            closed: account.closed,
        })
        .collect();
    reconcile_accounts(link, accounts, &NewAccounts::Permitted, true, &Derivation::new(b"seed"));
}

/// Who each of the bank's accounts is taken for.
fn ids(bank: &Bank, link: &Link) -> BTreeMap<String, AccountId> {
    let id = |account: &Real| {
        link.accounts.iter().find(|known| known.upstream_key == account.key).expect("every account is known").id.clone()
    };
    bank.iter().map(|account| (account.label.clone(), id(account))).collect()
}

#[test]
fn ids_survive_what_banks_do() {
    let (mut cases, mut unknowable) = (0, 0);
    for (household, bank) in households() {
        for (first, (one, change)) in CHANGES.iter().enumerate() {
            for (other, and_change) in &CHANGES[first..] {
                let mut link = link();
                report(&bank, &mut link);
                let before = ids(&bank, &link);
                let mut changed = bank.clone();
                change(&mut changed);
                if one != other && !changed.is_empty() {
                    and_change(&mut changed);
                }
                let labels: BTreeSet<_> = changed.iter().map(|account| &account.label).collect();
                if changed.is_empty() || labels.len() < changed.len() {
                    continue;
                }
                report(&changed, &mut link);
                let after = ids(&changed, &link);
                cases += 1;
                let case = format!("{household}: {one}, {other}");
                let distinct: BTreeSet<_> = after.values().collect();
                assert_eq!(distinct.len(), after.len(), "{case}: two accounts became one");
                let lost = is_lost(household, one, other);
                unknowable += usize::from(lost);
                for (label, id) in &after {
                    match before.get(label) {
                        Some(known) if known == id => {}
                        Some(_) => {
                            assert!(!before.values().any(|other| other == id), "{case}: {label} was taken for another");
                            assert!(lost, "{case}: {label} became a duplicate");
                        }
                        None => {
                            assert!(!before.values().any(|other| other == id), "{case}: a new account was merged");
                        }
                    }
                }
                // The same report again changes nothing.
                report(&changed, &mut link);
                assert_eq!(ids(&changed, &link), after, "{case}");
            }
        }
    }
    println!("{cases} cases, of which {unknowable} leave nothing to recognise an account by");
    assert!(cases - unknowable >= 200, "{cases} cases, {unknowable} unknowable");
}
