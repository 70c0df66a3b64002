//! What a person would answer, for callers that have no browser (a test that creates a link in one call).

use std::collections::BTreeMap;

use passbook_core::secret::SecretBytes;
use serde_json::Value;

use super::sign_in::{CODE, PASSWORD, SECURITY_ANSWER};
use crate::port::{Answer, Step};

/// The answer to `step` of somebody who signs in as `username`, does everything right, and gets wrong exactly what
/// `answers` says.
///
/// | Step | Override in `answers` | Otherwise |
/// | --- | --- | --- |
/// | form | `credentials.<field>`, else top-level `<field>` (`username`, `password`) | `username` and the test password; any other field empty |
/// | choice | `choice`: an option's id | the first option |
/// | one-time code | `code` | the test code |
/// | question | `question` | the test answer |
/// | redirect | `redirect`: `deny` comes back with `error=access_denied` | comes back with a `code` |
///
/// Overrides are strings. A number counts as its JSON text (`1234` is `"1234"`), because a code is easily written
/// without quotes; a value of any other type counts as absent, and so does any `redirect` but `deny`. Nothing is
/// checked against the step's options: sending a choice that was not offered is a way to test refusal. The answer to
/// [`Step::Done`] is empty text; nobody asks for it.
#[must_use]
pub fn headless_answer(step: &Step, username: &str, answers: &BTreeMap<String, Value>) -> Answer {
    let override_for = |kind: &str| answers.get(kind).and_then(as_text);
    let text = |right: &str| Answer::Text(secret(override_for(step.kind()).unwrap_or_else(|| right.to_owned())));
    match step {
        Step::Form { fields } => {
            let credentials = answers.get(step.kind());
            let filled = fields.iter().map(|field| {
                let given = credentials.and_then(|nested| nested.get(&field.id)).and_then(as_text);
                let value = given.or_else(|| override_for(&field.id)).unwrap_or_else(|| match field.id.as_str() {
                    "username" => username.to_owned(),
                    "password" => PASSWORD.to_owned(),
                    _ => String::new(),
                });
                (field.id.clone(), secret(value))
            });
            Answer::Form(filled.collect())
        }
        Step::Choice { options, .. } => text(options.first().map_or("", |option| option.id.as_str())),
        Step::OneTimeCode { .. } => text(CODE),
        Step::Question { .. } => text(SECURITY_ANSWER),
        Step::Redirect { .. } => {
            let denied = override_for(step.kind()).as_deref() == Some("deny");
            let (name, value) = if denied { ("error", "access_denied") } else { ("code", "sandbox") };
            Answer::Returned(BTreeMap::from([(name.to_owned(), value.to_owned())]))
        }
        Step::Done(_) => Answer::Text(SecretBytes::default()),
    }
}

fn as_text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

fn secret(text: String) -> SecretBytes {
    SecretBytes::new(text.into_bytes())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::port::{ChoiceOption, FormField};

    fn answers(value: Value) -> BTreeMap<String, Value> {
        serde_json::from_value(value).unwrap()
    }

    fn field(id: &str) -> FormField {
        FormField { id: id.to_owned(), label: id.to_owned(), secret: false }
    }

    fn form_values(overrides: Value) -> Vec<String> {
        let step = Step::Form { fields: vec![field("username"), field("password"), field("branch")] };
        let Answer::Form(values) = headless_answer(&step, "user_good", &answers(overrides)) else {
            panic!("a form is answered with a form");
        };
        ["username", "password", "branch"].map(|id| String::from_utf8(values[id].expose().to_vec()).unwrap()).to_vec()
    }

    fn text(step: &Step, overrides: Value) -> String {
        let Answer::Text(text) = headless_answer(step, "user_good", &answers(overrides)) else {
            panic!("text expected");
        };
        String::from_utf8(text.expose().to_vec()).unwrap()
    }

    #[test]
    fn a_form_is_filled_in_unless_overridden() {
        assert_eq!(form_values(json!({})), ["user_good", "pass_good", ""]);
        assert_eq!(form_values(json!({"password": "no"})), ["user_good", "no", ""]);
        assert_eq!(form_values(json!({"credentials": {"username": "user_mfa"}})), ["user_mfa", "pass_good", ""]);
        assert_eq!(
            form_values(json!({"credentials": {"password": "inner", "branch": 7}, "password": "outer"})),
            ["user_good", "inner", "7"]
        );
    }

    #[test]
    fn overrides_of_a_wrong_type_count_as_absent() {
        assert_eq!(form_values(json!({"credentials": "user_bad", "password": ["no"]})), ["user_good", "pass_good", ""]);
        let code = Step::OneTimeCode { prompt: String::new() };
        assert_eq!(text(&code, json!({"code": null})), CODE);
        assert_eq!(text(&code, json!({"code": {"value": "9"}})), CODE);
    }

    #[test]
    fn a_code_may_be_written_as_a_number() {
        let code = Step::OneTimeCode { prompt: String::new() };
        assert_eq!(text(&code, json!({"code": 9999})), "9999");
        assert_eq!(text(&code, json!({"code": "0000"})), "0000");
        assert_eq!(text(&code, json!({"question": "0000"})), "1234");
    }

    #[test]
    fn the_first_option_is_chosen_and_the_question_answered() {
        let option = |id: &str| ChoiceOption { id: id.to_owned(), label: String::new() };
        let choice = Step::Choice { prompt: String::new(), options: vec![option("sms"), option("email")] };
        assert_eq!(text(&choice, json!({})), "sms");
        assert_eq!(text(&choice, json!({"choice": "email"})), "email");
        assert_eq!(text(&Step::Choice { prompt: String::new(), options: vec![] }, json!({})), "");
        let question = Step::Question { prompt: String::new() };
        assert_eq!(text(&question, json!({})), "answer");
        assert_eq!(text(&question, json!({"question": "?"})), "?");
    }

    #[test]
    fn only_deny_refuses_a_redirect() {
        let step = Step::Redirect { url: String::new() };
        for (overrides, expected) in [
            (json!({}), ("code", "sandbox")),
            (json!({"redirect": "allow"}), ("code", "sandbox")),
            (json!({"redirect": "deny"}), ("error", "access_denied")),
        ] {
            let Answer::Returned(parameters) = headless_answer(&step, "", &answers(overrides)) else {
                panic!("a redirect is answered with parameters");
            };
            assert_eq!(parameters, BTreeMap::from([(expected.0.to_owned(), expected.1.to_owned())]));
        }
    }
}
