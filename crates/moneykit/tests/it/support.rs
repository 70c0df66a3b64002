//! A scripted HTTP/1.1 server, and answers to script it with.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use moneykit::{Client, ClientBuilder};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::Instant,
};

pub const CLIENT_ID: &str = "sandbox_0123456789abcdef0123";
pub const SECRET: &str = "Secret0Secret1Secret2Secret3Secret4Secret5S";

/// One request as the server saw it.
#[derive(Clone)]
pub struct Seen {
    pub method: String,
    /// Path and query, exactly as sent.
    pub target: String,
    /// Request line and headers.
    pub head: String,
    pub body: String,
    /// When it arrived, on the paused clock.
    pub at: Instant,
}

impl Seen {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }
}

/// What the server answers.
#[derive(Clone)]
pub struct Reply {
    status: u16,
    headers: Vec<(String, String)>,
    body: String,
    delay: Duration,
}

impl Reply {
    pub fn json(status: u16, body: impl ToString) -> Self {
        let headers = vec![("content-type".to_owned(), "application/json".to_owned())];
        Self { status, headers, body: body.to_string(), delay: Duration::ZERO }
    }

    pub fn error(status: u16, code: &str, message: &str) -> Self {
        let body = format!(r#"{{"error_code":"{code}","error_message":"{message}","documentation_url":null}}"#);
        Self::json(status, body)
    }

    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Answers only after this time on the paused clock.
    pub fn after(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }
}

pub struct Server {
    pub url: String,
    seen: Arc<Mutex<Vec<Seen>>>,
}

type Script = dyn Fn(&Seen) -> Reply + Send + Sync;

impl Server {
    /// Answers each request with what the script says.
    pub async fn start(script: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let seen = Arc::new(Mutex::new(Vec::new()));
        tokio::spawn(pace());
        let (script, log) = (Arc::new(script) as Arc<Script>, Arc::clone(&seen));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&script), Arc::clone(&log)));
            }
        });
        Self { url, seen }
    }

    /// Answers token calls itself, with `token-1`, `token-2`, …, and the rest with what the script says.
    pub async fn start_with_tokens(script: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Self {
        let issued = Mutex::new(0);
        Self::start(move |request| {
            if request.target != "/auth/token" {
                return script(request);
            }
            let mut issued = issued.lock().unwrap();
            *issued += 1;
            token_reply(*issued, 3600)
        })
        .await
    }

    pub fn builder(&self) -> ClientBuilder {
        Client::builder().base_url(&self.url).client_credentials(CLIENT_ID, SECRET)
    }

    pub fn client(&self) -> Client {
        self.builder().build().unwrap()
    }

    /// Every request but those for tokens.
    pub fn calls(&self) -> Vec<Seen> {
        self.seen().into_iter().filter(|request| request.target != "/auth/token").collect()
    }

    pub fn token_calls(&self) -> Vec<Seen> {
        self.seen().into_iter().filter(|request| request.target == "/auth/token").collect()
    }

    fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }
}

/// Keeps paused time from running away from the sockets.
///
/// A paused clock jumps to the next timer as soon as no task can run, even while bytes are still on their way through
/// the kernel, and then a timeout fires that nobody waited for. With this task it moves in small steps, and every step
/// takes many turns of the scheduler, in which those bytes arrive.
async fn pace() {
    const STEP: Duration = Duration::from_secs(1);
    const TURNS: usize = 200;
    loop {
        for _ in 0..TURNS {
            tokio::task::yield_now().await;
        }
        tokio::time::sleep(STEP).await;
    }
}

pub fn token_reply(number: u64, expires_in: u64) -> Reply {
    let body = format!(r#"{{"access_token":"token-{number}","token_type":"bearer","expires_in":{expires_in}}}"#);
    Reply::json(201, body)
}

/// Answers requests on one connection until the client closes it.
async fn serve(mut stream: TcpStream, script: Arc<Script>, log: Arc<Mutex<Vec<Seen>>>) {
    let mut buffer = Vec::new();
    while let Some(request) = read_request(&mut stream, &mut buffer).await {
        log.lock().unwrap().push(request.clone());
        let reply = script(&request);
        if !reply.delay.is_zero() {
            tokio::time::sleep(reply.delay).await;
        }
        let mut text = format!("HTTP/1.1 {} Scripted\r\n", reply.status);
        for (name, value) in &reply.headers {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        if reply.status != 204 {
            text.push_str(&format!("content-length: {}\r\n", reply.body.len()));
        }
        text.push_str("\r\n");
        text.push_str(&reply.body);
        if stream.write_all(text.as_bytes()).await.is_err() {
            return;
        }
    }
}

async fn read_request(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<Seen> {
    let head_end = loop {
        if let Some(at) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
            break at + 4;
        }
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8_lossy(&buffer[..head_end]).into_owned();
    let mut words = head.split(' ');
    let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut request = Seen { method, target, head, body: String::new(), at: Instant::now() };
    let length: usize = request.header("content-length").map_or(0, |length| length.parse().unwrap());
    while buffer.len() < head_end + length {
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    }
    request.body = String::from_utf8_lossy(&buffer[head_end..head_end + length]).into_owned();
    buffer.drain(..head_end + length);
    Some(request)
}

/// A link with one product, `account_numbers`.
pub fn link(state: &str, refreshed_at: Option<&str>, last_attempted_at: Option<&str>, error: Option<&str>) -> String {
    let quoted = |text: Option<&str>| text.map_or_else(|| "null".to_owned(), |text| format!("{text:?}"));
    let (refreshed_at, last_attempted_at) = (quoted(refreshed_at), quoted(last_attempted_at));
    let link_error = if state == "error" { r#""auth_expired""# } else { "null" };
    let error = quoted(error);
    format!(
        r#"{{"link_id":"mk_1","institution_id":"credentials_bank","institution_name":"Credentials Bank",
            "institution_avatar":"https://a.example/i.png","state":"{state}","error_code":{link_error},
            "provider":"moneykit","products":{{"account_numbers":{{"refreshed_at":{refreshed_at},
            "last_attempted_at":{last_attempted_at},"error_code":{error},"error_message":{error}}}}},
            "available_products":[]}}"#
    )
}

/// A link that is `connected` and was refreshed once.
pub fn connected_link() -> String {
    link("connected", Some("2024-01-09T10:00:00.500000Z"), Some("2024-01-09T10:00:00.000000Z"), None)
}
