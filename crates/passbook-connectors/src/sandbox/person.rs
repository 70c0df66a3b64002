//! Who owns the accounts of a simulated person.
//!
//! E-mail domains and phone numbers are those that standards and regulators reserve for fiction: RFC 2606 domains,
//! 555-01XX in North America, and Ofcom's drama numbers in the United Kingdom.

use passbook_core::{
    account::AccountType,
    identity::{Address, Email, Owner, PhoneKind, PhoneNumber},
    institution::Country,
};

use super::{
    stream::{PersonKey, Stream},
    vocabulary::{
        names::{FAMILY_NAMES, GIVEN_NAMES},
        places::{Place, STREETS, places},
    },
};

const EMAIL_DOMAINS: [&str; 3] = ["example.com", "example.net", "example.org"];

/// A customer, and the partner who shares some of the accounts.
pub(super) struct Person {
    customer: Owner,
    partner: Option<Owner>,
}

/// Where a person lives; the ledger's merchants are there too.
pub(super) fn home(key: &PersonKey, country: Country) -> &'static Place {
    key.stream("home", "").pick(places(country))
}

impl Person {
    /// The person of this key.
    pub(super) fn derive(key: &PersonKey, country: Country) -> Self {
        let home_address = address(key, country);
        let mut stream = key.stream("owner", "customer");
        let family = *stream.pick(&FAMILY_NAMES);
        let customer = owner(&mut stream, family, &home_address, country);
        let mut stream = key.stream("owner", "partner");
        let partner = stream.chance(30).then(|| {
            let family = if stream.chance(60) { family } else { *stream.pick(&FAMILY_NAMES) };
            owner(&mut stream, family, &home_address, country)
        });
        Self { customer, partner }
    }

    /// The owners of an account: bank accounts are shared with the partner, everything else is the customer's alone.
    pub(super) fn owners(&self, account_type: &AccountType) -> Vec<Owner> {
        let partner = self.partner.iter().filter(|_| account_type.is_depository());
        std::iter::once(&self.customer).chain(partner).cloned().collect()
    }
}

fn address(key: &PersonKey, country: Country) -> Address {
    let place = home(key, country);
    let mut stream = key.stream("address", "");
    let (street, number) = (stream.pick(&STREETS), stream.between(1, 1_999));
    Address {
        city: Some(place.city.to_owned()),
        country: Some(country_code(country).to_owned()),
        postal_code: Some(place.postal_code.to_owned()),
        region: Some(place.region.to_owned()),
        street: Some(format!("{number} {street}")),
        primary: Some(true),
    }
}

fn country_code(country: Country) -> &'static str {
    match country {
        Country::Us => "US",
        Country::Ca => "CA",
        Country::Gb => "GB",
    }
}

fn owner(stream: &mut Stream, family: &str, address: &Address, country: Country) -> Owner {
    let given = *stream.pick(&GIVEN_NAMES);
    let initial = char::from(b'A' + stream.below(26) as u8);
    let name = if stream.chance(40) { format!("{given} {initial}. {family}") } else { format!("{given} {family}") };
    let email = format!("{}.{}@{}", mailbox(given), mailbox(family), stream.pick(&EMAIL_DOMAINS));
    let mut phone_numbers = vec![phone(stream, country, PhoneKind::Mobile, true)];
    if stream.chance(35) {
        phone_numbers.push(phone(stream, country, PhoneKind::Home, false));
    }
    Owner {
        names: vec![name],
        addresses: vec![address.clone()],
        phone_numbers,
        emails: vec![Email { address: email, primary: Some(true) }],
    }
}

fn phone(stream: &mut Stream, country: Country, kind: PhoneKind, primary: bool) -> PhoneNumber {
    let number = match (country, kind) {
        (Country::Us, _) => format!("+1{}55501{}", stream.pick(&["202", "312", "415", "512", "617"]), stream.digits(2)),
        (Country::Ca, _) => format!("+1{}55501{}", stream.pick(&["416", "514", "604", "780", "902"]), stream.digits(2)),
        (Country::Gb, PhoneKind::Mobile) => format!("+447700900{}", stream.digits(3)),
        (Country::Gb, _) => format!("+442079460{}", stream.digits(3)),
    };
    PhoneNumber { number, primary: Some(primary), kind }
}

/// The letters of a name that an ordinary mailbox allows.
fn mailbox(name: &str) -> String {
    name.chars()
        .filter_map(|character| match character {
            'á' | 'à' | 'â' | 'ä' => Some('a'),
            'é' | 'è' | 'ë' => Some('e'),
            'í' | 'ï' => Some('i'),
            'ó' | 'ö' | 'ø' => Some('o'),
            'ü' | 'ú' => Some('u'),
            'ñ' => Some('n'),
            'ç' => Some('c'),
            letter => letter.is_ascii_alphabetic().then(|| letter.to_ascii_lowercase()),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_makes_a_plain_mailbox() {
        for name in GIVEN_NAMES.iter().chain(&FAMILY_NAMES) {
            let letters = name.chars().filter(|character| character.is_alphabetic()).count();
            assert_eq!(mailbox(name).len(), letters, "{name}");
        }
    }

    #[test]
    fn only_bank_accounts_are_shared() {
        let (mut shared, mut alone) = (0, 0);
        for index in 0..200 {
            let person = Person::derive(&PersonKey::new([index; 32]), Country::Us);
            assert_eq!(person.owners(&AccountType::new("liability.credit_card")).len(), 1);
            match person.owners(&AccountType::new("depository.checking")).len() {
                1 => alone += 1,
                2 => shared += 1,
                other => panic!("{other} owners"),
            }
        }
        assert!(shared > 30 && alone > 100, "{shared} shared, {alone} alone");
    }
}
