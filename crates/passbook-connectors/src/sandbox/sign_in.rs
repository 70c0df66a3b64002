//! The sign-in conversations of the simulated banks.
//!
//! | Bank | Conversation |
//! | --- | --- |
//! | Credentials Bank (US, Canada, UK) | form, then what the test user needs |
//! | Instant Bank | none |
//! | OAuth Bank | redirect to `https://oauth-bank.example/authorize?…` |
//!
//! Test users of the Credentials Banks, all with password [`PASSWORD`]; any other name or password fails with
//! `invalid_credentials`:
//!
//! | User | What happens |
//! | --- | --- |
//! | `user_good` | signed in: checking, savings, credit card; 90 days of transactions |
//! | `user_history` | signed in: the same accounts with 24 months of transactions |
//! | `user_investor` | signed in: the same accounts as `user_good`, and two with securities |
//! | `user_many` | signed in: fourteen accounts, over a thousand transactions |
//! | `user_custom` | signed in: the session's `custom_sandbox_data`; without it `user_setup_required` |
//! | `user_otp` | chooses a device, then enters code [`CODE`] |
//! | `user_mfa` | a security question; the answer is [`SECURITY_ANSWER`] |
//! | `user_noaccounts` | signed in: no account at all |
//! | `user_bad` | `invalid_credentials` |
//! | `user_setup` | `user_setup_required` |
//! | `user_down` | `institution_error`, whatever the password |
//!
//! The names, the password and the answers are published test values, so comparing them in variable time gives nothing
//! away. OAuth Bank's page does not exist: the server shows its own page in its place and adds to the URL the `state`
//! and `redirect_uri` that it needs to recognise the person who comes back.

use std::collections::BTreeMap;

use passbook_core::{
    failure::{Failure, FailureClass},
    secret::SecretBytes,
};

use super::{
    bank::{Bank, SignInKind},
    credential::{Asked, Customer, TestUser},
    custom::CustomData,
    stream::PersonKey,
};
use crate::port::{Answer, ChoiceOption, FormField, Progress, SignIn, Step};

/// The password of every test user.
pub const PASSWORD: &str = "pass_good";
/// The one-time code of `user_otp`.
pub const CODE: &str = "1234";
/// The security answer of `user_mfa`.
pub const SECURITY_ANSWER: &str = "answer";

/// The devices that `user_otp` may choose from.
const DEVICES: [(&str, &str); 2] = [("sms", "Text message to ••• ••• 0142"), ("email", "E-mail to u•••@example.com")];

type Next = Result<(Step, Progress), Failure>;

pub(super) fn begin(sign_in: &SignIn<'_>) -> Next {
    match bank(sign_in)?.sign_in {
        SignInKind::Instant => done(sign_in, TestUser::Good, "", Asked::Credentials),
        SignInKind::Credentials => ask(credentials_form(), Asked::Credentials),
        SignInKind::Redirect => {
            let url = "https://oauth-bank.example/authorize?response_type=code&client_id=passbook\
                       &scope=accounts%20account_numbers%20identity%20transactions";
            ask(Step::Redirect { url: url.to_owned() }, Asked::Redirect)
        }
    }
}

pub(super) fn proceed(sign_in: &SignIn<'_>, progress: &Progress, answer: &Answer) -> Next {
    match (Asked::open(progress)?, answer) {
        (Asked::Credentials, Answer::Form(fields)) => check_credentials(sign_in, fields),
        (Asked::Device, Answer::Text(device)) => send_code(device),
        (Asked::Code, Answer::Text(code)) => check_text(sign_in, TestUser::Otp, code, CODE, Asked::Code),
        (Asked::Question, Answer::Text(text)) => {
            check_text(sign_in, TestUser::Mfa, text, SECURITY_ANSWER, Asked::Question)
        }
        (Asked::Redirect, Answer::Returned(parameters)) => come_back(sign_in, parameters),
        _ => Err(Failure::new(FailureClass::Unexpected, "the answer does not fit the question")),
    }
}

fn bank(sign_in: &SignIn<'_>) -> Result<&'static Bank, Failure> {
    Bank::find(&sign_in.institution.id)
        .ok_or_else(|| Failure::new(FailureClass::NotSupported, "this institution is not a simulated bank"))
}

fn ask(step: Step, asked: Asked) -> Next {
    Ok((step, asked.seal()?))
}

fn credentials_form() -> Step {
    Step::Form {
        fields: vec![
            FormField { id: "username".to_owned(), label: "Username".to_owned(), secret: false },
            FormField { id: "password".to_owned(), label: "Password".to_owned(), secret: true },
        ],
    }
}

fn check_credentials(sign_in: &SignIn<'_>, fields: &BTreeMap<String, SecretBytes>) -> Next {
    let field = |id: &str| fields.get(id).map_or(&[][..], SecretBytes::expose);
    let user = TestUser::find(field("username")).filter(|user| *user != TestUser::Bad).ok_or_else(wrong_credentials)?;
    if user == TestUser::Down {
        return Err(Failure::new(FailureClass::InstitutionDown, "the bank is closed for maintenance"));
    }
    if field("password") != PASSWORD.as_bytes() {
        return Err(wrong_credentials());
    }
    match user {
        TestUser::Otp => ask(device_choice(), Asked::Device),
        TestUser::Mfa => {
            let prompt = "What is the answer? (It is the word \"answer\".)".to_owned();
            ask(Step::Question { prompt }, Asked::Question)
        }
        TestUser::Setup => Err(Failure::new(
            FailureClass::UserSetupRequired,
            "the user must finish setting up online banking on the bank's own site",
        )),
        _ => done(sign_in, user, user.name(), Asked::Credentials),
    }
}

fn wrong_credentials() -> Failure {
    Failure::new(FailureClass::InvalidCredentials, "the user name or the password is wrong")
}

fn device_choice() -> Step {
    let options =
        DEVICES.iter().map(|(id, label)| ChoiceOption { id: (*id).to_owned(), label: (*label).to_owned() }).collect();
    Step::Choice { prompt: "Where should we send your code?".to_owned(), options }
}

fn send_code(device: &SecretBytes) -> Next {
    if !DEVICES.iter().any(|(id, _)| id.as_bytes() == device.expose()) {
        return Err(Failure::new(FailureClass::UserInputIncorrect, "the choice is not one of the options"));
    }
    let prompt = format!("Enter the code we sent you. (It is {CODE}.)");
    ask(Step::OneTimeCode { prompt }, Asked::Code)
}

fn check_text(sign_in: &SignIn<'_>, user: TestUser, text: &SecretBytes, right: &str, asked: Asked) -> Next {
    if text.expose() == right.as_bytes() {
        done(sign_in, user, user.name(), asked)
    } else {
        Err(Failure::new(FailureClass::UserInputIncorrect, "the code or the answer is wrong"))
    }
}

fn come_back(sign_in: &SignIn<'_>, parameters: &BTreeMap<String, String>) -> Next {
    match (parameters.get("error").map(String::as_str), parameters.get("code").map(String::as_str)) {
        (Some("access_denied"), _) => Err(Failure::new(FailureClass::UserDenied, "the user refused at the bank")),
        // RFC 6749, section 4.1.2.1.
        (Some("server_error" | "temporarily_unavailable"), _) => {
            Err(Failure::new(FailureClass::InstitutionDown, "the bank cannot sign anybody in at the moment"))
        }
        (None, Some(code)) if !code.is_empty() => done(sign_in, TestUser::Good, "", Asked::Redirect),
        // What the bank wrote is not repeated: it arrives through the user's browser.
        _ => Err(Failure::new(FailureClass::Unexpected, "the bank sent the user back without an authorisation code")),
    }
}

/// Signed in. `username` is part of who the person is; banks that ask for none pass an empty one.
fn done(sign_in: &SignIn<'_>, user: TestUser, username: &str, asked: Asked) -> Next {
    let custom = if user == TestUser::Custom { Some(custom_data(sign_in)?) } else { None };
    let institution = sign_in.institution.id.as_str();
    let scope = [sign_in.app_id, sign_in.customer_user_id, institution, username];
    let seed = sign_in.person_seed.unwrap_or(0);
    let person = PersonKey::new(sign_in.derivation.bytes("sandbox_person", &scope, seed));
    let credential = Customer::new(person, user, institution, custom).seal()?;
    ask(Step::Done(credential), asked)
}

fn custom_data(sign_in: &SignIn<'_>) -> Result<CustomData, Failure> {
    let data = sign_in.custom_sandbox_data.ok_or_else(|| {
        Failure::new(
            FailureClass::UserSetupRequired,
            "user_custom shows the link session's custom_sandbox_data, and this session has none",
        )
    })?;
    CustomData::read(data).ok_or_else(|| {
        Failure::new(FailureClass::UserSetupRequired, "the link session's custom_sandbox_data cannot be read")
    })
}
