//! Which server, and who asks: the command line, the environment, or what `passbook dev` wrote down.

use std::path::Path;

use anyhow::Context as _;
use moneykit::Client;
use serde::Deserialize;

use crate::arguments::Server;

/// What is read of `dev.json`.
#[derive(Deserialize)]
pub struct DevFile {
    api_url: String,
    client_id: String,
    client_secret: String,
    /// A link that can be tried out.
    pub link_id: String,
}

impl DevFile {
    fn read(data: &Path) -> Option<Self> {
        serde_json::from_slice(&std::fs::read(data.join("dev.json")).ok()?).ok()
    }
}

/// A client, and the file if its server is the one that is asked.
pub struct Connection {
    pub client: Client,
    pub dev: Option<DevFile>,
}

impl Connection {
    /// Takes what is given, and everything from `dev.json` where nothing is. The two are never mixed: a secret must not
    /// go to another server than its own.
    pub fn open(server: Server) -> anyhow::Result<Self> {
        let Server { base_url, client_id, client_secret, data } = server;
        if base_url.is_none() && client_id.is_none() && client_secret.is_none() {
            let file = data.join("dev.json");
            let dev = DevFile::read(&data).with_context(|| {
                format!(
                    "no server: set MONEYKIT_BASE_URL, MONEYKIT_CLIENT_ID and MONEYKIT_CLIENT_SECRET (no {})",
                    file.display()
                )
            })?;
            let client = client(&dev.api_url, &dev.client_id, &dev.client_secret)?;
            return Ok(Self { client, dev: Some(dev) });
        }
        let base_url = base_url.context("no server: give --base-url or set MONEYKIT_BASE_URL")?;
        let id = client_id.context("no client: give --client-id or set MONEYKIT_CLIENT_ID")?;
        let secret = client_secret.context("no secret: set MONEYKIT_CLIENT_SECRET or give --client-secret")?;
        Ok(Self { client: client(&base_url, &id, &secret)?, dev: None })
    }
}

fn client(base_url: &str, id: &str, secret: &str) -> anyhow::Result<Client> {
    Ok(Client::builder().base_url(base_url).client_credentials(id, secret).build()?)
}
