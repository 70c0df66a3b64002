//! A minimal HTTP/1.1 client on one keep-alive connection.
//!
//! It shares two cores with the server it measures, so it does as little as it can: the request is bytes made once, and
//! the answer is read into one reused buffer. It knows `Content-Length`, chunked bodies and bodiless statuses, nothing else.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Answers above this are refused: no answer of the server comes near it.
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Connections idle for longer are not to be used again: the server closes them after 10 s, and a call that meets the
/// closing would have an unknown outcome.
pub const IDLE_MAX: Duration = Duration::from_secs(5);

/// One connection; requests go one after another.
pub struct Connection {
    stream: TcpStream,
    /// What was read and belongs to the current answer.
    buffer: Vec<u8>,
}

/// One answer.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The header block as received, status line included.
    pub head: String,
    /// The whole body.
    pub body: Vec<u8>,
}

impl Answer {
    /// A header by name, in any case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    /// The body as JSON; null when it is not JSON.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}

/// The bytes of a request.
pub fn request(method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut bytes = format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\n").into_bytes();
    for (name, value) in headers {
        bytes.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
    }
    if !body.is_empty() || method != "GET" {
        bytes.extend_from_slice(format!("content-length: {}\r\n", body.len()).as_bytes());
    }
    bytes.extend_from_slice(b"\r\n");
    bytes.extend_from_slice(body);
    bytes
}

/// Where the parts of the answer in the buffer lie.
struct Frame {
    status: u16,
    head_bytes: usize,
    body: Body,
}

enum Body {
    Length(usize),
    Chunked,
}

impl Connection {
    /// The bare connection, to send what is no whole request.
    pub fn stream(&mut self) -> &mut TcpStream {
        &mut self.stream
    }

    /// Connects.
    pub async fn open(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: Vec::with_capacity(16 * 1024) })
    }

    /// Sends a request and reads the whole answer. After an error the connection is of no use.
    pub async fn exchange(&mut self, request: &[u8]) -> io::Result<Answer> {
        let frame = self.start(request).await?;
        let head = String::from_utf8_lossy(&self.buffer[..frame.head_bytes]).into_owned();
        let body = match frame.body {
            Body::Length(length) => self.body_of(frame.head_bytes, length).await?.to_vec(),
            Body::Chunked => self.chunks(frame.head_bytes).await?,
        };
        Ok(Answer { status: frame.status, head, body })
    }

    /// Sends a request and reads the answer away; for load, where only the status matters.
    pub async fn exchange_status(&mut self, request: &[u8]) -> io::Result<u16> {
        let frame = self.start(request).await?;
        match frame.body {
            Body::Length(length) => drop(self.body_of(frame.head_bytes, length).await?),
            Body::Chunked => drop(self.chunks(frame.head_bytes).await?),
        }
        Ok(frame.status)
    }

    /// Sends a request that is answered by a head alone, whatever the head says: HEAD.
    pub async fn exchange_head(&mut self, request: &[u8]) -> io::Result<Answer> {
        let frame = self.start(request).await?;
        let head = String::from_utf8_lossy(&self.buffer[..frame.head_bytes]).into_owned();
        Ok(Answer { status: frame.status, head, body: Vec::new() })
    }

    /// Sends a request and reads a chunked body only until it is `enough`, as of an answer that never ends. After a body
    /// that was not read to its end the connection is of no use.
    pub async fn exchange_until(&mut self, request: &[u8], enough: impl Fn(&[u8]) -> bool) -> io::Result<Answer> {
        let frame = self.start(request).await?;
        let head = String::from_utf8_lossy(&self.buffer[..frame.head_bytes]).into_owned();
        let body = match frame.body {
            Body::Length(length) => self.body_of(frame.head_bytes, length).await?.to_vec(),
            Body::Chunked => self.chunks_until(frame.head_bytes, enough).await?,
        };
        Ok(Answer { status: frame.status, head, body })
    }

    async fn start(&mut self, request: &[u8]) -> io::Result<Frame> {
        self.buffer.clear();
        self.stream.write_all(request).await?;
        let mut searched = 0;
        loop {
            self.fill().await?;
            // The end mark may straddle two reads.
            let from = usize::saturating_sub(searched, 3);
            if let Some(position) = find(&self.buffer[from..], b"\r\n\r\n") {
                return parse_head(&self.buffer[..from + position + 4]);
            }
            searched = self.buffer.len();
        }
    }

    async fn body_of(&mut self, start: usize, length: usize) -> io::Result<&[u8]> {
        while self.buffer.len() < start + length {
            self.fill().await?;
        }
        Ok(&self.buffer[start..start + length])
    }

    async fn chunks(&mut self, start: usize) -> io::Result<Vec<u8>> {
        self.chunks_until(start, |_| false).await
    }

    async fn chunks_until(&mut self, start: usize, enough: impl Fn(&[u8]) -> bool) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        let mut position = start;
        loop {
            if enough(&body) {
                return Ok(body);
            }
            let line = loop {
                if let Some(length) = find(&self.buffer[position..], b"\r\n") {
                    break length;
                }
                self.fill().await?;
            };
            let size = std::str::from_utf8(&self.buffer[position..position + line]).map_err(malformed)?;
            let size = usize::from_str_radix(size.split(';').next().unwrap_or_default(), 16).map_err(malformed)?;
            position += line + 2;
            while self.buffer.len() < position + size + 2 {
                self.fill().await?;
            }
            body.extend_from_slice(&self.buffer[position..position + size]);
            position += size + 2;
            if size == 0 {
                return Ok(body);
            }
        }
    }

    async fn fill(&mut self) -> io::Result<()> {
        if self.buffer.len() > ANSWER_BYTES_MAX {
            return Err(malformed("answer too large"));
        }
        match self.stream.read_buf(&mut self.buffer).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }
}

fn parse_head(head: &[u8]) -> io::Result<Frame> {
    let text = std::str::from_utf8(head).map_err(malformed)?;
    let mut lines = text.split("\r\n");
    let status_line = lines.next().unwrap_or_default();
    let status = status_line.split(' ').nth(1).and_then(|code| code.parse().ok());
    let status: u16 = status.ok_or_else(|| malformed("no status"))?;
    let mut body = Body::Length(0);
    for (name, value) in lines.filter_map(|line| line.split_once(':')) {
        if name.eq_ignore_ascii_case("content-length") {
            body = Body::Length(value.trim().parse().map_err(malformed)?);
        } else if name.eq_ignore_ascii_case("transfer-encoding") && value.trim().eq_ignore_ascii_case("chunked") {
            body = Body::Chunked;
        }
    }
    if status == 204 || status == 304 {
        body = Body::Length(0);
    }
    Ok(Frame { status, head_bytes: head.len(), body })
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

fn malformed(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    /// Answers each request on one connection with the next piece of text, in pieces of 7 bytes.
    async fn serve(answers: Vec<&'static str>) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.expect("a client");
            let mut request = [0; 4096];
            for answer in answers {
                let _ = stream.read(&mut request).await.expect("a request");
                for piece in answer.as_bytes().chunks(7) {
                    stream.write_all(piece).await.expect("written");
                    stream.flush().await.expect("flushed");
                    tokio::task::yield_now().await;
                }
            }
        });
        address
    }

    #[tokio::test]
    async fn answers_of_every_framing_follow_each_other_on_one_connection() {
        let address = serve(vec![
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-A: b\r\n\r\nhello",
            "HTTP/1.1 204 No Content\r\n\r\n",
            "HTTP/1.1 503 Service Unavailable\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n",
        ])
        .await;
        let mut connection = Connection::open(address).await.expect("connected");
        let get = request("GET", "/", &[], b"");
        let first = connection.exchange(&get).await.expect("first");
        assert_eq!((first.status, first.body.as_slice(), first.header("x-a")), (200, b"hello".as_slice(), Some("b")));
        assert_eq!(connection.exchange_status(&get).await.expect("second"), 204);
        let third = connection.exchange(&get).await.expect("third");
        assert_eq!((third.status, third.body.as_slice()), (503, b"abcde".as_slice()));
    }

    #[tokio::test]
    async fn an_answer_that_breaks_off_is_an_error() {
        let address = serve(vec!["HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhello"]).await;
        let mut connection = Connection::open(address).await.expect("connected");
        let error = connection.exchange(&request("GET", "/", &[], b"")).await.expect_err("broken off");
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn a_request_carries_its_length_and_headers() {
        let bytes = request("POST", "/x", &[("a", "b")], b"{}");
        assert_eq!(bytes, b"POST /x HTTP/1.1\r\nhost: localhost\r\na: b\r\ncontent-length: 2\r\n\r\n{}");
        assert_eq!(request("GET", "/x", &[], b""), b"GET /x HTTP/1.1\r\nhost: localhost\r\n\r\n");
    }
}
