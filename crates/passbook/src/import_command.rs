//! `passbook links import-file`: an API client that sends statement files.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use serde::Deserialize;

use crate::dev::DevFile;

/// Where the server is and who is asking.
pub struct Target {
    /// Base URL.
    pub api_url: String,
    /// API client.
    pub client_id: String,
    /// Its secret.
    pub client_secret: String,
}

impl Target {
    /// Credentials given one by one, or those of `dev.json`.
    ///
    /// # Errors
    /// When neither is complete.
    pub fn find(
        api_url: Option<String>,
        client_id: Option<String>,
        client_secret: Option<String>,
        data: &Path,
    ) -> anyhow::Result<Self> {
        if let (Some(api_url), Some(client_id), Some(client_secret)) =
            (api_url.clone(), client_id.clone(), client_secret.clone())
        {
            return Ok(Self { api_url: api_url.trim_end_matches('/').to_owned(), client_id, client_secret });
        }
        let file = DevFile::read(data).with_context(|| {
            format!(
                "no credentials: {} is not there, and PASSBOOK_API_URL, PASSBOOK_CLIENT_ID and PASSBOOK_CLIENT_SECRET \
                 are not all set",
                DevFile::path(data).display()
            )
        })?;
        Ok(Self {
            api_url: api_url.unwrap_or(file.api_url),
            client_id: client_id.unwrap_or(file.client_id),
            client_secret: client_secret.unwrap_or(file.client_secret),
        })
    }
}

#[derive(Deserialize)]
struct ImportAnswer {
    link_id: String,
    created: u64,
    updated: u64,
    removed: u64,
    unchanged: u64,
    notes: Vec<String>,
}

/// Sends each file and prints what became of it. Files after a refused one are still sent.
///
/// # Errors
/// When any file was refused or the server was not reached.
pub async fn run(target: &Target, user: &str, institution: Option<&str>, files: &[PathBuf]) -> anyhow::Result<()> {
    let client = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).build()?;
    let mut refused = 0;
    for file in files {
        match send(&client, target, user, institution, file).await {
            Ok(answer) => {
                println!(
                    "{}: link {}, {} new, {} changed, {} removed, {} unchanged",
                    file.display(),
                    answer.link_id,
                    answer.created,
                    answer.updated,
                    answer.removed,
                    answer.unchanged
                );
                for note in answer.notes {
                    println!("  note: {note}");
                }
            }
            Err(error) => {
                refused += 1;
                eprintln!("{}: {error:#}", file.display());
            }
        }
    }
    if refused > 0 {
        bail!("{refused} of {} files were not imported", files.len());
    }
    Ok(())
}

async fn send(
    client: &reqwest::Client,
    target: &Target,
    user: &str,
    institution: Option<&str>,
    file: &Path,
) -> anyhow::Result<ImportAnswer> {
    let bytes = std::fs::read(file).context("cannot read the file")?;
    let mut query = vec![("customer_user_id", user)];
    query.extend(institution.map(|id| ("institution_id", id)));
    let response = client
        .post(format!("{}/passbook/links/import-file", target.api_url))
        .query(&query)
        .header("X-Client-Id", &target.client_id)
        .header("X-Client-Secret", &target.client_secret)
        .body(bytes)
        .send()
        .await
        .map_err(reqwest::Error::without_url)
        .with_context(|| format!("cannot reach {}", target.api_url))?;
    let status = response.status();
    let body = response.bytes().await.map_err(reqwest::Error::without_url)?;
    if status.is_success() {
        return serde_json::from_slice(&body).context("the server's answer cannot be read");
    }
    bail!("{}", refusal(status, &body))
}

/// The server's reasons in one line.
fn refusal(status: reqwest::StatusCode, body: &[u8]) -> String {
    #[derive(Deserialize)]
    struct Reason {
        message: String,
    }
    #[derive(Deserialize)]
    struct Refusal {
        error_message: String,
        #[serde(default)]
        validation_errors: Vec<Reason>,
    }
    match serde_json::from_slice::<Refusal>(body) {
        Ok(refusal) if refusal.validation_errors.is_empty() => refusal.error_message,
        Ok(refusal) => {
            refusal.validation_errors.into_iter().map(|reason| reason.message).collect::<Vec<_>>().join("; ")
        }
        Err(_) => format!("the server answered {status}"),
    }
}
