//! `user_custom`: accounts exactly as the session's `custom_sandbox_data` describes them.
//!
//! Names, numbers and types come from the data; balances, transactions and absent owners are invented as for anybody
//! else. There is no `Debug` here: the data holds account numbers.

use std::collections::HashMap;

use passbook_core::{
    account::AccountType,
    account_numbers::{AccountNumbers, AchNumber},
    identity::Owner,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use zeroize::{Zeroize, ZeroizeOnDrop};

use super::{
    ledger::{HOUSEHOLDS_MAX, Role},
    numbers::mask,
    portfolio::Holding,
    stream::PersonKey,
};

/// The contract's `CustomSandboxData`.
#[derive(Serialize, Deserialize)]
pub(super) struct CustomData {
    accounts: Vec<CustomAccount>,
    /// Owners of every account; `None`: invented ones.
    #[serde(default)]
    pub(super) owners: Option<Vec<Owner>>,
}

#[derive(Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
struct CustomAccount {
    account_type: String,
    name: String,
    account_number: String,
    #[serde(default)]
    routing_number: Option<String>,
}

impl CustomData {
    /// Reads data that the server has already validated; `None` where it has not the contract's shape.
    pub(super) fn read(data: &Value) -> Option<Self> {
        Self::deserialize(data).ok()
    }
}

/// The accounts, in the data's order.
///
/// An account's key is derived from its number and type, so an account stays the same when the data of a later session
/// renames or reorders it, and the key shows no number.
pub(super) fn holdings(data: &CustomData, key: &PersonKey) -> Vec<Holding> {
    let mut seen = HashMap::<String, u64>::new();
    let mut households = [0; 3];
    data.accounts
        .iter()
        .map(|account| {
            let account_type = dotted_type(&account.account_type);
            let fingerprint =
                key.fingerprint("custom_account", &format!("{}/{}", account_type.0, account.account_number));
            let occurrence = seen.entry(fingerprint.clone()).or_insert(0);
            *occurrence += 1;
            Holding {
                key: if *occurrence == 1 { fingerprint } else { format!("{fingerprint}-{occurrence}") },
                name: account.name.clone(),
                mask: mask(&account.account_number),
                numbers: numbers(account, &account_type),
                ledger: role(&account_type).and_then(|role| next_household(&mut households, role)),
                account_type,
            }
        })
        .collect()
}

/// An ACH set when there is a routing number and the account can be paid into. The data has no wire number, and none is
/// invented.
fn numbers(account: &CustomAccount, account_type: &AccountType) -> AccountNumbers {
    let ach =
        account.routing_number.as_ref().filter(|_| account_type.is_depository()).map(|routing_number| AchNumber {
            account_number: account.account_number.clone(),
            routing_number: routing_number.clone(),
            wire_routing_number: None,
        });
    AccountNumbers { ach, ..AccountNumbers::default() }
}

/// The contract's mapping of early and bare type names; dotted names of a known family are taken as they are.
fn dotted_type(given: &str) -> AccountType {
    let dotted = match given.split_once('.') {
        Some(("loan", kind)) => format!("liability.{kind}"),
        Some(("depository" | "investment" | "liability" | "other", kind)) if !kind.is_empty() => given.to_owned(),
        None => match given {
            "credit_card" => "liability.credit_card".to_owned(),
            "checking" | "savings" => format!("depository.{given}"),
            "other" => "other".to_owned(),
            _ => "unknown".to_owned(),
        },
        Some(_) => "unknown".to_owned(),
    };
    AccountType(dotted)
}

fn role(account_type: &AccountType) -> Option<Role> {
    match account_type.0.as_str() {
        "depository.checking" | "depository.cash" | "depository.prepaid" => Some(Role::Checking),
        "depository.savings" | "depository.money_market" => Some(Role::Savings),
        "liability.credit_card" => Some(Role::Card),
        _ => None,
    }
}

/// The n-th checking account, savings account and card share a household, up to the bound.
fn next_household(taken: &mut [u64; 3], role: Role) -> Option<(u64, Role)> {
    let next = &mut taken[role as usize];
    let household = *next;
    *next += 1;
    (household < HOUSEHOLDS_MAX).then_some((household, role))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of(accounts: Value) -> Vec<Holding> {
        holdings(&CustomData::read(&json!({ "accounts": accounts })).unwrap(), &PersonKey::new([3; 32]))
    }

    #[test]
    fn types_follow_the_import_mapping() {
        for (given, dotted) in [
            ("checking", "depository.checking"),
            ("savings", "depository.savings"),
            ("credit_card", "liability.credit_card"),
            ("loan.mortgage", "liability.mortgage"),
            ("depository.cd", "depository.cd"),
            ("investment.401k", "investment.401k"),
            ("other.insurance", "other.insurance"),
            ("other", "other"),
            ("unknown", "unknown"),
            ("depository.", "unknown"),
            ("crypto.wallet", "unknown"),
            ("", "unknown"),
        ] {
            assert_eq!(dotted_type(given).0, dotted, "{given}");
        }
    }

    #[test]
    fn keys_follow_the_number_and_never_show_it() {
        let first = of(json!([
            {"account_type": "checking", "name": "A", "account_number": "900111"},
            {"account_type": "savings", "name": "B", "account_number": "900222"},
        ]));
        let second = of(json!([
            {"account_type": "depository.savings", "name": "Renamed", "account_number": "900222"},
            {"account_type": "checking", "name": "A", "account_number": "900111"},
            {"account_type": "checking", "name": "Twin", "account_number": "900111"},
        ]));
        assert_eq!(first[0].key, second[1].key);
        assert_eq!(first[1].key, second[0].key);
        assert_eq!(second[2].key, format!("{}-2", first[0].key));
        assert!(second.iter().all(|holding| !holding.key.contains("900")));
    }

    #[test]
    fn only_depository_accounts_with_a_routing_number_can_be_paid() {
        let holdings = of(json!([
            {"account_type": "checking", "name": "A", "account_number": "00900111", "routing_number": "091000019"},
            {"account_type": "checking", "name": "B", "account_number": "123", "routing_number": null},
            {"account_type": "credit_card", "name": "C", "account_number": "900333", "routing_number": "091000019"},
        ]));
        let ach = holdings[0].numbers.ach.as_ref().unwrap();
        assert_eq!(
            (ach.account_number.as_str(), ach.routing_number.as_str(), ach.wire_routing_number.as_ref()),
            ("00900111", "091000019", None)
        );
        assert_eq!(holdings[0].mask.as_deref(), Some("0111"));
        assert!(holdings[1].numbers.is_empty());
        assert_eq!(holdings[1].mask.as_deref(), Some("123"));
        assert!(holdings[2].numbers.is_empty());
    }

    #[test]
    fn households_are_bounded() {
        let account = json!({"account_type": "checking", "name": "A", "account_number": "1"});
        let holdings = of(Value::Array(vec![account; 40]));
        let active = holdings.iter().filter(|holding| holding.ledger.is_some()).count();
        assert_eq!(active as u64, HOUSEHOLDS_MAX);
    }

    #[test]
    fn data_of_another_shape_is_not_read() {
        for wrong in [json!(null), json!([]), json!({}), json!({"accounts": [{"name": "A"}]}), json!({"accounts": 1})] {
            assert!(CustomData::read(&wrong).is_none(), "{wrong}");
        }
    }
}
