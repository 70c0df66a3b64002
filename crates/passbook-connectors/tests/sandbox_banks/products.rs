//! What each product shows of each kind of user.

use std::collections::HashSet;

use passbook_connectors::{port::Connector, sandbox::Sandbox};
use passbook_core::{failure::FailureClass, institution::Country, product::Product};
use rust_decimal::Decimal;
use serde_json::json;

use crate::world::{Visitor, at, institution, noon};

#[test]
fn the_directory_is_complete_and_fictional() {
    let institutions = Sandbox.institutions();
    let ids: HashSet<&str> = institutions.iter().map(|institution| institution.id.as_str()).collect();
    assert_eq!(ids.len(), 5);
    for institution in &institutions {
        assert_eq!(institution.connector, Sandbox.name());
        assert!(institution.is_featured);
        assert!(institution.domain.as_ref().unwrap().ends_with("-bank.example"), "{institution:?}");
        for product in Product::ALL {
            let given = product != Product::Enrichment;
            assert_eq!(institution.products.contains(product), given);
        }
        for color in [&institution.color, &institution.color_dark] {
            let digits = color.as_ref().unwrap().strip_prefix('#').unwrap();
            assert!(digits.len() == 6 && digits.bytes().all(|byte| byte.is_ascii_hexdigit()));
        }
    }
    assert_eq!(institution("credentials_bank").aliases, ["sandbox.credentials"]);
    assert_eq!(institution("credentials_bank_ca").country, Country::Ca);
    assert_eq!(institution("credentials_bank_gb").country, Country::Gb);
}

#[tokio::test]
async fn the_usual_customer_has_three_accounts_in_the_banks_currency() {
    for (bank, currency, checking) in [
        ("credentials_bank", "USD", "Everyday Checking"),
        ("instant_bank", "USD", "Everyday Checking"),
        ("oauth_bank", "USD", "Everyday Checking"),
        ("credentials_bank_ca", "CAD", "Everyday Chequing"),
        ("credentials_bank_gb", "GBP", "Everyday Current Account"),
    ] {
        let accounts = Visitor::new(bank, "user_good").sign_in().await.accounts(noon()).await;
        let types: Vec<&str> = accounts.iter().map(|account| account.account_type.0.as_str()).collect();
        assert_eq!(types, ["depository.checking", "depository.savings", "liability.credit_card"]);
        assert_eq!(accounts[0].name, checking);
        for account in &accounts {
            assert_eq!(account.balances.currency.as_deref(), Some(currency));
            assert_eq!(account.balances.balance_date, Some(noon()));
            assert!(!account.closed);
        }
    }
}

#[tokio::test]
async fn balances_are_plausible_for_everybody() {
    for index in 0..300 {
        for bank in ["credentials_bank", "credentials_bank_gb"] {
            let visitor = Visitor::new(bank, "user_good").customer(format!("customer-{index}"));
            let link = visitor.sign_in().await;
            for now in ["2024-05-01T12:00:00Z", "2024-05-14T12:00:00Z", "2024-05-27T12:00:00Z"] {
                let accounts = link.accounts(at(now)).await;
                for account in &accounts[..2] {
                    let current = account.balances.current.unwrap();
                    assert!(current > Decimal::ZERO && current < Decimal::from(100_000), "{index} {current}");
                    assert!(account.balances.available.unwrap() <= current);
                    assert_eq!(account.balances.limit, None);
                }
                let card = &accounts[2].balances;
                let (owed, limit) = (card.current.unwrap(), card.limit.unwrap());
                assert!(owed >= Decimal::ZERO && owed < limit, "{index} {owed} {limit}");
                assert!(card.available.unwrap() <= limit - owed);
            }
        }
    }
}

#[tokio::test]
async fn user_many_has_many_accounts_and_transactions() {
    for bank in ["credentials_bank", "credentials_bank_ca", "credentials_bank_gb"] {
        let link = Visitor::new(bank, "user_many").sign_in().await;
        let accounts = link.accounts(noon()).await;
        assert!(accounts.len() >= 12);
        let keys: HashSet<&str> = accounts.iter().map(|account| account.upstream_key.as_str()).collect();
        assert_eq!(keys.len(), accounts.len());
        let types: HashSet<&str> = accounts.iter().map(|account| account.account_type.0.as_str()).collect();
        assert!(types.len() >= 10, "{types:?}");
        assert!(link.transactions(noon()).await.items.len() > 1_000);
        assert_eq!(link.owners().await.len(), accounts.len());
    }
}

#[tokio::test]
async fn user_noaccounts_has_nothing() {
    let link = Visitor::new("credentials_bank", "user_noaccounts").sign_in().await;
    assert!(link.accounts(noon()).await.is_empty());
    assert!(link.numbers().await.is_empty());
    assert!(link.owners().await.is_empty());
    assert!(link.transactions(noon()).await.items.is_empty());
}

#[tokio::test]
async fn every_account_has_owners_with_every_detail() {
    let mut shared = 0;
    for index in 0..200 {
        for bank in ["credentials_bank", "credentials_bank_ca", "credentials_bank_gb"] {
            let link = Visitor::new(bank, "user_good").customer(format!("customer-{index}")).sign_in().await;
            let identity = link.owners().await;
            assert_eq!(identity.len(), 3);
            shared += usize::from(identity[0].owners.len() > 1);
            assert_eq!(identity[2].owners.len(), 1, "the card is the customer's alone");
            for owner in identity.iter().flat_map(|account| &account.owners) {
                assert!(!owner.names[0].is_empty() && !owner.phone_numbers.is_empty());
                assert!(owner.addresses[0].postal_code.is_some() && owner.addresses[0].city.is_some());
                let email = &owner.emails[0].address;
                assert!(email.is_ascii() && email.contains("@example."), "{email}");
            }
            assert!(identity[0].owners[0] == identity[2].owners[0]);
        }
    }
    assert!((100..300).contains(&shared), "{shared} of 600 share an account");
}

#[tokio::test]
async fn custom_accounts_are_exactly_the_data() {
    let custom = json!({
        "accounts": [
            {"account_type": "depository.checking", "name": "Payroll", "account_number": "000123456789",
             "routing_number": "021000021"},
            {"account_type": "credit_card", "name": "Plastic", "account_number": "4111111111111111"},
            {"account_type": "mystery", "name": "Box", "account_number": "42"},
        ],
        "owners": [{"names": ["Jo Doe"], "addresses": [{"city": "Springfield"}], "phone_numbers": [
            {"number": "+12025550100", "type": "work"}], "emails": [{"address": "jo@example.com"}]}],
    });
    let link = Visitor::new("credentials_bank", "user_custom").with_custom(custom.clone()).sign_in().await;
    let accounts = link.accounts(noon()).await;
    let shown: Vec<(&str, &str, Option<&str>)> = accounts
        .iter()
        .map(|account| (account.name.as_str(), account.account_type.0.as_str(), account.mask.as_deref()))
        .collect();
    assert_eq!(
        shown,
        [
            ("Payroll", "depository.checking", Some("6789")),
            ("Plastic", "liability.credit_card", Some("1111")),
            ("Box", "unknown", Some("42"))
        ]
    );
    let numbers = link.numbers().await;
    assert_eq!(numbers.len(), 1);
    let ach = numbers[0].numbers.ach.as_ref().unwrap();
    assert_eq!((ach.account_number.as_str(), ach.routing_number.as_str()), ("000123456789", "021000021"));
    for account in link.owners().await {
        assert_eq!(account.owners.len(), 1);
        assert_eq!(account.owners[0].names, ["Jo Doe"]);
    }
    let transactions = link.transactions(noon()).await.items;
    let active: HashSet<&str> = transactions.iter().map(|item| item.account_key.as_str()).collect();
    assert_eq!(active, HashSet::from([accounts[0].upstream_key.as_str(), accounts[1].upstream_key.as_str()]));
    // The key of nothing shows a number.
    for account in &accounts {
        assert!(!account.upstream_key.contains("123456789") && !account.upstream_key.contains("4111"));
    }
}

#[tokio::test]
async fn custom_accounts_without_owners_get_invented_ones() {
    let custom = json!({"accounts": [{"account_type": "savings", "name": "Pot", "account_number": "777"}]});
    let visitor = Visitor::new("credentials_bank", "user_custom").with_custom(custom);
    let owners = visitor.sign_in().await.owners().await;
    assert_eq!(owners.len(), 1);
    assert!(!owners[0].owners[0].names[0].is_empty());
    let empty = Visitor::new("credentials_bank", "user_custom").with_custom(json!({"accounts": []})).sign_in().await;
    assert!(empty.accounts(noon()).await.is_empty());
}

#[tokio::test]
async fn products_that_no_bank_gives_are_not_supported() {
    let link = Visitor::new("credentials_bank", "user_good").sign_in().await;
    for product in [Product::Enrichment] {
        assert_eq!(link.fetch(product, noon()).await.unwrap_err().class, FailureClass::NotSupported);
    }
    assert!(link.revoke().await.is_ok());
    assert!(link.revoke().await.is_ok());
}

#[tokio::test]
async fn a_person_is_who_signed_in_where() {
    let base = Visitor::new("credentials_bank", "user_good");
    let seeded = |seed| Visitor { seed, ..base.clone() };
    let numbers = |visitor: Visitor| async move {
        let numbers = visitor.sign_in().await.numbers().await;
        numbers[0].numbers.ach.as_ref().unwrap().account_number.clone()
    };
    let expected = numbers(base.clone()).await;
    let later = Visitor { now: at("2025-01-01T00:00:00Z"), ..base.clone() };
    assert_eq!(numbers(later).await, expected, "relinking keeps the accounts");
    assert_eq!(numbers(seeded(Some(0))).await, expected, "no seed is seed 0");
    for other in [
        base.clone().customer("customer-2"),
        Visitor { app_id: "app_other".to_owned(), ..base.clone() },
        Visitor { username: "user_mfa", ..base.clone() },
        Visitor { bank: "instant_bank", ..base.clone() },
        seeded(Some(1)),
    ] {
        assert_ne!(numbers(other).await, expected);
    }
}

#[tokio::test]
async fn nothing_secret_is_in_debug_output() {
    let custom = json!({"accounts": [{"account_type": "checking", "name": "A", "account_number": "98765432109",
        "routing_number": "021000021"}]});
    let link = Visitor::new("credentials_bank", "user_custom").with_custom(custom).sign_in().await;
    let mut output = format!("{:?}", link.credential);
    for product in Product::ALL {
        output += &format!("{:?}", link.fetch(product, noon()).await);
    }
    assert!(!output.contains("98765432109") && !output.contains("021000021"));
}
