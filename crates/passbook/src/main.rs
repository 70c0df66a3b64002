//! The command line. What it starts is put together in `composition`.

#![deny(clippy::print_stdout, clippy::print_stderr)]

mod composition;
mod stores;

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use anyhow::Context as _;
use clap::{Args, Parser, Subcommand};
use jiff::Timestamp;
use mimalloc::MiMalloc;
use passbook::{
    api_client::{ApiClient, Target},
    commands::{self, OperatorCommand},
    config::{self, Config, Format, Role, Settings},
    export_command::{self, Export},
    import_command::{self, Import},
    log, memory, note,
    output::write_out,
    say,
    server::Ending,
    supervision,
};
use zeroizing_alloc::ZeroAlloc;

// mimalloc: 1.2 to 1.4 times the throughput of the system allocator on the whole request path. Around it, memory is
// overwritten when it is freed, so that nothing of a request is left once it is over: not in a buffer of the HTTP library
// either, and not in the piece that a growing buffer has left behind (ADR 0041).
#[global_allocator]
static ALLOCATOR: ZeroAlloc<MiMalloc> = ZeroAlloc(MiMalloc);

/// How long what still runs on other threads may hold up the end of the process.
const RUNTIME_PATIENCE: Duration = Duration::from_secs(1);

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
        /// Lets core files of this process be written and debuggers attach to it: for developers, never with real data.
        #[arg(long)]
        allow_core_dumps: bool,
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
    /// Lets core files of this process be written and debuggers attach to it.
    #[arg(long)]
    pub(crate) allow_core_dumps: bool,
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

/// Runs the command line.
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let ended = match arguments.command.allows_core_dumps() {
        true => run(arguments),
        false => memory::close().map_err(anyhow::Error::from).and_then(|()| run(arguments)),
    };
    log::flush();
    match ended {
        Ok(code) => code,
        Err(error) => {
            note!("passbook: {error:#}");
            ExitCode::FAILURE
        }
    }
}

impl Command {
    fn allows_core_dumps(&self) -> bool {
        match self {
            Self::Dev(arguments) => arguments.allow_core_dumps,
            Self::Serve { allow_core_dumps, .. } => *allow_core_dumps,
            Self::Config(_) | Self::Links(_) | Self::Operator(_) => false,
        }
    }
}

/// Runs the command. It ends with 1 when it ran and what it looked at is not well.
fn run(Arguments { log, command }: Arguments) -> anyhow::Result<ExitCode> {
    let log_as_told = || start_logging(log.as_deref().unwrap_or(DEFAULT_LOG), Format::Text);
    match command {
        Command::Serve { config, role, allow_core_dumps: _ } => {
            let config = Config::load(&config.file, role)?;
            start_logging(log.as_deref().unwrap_or(&config.log.filter), config.log.format)?;
            return Ok(code_of(block_on(composition::run_serve(config))?));
        }
        Command::Config(command) => look_at_config(command)?,
        Command::Dev(arguments) => {
            log_as_told()?;
            return Ok(code_of(block_on(composition::run_dev(arguments))?));
        }
        Command::Links(command) => {
            log_as_told()?;
            import_files(command)?;
        }
        Command::Operator(command) => {
            log_as_told()?;
            let is_well = match command.config() {
                Some(file) => {
                    let stores = stores::Configured(Config::load(&file, None)?);
                    block_on(commands::run(command, &stores))?
                }
                None => block_on(commands::run(command, &stores::DataDirectories))?,
            };
            return Ok(if is_well { ExitCode::SUCCESS } else { ExitCode::FAILURE });
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn code_of(ending: Ending) -> ExitCode {
    match ending {
        Ending::Told => ExitCode::SUCCESS,
        Ending::PartEnded => ExitCode::from(supervision::EXIT_CODE),
    }
}

fn import_files(command: LinksCommand) -> anyhow::Result<()> {
    match command {
        LinksCommand::ImportFile { user, institution, profile, preview, credentials, files } => {
            let import = Import { user, institution, profile, preview, files };
            match import.preview {
                true => import_command::preview(&import),
                false => block_on(import_command::run(&credentials.client()?, &import)),
            }
        }
        LinksCommand::Export { link, format, output, from, to, numbers, credentials } => {
            let export = Export { link_id: link, format, output, from, to, numbers };
            block_on(export_command::run(&credentials.client()?, &export))
        }
    }
}

fn look_at_config(command: ConfigCommand) -> anyhow::Result<()> {
    match command {
        ConfigCommand::Check(ConfigArguments { file }) => {
            let config = Config::load(&file, None)?;
            say!("{}: in order", file.display())?;
            for warning in config.warnings {
                say!("warning: {warning}")?;
            }
        }
        ConfigCommand::Show(ConfigArguments { file }) => show_config(&file)?,
        ConfigCommand::Reference => write_out(format_args!("{}", config::REFERENCE))?,
    }
    Ok(())
}

/// Shows what there is even when it is not in order, and then says so.
fn show_config(file: &Path) -> anyhow::Result<()> {
    write_out(format_args!("{}", Settings::load(file, config::environment())?.show()))?;
    Config::load(file, None)?;
    Ok(())
}

/// Runs to the end. What blocks another thread by then, a hung disk for example, does not hold up the process for long.
fn block_on<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let result = runtime.block_on(work);
    runtime.shutdown_timeout(RUNTIME_PATIENCE);
    result
}

fn start_logging(filter: &str, format: Format) -> anyhow::Result<()> {
    let filter = tracing_subscriber::EnvFilter::try_new(filter).context("--log is not a log filter")?;
    let colours = std::io::IsTerminal::is_terminal(&std::io::stderr());
    let log = log::to_standard_error().context("the log cannot be started")?;
    // Its own complaints would go to standard error past the log.
    let logger = tracing_subscriber::fmt().with_env_filter(filter).log_internal_errors(false);
    let logger = logger.with_ansi(colours).with_writer(log);
    log::take_over_panics();
    match format {
        Format::Text => logger.init(),
        Format::Json => logger.json().flatten_event(true).init(),
    }
    Ok(())
}
