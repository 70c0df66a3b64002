//! The command line. What it starts is put together in `composition`.

mod composition;
mod stores;

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::Context as _;
use clap::{Args, Parser, Subcommand};
use jiff::Timestamp;
use passbook::{
    api_client::{ApiClient, Target},
    commands::{self, OperatorCommand},
    config::{self, Config, Format, Role, Settings},
    export_command::{self, Export},
    import_command::{self, Import},
};

// 1.2 to 1.4 times the throughput of the system allocator on the whole request path.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// What is logged when nobody says anything.
const DEFAULT_LOG: &str = "warn";

#[derive(Parser)]
#[command(name = "passbook", version, about = "Self-hosted account-linking server that speaks the MoneyKit API")]
struct Arguments {
    /// What to log: a level, or targets with levels [default: warn, or what the configuration says].
    #[arg(long, global = true, env = "PASSBOOK_LOG")]
    log: Option<String>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run everything on this machine, with a linked sandbox bank and no configuration.
    Dev(DevArguments),
    /// Serve what a configuration says.
    Serve {
        #[command(flatten)]
        config: ConfigArguments,
        /// What this process does, instead of server.role: api, worker or all.
        #[arg(long)]
        role: Option<Role>,
    },
    /// Look at a configuration.
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Work with links.
    #[command(subcommand)]
    Links(LinksCommand),
    #[command(flatten)]
    Operator(OperatorCommand),
}

#[derive(clap::Args)]
struct ConfigArguments {
    /// The configuration file.
    #[arg(long = "config", value_name = "FILE", default_value = "passbook.toml")]
    file: PathBuf,
}

#[derive(Subcommand)]
enum ConfigCommand {
    /// Say everything that is wrong with a configuration; nothing is started or changed.
    Check(ConfigArguments),
    /// Print the settings in force and where they come from, without secrets.
    Show(ConfigArguments),
    /// Print every setting with its default and what it means.
    Reference,
}

#[derive(clap::Args)]
pub(crate) struct DevArguments {
    /// Where data is kept; created when absent.
    #[arg(long, default_value = "./passbook-data")]
    pub(crate) data: PathBuf,
    /// Keep nothing: a temporary store, removed at exit (dev.json still goes to --data).
    #[arg(long)]
    pub(crate) ephemeral: bool,
    /// Port to listen on, on this machine only; 0 picks a free one.
    #[arg(long, default_value_t = 8080)]
    pub(crate) port: u16,
    /// Serves https too, by a certificate authority of the data directory's own.
    #[arg(long)]
    pub(crate) tls: bool,
    /// Port for https, on this machine only; 0 picks a free one.
    #[arg(long, default_value_t = 8443, requires = "tls")]
    pub(crate) tls_port: u16,
    /// Decides people, accounts, numbers and ids.
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// Freezes the sandbox clock at this instant, for example 2026-01-15T09:00:00Z.
    #[arg(long, value_name = "T")]
    pub(crate) frozen_at: Option<Timestamp>,
    /// Turns the API's request limits on; `=N` allows N times as many requests.
    #[arg(long, value_name = "N", num_args = 0..=1, require_equals = true, default_missing_value = "1")]
    pub(crate) rate_limits: Option<u32>,
    /// Calls webhooks on this machine only; those that lead elsewhere fail.
    #[arg(long)]
    pub(crate) local_webhooks: bool,
}

#[derive(Subcommand)]
enum LinksCommand {
    /// Import statement files (OFX, QFX, QBO) as links of a user.
    ImportFile {
        /// The app's own id of the end user.
        #[arg(long)]
        user: String,
        /// The institution, when the file does not name it rightly.
        #[arg(long)]
        institution: Option<String>,
        /// What the columns of CSV files are: `passbook`, `generic`, or a file (docs/csv-files.md).
        #[arg(long)]
        profile: Option<String>,
        /// Show what CSV files say, and send nothing.
        #[arg(long, requires = "profile")]
        preview: bool,
        #[command(flatten)]
        credentials: Credentials,
        /// The files.
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
    /// Write a link's accounts and transactions to a file.
    Export {
        /// The link's id.
        #[arg(long)]
        link: String,
        /// The form of the file.
        #[arg(long, value_enum, default_value = "json")]
        format: export_command::Format,
        /// Where to; standard output otherwise.
        #[arg(long)]
        output: Option<PathBuf>,
        /// Earliest date, inclusive.
        #[arg(long)]
        from: Option<jiff::civil::Date>,
        /// Latest date, inclusive.
        #[arg(long)]
        to: Option<jiff::civil::Date>,
        /// Write full account numbers too.
        #[arg(long)]
        numbers: bool,
        #[command(flatten)]
        credentials: Credentials,
    },
}

/// Where the server is and who is asking.
#[derive(Args)]
struct Credentials {
    /// Data directory of a `passbook dev` server, for its dev.json.
    #[arg(long, default_value = "./passbook-data")]
    data: PathBuf,
    /// Base URL of the server, instead of the one in dev.json.
    #[arg(long, env = "PASSBOOK_API_URL")]
    api_url: Option<String>,
    /// API client.
    #[arg(long, env = "PASSBOOK_CLIENT_ID", hide_env_values = true)]
    client_id: Option<String>,
    /// Its secret; better given by the environment than on the command line.
    #[arg(long, env = "PASSBOOK_CLIENT_SECRET", hide_env_values = true)]
    client_secret: Option<String>,
}

impl Credentials {
    fn client(self) -> anyhow::Result<ApiClient> {
        ApiClient::new(Target::find(self.api_url, self.client_id, self.client_secret, &self.data)?)
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(arguments) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("passbook: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Runs the command; `false` when it ran and what it looked at is not well.
fn run(Arguments { log, command }: Arguments) -> anyhow::Result<bool> {
    let log_as_told = || start_logging(log.as_deref().unwrap_or(DEFAULT_LOG), Format::Text);
    match command {
        Command::Serve { config, role } => {
            let config = Config::load(&config.file, role)?;
            start_logging(log.as_deref().unwrap_or(&config.log.filter), config.log.format)?;
            runtime()?.block_on(composition::run_serve(config))?;
        }
        Command::Config(command) => look_at_config(command)?,
        Command::Dev(arguments) => {
            log_as_told()?;
            runtime()?.block_on(composition::run_dev(arguments))?;
        }
        Command::Links(command) => {
            log_as_told()?;
            import_files(command)?;
        }
        Command::Operator(command) => {
            log_as_told()?;
            return match command.config() {
                Some(file) => {
                    let stores = stores::Configured(Config::load(&file, None)?);
                    runtime()?.block_on(commands::run(command, &stores))
                }
                None => runtime()?.block_on(commands::run(command, &stores::DataDirectories)),
            };
        }
    }
    Ok(true)
}

fn import_files(command: LinksCommand) -> anyhow::Result<()> {
    match command {
        LinksCommand::ImportFile { user, institution, profile, preview, credentials, files } => {
            let import = Import { user, institution, profile, preview, files };
            match import.preview {
                true => import_command::preview(&import),
                false => runtime()?.block_on(import_command::run(&credentials.client()?, &import)),
            }
        }
        LinksCommand::Export { link, format, output, from, to, numbers, credentials } => {
            let export = Export { link_id: link, format, output, from, to, numbers };
            runtime()?.block_on(export_command::run(&credentials.client()?, &export))
        }
    }
}

fn look_at_config(command: ConfigCommand) -> anyhow::Result<()> {
    match command {
        ConfigCommand::Check(ConfigArguments { file }) => {
            let config = Config::load(&file, None)?;
            println!("{}: in order", file.display());
            for warning in config.warnings {
                println!("warning: {warning}");
            }
        }
        ConfigCommand::Show(ConfigArguments { file }) => show_config(&file)?,
        ConfigCommand::Reference => print!("{}", config::REFERENCE),
    }
    Ok(())
}

/// Shows what there is even when it is not in order, and then says so.
fn show_config(file: &Path) -> anyhow::Result<()> {
    print!("{}", Settings::load(file, config::environment())?.show());
    Config::load(file, None)?;
    Ok(())
}

fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()
}

fn start_logging(filter: &str, format: Format) -> anyhow::Result<()> {
    let filter = tracing_subscriber::EnvFilter::try_new(filter).context("--log is not a log filter")?;
    let colours = std::io::IsTerminal::is_terminal(&std::io::stderr());
    let logger = tracing_subscriber::fmt().with_env_filter(filter).with_ansi(colours).with_writer(std::io::stderr);
    match format {
        Format::Text => logger.init(),
        Format::Json => logger.json().flatten_event(true).init(),
    }
    Ok(())
}
