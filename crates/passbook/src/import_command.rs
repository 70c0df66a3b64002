//! `passbook links import-file`: an API client that sends statement files.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use serde::Deserialize;
use serde_json::Value;

use crate::{api_client::ApiClient, csv_profile::Profile, note, say};

/// Rows that a preview shows.
const PREVIEW_ROWS: usize = 10;

/// Which files, and whose they are.
pub struct Import {
    /// The app's own id of the end user.
    pub user: String,
    /// The institution, when the file does not name it rightly.
    pub institution: Option<String>,
    /// What the columns of CSV files are.
    pub profile: Option<String>,
    /// Shows what CSV files say and sends nothing.
    pub preview: bool,
    /// The files.
    pub files: Vec<PathBuf>,
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
pub async fn run(client: &ApiClient, import: &Import) -> anyhow::Result<()> {
    let profile = import.profile.as_deref().map(Profile::find).transpose()?;
    let mut refused = 0;
    for file in &import.files {
        if let Err(error) = send(client, import, profile.as_ref(), file).await {
            refused += 1;
            note!("{}: {error:#}", file.display());
        }
    }
    if refused > 0 {
        bail!("{refused} of {} files were not imported", import.files.len());
    }
    Ok(())
}

/// Prints what the files would become; needs no server.
///
/// # Errors
/// When any file cannot be read.
pub fn preview(import: &Import) -> anyhow::Result<()> {
    let name = import.profile.as_deref().context("--preview needs a --profile")?;
    let profile = Profile::find(name)?;
    for file in &import.files {
        show(file, &profile.read(&std::fs::read(file).context("cannot read the file")?)?)?;
    }
    Ok(())
}

fn show(file: &Path, export: &Value) -> std::io::Result<()> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    for account in export["accounts"].as_array().into_iter().flatten() {
        let items = account["transactions"].as_array().map(Vec::as_slice).unwrap_or_default();
        say!(
            "{}: {} ({}), {} transactions",
            file.display(),
            text(&account["name"]),
            text(&account["account_type"]),
            items.len()
        )?;
        for item in items.iter().take(PREVIEW_ROWS) {
            let sign = if item["type"] == "debit" { "-" } else { "" };
            let (date, amount) = (text(&item["date"]), format!("{sign}{}", text(&item["amount"])));
            say!("  {date}  {amount:>14} {}  {}", text(&item["currency"]), text(&item["description"]))?;
        }
        if items.len() > PREVIEW_ROWS {
            say!("  and {} more", items.len() - PREVIEW_ROWS)?;
        }
    }
    Ok(())
}

async fn send(client: &ApiClient, import: &Import, profile: Option<&Profile>, file: &Path) -> anyhow::Result<()> {
    let mut bytes = std::fs::read(file).context("cannot read the file")?;
    if let Some(profile) = profile {
        bytes = serde_json::to_vec(&profile.read(&bytes)?)?;
    }
    let mut query = vec![("customer_user_id", import.user.as_str())];
    query.extend(import.institution.as_deref().map(|id| ("institution_id", id)));
    let answer: ImportAnswer = client.post("/passbook/links/import-file", &query, bytes).await?;
    let ImportAnswer { link_id, created, updated, removed, unchanged, notes } = answer;
    let name = file.display();
    say!("{name}: link {link_id}, {created} new, {updated} changed, {removed} removed, {unchanged} unchanged")?;
    for note in notes {
        say!("  note: {note}")?;
    }
    Ok(())
}
