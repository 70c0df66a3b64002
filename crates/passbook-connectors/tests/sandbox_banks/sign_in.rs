//! Who gets in, by which steps, and with which failure if not.

use std::collections::BTreeMap;

use passbook_connectors::{
    port::{Answer, Connector, Progress, SignIn, Step},
    sandbox::Sandbox,
};
use passbook_core::{failure::FailureClass, ids::Derivation, secret::SecretBytes};
use serde_json::json;

use crate::world::{Visitor, institution, noon};

const CREDENTIALS_BANKS: [&str; 3] = ["credentials_bank", "credentials_bank_ca", "credentials_bank_gb"];

#[tokio::test]
async fn each_user_meets_their_steps() {
    for bank in CREDENTIALS_BANKS {
        for (username, steps) in [
            ("user_good", &["credentials"][..]),
            ("user_many", &["credentials"]),
            ("user_noaccounts", &["credentials"]),
            ("user_otp", &["credentials", "choice", "code"]),
            ("user_mfa", &["credentials", "question"]),
        ] {
            let (kinds, outcome) = Visitor::new(bank, username).walk().await;
            assert_eq!(kinds, steps, "{bank} {username}");
            assert!(outcome.is_ok(), "{bank} {username}");
        }
    }
    let (kinds, outcome) = Visitor::new("instant_bank", "").walk().await;
    assert!(kinds.is_empty() && outcome.is_ok());
    let (kinds, outcome) = Visitor::new("oauth_bank", "").walk().await;
    assert!(kinds == ["redirect"] && outcome.is_ok());
}

#[tokio::test]
async fn obstacles_end_the_sign_in_with_their_class() {
    for (username, answers, class) in [
        ("user_bad", json!({}), FailureClass::InvalidCredentials),
        ("nobody", json!({}), FailureClass::InvalidCredentials),
        ("", json!({}), FailureClass::InvalidCredentials),
        ("User_Good", json!({}), FailureClass::InvalidCredentials),
        ("user_good", json!({"password": "wrong"}), FailureClass::InvalidCredentials),
        ("user_good", json!({"credentials": {"password": ""}}), FailureClass::InvalidCredentials),
        ("user_setup", json!({"password": "wrong"}), FailureClass::InvalidCredentials),
        ("user_setup", json!({}), FailureClass::UserSetupRequired),
        ("user_down", json!({}), FailureClass::InstitutionDown),
        ("user_down", json!({"password": "wrong"}), FailureClass::InstitutionDown),
        ("user_custom", json!({}), FailureClass::UserSetupRequired),
        ("user_otp", json!({"code": "0000"}), FailureClass::UserInputIncorrect),
        ("user_otp", json!({"code": 4321}), FailureClass::UserInputIncorrect),
        ("user_otp", json!({"choice": "pigeon"}), FailureClass::UserInputIncorrect),
        ("user_mfa", json!({"question": "Answer"}), FailureClass::UserInputIncorrect),
    ] {
        for bank in CREDENTIALS_BANKS {
            let visitor = Visitor::new(bank, username).answering(answers.clone());
            assert_eq!(visitor.failure().await, class, "{bank} {username} {answers}");
        }
    }
    let refusing = Visitor::new("oauth_bank", "").answering(json!({"redirect": "deny"}));
    assert_eq!(refusing.failure().await, FailureClass::UserDenied);
    let unreadable = Visitor::new("credentials_bank", "user_custom").with_custom(json!({"accounts": "12345678"}));
    assert_eq!(unreadable.failure().await, FailureClass::UserSetupRequired);
}

#[tokio::test]
async fn the_second_device_works_as_well() {
    let visitor = Visitor::new("credentials_bank", "user_otp").answering(json!({"choice": "email", "code": "1234"}));
    assert!(visitor.walk().await.1.is_ok());
}

#[tokio::test]
async fn failures_never_repeat_what_was_typed() {
    for (username, answers) in [
        ("canary-name", json!({})),
        ("user_good", json!({"password": "canary-password"})),
        ("user_otp", json!({"code": "canary-code"})),
        ("user_otp", json!({"choice": "canary-choice"})),
        ("user_mfa", json!({"question": "canary-answer"})),
    ] {
        let outcome = Visitor::new("credentials_bank", username).answering(answers).walk().await.1;
        let failure = outcome.unwrap_err();
        assert!(!format!("{failure} {failure:?}").contains("canary"), "{failure}");
    }
}

/// Signs in at `bank` up to the first step and answers that with `answer`.
async fn answer_first_step(bank: &str, answer: Answer, damage: bool) -> FailureClass {
    let (institution, derivation) = (institution(bank), Derivation::new(b"simulated banks"));
    let sign_in = SignIn {
        institution: &institution,
        customer_user_id: "customer-1",
        app_id: "app_test",
        now: noon(),
        derivation: &derivation,
        custom_sandbox_data: None,
        person_seed: None,
    };
    let (_, progress) = Sandbox.begin_sign_in(&sign_in).await.unwrap();
    let progress = if damage { Progress(SecretBytes::new(b"{".to_vec())) } else { progress };
    Sandbox.continue_sign_in(&sign_in, progress, answer).await.unwrap_err().class
}

#[tokio::test]
async fn the_way_back_from_the_bank_needs_a_code() {
    let parameters = |pairs: &[(&str, &str)]| {
        Answer::Returned(pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
    };
    for (pairs, class) in [
        (&[][..], FailureClass::Unexpected),
        (&[("code", "")], FailureClass::Unexpected),
        (&[("error", "server_error")], FailureClass::InstitutionDown),
        (&[("error", "invalid_scope")], FailureClass::Unexpected),
        (&[("error", "access_denied"), ("code", "x")], FailureClass::UserDenied),
        (&[("error", "other"), ("code", "x")], FailureClass::Unexpected),
    ] {
        assert_eq!(answer_first_step("oauth_bank", parameters(pairs), false).await, class, "{pairs:?}");
    }
}

#[tokio::test]
async fn answers_that_do_not_fit_are_refused() {
    let text = || Answer::Text(SecretBytes::new(b"1234".to_vec()));
    assert_eq!(answer_first_step("credentials_bank", text(), false).await, FailureClass::Unexpected);
    assert_eq!(answer_first_step("oauth_bank", text(), false).await, FailureClass::Unexpected);
    assert_eq!(
        answer_first_step("oauth_bank", Answer::Form(BTreeMap::new()), true).await,
        FailureClass::Unexpected,
        "damaged progress"
    );
    assert_eq!(
        answer_first_step("credentials_bank", Answer::Form(BTreeMap::new()), false).await,
        FailureClass::InvalidCredentials
    );
}

#[tokio::test]
async fn the_redirect_leads_to_the_bank() {
    let (institution, derivation) = (institution("oauth_bank"), Derivation::new(b"simulated banks"));
    let sign_in = SignIn {
        institution: &institution,
        customer_user_id: "customer-1",
        app_id: "app_test",
        now: noon(),
        derivation: &derivation,
        custom_sandbox_data: None,
        person_seed: None,
    };
    let (step, _) = Sandbox.begin_sign_in(&sign_in).await.unwrap();
    let Step::Redirect { url } = step else { panic!("{step:?}") };
    assert!(url.starts_with("https://oauth-bank.example/authorize?"), "{url}");
    assert!(!url.contains(char::is_whitespace), "{url}");
}
