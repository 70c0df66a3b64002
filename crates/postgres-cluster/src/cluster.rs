//! One cluster: making, starting, stopping, killing and checking it.

use std::{
    fs::{self, File},
    io::Write as _,
    net::TcpListener,
    os::unix::{fs::OpenOptionsExt as _, process::CommandExt as _},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};

use crate::{
    binaries::{Binaries, hand_over, is_root},
    watcher::Watcher,
};

/// The only role; it may do everything and needs no password.
const ROLE: &str = "passbook";
/// How long the server may take to start or to recover.
const START_WITHIN: Duration = Duration::from_secs(60);
const STOP_WITHIN: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(10);
/// Somebody else may take a free port between looking and listening.
const PORTS_TRIED: u32 = 5;

const SETTINGS: &str = "
listen_addresses = '127.0.0.1'
max_connections = 500
shared_buffers = 64MB
fsync = on
full_page_writes = on
synchronous_commit = on
log_error_verbosity = terse
log_min_messages = fatal
log_min_error_statement = panic
";

/// In the data directory, as the server expects them.
const CERTIFICATE_FILE: &str = "server.crt";
const KEY_FILE: &str = "server.key";
const TLS_SETTINGS: &str = "ssl = on\n";

/// Where a cluster's files are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// In memory where the system has a place for that, else on the disk: for tests, which make many databases.
    Memory,
    /// On the disk, for measurements and experiments in which syncing matters.
    Disk,
}

/// What a server shows of itself on encrypted connections, in PEM. Whoever needs one makes it.
#[derive(Debug, Clone, Copy)]
pub struct Certificate<'a> {
    /// Its certificate, with those between it and an authority.
    pub chain: &'a str,
    /// The private key to it.
    pub key: &'a str,
}

/// How to stop a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// Ends every session and writes everything down.
    Fast,
    /// Ends at once; the next start recovers, as after a crash.
    Immediate,
}

/// A cluster that ends with its owner.
pub struct Cluster {
    binaries: Binaries,
    directory: PathBuf,
    port: u16,
    postmaster: Option<Child>,
    // Dropped last: it removes the directory.
    _watcher: Watcher,
}

impl Cluster {
    /// Makes and starts a cluster. `settings` are further lines of its configuration.
    ///
    /// # Errors
    /// When a program fails or the server does not come up.
    pub fn start(binaries: &Binaries, place: Place, settings: &[&str]) -> Result<Self> {
        Self::begin(binaries, place, settings, None)
    }

    /// The same, with encryption for those who ask for it.
    ///
    /// # Errors
    /// As [`Cluster::start`], and when the server cannot use the certificate.
    pub fn start_with_tls(
        binaries: &Binaries,
        place: Place,
        settings: &[&str],
        certificate: Certificate<'_>,
    ) -> Result<Self> {
        Self::begin(binaries, place, settings, Some(certificate))
    }

    fn begin(
        binaries: &Binaries,
        place: Place,
        settings: &[&str],
        certificate: Option<Certificate<'_>>,
    ) -> Result<Self> {
        let directory = tempfile::Builder::new().prefix("pg").tempdir_in(place.directory())?.keep();
        hand_over(&directory)?;
        let watcher = Watcher::start(&directory).context("starting the watcher")?;
        let mut cluster = Self { binaries: binaries.clone(), directory, port: 0, postmaster: None, _watcher: watcher };
        cluster.initialise(settings)?;
        if let Some(certificate) = certificate {
            cluster.write_certificate(certificate)?;
            let mut configuration = File::options().append(true).open(cluster.data().join("postgresql.conf"))?;
            configuration.write_all(TLS_SETTINGS.as_bytes())?;
        }
        let mut tried = 1;
        loop {
            cluster.port = free_port()?;
            match cluster.launch() {
                Ok(()) => return Ok(cluster),
                Err(_) if tried < PORTS_TRIED => tried += 1,
                Err(error) => return Err(error),
            }
        }
    }

    fn write_certificate(&self, certificate: Certificate<'_>) -> Result<()> {
        for (name, text) in [(CERTIFICATE_FILE, certificate.chain), (KEY_FILE, certificate.key)] {
            let path = self.data().join(name);
            // The server refuses a key that others may read.
            let mut file = File::options().write(true).create(true).truncate(true).mode(0o600).open(&path)?;
            file.write_all(text.as_bytes())?;
            hand_over(&path)?;
        }
        Ok(())
    }

    /// Puts another certificate in place and tells the server. Connections that are there stay; new ones see it a
    /// moment later.
    ///
    /// # Errors
    /// When the files cannot be written or the server cannot be told.
    pub fn replace_certificate(&self, certificate: Certificate<'_>) -> Result<()> {
        self.write_certificate(certificate)?;
        self.postmaster_id().map_or(Ok(()), |postmaster| send("-HUP", postmaster))
    }

    fn initialise(&self, settings: &[&str]) -> Result<()> {
        let mut initdb = self.binaries.command("initdb");
        initdb.args(["--username", ROLE, "--auth", "trust", "--encoding", "UTF8", "--locale", "C"]);
        // The files need not be on the disk before the server is: nobody was promised anything yet.
        initdb.args(["--data-checksums", "--no-sync", "--pgdata"]).arg(self.data());
        run(&mut initdb, &self.directory)?;
        let mut configuration = File::options().append(true).open(self.data().join("postgresql.conf"))?;
        configuration.write_all(SETTINGS.as_bytes())?;
        writeln!(configuration, "unix_socket_directories = '{}'", self.directory.display())?;
        for setting in settings {
            writeln!(configuration, "{setting}")?;
        }
        Ok(())
    }

    fn launch(&mut self) -> Result<()> {
        let log = File::options().create(true).append(true).open(self.log())?;
        let mut command = self.binaries.command("postgres");
        command.arg("-D").arg(self.data()).args(["-p", &self.port.to_string()]);
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).current_dir(&self.directory);
        // Signals for the owner's group are not for the server.
        self.postmaster = Some(command.process_group(0).spawn().context("starting the server")?);
        self.wait_until_ready()
    }

    fn wait_until_ready(&mut self) -> Result<()> {
        let process_file = self.data().join("postmaster.pid");
        let deadline = Instant::now() + START_WITHIN;
        while Instant::now() < deadline {
            let Some(postmaster) = &mut self.postmaster else { bail!("the server was not started") };
            if let Some(status) = postmaster.try_wait()? {
                self.postmaster = None;
                bail!(
                    "the server ended with {status}: {}",
                    fs::read_to_string(self.directory.join("log")).unwrap_or_default()
                );
            }
            // The last line of its process file says how far the server is; the first whose file it is.
            let state = fs::read_to_string(&process_file).unwrap_or_default();
            let own = state.lines().next() == Some(&postmaster.id().to_string());
            if own && state.lines().nth(7).is_some_and(|line| line.trim() == "ready") {
                return Ok(());
            }
            std::thread::sleep(POLL);
        }
        bail!("the server did not become ready within {START_WITHIN:?}")
    }

    /// Starts the server again, on the same port, after it was stopped or killed.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn start_again(&mut self) -> Result<()> {
        if self.postmaster.is_some() {
            bail!("the server runs");
        }
        self.launch()
    }

    /// Stops the server and waits for its end.
    ///
    /// # Errors
    /// When it does not end.
    pub fn stop(&mut self, how: Stop) -> Result<()> {
        let Some(mut postmaster) = self.postmaster.take() else { return Ok(()) };
        let signal = match how {
            Stop::Fast => "-INT",
            Stop::Immediate => "-QUIT",
        };
        send(signal, postmaster.id())?;
        let deadline = Instant::now() + STOP_WITHIN;
        while postmaster.try_wait()?.is_none() {
            if Instant::now() > deadline {
                self.postmaster = Some(postmaster);
                bail!("the server did not stop within {STOP_WITHIN:?}");
            }
            std::thread::sleep(POLL);
        }
        Ok(())
    }

    /// Kills the server without a chance to write anything. Its children notice and end; starting it again waits for
    /// them.
    ///
    /// # Errors
    /// When the signal cannot be sent.
    pub fn kill(&mut self) -> Result<()> {
        let Some(mut postmaster) = self.postmaster.take() else { return Ok(()) };
        postmaster.kill()?;
        postmaster.wait()?;
        Ok(())
    }

    /// Checks every table and index of a database with `pg_amcheck`; an error says what is wrong.
    ///
    /// # Errors
    /// When something is wrong, or the program cannot be run.
    pub fn amcheck(&self, database: &str) -> Result<()> {
        let mut check = self.binaries.command("pg_amcheck");
        check.args(["--install-missing", "--heapallindexed", "--host"]).arg(&self.directory);
        check.args(["--port", &self.port.to_string(), "--username", ROLE, "--no-password", database]);
        run(&mut check, &self.directory)
    }

    /// The URL of a database by the loopback.
    #[must_use]
    pub fn url(&self, database: &str) -> String {
        format!("postgres://{ROLE}@127.0.0.1:{}/{database}", self.port)
    }

    /// The parameters of a database by the socket.
    #[must_use]
    pub fn socket_url(&self, database: &str) -> String {
        format!("host={} port={} user={ROLE} dbname={database}", self.directory.display(), self.port)
    }

    /// The loopback port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The process id of the server while it runs.
    #[must_use]
    pub fn postmaster_id(&self) -> Option<u32> {
        self.postmaster.as_ref().map(Child::id)
    }

    /// The data directory.
    #[must_use]
    pub fn data(&self) -> PathBuf {
        self.directory.join("data")
    }

    /// What the server said.
    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.directory.join("log")
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // The watcher finishes what fails here.
        let _left_to_the_watcher = self.stop(Stop::Immediate);
    }
}

impl Place {
    /// Searchable by the user that the server runs as, and short, because socket paths are.
    fn directory(self) -> PathBuf {
        let memory = Path::new("/dev/shm");
        match self {
            Self::Memory if memory.is_dir() => memory.to_owned(),
            _ if is_root() => PathBuf::from("/tmp"),
            _ => std::env::temp_dir(),
        }
    }
}

fn free_port() -> Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}

fn send(signal: &str, process: u32) -> Result<()> {
    let status = Command::new("kill").args([signal, &process.to_string()]).status()?;
    if status.success() { Ok(()) } else { bail!("kill {signal} ended with {status}") }
}

fn run(command: &mut Command, directory: &Path) -> Result<()> {
    let output = command.current_dir(directory).stdin(Stdio::null()).output().context("running a server program")?;
    if output.status.success() {
        return Ok(());
    }
    let said = [output.stdout, output.stderr].concat();
    bail!("{:?} ended with {}: {}", command.get_program(), output.status, String::from_utf8_lossy(&said))
}
