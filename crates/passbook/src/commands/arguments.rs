//! What can be written on the command line.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use passbook_core::tenant::Environment;

use crate::operator::Request;

/// Commands of an operator.
#[derive(Debug, Subcommand)]
pub enum OperatorCommand {
    /// Apps that use this server.
    Apps(Group<AppsCommand>),
    /// API clients of apps, their secrets and scopes.
    Clients(Group<ClientsCommand>),
    /// Origins to which an app's users may be sent back.
    Origins(Group<OriginsCommand>),
    /// Master keys, and the keys that sign webhooks.
    Keys(Group<KeysCommand>),
    /// Webhooks that fail or were switched off.
    Webhooks(Group<WebhooksCommand>),
    /// Copy the store while it serves.
    Backup {
        /// A directory to make, or an existing one in which a directory with the time as its name is made.
        #[arg(long, value_name = "DIR")]
        to: PathBuf,
        #[command(flatten)]
        target: Target,
    },
    /// Put a backup back into an empty data directory.
    Restore {
        /// The backup.
        #[arg(long, value_name = "DIR")]
        from: PathBuf,
        /// The deletion ledger of the store that was lost: links deleted since the backup stay deleted.
        #[arg(long, value_name = "FILE", conflicts_with = "without_deletions")]
        deletions: Option<PathBuf>,
        /// There is no deletion ledger: links deleted since the backup come back.
        #[arg(long)]
        without_deletions: bool,
        #[command(flatten)]
        target: Target,
    },
    /// Check the store and what is around it.
    Doctor {
        #[command(flatten)]
        target: Target,
    },
    /// Bring the store's schema up to date.
    Migrate {
        /// Only say what would be done; exit code 1 when something would.
        #[arg(long)]
        check: bool,
        #[command(flatten)]
        target: Target,
    },
}

/// Which store, and how to answer.
#[derive(Debug, Clone, Args)]
pub struct Target {
    /// Where the store is.
    #[arg(long, global = true, default_value = "./passbook-data")]
    pub data: PathBuf,
    /// The configuration of `passbook serve`, which says where the store is.
    #[arg(long, global = true, value_name = "FILE", conflicts_with = "data")]
    pub config: Option<PathBuf>,
    /// Answer in JSON.
    #[arg(long, global = true)]
    pub json: bool,
}

/// Commands about one kind of thing.
#[derive(Debug, Args)]
pub struct Group<C: Subcommand> {
    #[command(flatten)]
    target: Target,
    #[command(subcommand)]
    command: C,
}

/// See [`OperatorCommand::Apps`].
#[derive(Debug, Subcommand)]
pub enum AppsCommand {
    /// Add an app.
    Add {
        /// Its name.
        name: String,
        /// An origin that may receive redirects; may be repeated.
        #[arg(long = "origin", value_name = "URL")]
        origins: Vec<String>,
    },
    /// List apps.
    List,
    /// Give an app another name.
    Rename {
        /// Its id or name.
        app: String,
        /// The new name.
        name: String,
    },
    /// Refuse every client of an app and let its updates wait, until `enable`.
    Disable {
        /// Its id or name.
        app: String,
    },
    /// Let an app work again that was disabled; its secrets are the same.
    Enable {
        /// Its id or name.
        app: String,
    },
}

/// See [`OperatorCommand::Clients`].
#[derive(Debug, Subcommand)]
pub enum ClientsCommand {
    /// Add a client; shows its secret, once.
    Add {
        /// Id or name of its app.
        #[arg(long)]
        app: String,
        /// Simulated banks or real ones.
        #[arg(long)]
        environment: EnvironmentName,
        /// Label; the app's name when absent.
        #[arg(long)]
        name: Option<String>,
        /// What it may do; may be repeated, everything when absent.
        #[arg(long = "scope", value_name = "SCOPE")]
        scopes: Vec<String>,
    },
    /// List clients.
    List {
        /// Only those of this app.
        #[arg(long)]
        app: Option<String>,
    },
    /// Add a second secret and show it, once. The first stays good until `revoke-secret`.
    Rotate {
        /// Its id.
        client: String,
    },
    /// Withdraw the older of two secrets, and every token of the client.
    RevokeSecret {
        /// Its id.
        client: String,
    },
    /// End a client for good, with its secrets and tokens.
    Revoke {
        /// Its id.
        client: String,
    },
    /// Set what a client may do; tokens it has already may do no more than that.
    Scopes {
        /// Its id.
        client: String,
        /// Scopes; everything when absent.
        scopes: Vec<String>,
    },
}

/// See [`OperatorCommand::Origins`].
#[derive(Debug, Subcommand)]
pub enum OriginsCommand {
    /// Add an origin, such as `https://app.example`; for this machine also http, and the port `*`.
    Add {
        /// Id or name of the app.
        #[arg(long)]
        app: String,
        /// The origin.
        origin: String,
    },
    /// Remove an origin.
    Remove {
        /// Id or name of the app.
        #[arg(long)]
        app: String,
        /// The origin.
        origin: String,
    },
    /// List origins.
    List {
        /// Id or name of the app.
        #[arg(long)]
        app: String,
    },
}

/// See [`OperatorCommand::Keys`].
#[derive(Debug, Subcommand)]
pub enum KeysCommand {
    /// List master keys and how much each wraps.
    List,
    /// Replace the master key: a fresh one goes into the key file and wraps everything from now on.
    Rotate,
    /// Add a fresh master key to the key file without using it yet.
    Generate,
    /// Use a master key of the key file from now on.
    Activate {
        /// Its version.
        version: u32,
    },
    /// Add a fresh key that signs webhooks. It is published at once and signs after a day, when every receiver knows it.
    RotateSigning {
        /// Webhooks of simulated banks or of real ones.
        #[arg(long)]
        environment: EnvironmentName,
    },
    /// Forget a master key that wraps nothing any more, and take it out of the key file.
    Retire {
        /// Its version.
        version: u32,
    },
}

/// See [`OperatorCommand::Webhooks`].
#[derive(Debug, Subcommand)]
pub enum WebhooksCommand {
    /// List webhooks that fail or were switched off, with their URLs.
    List,
    /// Show the secret with which an app verifies the headers of Standard Webhooks (webhooks.standard_headers).
    Secret {
        /// Id or name of the app.
        #[arg(long)]
        app: String,
        /// Simulated banks or real ones.
        #[arg(long)]
        environment: EnvironmentName,
    },
    /// Switch a webhook on again. The app may then replay what it missed.
    Enable {
        /// Id or name of the app.
        #[arg(long)]
        app: String,
        /// Simulated banks or real ones.
        #[arg(long)]
        environment: EnvironmentName,
        /// The URL, as `list` shows it.
        url: String,
    },
}

/// [`Environment`] on the command line.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum EnvironmentName {
    /// Simulated banks.
    Sandbox,
    /// Real connectors.
    Live,
}

impl From<EnvironmentName> for Environment {
    fn from(name: EnvironmentName) -> Self {
        match name {
            EnvironmentName::Sandbox => Self::Sandbox,
            EnvironmentName::Live => Self::Live,
        }
    }
}

/// What a command amounts to.
pub(super) enum Work {
    /// A request of the store.
    Request(Request),
    /// A check-up, of files too.
    Doctor,
    /// The schema.
    Migrate { check: bool },
    /// A backup to put back.
    Restore { from: PathBuf, deletions: Option<PathBuf>, without_deletions: bool },
}

impl OperatorCommand {
    /// Which store is meant.
    pub(super) fn target(&self) -> Target {
        let target = match self {
            Self::Apps(group) => &group.target,
            Self::Clients(group) => &group.target,
            Self::Origins(group) => &group.target,
            Self::Keys(group) => &group.target,
            Self::Webhooks(group) => &group.target,
            Self::Backup { target, .. }
            | Self::Restore { target, .. }
            | Self::Doctor { target }
            | Self::Migrate { target, .. } => target,
        };
        target.clone()
    }

    /// The configuration that says where the store is.
    pub fn config(&self) -> Option<PathBuf> {
        self.target().config
    }

    /// What is to be done.
    ///
    /// # Errors
    /// When a path cannot be made absolute.
    pub(super) fn work(self) -> anyhow::Result<Work> {
        let request = match self {
            Self::Apps(group) => group.command.into(),
            Self::Clients(group) => group.command.into(),
            Self::Origins(group) => group.command.into(),
            Self::Keys(group) => group.command.into(),
            Self::Webhooks(group) => group.command.into(),
            Self::Backup { to, .. } => Request::BackUp { to: super::backup_destination(&to)? },
            Self::Restore { from, deletions, without_deletions, .. } => {
                return Ok(Work::Restore { from, deletions, without_deletions });
            }
            Self::Doctor { .. } => return Ok(Work::Doctor),
            Self::Migrate { check, .. } => return Ok(Work::Migrate { check }),
        };
        Ok(Work::Request(request))
    }
}

impl From<AppsCommand> for Request {
    fn from(command: AppsCommand) -> Self {
        match command {
            AppsCommand::Add { name, origins } => Self::AddApp { name, origins },
            AppsCommand::List => Self::ListApps,
            AppsCommand::Rename { app, name } => Self::RenameApp { app, name },
            AppsCommand::Disable { app } => Self::DisableApp { app },
            AppsCommand::Enable { app } => Self::EnableApp { app },
        }
    }
}

impl From<ClientsCommand> for Request {
    fn from(command: ClientsCommand) -> Self {
        match command {
            ClientsCommand::Add { app, environment, name, scopes } => {
                Self::AddClient { app, environment: environment.into(), name, scopes }
            }
            ClientsCommand::List { app } => Self::ListClients { app },
            ClientsCommand::Rotate { client } => Self::RotateClient { client },
            ClientsCommand::RevokeSecret { client } => Self::RevokeSecret { client },
            ClientsCommand::Revoke { client } => Self::RevokeClient { client },
            ClientsCommand::Scopes { client, scopes } => Self::SetScopes { client, scopes },
        }
    }
}

impl From<OriginsCommand> for Request {
    fn from(command: OriginsCommand) -> Self {
        match command {
            OriginsCommand::Add { app, origin } => Self::AddOrigin { app, origin },
            OriginsCommand::Remove { app, origin } => Self::RemoveOrigin { app, origin },
            OriginsCommand::List { app } => Self::ListOrigins { app },
        }
    }
}

impl From<KeysCommand> for Request {
    fn from(command: KeysCommand) -> Self {
        match command {
            KeysCommand::List => Self::ListKeys,
            KeysCommand::Rotate => Self::RotateKeys,
            KeysCommand::Generate => Self::GenerateKey,
            KeysCommand::Activate { version } => Self::ActivateKey { version },
            KeysCommand::RotateSigning { environment } => Self::RotateSigningKey { environment: environment.into() },
            KeysCommand::Retire { version } => Self::RetireKey { version },
        }
    }
}

impl From<WebhooksCommand> for Request {
    fn from(command: WebhooksCommand) -> Self {
        match command {
            WebhooksCommand::List => Self::ListWebhooks,
            WebhooksCommand::Secret { app, environment } => {
                Self::ShowWebhookSecret { app, environment: environment.into() }
            }
            WebhooksCommand::Enable { app, environment, url } => {
                Self::EnableWebhook { app, environment: environment.into(), url }
            }
        }
    }
}
