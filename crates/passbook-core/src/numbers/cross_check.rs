//! Sets of one account that must agree with each other.
//!
//! Each rule answers `None` when it does not apply, which is not the same as being unable to check.

use super::{Bic, Iban, Reason, UkAccount, Verdict, countries::iban_country};

/// A GB IBAN must contain the sort code and the account number of the BACS set. `None` for other countries.
#[must_use]
pub fn iban_matches_uk_account(iban: &Iban, account: &UkAccount) -> Option<Verdict> {
    let parts = iban.gb_parts()?;
    Some(if parts.sort_code() != account.sort_code {
        Verdict::Invalid(Reason::IbanSortCodeMismatch)
    } else if parts.account != *account {
        Verdict::Invalid(Reason::IbanAccountMismatch)
    } else {
        Verdict::Valid
    })
}

/// BIC and IBAN must name one country; a territory counts as its parent, on either side.
pub fn bic_matches_iban(bic: &Bic, iban: &Iban) -> Verdict {
    if iban_country(bic.country()) == iban_country(iban.country()) {
        Verdict::Valid
    } else {
        Verdict::Invalid(Reason::BicCountryMismatch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gb_iban() -> Iban {
        Iban::parse("GB29NWBK60161331926819").unwrap()
    }

    #[test]
    fn gb_iban_must_contain_the_bacs_set() {
        let cases = [
            ("601613", "31926819", Verdict::Valid),
            ("601614", "31926819", Verdict::Invalid(Reason::IbanSortCodeMismatch)),
            ("601613", "31926818", Verdict::Invalid(Reason::IbanAccountMismatch)),
        ];
        for (sort_code, account, expected) in cases {
            let account = UkAccount::from_parts(sort_code, account).unwrap();
            assert_eq!(iban_matches_uk_account(&gb_iban(), &account), Some(expected));
        }
    }

    #[test]
    fn other_countries_have_nothing_to_compare() {
        let account = UkAccount::from_parts("601613", "31926819").unwrap();
        assert_eq!(iban_matches_uk_account(&Iban::parse("PK36SCBL0000001123456702").unwrap(), &account), None);
    }

    #[test]
    fn bic_and_iban_share_a_country() {
        let cases = [
            ("NWBKGB2L", Verdict::Valid),
            ("NWBKJESH", Verdict::Valid),
            ("DEUTDEFF", Verdict::Invalid(Reason::BicCountryMismatch)),
            ("AGRIRERX", Verdict::Invalid(Reason::BicCountryMismatch)),
        ];
        for (bic, expected) in cases {
            assert_eq!(bic_matches_iban(&Bic::parse(bic).unwrap(), &gb_iban()), expected, "{bic}");
        }
    }

    #[test]
    fn french_territories_share_the_french_iban() {
        let iban = Iban::from_bban("FR", "20041010050500013M02606").unwrap();
        assert_eq!(bic_matches_iban(&Bic::parse("AGRIRERX").unwrap(), &iban), Verdict::Valid);
    }
}
