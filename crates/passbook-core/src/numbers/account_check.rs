//! Every rule over the number sets of one account.

use serde::{Deserialize, Serialize};

use super::{Bic, Iban, ModulusTables, UkAccount, Verdict, aba, cross_check, eft, uk_modulus};
use crate::account_numbers::{AccountNumbers, BacsNumber, InternationalNumber};

/// A payment network, by the name of its list in the numbers answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rail {
    /// United States.
    Ach,
    /// Canada.
    Eft,
    /// United Kingdom.
    Bacs,
    /// IBAN and BIC.
    International,
}

/// Which number, or pair of numbers, a finding is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CheckedNumber {
    /// ACH routing number.
    RoutingNumber,
    /// Wire routing number.
    WireRoutingNumber,
    /// Institution, branch and account of an EFT set.
    EftSet,
    /// Sort code and account of a BACS set.
    BacsSet,
    /// IBAN.
    Iban,
    /// BIC.
    Bic,
    /// A GB IBAN against the BACS set.
    IbanAgainstBacs,
    /// The BIC's country against the IBAN's.
    BicAgainstIban,
}

impl CheckedNumber {
    /// The network whose set holds the number. Cross-checks belong to the IBAN.
    #[must_use]
    pub fn rail(self) -> Rail {
        match self {
            Self::RoutingNumber | Self::WireRoutingNumber => Rail::Ach,
            Self::EftSet => Rail::Eft,
            Self::BacsSet => Rail::Bacs,
            Self::Iban | Self::Bic | Self::IbanAgainstBacs | Self::BicAgainstIban => Rail::International,
        }
    }
}

/// One number and its verdict. Safe to store and to log: it holds no digit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// What was judged.
    pub number: CheckedNumber,
    /// The outcome.
    #[serde(flatten)]
    pub verdict: Verdict,
}

/// Judges every set, valid ones included, in the order ACH, EFT, BACS, international.
///
/// Findings are flags for the operator and the audit trail. They never decide whether a number is published. A
/// cross-check appears only when both of its sides are well-formed, since otherwise the side already has its finding.
#[must_use]
pub fn check_account_numbers(numbers: &AccountNumbers, tables: Option<&ModulusTables>) -> Vec<Finding> {
    let mut findings = Findings::default();
    if let Some(ach) = &numbers.ach {
        findings.add(CheckedNumber::RoutingNumber, aba::check(&ach.routing_number));
        if let Some(wire) = &ach.wire_routing_number {
            findings.add(CheckedNumber::WireRoutingNumber, aba::check(wire));
        }
    }
    if let Some(set) = &numbers.eft {
        let verdict = eft::check(&set.institution_number, &set.branch_number, &set.account_number);
        findings.add(CheckedNumber::EftSet, verdict);
    }
    let uk_account = numbers.bacs.as_ref().and_then(|set| findings.add_bacs(set, tables));
    if let Some(set) = &numbers.international {
        findings.add_international(set, uk_account);
    }
    findings.0
}

#[derive(Default)]
struct Findings(Vec<Finding>);

impl Findings {
    fn add(&mut self, number: CheckedNumber, verdict: Verdict) {
        self.0.push(Finding { number, verdict });
    }

    fn add_bacs(&mut self, set: &BacsNumber, tables: Option<&ModulusTables>) -> Option<UkAccount> {
        let account = UkAccount::from_parts(&set.sort_code, &set.account_number);
        let verdict = match &account {
            Ok(account) => uk_modulus::check(account, tables),
            Err(reason) => Verdict::Invalid(*reason),
        };
        self.add(CheckedNumber::BacsSet, verdict);
        account.ok()
    }

    fn add_international(&mut self, set: &InternationalNumber, uk_account: Option<UkAccount>) {
        let (iban, bic) = (Iban::parse(&set.iban), Bic::parse(&set.bic));
        self.add(CheckedNumber::Iban, verdict_of(&iban));
        self.add(CheckedNumber::Bic, verdict_of(&bic));
        let Ok(iban) = iban else { return };
        if let Some(verdict) = uk_account.and_then(|account| cross_check::iban_matches_uk_account(&iban, &account)) {
            self.add(CheckedNumber::IbanAgainstBacs, verdict);
        }
        if let Ok(bic) = bic {
            self.add(CheckedNumber::BicAgainstIban, cross_check::bic_matches_iban(&bic, &iban));
        }
    }
}

fn verdict_of<T>(outcome: &Result<T, super::Reason>) -> Verdict {
    outcome.as_ref().map_err(|reason| *reason).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        account_numbers::{AchNumber, EftNumber},
        numbers::Reason,
    };

    fn full_set() -> AccountNumbers {
        AccountNumbers {
            ach: Some(AchNumber {
                account_number: "000111222".into(),
                routing_number: "021000021".into(),
                wire_routing_number: Some("026009593".into()),
            }),
            eft: Some(EftNumber {
                account_number: "1234567".into(),
                institution_number: "003".into(),
                branch_number: "12345".into(),
            }),
            bacs: Some(BacsNumber { account_number: "31926819".into(), sort_code: "601613".into() }),
            international: Some(InternationalNumber { iban: "GB29NWBK60161331926819".into(), bic: "NWBKGB2L".into() }),
        }
    }

    fn verdict_about(findings: &[Finding], number: CheckedNumber) -> Option<Verdict> {
        findings.iter().find(|finding| finding.number == number).map(|finding| finding.verdict)
    }

    #[test]
    fn every_number_of_a_good_account_is_judged() {
        let findings = check_account_numbers(&full_set(), None);
        assert_eq!(findings.len(), 8);
        for finding in findings {
            let expected = match finding.number {
                CheckedNumber::BacsSet => Verdict::Unchecked(Reason::NoModulusTables),
                _ => Verdict::Valid,
            };
            assert_eq!(finding.verdict, expected, "{:?}", finding.number);
        }
    }

    #[test]
    fn broken_numbers_are_flagged_one_by_one() {
        let mut numbers = full_set();
        numbers.ach.as_mut().unwrap().routing_number = "021000022".into();
        numbers.eft.as_mut().unwrap().branch_number = "1234".into();
        numbers.bacs.as_mut().unwrap().account_number = "31926818".into();
        numbers.international.as_mut().unwrap().bic = "DEUTDEFF".into();
        let findings = check_account_numbers(&numbers, None);
        let invalid = |number| match verdict_about(&findings, number) {
            Some(Verdict::Invalid(reason)) => Some(reason),
            _ => None,
        };
        assert_eq!(invalid(CheckedNumber::RoutingNumber), Some(Reason::ChecksumMismatch));
        assert_eq!(invalid(CheckedNumber::EftSet), Some(Reason::WrongLength));
        assert_eq!(invalid(CheckedNumber::IbanAgainstBacs), Some(Reason::IbanAccountMismatch));
        assert_eq!(invalid(CheckedNumber::BicAgainstIban), Some(Reason::BicCountryMismatch));
        assert_eq!(invalid(CheckedNumber::WireRoutingNumber), None);
    }

    #[test]
    fn configured_tables_judge_the_bacs_set() {
        let tables = ModulusTables::parse("test", "601613 601613 MOD10 0 0 0 0 0 0 0 0 0 0 0 0 0 1", "").unwrap();
        let findings = check_account_numbers(&full_set(), Some(&tables));
        assert_eq!(verdict_about(&findings, CheckedNumber::BacsSet), Some(Verdict::Invalid(Reason::ModulusMismatch)));
    }

    #[test]
    fn malformed_sides_leave_cross_checks_out() {
        let mut numbers = full_set();
        numbers.international.as_mut().unwrap().iban = "GB30NWBK60161331926819".into();
        let findings = check_account_numbers(&numbers, None);
        assert_eq!(verdict_about(&findings, CheckedNumber::Iban), Some(Verdict::Invalid(Reason::ChecksumMismatch)));
        assert_eq!(verdict_about(&findings, CheckedNumber::IbanAgainstBacs), None);
        assert_eq!(verdict_about(&findings, CheckedNumber::BicAgainstIban), None);
    }

    #[test]
    fn empty_sets_have_no_findings() {
        assert!(check_account_numbers(&AccountNumbers::default(), None).is_empty());
    }

    #[test]
    fn findings_name_their_rail_and_hold_no_digit() {
        let findings = check_account_numbers(&full_set(), None);
        let rails: Vec<Rail> = findings.iter().map(|finding| finding.number.rail()).collect();
        assert_eq!(rails[..4], [Rail::Ach, Rail::Ach, Rail::Eft, Rail::Bacs]);
        let json = serde_json::to_string(&findings).unwrap();
        assert!(!json.contains(|character: char| character.is_ascii_digit()));
        assert_eq!(serde_json::from_str::<Vec<Finding>>(&json).unwrap(), findings);
    }
}
