//! A server process on a directory of its own, and the simplest client that can talk to it.

use std::{
    io::{BufRead, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    path::PathBuf,
    process::{Child, Command, ExitStatus, Output, Stdio},
    sync::mpsc::{Receiver, channel},
    time::{Duration, Instant},
};

use tempfile::TempDir;

pub const BINARY: &str = env!("CARGO_BIN_EXE_passbook");
/// Far above what anything here takes.
pub const PATIENCE: Duration = Duration::from_secs(30);
pub const KEY: &str = "passbook-master-key-v1:0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f";

/// A directory with a configuration, a key and a place for data.
pub struct Site {
    pub directory: TempDir,
}

impl Site {
    /// With these settings beside the ones that every site needs.
    pub fn new(settings: &str) -> Self {
        let site = Self { directory: tempfile::tempdir().expect("a temporary directory") };
        site.private_file("master.key", &format!("{KEY}\n"));
        site.configure(settings);
        site
    }

    pub fn configure(&self, settings: &str) {
        let path = self.path("passbook.toml");
        std::fs::write(path, settings).expect("the configuration");
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub fn private_file(&self, name: &str, content: &str) {
        std::fs::write(self.path(name), content).expect("a file");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            let private = std::fs::Permissions::from_mode(0o600);
            std::fs::set_permissions(self.path(name), private).expect("its mode");
        }
    }

    /// The binary with these arguments and nothing in its environment but what every site needs.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(BINARY);
        command.args(arguments).current_dir(self.directory.path()).env_clear();
        command.env("PASSBOOK_SERVER__LISTEN", "127.0.0.1:0");
        command.env("PASSBOOK_SERVER__DRAIN_SECONDS", "0");
        command.env("PASSBOOK_STORE__DATA", self.path("data"));
        command.env("PASSBOOK_KEYS__MASTER_KEY_FILE", self.path("master.key"));
        command
    }

    /// Runs to its end, which must come by itself.
    pub fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().expect("the binary runs")
    }

    /// `passbook serve`, ready.
    pub fn serve(&self) -> Process {
        Process::start(self.command(&["serve"]))
    }

    /// The same, for a test that needs the site for nothing else.
    pub fn serve_owned(self) -> Served {
        Served { process: self.serve(), _site: self }
    }
}

/// A serving process with its site.
pub struct Served {
    pub process: Process,
    _site: Site,
}

/// A serving process. Dropping it kills it.
pub struct Process {
    child: Child,
    pub address: SocketAddr,
    lines: Receiver<String>,
}

impl Process {
    /// Starts it and waits until it says where it listens.
    pub fn start(command: Command) -> Self {
        Self::start_after(command, "").0
    }

    /// As [`Process::start`], with the line of the log before that one which holds `text`.
    pub fn start_after(mut command: Command, text: &str) -> (Self, String) {
        let mut child =
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("the binary runs");
        let (sender, lines) = channel();
        let output = BufReader::new(child.stderr.take().expect("it is piped"));
        std::thread::spawn(move || output.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        let mut process = Self { child, address: SocketAddr::from(([127, 0, 0, 1], 0)), lines };
        let before = if text.is_empty() { String::new() } else { process.wait_for_line(text) };
        let line = process.wait_for_line("serving");
        let address = line.split("address=").nth(1).and_then(|rest| rest.split(' ').next()).expect("an address");
        process.address = address.parse().expect("an address");
        (process, before)
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The next line of the log that holds `text`.
    pub fn wait_for_line(&mut self, text: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        let mut seen = String::new();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let Ok(line) = self.lines.recv_timeout(left) else { panic!("no {text:?} in the log:\n{seen}") };
            if line.contains(text) {
                return line;
            }
            seen.push_str(&line);
            seen.push('\n');
        }
    }

    pub fn signal(&self, name: &str) {
        let status = Command::new("kill").args(["-s", name, &self.child.id().to_string()]).status();
        assert!(status.expect("kill runs").success());
    }

    /// Waits for its end.
    pub fn ended(mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().expect("its state") {
                return status;
            }
            assert!(Instant::now() < deadline, "the process does not end");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Ends in order.
    pub fn stop(self) {
        self.signal("TERM");
        assert!(self.ended().success());
    }

    pub fn get(&self, path: &str) -> (u16, String) {
        get(self.address, path).expect("an answer")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One request on a connection of its own; status and body.
pub fn get(address: SocketAddr, path: &str) -> std::io::Result<(u16, String)> {
    request(address, "GET", path, "")
}

/// As [`get`], with more lines in the head.
pub fn request(address: SocketAddr, method: &str, path: &str, head: &str) -> std::io::Result<(u16, String)> {
    send(address, method, path, head, "")
}

/// As [`request`], with a body.
pub fn send(address: SocketAddr, method: &str, path: &str, head: &str, body: &str) -> std::io::Result<(u16, String)> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let length = body.len();
    write!(stream, "{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{head}")?;
    write!(stream, "content-length: {length}\r\n\r\n{body}")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let status = answer.get(9..12).and_then(|digits| digits.parse().ok());
    let status = status.ok_or(std::io::ErrorKind::InvalidData)?;
    Ok((status, answer.split_once("\r\n\r\n").map_or(String::new(), |(_, body)| body.to_owned())))
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
