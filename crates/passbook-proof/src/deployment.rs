//! A server as people host it: a PostgreSQL cluster of its own and replicas of `passbook serve` on one database.
//!
//! The replicas keep their addresses across restarts, so a client can go on. App and client are made by the operator's
//! commands, as an operator would.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use passbook::{keys::SEED, system::SystemClock, views};
use passbook_core::secret::SecretBytes;
use passbook_store::{
    port::{Changes, Store as _},
    postgres::{Connections, OpenOptions, PostgresStore},
    sealing::{KeyFile, MasterKey},
};
use postgres_cluster::{Binaries, Cluster, Place};
use serde_json::Value;

use crate::database::Database;
use crate::server::{Access, Hosted, Plan, Server};

/// The one database of a deployment.
pub const DATABASE: &str = "passbook";
/// The app that owns everything; the name is unique in a fresh store.
const APP: &str = "experiment";
/// Where its sessions may send people back to, as `passbook dev` allows too.
const ORIGIN: &str = "http://localhost:3000";

/// Experiments ask more often than the limits allow.
pub const NO_LIMITS: &str = "enabled = false";

/// What to deploy.
pub struct Shape<'a> {
    /// The server binary.
    pub binary: PathBuf,
    /// Where configurations, keys, ledgers and logs go.
    pub directory: &'a Path,
    /// Servers on the database.
    pub replicas: usize,
    /// What each server is started under, as [`Plan::under`].
    pub under: &'a [String],
    /// Settings of the store beside the needed ones.
    pub store: &'a str,
    /// Settings of the request limits.
    pub limits: &'a str,
    /// Lines of the configuration beside the needed ones, each a section with its settings.
    pub settings: &'a str,
}

/// A deployment whose replicas are not running yet.
pub struct Deployment {
    /// The database server; absent while it is lent to a thread that restarts it.
    pub cluster: Option<Cluster>,
    /// How to start each replica.
    pub plans: Vec<Plan>,
    /// The client that was made.
    pub access: Access,
}

impl Deployment {
    /// Makes the cluster, the schema, an app with a sandbox client, and a configuration for each replica.
    pub async fn new(shape: &Shape<'_>) -> Result<Self> {
        let cluster = Self::make_cluster().await?;
        let url = cluster.url(DATABASE);
        Self::on(cluster, shape, &url).await
    }

    /// A cluster with an empty database.
    pub async fn make_cluster() -> Result<Cluster> {
        let binaries = Binaries::find().context("PostgreSQL is not installed; `apt-get install postgresql`")?;
        let cluster = Cluster::start(&binaries, Place::Disk, &[])?;
        Database::connect(&cluster.url("postgres")).await?.create(DATABASE).await?;
        Ok(cluster)
    }

    /// As [`Deployment::new`], with a known seed of everything that the servers derive, where a server makes one at
    /// random: the same calls then give the same ids and people.
    pub async fn seeded(shape: &Shape<'_>, seed: u64) -> Result<Self> {
        let cluster = Self::make_cluster().await?;
        let url = cluster.url(DATABASE);
        let key = write_key(shape)?;
        give_seed(&url, &key, shape.directory, seed).await?;
        Self::with_key(cluster, shape, &url, &key).await
    }

    /// As [`Deployment::new`], on a cluster that is there and with this way to its database.
    pub async fn on(cluster: Cluster, shape: &Shape<'_>, url: &str) -> Result<Self> {
        let key = write_key(shape)?;
        Self::with_key(cluster, shape, url, &key).await
    }

    async fn with_key(cluster: Cluster, shape: &Shape<'_>, url: &str, key: &Path) -> Result<Self> {
        let mut plans = Vec::new();
        for number in 0..shape.replicas {
            plans.push(plan(shape, number, key, url)?);
        }
        // The first start makes what commands build on.
        let first = plans.first().context("no replicas")?.clone();
        let server = Server::start(&first).await?;
        // In a thread of its own: the way to the database may be a proxy on this one.
        let access = tokio::task::spawn_blocking(move || make_client(&first)).await??;
        server.stop().await?;
        for hosted in plans.iter_mut().filter_map(|plan| plan.hosted.as_mut()) {
            hosted.access = access.clone();
        }
        Ok(Self { cluster: Some(cluster), plans, access })
    }

    /// A connection to look into the database.
    pub async fn database(&self) -> Result<Database> {
        Database::connect(&self.cluster()?.url(DATABASE)).await
    }

    /// The database server, which must be at home.
    pub fn cluster(&self) -> Result<&Cluster> {
        self.cluster.as_ref().context("the cluster is being restarted")
    }
}

fn write_key(shape: &Shape<'_>) -> Result<PathBuf> {
    let key = shape.directory.join("master.key");
    write_private(&key, MasterKey::generate().to_file_text().as_bytes())?;
    Ok(key)
}

/// Makes the store and gives it its seed, before a server comes that would make one.
async fn give_seed(url: &str, key: &Path, directory: &Path, seed: u64) -> Result<()> {
    let options = OpenOptions {
        url,
        tls_roots: None,
        connections: Connections::default(),
        master_keys: KeyFile::new(key).read()?,
        deletion_ledger: directory.join("seeding.ledger"),
        wall_clock: Arc::new(SystemClock),
        renderer: views::RENDERER,
        render_stub: &views::link_view,
    };
    let store = PostgresStore::open(options).await?;
    let value = SecretBytes::new(format!("experiment:{seed}").into_bytes());
    let changes = Changes { instance_values: vec![(SEED.to_owned(), value)], ..Changes::default() };
    store.commit(changes).await.context("the seed")
}

fn plan(shape: &Shape<'_>, number: usize, key: &Path, url: &str) -> Result<Plan> {
    let directory = shape.directory.join(format!("replica-{number}"));
    std::fs::create_dir_all(&directory)?;
    let mut plan = Plan::new(shape.binary.clone(), &directory, Vec::new())?;
    plan.under = shape.under.to_vec();
    // Free now. Should another process take it before the server does, the start fails with that reason.
    let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let config = directory.join("passbook.toml");
    let text = format!(
        "[server]\nlisten = \"{address}\"\nreplicas = {replicas}\ndrain_seconds = 0\n\
         [store]\nkind = \"postgres\"\ndata = \"{data}\"\nurl = \"{url}\"\n{store}\n\
         [keys]\nmaster_key_file = \"{key}\"\n[sandbox]\nenabled = true\n[webhooks]\nonly_this_machine = true\n[refresh]\ntimes_per_day = 0\n[limits]\n{limits}\n{settings}\n",
        replicas = shape.replicas,
        data = plan.data.display(),
        key = key.display(),
        store = shape.store,
        limits = shape.limits,
        settings = shape.settings,
    );
    // The database's URL counts as a secret.
    write_private(&config, text.as_bytes())?;
    plan.hosted = Some(Hosted { config, address, access: Access::default() });
    Ok(plan)
}

/// An app with a sandbox client, in the store of a plan.
pub fn make_client(plan: &Plan) -> Result<Access> {
    operate(plan, &["apps", "add", APP, "--origin", ORIGIN])?;
    let client = operate(plan, &["clients", "add", "--app", APP, "--environment", "sandbox"])?;
    let field = |name: &str| client[name].as_str().map(ToOwned::to_owned).with_context(|| format!("no {name}"));
    let api_url = plan.hosted.as_ref().map(|hosted| format!("http://{}", hosted.address)).unwrap_or_default();
    Ok(Access {
        api_url,
        client_id: field("client_id")?,
        client_secret: field("client_secret")?,
        link_id: String::new(),
    })
}

/// Runs an operator's command on the store of a server, whether that runs or not; gives its answer.
pub fn operate(plan: &Plan, words: &[&str]) -> Result<Value> {
    let mut command = Command::new(&plan.binary);
    command.args(words).arg("--json");
    match &plan.hosted {
        Some(hosted) => command.arg("--config").arg(&hosted.config),
        None => command.arg("--data").arg(&plan.data),
    };
    let output = command.output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "passbook {}: {said}", words.join(" "));
    Ok(serde_json::from_slice(&output.stdout).unwrap_or_default())
}

/// Writes a file that only its owner may read.
pub fn write_private(path: &Path, bytes: &[u8]) -> Result<()> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut file = std::fs::File::options().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(bytes).with_context(|| format!("{}", path.display()))
}
