//! An API client for the commands that talk to a server as an app does.

use std::path::Path;

use anyhow::{Context as _, bail};
use serde::{Deserialize, de::DeserializeOwned};

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

/// Calls a server.
pub struct ApiClient {
    client: reqwest::Client,
    target: Target,
}

impl ApiClient {
    /// A client of this server.
    ///
    /// # Errors
    /// When TLS cannot be set up.
    pub fn new(target: Target) -> anyhow::Result<Self> {
        let client = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).build()?;
        Ok(Self { client, target })
    }

    /// Reads something.
    ///
    /// # Errors
    /// When the server is not reached, or says no.
    pub async fn get<T: DeserializeOwned>(&self, path: &str, query: &[(&str, String)]) -> anyhow::Result<T> {
        self.send(self.client.get(format!("{}{path}", self.target.api_url)).query(query)).await
    }

    /// Sends bytes.
    ///
    /// # Errors
    /// As [`ApiClient::get`].
    pub async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        query: &[(&str, &str)],
        body: Vec<u8>,
    ) -> anyhow::Result<T> {
        self.send(self.client.post(format!("{}{path}", self.target.api_url)).query(query).body(body)).await
    }

    async fn send<T: DeserializeOwned>(&self, request: reqwest::RequestBuilder) -> anyhow::Result<T> {
        let response = request
            .header("X-Client-Id", &self.target.client_id)
            .header("X-Client-Secret", &self.target.client_secret)
            .send()
            .await
            .map_err(reqwest::Error::without_url)
            .with_context(|| format!("cannot reach {}", self.target.api_url))?;
        let status = response.status();
        let body = response.bytes().await.map_err(reqwest::Error::without_url)?;
        if status.is_success() {
            return serde_json::from_slice(&body).context("the server's answer cannot be read");
        }
        bail!("{}", refusal(status, &body))
    }
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
