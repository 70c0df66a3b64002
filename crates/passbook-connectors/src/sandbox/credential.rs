//! What a sign-in leaves behind for later fetches, and between two of its steps, as JSON in sealed bytes.
//!
//! Nothing here has `Debug`: custom data holds account numbers and personal data.

use passbook_core::{
    failure::{Failure, FailureClass},
    secret::SecretBytes,
};
use serde::{Deserialize, Serialize};

use super::{custom::CustomData, ledger::Activity, stream::PersonKey};
use crate::{
    edits::BankEdit,
    port::{Credential, Progress},
};

/// A test user of the Credentials Banks. Instant Bank and OAuth Bank let everyone in as [`TestUser::Good`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) enum TestUser {
    #[serde(rename = "user_good")]
    Good,
    #[serde(rename = "user_custom")]
    Custom,
    #[serde(rename = "user_otp")]
    Otp,
    #[serde(rename = "user_mfa")]
    Mfa,
    #[serde(rename = "user_bad")]
    Bad,
    #[serde(rename = "user_setup")]
    Setup,
    #[serde(rename = "user_noaccounts")]
    NoAccounts,
    #[serde(rename = "user_down")]
    Down,
    #[serde(rename = "user_many")]
    Many,
    #[serde(rename = "user_investor")]
    Investor,
    #[serde(rename = "user_history")]
    History,
}

impl TestUser {
    const ALL: [Self; 11] = [
        Self::Good,
        Self::Custom,
        Self::Otp,
        Self::Mfa,
        Self::Bad,
        Self::Setup,
        Self::NoAccounts,
        Self::Down,
        Self::Many,
        Self::Investor,
        Self::History,
    ];

    /// The name typed into the form.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Good => "user_good",
            Self::Custom => "user_custom",
            Self::Otp => "user_otp",
            Self::Mfa => "user_mfa",
            Self::Bad => "user_bad",
            Self::Setup => "user_setup",
            Self::NoAccounts => "user_noaccounts",
            Self::Down => "user_down",
            Self::Many => "user_many",
            Self::Investor => "user_investor",
            Self::History => "user_history",
        }
    }

    /// How much happens on the accounts. Most users fit on one page, so that a client that reads the first page alone
    /// has everything.
    pub(super) fn activity(self) -> Activity {
        match self {
            Self::History | Self::Many | Self::Custom => Activity::Busy,
            _ => Activity::Quiet,
        }
    }

    /// The user with this name, letter for letter.
    pub(super) fn find(name: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|user| user.name().as_bytes() == name)
    }
}

/// What a fetch needs to know. There is no instant in it: data depends on the person and the moment of the fetch alone,
/// so that relinking shows the same history.
#[derive(Serialize, Deserialize)]
pub(super) struct Customer {
    /// [`PersonKey`] in hexadecimal.
    person: String,
    /// Who signed in.
    pub(super) user: TestUser,
    /// Institution id.
    pub(super) institution: String,
    /// The session's data, for `user_custom` alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) custom: Option<CustomData>,
    /// What somebody changed at the bank, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) edits: Vec<BankEdit>,
}

impl Customer {
    pub(super) fn new(person: PersonKey, user: TestUser, institution: &str, custom: Option<CustomData>) -> Self {
        Self { person: person.to_hex(), user, institution: institution.to_owned(), custom, edits: Vec::new() }
    }

    /// Takes the edits of an earlier sign-in of the same person, apart from what signing in again heals.
    pub(super) fn inherit(&mut self, before: Self) {
        if (&before.person, &before.institution) == (&self.person, &self.institution) {
            self.edits = before.edits;
            self.edits.retain(|edit| !matches!(edit, BankEdit::ExpireConsent));
        }
    }

    pub(super) fn seal(&self) -> Result<Credential, Failure> {
        Ok(Credential(to_bytes(self)?))
    }

    /// The customer and their key.
    pub(super) fn open(credential: &Credential) -> Result<(Self, PersonKey), Failure> {
        let customer: Self = from_bytes(&credential.0)?;
        let person = PersonKey::from_hex(&customer.person).ok_or_else(unreadable)?;
        Ok((customer, person))
    }
}

/// The question that was asked last.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Asked {
    /// User name and password.
    Credentials,
    /// Where to send the code.
    Device,
    /// The code.
    Code,
    /// The security question.
    Question,
    /// The way to the bank's site and back.
    Redirect,
}

impl Asked {
    pub(super) fn seal(self) -> Result<Progress, Failure> {
        Ok(Progress(to_bytes(&self)?))
    }

    pub(super) fn open(progress: &Progress) -> Result<Self, Failure> {
        from_bytes(&progress.0)
    }
}

fn to_bytes<T: Serialize>(value: &T) -> Result<SecretBytes, Failure> {
    serde_json::to_vec(value).map(SecretBytes::new).map_err(|_| unreadable())
}

fn from_bytes<T: for<'de> Deserialize<'de>>(bytes: &SecretBytes) -> Result<T, Failure> {
    // The parser's message may quote what it read, so it is dropped.
    serde_json::from_slice(bytes.expose()).map_err(|_| unreadable())
}

fn unreadable() -> Failure {
    Failure::new(FailureClass::Unexpected, "the simulated bank cannot read its own stored state")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_user_is_found_by_the_name_it_is_stored_under() {
        for user in TestUser::ALL {
            assert_eq!(TestUser::find(user.name().as_bytes()), Some(user));
            assert_eq!(serde_json::to_value(user).unwrap(), user.name());
        }
        for stranger in ["", "user", "USER_GOOD", "user_good ", "user_goodx"] {
            assert_eq!(TestUser::find(stranger.as_bytes()), None);
        }
    }

    #[test]
    fn damaged_state_is_a_failure_that_quotes_nothing() {
        for damaged in ["", "{}", "12345678901", r#"{"person":"123456","user":"user_good","institution":"x"}"#] {
            let Err(failure) = Customer::open(&Credential(SecretBytes::new(damaged.into()))) else {
                panic!("damaged state was accepted");
            };
            assert_eq!(failure.class, FailureClass::Unexpected);
            assert!(!failure.message.contains("123456"));
            assert!(Asked::open(&Progress(SecretBytes::new(damaged.into()))).is_err());
        }
    }
}
