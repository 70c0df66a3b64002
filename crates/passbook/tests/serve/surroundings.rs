//! What the process stands on: its log, its output, its memory, and the names it is called by.

use std::{
    fs::File,
    io::{BufRead as _, BufReader, PipeReader, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use crate::process::{BINARY, PATIENCE, Process, Site, get, request};

/// A server whose log goes somewhere else, at an address that was free a moment ago.
struct Server {
    child: Child,
    address: SocketAddr,
}

impl Server {
    fn start(site: &Site, log: Stdio, output: Stdio) -> Self {
        let address = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("its number");
        let mut command = site.command(&["serve", "--log", "trace"]);
        command.env("PASSBOOK_SERVER__LISTEN", address.to_string());
        let child = command.stdin(Stdio::null()).stdout(output).stderr(log).spawn().expect("the binary runs");
        let server = Self { child, address };
        let deadline = Instant::now() + PATIENCE;
        while get(address, "/readyz").map_or(0, |(status, _)| status) != 200 {
            assert!(Instant::now() < deadline, "it is not ready");
            std::thread::yield_now();
        }
        server
    }

    fn dropped_lines(&self) -> u64 {
        let (_, metrics) = get(self.address, "/metrics").expect("metrics");
        let line = metrics.lines().find_map(|line| line.strip_prefix("passbook_log_lines_dropped_total "));
        line.expect("the counter").parse().expect("a number")
    }

    /// Asks until lines are dropped: a pipe that nobody reads takes some, and the queue behind it too.
    fn ask_until_lines_are_dropped(&self) {
        let deadline = Instant::now() + 4 * PATIENCE;
        while self.dropped_lines() == 0 {
            assert!(Instant::now() < deadline, "no line is dropped");
            // Many on one connection: each leaves a line.
            let mut stream = TcpStream::connect(self.address).expect("a connection");
            stream.set_read_timeout(Some(PATIENCE)).expect("a time-out");
            let one = "GET /healthz HTTP/1.1\r\nhost: localhost\r\n";
            let requests = format!("{one}\r\n").repeat(99) + one + "connection: close\r\n\r\n";
            stream.write_all(requests.as_bytes()).expect("sent");
            let mut answers = String::new();
            stream.read_to_string(&mut answers).expect("answers");
            assert_eq!(answers.matches("HTTP/1.1 200").count(), 100);
        }
    }

    fn stop(mut self) -> ExitStatus {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args(["-s", "TERM", &id]).status().expect("kill runs").success());
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().expect("its state") {
                return status;
            }
            assert!(Instant::now() < deadline, "the process does not end");
            std::thread::yield_now();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _ended = self.child.wait();
    }
}

fn full() -> Stdio {
    File::options().write(true).open("/dev/full").expect("a full disk").into()
}

fn pipe() -> (PipeReader, Stdio) {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    (reader, writer.into())
}

#[test]
fn a_log_on_a_full_disk_stops_nothing() {
    let site = Site::new("");
    let server = Server::start(&site, full(), full());
    server.ask_until_lines_are_dropped();
    assert_eq!(server.stop().code(), Some(0));
}

#[test]
fn a_log_whose_pipe_is_closed_stops_nothing() {
    let site = Site::new("");
    let ((log, to_log), (output, to_output)) = (pipe(), pipe());
    drop((log, output));
    let server = Server::start(&site, to_log, to_output);
    server.ask_until_lines_are_dropped();
    assert_eq!(server.stop().code(), Some(0));
}

#[test]
fn a_log_that_nobody_reads_holds_nobody_up() {
    let site = Site::new("");
    let (mut log, to_log) = pipe();
    let server = Server::start(&site, to_log, Stdio::null());
    server.ask_until_lines_are_dropped();
    // The end does not wait for the pipe either.
    let begun = Instant::now();
    assert_eq!(server.stop().code(), Some(0));
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    let mut written = String::new();
    log.read_to_string(&mut written).expect("the lines that had room");
    assert!(written.lines().count() > 10, "{written}");
}

#[test]
fn once_somebody_reads_again_the_log_says_that_lines_are_missing() {
    let site = Site::new("");
    let (mut log, to_log) = pipe();
    let server = Server::start(&site, to_log, Stdio::null());
    server.ask_until_lines_are_dropped();
    let (sender, said) = std::sync::mpsc::channel();
    let reading = std::thread::spawn(move || {
        let lines = BufReader::new(&mut log).lines().map_while(Result::ok);
        let about_missing_ones = lines.filter(|line| line.contains("lines before this one are missing"));
        about_missing_ones.inspect(|line| drop(sender.send(line.clone()))).count()
    });
    let line = said.recv_timeout(PATIENCE).expect("a line about the missing ones");
    assert!(line.contains("lines=") && line.contains("ERROR"), "{line}");
    assert_eq!(server.stop().code(), Some(0));
    assert_eq!(reading.join().expect("the reader"), 1, "it is said once");
}

#[test]
fn a_closed_or_full_output_panics_no_command() {
    let site = Site::new("[server]\nlisten = \"127.0.0.1:8080\"\n");
    let run = |arguments: &[&str], output: Stdio, notes: Stdio| {
        let mut command = site.command(arguments);
        command.stdout(output).stderr(notes).status().expect("the binary runs").code()
    };
    let closed = || {
        let (reader, writer) = pipe();
        drop(reader);
        writer
    };
    for arguments in [&["config", "reference"][..], &["config", "show"], &["config", "check"]] {
        // Whoever closes the output has seen enough; what cannot be written to a disk is missing there.
        assert_eq!(run(arguments, closed(), closed()), Some(0), "{arguments:?}");
        assert_eq!(run(arguments, full(), full()), Some(1), "{arguments:?}");
    }
    for arguments in [
        &["serve", "--config", "absent"][..],
        &["apps", "list", "--data", "absent"],
        &["links", "export", "--link", "a"],
    ] {
        assert_eq!(run(arguments, closed(), closed()), Some(1), "{arguments:?}");
        assert_eq!(run(arguments, full(), full()), Some(1), "{arguments:?}");
    }
}

#[test]
fn core_files_are_off_unless_a_developer_asks_for_them() {
    let limit = |arguments: &[&str]| {
        let site = Site::new("");
        let server = Process::start(site.command(arguments));
        let limits = std::fs::read_to_string(format!("/proc/{}/limits", server.id())).expect("its limits");
        let line = limits.lines().find(|line| line.starts_with("Max core file size")).expect("the limit").to_owned();
        server.stop();
        line.split_ascii_whitespace().skip(4).take(2).map(ToOwned::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(limit(&["serve"]), ["0", "0"]);
    let own = std::fs::read_to_string("/proc/self/limits").expect("our limits");
    let own = own.lines().find(|line| line.starts_with("Max core file size")).expect("the limit");
    let own: Vec<_> = own.split_ascii_whitespace().skip(4).take(2).collect();
    assert_eq!(limit(&["serve", "--allow-core-dumps"]), own);
}

#[test]
fn the_released_binary_has_no_fault_hooks() {
    let binary = std::fs::read(BINARY).expect("the binary");
    let has = |needle: &[u8]| binary.windows(needle.len()).any(|window| window == needle);
    assert!(has(b"/healthz"), "the search is blind");
    assert!(!has(b"/fault-hooks"), "it was built with the feature `fault-hooks`");
    let server = Site::new("").serve_owned();
    let answer = request(server.process.address, "POST", "/fault-hooks/workers/panics", "").expect("an answer");
    assert_eq!(answer.0, 404);
    assert_eq!(server.process.get("/healthz").0, 200);
}

/// Status and body under a host name, which may be left out.
fn call(address: SocketAddr, path: &str, host: Option<&str>) -> (u16, String) {
    let mut stream = TcpStream::connect(address).expect("a connection");
    stream.set_read_timeout(Some(PATIENCE)).expect("a time-out");
    let host = host.map(|host| format!("host: {host}\r\n")).unwrap_or_default();
    write!(stream, "GET {path} HTTP/1.1\r\n{host}connection: close\r\n\r\n").expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    assert!(head.to_ascii_lowercase().contains("x-request-id: "), "{head}");
    (answer[9..12].parse().expect("a status"), body.to_owned())
}

#[test]
fn only_the_names_that_it_was_told_are_answered() {
    let site = Site::new("[server]\npublic_url = \"https://passbook.example.com\"\nhosts = [\"passbook.internal\"]\n");
    let server = site.serve();
    for host in ["passbook.example.com", "PASSBOOK.internal:8443", "localhost", "127.0.0.1:1", "[::1]:8080"] {
        assert_eq!(call(server.address, "/links", Some(host)).0, 401, "{host}");
    }
    for host in ["evil.example", "evil.example:8080", "passbook.internal.evil.example", "0.0.0.0", ""] {
        let (status, body) = call(server.address, "/links", Some(host));
        assert_eq!(status, 421, "{host}");
        assert!(
            body.contains(r#""error_code":"api_error.misdirected""#) && body.contains("documentation_url"),
            "{body}"
        );
        assert_eq!(call(server.address, "/healthz", Some(host)).0, 200, "{host}");
        assert_eq!(call(server.address, "/readyz", Some(host)).0, 200, "{host}");
        assert_eq!(call(server.address, "/metrics", Some(host)).0, 421, "{host}");
        assert_eq!(call(server.address, "http://evil.example/demo", Some("localhost")).0, 421);
    }
    for (path, host) in [("/links", None), ("/healthz", None), ("/links", Some("user@localhost"))] {
        let (status, body) = call(server.address, path, host);
        assert_eq!(status, 400, "{path} {host:?}");
        assert!(body.contains(r#""error_code":"api_error.malformed_host""#), "{body}");
    }
    server.stop();
}

#[test]
fn operators_can_have_a_listener_of_their_own() {
    let site = Site::new("[server]\noperator_listen = \"127.0.0.1:0\"\n");
    let mut command = site.command(&["serve"]);
    command.env("PASSBOOK_SERVER__LISTEN", "127.0.0.1:0");
    let (server, line) = Process::start_after(command, "operators are served");
    let operators = line.split("address=").nth(1).and_then(|rest| rest.split(' ').next()).expect("an address");
    let operators: SocketAddr = operators.parse().expect("an address");
    for (path, public, operator) in [
        ("/healthz", 200, 200),
        ("/readyz", 404, 200),
        ("/metrics", 404, 200),
        ("/links", 401, 404),
        ("/demo", 200, 404),
    ] {
        assert_eq!(server.get(path).0, public, "{path}");
        assert_eq!(get(operators, path).expect("an answer").0, operator, "{path}");
    }
    assert_eq!(call(operators, "/metrics", Some("evil.example")).0, 421);
    server.stop();
    assert!(get(operators, "/healthz").is_err(), "it has ended with the other");
}
