//! Answers as text for a person, or as JSON for a program.

use std::fmt::Write as _;

use jiff::Timestamp;
use passbook_store::port::MasterKeyUse;

use crate::operator::{Answer, AppShown, BackupShown, Check, ClientShown, Verdict, WebhookShown};

/// The answer's value alone, on one line.
///
/// # Errors
/// Never in practice: answers are plain data.
pub(super) fn json(answer: &Answer) -> anyhow::Result<String> {
    let mut text = match answer {
        Answer::App(app) => serde_json::to_string(app),
        Answer::Apps(apps) => serde_json::to_string(apps),
        Answer::Client(client) => serde_json::to_string(client),
        Answer::Clients(clients) => serde_json::to_string(clients),
        Answer::Origins(origins) => serde_json::to_string(origins),
        Answer::Keys(keys) => serde_json::to_string(keys),
        Answer::GeneratedKey(version) => serde_json::to_string(&serde_json::json!({"version": version})),
        Answer::SigningKey(key) => serde_json::to_string(key),
        Answer::Webhooks(webhooks) => serde_json::to_string(webhooks),
        Answer::WebhookSecret(secret) => serde_json::to_string(secret),
        Answer::Backup(backup) => serde_json::to_string(backup),
        Answer::Checks(checks) => serde_json::to_string(checks),
    }?;
    text.push('\n');
    Ok(text)
}

/// Tables and sentences.
pub(super) fn text(answer: &Answer) -> String {
    match answer {
        Answer::App(app) => apps(std::slice::from_ref(app)),
        Answer::Apps(list) => apps(list),
        Answer::Client(client) => one_client(client),
        Answer::Clients(list) => clients(list),
        Answer::Origins(list) => list.iter().map(|origin| format!("{origin}\n")).collect(),
        Answer::Keys(list) => keys(list),
        Answer::GeneratedKey(version) => format!(
            "Version {version} is in the key file and not in use. Copy the file to every replica, then activate it.\n"
        ),
        Answer::SigningKey(key) => format!("The new key is published now and signs from {} on.\n", key.signs_from),
        Answer::Webhooks(list) => webhooks(list),
        Answer::WebhookSecret(secret) => format!("{}\n", secret.expose()),
        Answer::Backup(made) => backup(made),
        Answer::Checks(list) => checks(list),
    }
}

fn apps(list: &[AppShown]) -> String {
    let rows = list.iter().map(|app| {
        let (rows, mib) = app.usage.map_or(("-".to_owned(), "-".to_owned()), |usage| {
            (usage.rows.to_string(), usage.bytes.div_ceil(1 << 20).to_string())
        });
        vec![app.app_id.clone(), printable(&app.name), rows, mib, since(app.disabled_at), app.origins.join(" ")]
    });
    table(&["APP", "NAME", "ROWS", "MIB", "DISABLED", "ORIGINS"], rows)
}

/// An instant, or a dash for none.
fn since(at: Option<Timestamp>) -> String {
    at.map_or_else(|| "-".to_owned(), |at| at.to_string())
}

fn clients(list: &[ClientShown]) -> String {
    let rows = list.iter().map(|client| {
        vec![
            client.client_id.clone(),
            client.app_id.clone(),
            printable(&client.name),
            client.live_secrets.to_string(),
            since(client.disabled_at),
            client.scopes.clone(),
        ]
    });
    table(&["CLIENT", "APP", "NAME", "SECRETS", "DISABLED", "SCOPES"], rows)
}

fn one_client(client: &ClientShown) -> String {
    let mut text = clients(std::slice::from_ref(client));
    if let Some(secret) = &client.client_secret {
        let _infallible = write!(text, "\nSecret: {}\nKeep it now: it cannot be shown again.\n", secret.expose());
    }
    text
}

fn keys(list: &[MasterKeyUse]) -> String {
    let word = |yes: bool| if yes { "yes" } else { "no" }.to_owned();
    let rows = list.iter().map(|key| {
        let counts = [key.links.to_string(), key.instance_values.to_string()];
        [key.version.to_string(), word(key.active), word(key.at_hand)].into_iter().chain(counts).collect()
    });
    table(&["VERSION", "ACTIVE", "AT HAND", "LINKS", "VALUES"], rows)
}

fn webhooks(list: &[WebhookShown]) -> String {
    let rows = list.iter().map(|webhook| {
        let state = webhook.switched_off.as_ref().map_or_else(|| "on".to_owned(), |reason| format!("off ({reason})"));
        let environment = webhook.environment.as_str().to_owned();
        vec![webhook.app_id.clone(), environment, state, since(webhook.failing_since), printable(&webhook.url)]
    });
    table(&["APP", "ENVIRONMENT", "STATE", "FAILING SINCE", "URL"], rows)
}

fn backup(made: &BackupShown) -> String {
    let bytes: u64 = made.manifest.files.iter().map(|file| file.bytes).sum();
    format!(
        "{}: the store as of {}, {} KiB.\nThe master key (version {}) and the deletion ledger are not in it; keep them \
         elsewhere.\n",
        made.path.display(),
        made.manifest.created_at,
        bytes >> 10,
        made.manifest.master_key_version
    )
}

fn checks(list: &[Check]) -> String {
    let mut text = String::new();
    for check in list {
        let word = match check.verdict {
            Verdict::Ok => "ok",
            Verdict::Warn => "warn",
            Verdict::Fail => "FAIL",
        };
        let _infallible = writeln!(text, "{word:<4}  {}: {}", check.name, printable(&check.detail));
        if let Some(remedy) = &check.remedy {
            let _infallible = writeln!(text, "      {remedy}");
        }
    }
    text
}

/// Columns as wide as their widest value.
fn table(head: &[&str], rows: impl Iterator<Item = Vec<String>>) -> String {
    let head = head.iter().map(|title| (*title).to_owned()).collect();
    let rows: Vec<Vec<String>> = std::iter::once(head).chain(rows).collect();
    let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = (0..rows[0].len()).map(|column| width(column).unwrap_or(0)).collect();
    let mut text = String::new();
    for row in &rows {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        text.push('\n');
    }
    text
}

/// Stored text without what a terminal would act on.
fn printable(text: &str) -> String {
    text.chars().map(|character| if character.is_control() { '?' } else { character }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operator::ShownSecret;
    use passbook_core::tenant::Environment;

    fn client(secret: Option<&str>) -> ClientShown {
        ClientShown {
            client_id: "live_0".into(),
            app_id: "app_1".into(),
            environment: Environment::Live,
            name: "Shop\u{1b}[2J".into(),
            scopes: "links".into(),
            live_secrets: 1,
            disabled_at: None,
            client_secret: secret.map(|secret| ShownSecret::new(secret.into())),
        }
    }

    #[test]
    fn a_table_is_aligned_and_holds_no_control_characters() {
        let text = text(&Answer::Clients(vec![client(None)]));
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(
            lines,
            ["CLIENT  APP    NAME      SECRETS  DISABLED  SCOPES", "live_0  app_1  Shop?[2J  1        -         links"]
        );
    }

    #[test]
    fn an_app_shows_when_it_was_disabled() {
        let app = |disabled_at| AppShown {
            app_id: "app_1".into(),
            name: "Shop".into(),
            origins: vec!["https://a.example".into()],
            disabled_at,
            usage: None,
        };
        let disabled = "2024-05-01T00:00:00Z".parse().unwrap();
        let text = text(&Answer::Apps(vec![app(None), app(Some(disabled))]));
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(
            lines,
            [
                "APP    NAME  ROWS  MIB  DISABLED              ORIGINS",
                "app_1  Shop  -     -    -                     https://a.example",
                "app_1  Shop  -     -    2024-05-01T00:00:00Z  https://a.example",
            ]
        );
    }

    #[test]
    fn a_new_secret_is_in_both_forms_and_an_old_one_in_none() {
        assert!(text(&Answer::Client(client(Some("s3cret")))).contains("Secret: s3cret\n"));
        assert!(json(&Answer::Client(client(Some("s3cret")))).unwrap().contains(r#""client_secret":"s3cret""#));
        assert!(!json(&Answer::Client(client(None))).unwrap().contains("client_secret"));
    }
}
