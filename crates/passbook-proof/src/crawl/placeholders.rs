//! Names for what is random in every run: tokens, secrets, keys, signatures, and the ports of this machine.
//!
//! A value gets its name when an answer first shows it, as `<access_token 1>`, and is written by that name wherever it
//! comes again. So two transcripts are equal only if the same value comes back in the same places.

use std::collections::HashMap;

/// Members of answers whose values are random. A delivery token is derived from the URL of the webhook, which has the
/// port of this run's receiver.
const RANDOM: [&str; 5] = ["access_token", "link_session_token", "exchangeable_token", "signature", "delivery_token"];
/// Members of the key set whose values are random: the id and the parts of a public key.
const RANDOM_IN_KEY_SET: [&str; 5] = ["kid", "x", "y", "n", "e"];

/// The names of one run.
#[derive(Default)]
pub struct Placeholders {
    names: HashMap<String, String>,
    counts: HashMap<String, usize>,
    /// Addresses of this run, each with what is written instead.
    addresses: Vec<(String, &'static str)>,
}

impl Placeholders {
    /// Writes an address, host and port, as `name`.
    pub fn address(&mut self, address: String, name: &'static str) {
        self.addresses.push((address, name));
    }

    /// Names a value that is random.
    pub fn value(&mut self, kind: &str, value: &str) {
        if value.is_empty() || self.names.contains_key(value) {
            return;
        }
        let count = self.counts.entry(kind.to_owned()).or_default();
        *count += 1;
        self.names.insert(value.to_owned(), format!("<{kind} {count}>"));
    }

    /// Names what is random in the body of an answer.
    pub fn learn(&mut self, body: &str) {
        let is_key_set = body.starts_with("{\"keys\":[");
        let of_keys = RANDOM_IN_KEY_SET.iter().filter(|_| is_key_set);
        for member in RANDOM.iter().chain(of_keys) {
            for value in values_of(member, body) {
                self.value(member, value);
            }
        }
        // Of a simulated event without a key of the app. All other events have keys that are derived.
        for value in values_of("webhook_idempotency_key", body).filter(|value| is_random_hex(value)) {
            self.value("event_key", value);
        }
    }

    /// The text with names in place of values.
    pub fn apply(&self, text: &str) -> String {
        let mut named = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(begin) = rest.find(is_of_word) {
            let end = rest[begin..].find(|one| !is_of_word(one)).map_or(rest.len(), |length| begin + length);
            let word = &rest[begin..end];
            named.push_str(&rest[..begin]);
            named.push_str(self.names.get(word).map_or(word, String::as_str));
            rest = &rest[end..];
        }
        named.push_str(rest);
        self.addresses.iter().fold(named, |text, (address, name)| text.replace(address, name))
    }
}

/// The texts that a member has in a body.
fn values_of<'a>(member: &str, body: &'a str) -> impl Iterator<Item = &'a str> {
    let parts: Vec<_> = body.split(&format!("\"{member}\":\"")).skip(1).collect();
    parts.into_iter().filter_map(|rest| rest.split('"').next())
}

/// 256 bits in hexadecimal digits.
fn is_random_hex(value: &str) -> bool {
    value.len() == 64 && value.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// What tokens are made of, JSON Web Tokens included.
fn is_of_word(one: char) -> bool {
    one.is_ascii_alphanumeric() || matches!(one, '_' | '-' | '.')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_has_one_name_wherever_it_comes() {
        let mut placeholders = Placeholders::default();
        placeholders.learn(r#"{"access_token":"abc.d-e_f","expires_in":3600}"#);
        placeholders.learn(r#"{"access_token":"other"}"#);
        placeholders.learn(r#"{"access_token":"abc.d-e_f"}"#);
        assert_eq!(placeholders.apply("Bearer abc.d-e_f"), "Bearer <access_token 1>");
        assert_eq!(placeholders.apply(r#"["other", "others"]"#), r#"["<access_token 2>", "others"]"#);
    }

    #[test]
    fn parts_of_keys_are_named_in_key_sets_alone() {
        let mut placeholders = Placeholders::default();
        placeholders.learn(r#"{"name":{"x":"kept"}}"#);
        placeholders.learn(r#"{"keys":[{"kid":"one","x":"point"}]}"#);
        assert_eq!(placeholders.apply("kept one point"), "kept <kid 1> <x 1>");
    }

    #[test]
    fn keys_of_events_are_named_where_they_are_random() {
        let mut placeholders = Placeholders::default();
        let random = "0a".repeat(32);
        placeholders
            .learn(&format!(r#"{{"webhook_idempotency_key":"evt_one"}}{{"webhook_idempotency_key":"{random}"}}"#));
        assert_eq!(placeholders.apply(&format!("evt_one {random}")), "evt_one <event_key 1>");
    }

    #[test]
    fn addresses_are_written_by_name_and_other_numbers_stay() {
        let mut placeholders = Placeholders::default();
        placeholders.address("127.0.0.1:4711".to_owned(), "<server>");
        assert_eq!(placeholders.apply("http://127.0.0.1:4711/x, 4711"), "http://<server>/x, 4711");
    }
}
