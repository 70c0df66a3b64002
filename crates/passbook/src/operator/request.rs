//! The words between a command and whoever executes it: plain data, because it also goes over the control socket.

use std::{fmt, path::PathBuf};

use jiff::Timestamp;
use passbook_core::tenant::Environment;
use passbook_store::port::{AppUsage, BackupManifest, MasterKeyUse};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zeroize::Zeroizing;

/// What an operator wants. Apps are named by id or by name, clients by id.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case")]
pub enum Request {
    /// A new app.
    AddApp {
        /// Its name.
        name: String,
        /// Origins that may receive redirects.
        origins: Vec<String>,
    },
    /// Every app.
    ListApps,
    /// Another name for an app.
    RenameApp {
        /// Which.
        app: String,
        /// The new name.
        name: String,
    },
    /// Refuses every client of an app and lets its jobs wait, until it is enabled.
    DisableApp {
        /// Which.
        app: String,
    },
    /// Ends that.
    EnableApp {
        /// Which.
        app: String,
    },
    /// A new client of an app.
    AddClient {
        /// Whose.
        app: String,
        /// Sandbox or live.
        environment: Environment,
        /// Label; the app's name when absent.
        name: Option<String>,
        /// What it may do; everything when empty.
        scopes: Vec<String>,
    },
    /// Clients of one app, or all.
    ListClients {
        /// Whose.
        app: Option<String>,
    },
    /// A second secret beside the one in use.
    RotateClient {
        /// Which.
        client: String,
    },
    /// Withdraws the older of two secrets, and with it every token of the client.
    RevokeSecret {
        /// Which.
        client: String,
    },
    /// Ends a client for good.
    RevokeClient {
        /// Which.
        client: String,
    },
    /// What a client may do from now on.
    SetScopes {
        /// Which.
        client: String,
        /// Everything when empty.
        scopes: Vec<String>,
    },
    /// Another origin that may receive redirects.
    AddOrigin {
        /// Whose.
        app: String,
        /// The origin.
        origin: String,
    },
    /// One origin fewer.
    RemoveOrigin {
        /// Whose.
        app: String,
        /// The origin.
        origin: String,
    },
    /// Origins of an app.
    ListOrigins {
        /// Whose.
        app: String,
    },
    /// Remembered master keys.
    ListKeys,
    /// A fresh master key, in use at once.
    RotateKeys,
    /// A fresh master key in the key file, not in use yet.
    GenerateKey,
    /// Puts a master key to use that is at hand.
    ActivateKey {
        /// Which.
        version: u32,
    },
    /// Forgets a master key that wraps nothing.
    RetireKey {
        /// Which.
        version: u32,
    },
    /// A fresh key that will sign webhooks.
    RotateSigningKey {
        /// Whose webhooks.
        environment: Environment,
    },
    /// Webhooks that fail or are switched off.
    ListWebhooks,
    /// Switches a webhook on.
    EnableWebhook {
        /// Whose.
        app: String,
        /// Sandbox or live.
        environment: Environment,
        /// The URL.
        url: String,
    },
    /// The secret that an app verifies the headers of Standard Webhooks with.
    ShowWebhookSecret {
        /// Whose.
        app: String,
        /// Sandbox or live.
        environment: Environment,
    },
    /// A copy of the store.
    BackUp {
        /// Where; an absolute path of the machine that holds the store.
        to: PathBuf,
    },
    /// A check-up of the store.
    Examine,
}

impl Request {
    /// Whether it changes nothing, or takes long and may run beside changes.
    pub fn only_looks(&self) -> bool {
        matches!(
            self,
            Self::ListApps
                | Self::ListClients { .. }
                | Self::ListOrigins { .. }
                | Self::ListKeys
                | Self::ListWebhooks
                | Self::BackUp { .. }
                | Self::Examine
        )
    }
}

/// What the operator gets.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "kind", content = "value", rename_all = "snake_case")]
pub enum Answer {
    /// One app.
    App(AppShown),
    /// Apps.
    Apps(Vec<AppShown>),
    /// One client.
    Client(ClientShown),
    /// Clients.
    Clients(Vec<ClientShown>),
    /// Origins.
    Origins(Vec<String>),
    /// Master keys.
    Keys(Vec<MasterKeyUse>),
    /// The version of a key that was added to the key file.
    GeneratedKey(u32),
    /// A key that will sign webhooks.
    SigningKey(SigningKeyShown),
    /// Webhooks.
    Webhooks(Vec<WebhookShown>),
    /// The secret of an app's webhooks.
    WebhookSecret(ShownSecret),
    /// A backup.
    Backup(BackupShown),
    /// Checks.
    Checks(Vec<Check>),
}

/// An app as an operator sees it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct AppShown {
    /// Id.
    pub app_id: String,
    /// Name.
    pub name: String,
    /// Origins that may receive redirects.
    pub origins: Vec<String>,
    /// When it was disabled.
    #[serde(default)]
    pub disabled_at: Option<Timestamp>,
    /// What it stores; `None` from a server that does not count it.
    #[serde(default)]
    pub usage: Option<AppUsage>,
}

/// A client as an operator sees it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ClientShown {
    /// Public id.
    pub client_id: String,
    /// Whose.
    pub app_id: String,
    /// Sandbox or live.
    pub environment: Environment,
    /// Label.
    pub name: String,
    /// What it may do.
    pub scopes: String,
    /// How many secrets are good.
    pub live_secrets: usize,
    /// When it was or will be disabled.
    pub disabled_at: Option<Timestamp>,
    /// A secret that was just made. Nobody can show it again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_secret: Option<ShownSecret>,
}

/// A key that will sign webhooks.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SigningKeyShown {
    /// Whose webhooks.
    pub environment: Environment,
    /// From when on. It is published already.
    pub signs_from: Timestamp,
}

/// A webhook that fails or is switched off.
#[derive(Clone, Serialize, Deserialize)]
pub struct WebhookShown {
    /// Whose.
    pub app_id: String,
    /// Sandbox or live.
    pub environment: Environment,
    /// The URL. It may hold a secret of the app.
    pub url: String,
    /// Since when it has not succeeded, by the app's clock.
    pub failing_since: Option<Timestamp>,
    /// Why it is switched off: `unwanted` (it answered 410) or `failing` (for five days).
    pub switched_off: Option<String>,
}

impl fmt::Debug for WebhookShown {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("WebhookShown").field("app_id", &self.app_id).finish_non_exhaustive()
    }
}

/// A backup that was made.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct BackupShown {
    /// Where.
    pub path: PathBuf,
    /// What it says about itself.
    pub manifest: BackupManifest,
}

/// One check of a check-up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// What was looked at.
    pub name: String,
    /// How it is.
    pub verdict: Verdict,
    /// What was seen.
    pub detail: String,
    /// What to do, when something is to be done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

/// How a check went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// As it should be.
    Ok,
    /// Worth a look.
    Warn,
    /// Must be put right.
    Fail,
}

/// A secret on its one way to the operator's eyes: it serialises, and `Debug` hides it.
#[derive(Clone)]
pub struct ShownSecret(Zeroizing<String>);

impl ShownSecret {
    /// Shows this secret.
    pub fn new(secret: String) -> Self {
        Self(Zeroizing::new(secret))
    }

    /// The secret itself.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for ShownSecret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("[secret]")
    }
}

impl Serialize for ShownSecret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for ShownSecret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shown_secret_is_not_printed_by_debug() {
        let secret = ShownSecret::new("hunter2".into());
        assert_eq!(format!("{secret:?}"), "[secret]");
        assert_eq!(serde_json::to_string(&secret).unwrap(), "\"hunter2\"");
    }

    #[test]
    fn requests_come_back_from_the_wire() {
        let request = Request::AddClient {
            app: "Shop".into(),
            environment: Environment::Live,
            name: None,
            scopes: vec!["links".into()],
        };
        let text = serde_json::to_string(&request).unwrap();
        assert_eq!(
            text,
            r#"{"command":"add_client","app":"Shop","environment":"live","name":null,"scopes":["links"]}"#
        );
        assert!(matches!(serde_json::from_str(&text).unwrap(), Request::AddClient { name: None, .. }));
        assert!(serde_json::from_str::<Request>(r#"{"command":"drop_everything"}"#).is_err());
    }
}
