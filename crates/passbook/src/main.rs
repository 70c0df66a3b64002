//! The composition root: reads the command line, names the store and the connectors, and puts the parts together.

mod stores;

use std::{path::PathBuf, process::ExitCode, sync::Arc, time::Duration};

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use jiff::Timestamp;
use passbook::{
    api::{self, Api, limits::Limits, observe::RequestIds, shed::Shedder},
    clocks::Clocks,
    commands::{self, OperatorCommand},
    dev,
    directory::Directory,
    http_server, import_command,
    keys::{Cursors, SessionTokens, public_key_set},
    metrics::Metrics,
    operator::Operator,
    services::{Services, access::TokenCache},
    system::SystemClock,
    workers,
};
use passbook_connectors::{ofx::OfxConnector, sandbox::Sandbox};
use passbook_core::time::Clock;
use passbook_store::{sqlite::SqliteStore, time::SteadyClock};
use stores::{DataDirectories, open_store};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

// 1.2 to 1.4 times the throughput of the system allocator on the whole request path.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How long a stop may take before the process ends anyway.
const STOP_PATIENCE: Duration = Duration::from_secs(30);

#[derive(Parser)]
#[command(name = "passbook", version, about = "Self-hosted account-linking server that speaks the MoneyKit API")]
struct Arguments {
    /// What to log: a level, or targets with levels.
    #[arg(long, global = true, env = "PASSBOOK_LOG", default_value = "warn")]
    log: String,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run everything on this machine, with a linked sandbox bank and no configuration.
    Dev(DevArguments),
    /// Work with links.
    #[command(subcommand)]
    Links(LinksCommand),
    #[command(flatten)]
    Operator(OperatorCommand),
}

#[derive(clap::Args)]
struct DevArguments {
    /// Where data is kept; created when absent.
    #[arg(long, default_value = "./passbook-data")]
    data: PathBuf,
    /// Keep nothing: a temporary store, removed at exit (dev.json still goes to --data).
    #[arg(long)]
    ephemeral: bool,
    /// Port to listen on, on this machine only; 0 picks a free one.
    #[arg(long, default_value_t = 8080)]
    port: u16,
    /// Decides people, accounts, numbers and ids.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Freezes the sandbox clock at this instant, for example 2026-01-15T09:00:00Z.
    #[arg(long, value_name = "T")]
    frozen_at: Option<Timestamp>,
    /// Turns the API's request limits on; `=N` allows N times as many requests.
    #[arg(long, value_name = "N", num_args = 0..=1, require_equals = true, default_missing_value = "1")]
    rate_limits: Option<u32>,
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
        /// The files.
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if let Err(error) = start_logging(&arguments.log) {
        eprintln!("passbook: {error:#}");
        return ExitCode::FAILURE;
    }
    match run(arguments.command) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("passbook: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn start_logging(filter: &str) -> anyhow::Result<()> {
    let filter = tracing_subscriber::EnvFilter::try_new(filter).context("--log is not a log filter")?;
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    Ok(())
}

/// Runs the command; `false` when it ran and what it looked at is not well.
fn run(command: Command) -> anyhow::Result<bool> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    match command {
        Command::Dev(arguments) => runtime.block_on(run_dev(arguments))?,
        Command::Operator(command) => return runtime.block_on(commands::run(command, &DataDirectories)),
        Command::Links(LinksCommand::ImportFile {
            user,
            institution,
            data,
            api_url,
            client_id,
            client_secret,
            files,
        }) => {
            let target = import_command::Target::find(api_url, client_id, client_secret, &data)?;
            runtime.block_on(import_command::run(&target, &user, institution.as_deref(), &files))?;
        }
    }
    Ok(true)
}

async fn run_dev(arguments: DevArguments) -> anyhow::Result<()> {
    dev::make_data_directory(&arguments.data)?;
    let temporary = match arguments.ephemeral {
        true => Some(tempfile::Builder::new().prefix("passbook-").tempdir()?),
        false => None,
    };
    let store_directory = temporary.as_ref().map_or(arguments.data.as_path(), |directory| directory.path());
    let listener = listen(arguments.port).await?;
    let port = listener.local_addr()?.port();

    let clock = Arc::new(SystemClock);
    let store = Arc::new(open_store(store_directory, Arc::new(SteadyClock::new(clock.clone())))?);
    let instance = dev::open_instance(store.as_ref(), arguments.seed).await?;
    dev::prepare_app(store.as_ref(), &instance.derivation, arguments.frozen_at, clock.now()).await?;
    let key_set = public_key_set(&instance.signing_key)?;
    let stop = CancellationToken::new();
    let operator = Operator::new(store.clone(), store.keys().clone(), clock.clone());
    let attending = operator.attend(store_directory, stop.clone())?;
    let services = compose(store, clock, instance);
    let (actor, secret) = dev::prepare_client(&services, &arguments.data).await?;

    let metrics = Arc::new(Metrics::default());
    let api = Arc::new(Api {
        services: services.clone(),
        shedder: Shedder::default(),
        limits: arguments.rate_limits.map(|factor| Limits::new(1, factor)),
        metrics: metrics.clone(),
        key_set,
        sandbox: true,
        ready: false.into(),
        request_ids: RequestIds::default(),
    });
    let pool = Arc::new(workers::Workers::new(services.clone(), metrics, stop.clone()));
    let working = tokio::spawn(pool.run());
    let cleaning = tokio::spawn(workers::maintenance::run(services.clone(), stop.clone()));
    let serving = tokio::spawn(http_server::serve(listener, api::router(api.clone()), stop.clone()));

    let started = async {
        let link_id = dev::prepare_link(&services, &actor).await?;
        dev::announce(&api, &arguments.data, port, &actor, &secret, &link_id)
    };
    let outcome = tokio::select! {
        started = started => match started {
            Ok(()) => { stop_requested().await; Ok(()) }
            failed => failed,
        },
        () = stop_requested() => Ok(()),
    };
    api.ready.store(false, std::sync::atomic::Ordering::Release);
    stop.cancel();
    let ended = async {
        let _ = tokio::join!(serving, working, cleaning, attending);
        services.store.close().await;
    };
    tokio::select! {
        _ = tokio::time::timeout(STOP_PATIENCE, ended) => {}
        // A second signal ends the process at once; what was acknowledged is durable already.
        () = stop_requested() => {}
    }
    outcome
}

fn compose(store: Arc<SqliteStore>, clock: Arc<dyn Clock>, instance: dev::Instance) -> Arc<Services> {
    let keys = store.keys().clone();
    let directory = Directory::new(vec![Arc::new(Sandbox), Arc::new(OfxConnector)]);
    Arc::new(Services {
        clocks: Clocks::new(clock, store.clone()),
        store,
        directory,
        session_tokens: SessionTokens::new(&keys.session_token_key()),
        keys,
        cursors: Cursors::new(&instance.derivation),
        derivation: instance.derivation,
        job_bell: Arc::default(),
        job_ended: Arc::default(),
        token_cache: TokenCache::default(),
        files_held: tokio::sync::Semaphore::new(passbook::services::imports::FILES_HELD_MAX),
        import_turns: tokio::sync::Semaphore::new(passbook::services::imports::IMPORTS_MAX),
    })
}

async fn listen(port: u16) -> anyhow::Result<TcpListener> {
    TcpListener::bind(("127.0.0.1", port))
        .await
        .with_context(|| format!("cannot listen on 127.0.0.1:{port}; choose another --port, or 0 for a free one"))
}

/// Ctrl-C or SIGTERM.
async fn stop_requested() {
    let interrupted = tokio::signal::ctrl_c();
    #[cfg(unix)]
    {
        let mut terminated = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())
            .expect("the runtime can listen for signals");
        tokio::select! {
            _ = interrupted => {}
            _ = terminated.recv() => {}
        }
    }
    #[cfg(not(unix))]
    let _ = interrupted.await;
}
