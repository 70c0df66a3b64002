//! Every generated number is valid, and its mask is its end.

use std::collections::HashSet;

use passbook_core::{
    account_numbers::AccountNumbers,
    numbers::{Reason, Verdict, check_account_numbers},
};

use crate::world::{Link, Visitor, noon};

const PEOPLE: usize = 3_000;

fn person(bank: &'static str, index: usize) -> Visitor {
    Visitor::new(bank, "user_good").customer(format!("customer-{index}"))
}

/// The account number that every set of an account shares.
fn account_number(numbers: &AccountNumbers) -> &str {
    match (&numbers.ach, &numbers.eft, &numbers.bacs) {
        (Some(ach), None, None) => &ach.account_number,
        (None, Some(eft), None) => &eft.account_number,
        (None, None, Some(bacs)) => &bacs.account_number,
        _ => panic!("one national set expected"),
    }
}

/// Checks one person and gives their account numbers.
async fn check(link: &Link, bank: &str) -> Vec<String> {
    let accounts = link.accounts(noon()).await;
    let numbers = link.numbers().await;
    let paid: Vec<&str> = numbers.iter().map(|set| set.upstream_key.as_str()).collect();
    let depository: Vec<&str> = accounts
        .iter()
        .filter(|account| account.account_type.is_depository())
        .map(|account| account.upstream_key.as_str())
        .collect();
    assert_eq!(paid, depository);
    for account in &accounts {
        let mask = account.mask.as_deref().unwrap();
        assert!(mask.len() == 4 && mask.bytes().all(|byte| byte.is_ascii_digit()), "{bank} {mask}");
        let Some(set) = numbers.iter().find(|set| set.upstream_key == account.upstream_key) else { continue };
        assert!(account_number(&set.numbers).ends_with(mask), "{bank} {}", account.upstream_key);
        for finding in check_account_numbers(&set.numbers, None) {
            let verdict = finding.verdict;
            assert!(
                matches!(verdict, Verdict::Valid | Verdict::Unchecked(Reason::NoModulusTables)),
                "{bank} {} {finding:?}",
                account.upstream_key
            );
        }
    }
    numbers.iter().map(|set| account_number(&set.numbers).to_owned()).collect()
}

async fn check_many(bank: &'static str) {
    let mut seen = HashSet::new();
    for index in 0..PEOPLE {
        seen.extend(check(&person(bank, index).sign_in().await, bank).await);
    }
    // Eight digits in the United Kingdom: a few meetings are to be expected among 6,000 draws.
    assert!(seen.len() > 2 * PEOPLE - 10, "{bank}: only {} different numbers", seen.len());
}

#[tokio::test]
async fn united_states_numbers_are_valid() {
    check_many("credentials_bank").await;
}

#[tokio::test]
async fn canadian_numbers_are_valid() {
    check_many("credentials_bank_ca").await;
}

#[tokio::test]
async fn british_numbers_are_valid() {
    check_many("credentials_bank_gb").await;
}

#[tokio::test]
async fn numbers_at_the_other_banks_and_of_many_accounts_are_valid() {
    for bank in ["instant_bank", "oauth_bank"] {
        for index in 0..200 {
            check(&person(bank, index).sign_in().await, bank).await;
        }
    }
    for bank in ["credentials_bank", "credentials_bank_ca", "credentials_bank_gb"] {
        for index in 0..200 {
            let many = Visitor::new(bank, "user_many").customer(format!("customer-{index}")).sign_in().await;
            assert!(check(&many, bank).await.len() >= 6);
        }
    }
}

#[tokio::test]
async fn only_checking_accounts_take_wires() {
    for index in 0..200 {
        let numbers = person("credentials_bank", index).sign_in().await.numbers().await;
        let ach = |key: &str| {
            let set = numbers.iter().find(|set| set.upstream_key == key).unwrap();
            set.numbers.ach.clone().unwrap()
        };
        let (checking, savings) = (ach("checking"), ach("savings"));
        let wire = checking.wire_routing_number.clone().unwrap();
        assert_ne!(wire, checking.routing_number);
        assert_eq!(savings.wire_routing_number, None);
        assert_eq!(savings.routing_number, checking.routing_number);
        assert!((10..=12).contains(&checking.account_number.len()));
    }
}

#[tokio::test]
async fn canadian_and_british_numbers_have_their_lengths() {
    for index in 0..200 {
        let canadian = person("credentials_bank_ca", index).sign_in().await.numbers().await;
        for set in &canadian {
            let eft = set.numbers.eft.as_ref().unwrap();
            assert_eq!((eft.institution_number.len(), eft.branch_number.len()), (3, 5));
            assert!((7..=12).contains(&eft.account_number.len()));
        }
        let british = person("credentials_bank_gb", index).sign_in().await.numbers().await;
        for set in &british {
            let (bacs, international) =
                (set.numbers.bacs.as_ref().unwrap(), set.numbers.international.as_ref().unwrap());
            assert_eq!((bacs.sort_code.len(), bacs.account_number.len()), (6, 8));
            assert!(international.iban.ends_with(&format!("{}{}", bacs.sort_code, bacs.account_number)));
            assert_eq!(international.iban[4..8], international.bic[..4]);
        }
    }
}
