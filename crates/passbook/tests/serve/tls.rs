//! TLS: both protocols, other bytes, stalled handshakes, files that cannot be used, and a new certificate.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    sync::Arc,
    time::{Duration, Instant},
};

use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
    version::{TLS12, TLS13},
};

use crate::process::{PATIENCE, Process, Site, text};

/// HTTP/2: preface, empty SETTINGS, and `GET https://localhost/healthz` as the only request of stream 1 (static table
/// 2 and 7, two literals without indexing).
const HTTP2_GET: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0\
\0\0\x17\x01\x05\0\0\0\x01\x82\x87\x41\x09localhost\x44\x08/healthz";

struct TlsSite {
    site: Site,
}

impl TlsSite {
    fn new() -> Self {
        let site = Site::new("[server]\ntls_certificate_file = \"chain.pem\"\ntls_key_file = \"key.pem\"\n");
        let site = Self { site };
        site.new_certificate();
        site
    }

    fn new_certificate(&self) {
        let CertifiedKey { cert, signing_key } =
            generate_simple_self_signed(vec!["localhost".to_owned()]).expect("a certificate");
        self.site.private_file("chain.pem", &cert.pem());
        self.site.private_file("key.pem", &signing_key.serialize_pem());
    }

    /// What a client trusts that was given the certificate of now.
    fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        let certificate = CertificateDer::from_pem_file(self.site.path("chain.pem")).expect("a certificate");
        roots.add(certificate).expect("a root");
        roots
    }
}

type Version = &'static rustls::SupportedProtocolVersion;

fn connect(
    address: SocketAddr,
    roots: RootCertStore,
    version: Version,
    protocols: &[&[u8]],
) -> std::io::Result<StreamOwned<ClientConnection, TcpStream>> {
    let mut config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[version])
        .expect("known versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    let name = ServerName::try_from("localhost").expect("a name");
    let mut client = ClientConnection::new(Arc::new(config), name).expect("a client");
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    while client.is_handshaking() {
        client.complete_io(&mut stream)?;
    }
    Ok(StreamOwned::new(client, stream))
}

/// Status line and body over HTTP/1.1.
fn get_http1(stream: &mut StreamOwned<ClientConnection, TcpStream>) -> String {
    stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer and an orderly end");
    answer
}

#[test]
fn both_protocols_are_served_over_both_versions() {
    let site = TlsSite::new();
    let server = site.site.serve();
    for version in [&TLS13, &TLS12] {
        let mut stream = connect(server.address, site.roots(), version, &[b"http/1.1"]).expect("a connection");
        assert_eq!(stream.conn.alpn_protocol(), Some(&b"http/1.1"[..]));
        let answer = get_http1(&mut stream);
        assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("\r\n\r\nok\n"), "{answer}");

        let mut stream = connect(server.address, site.roots(), version, &[b"h2", b"http/1.1"]).expect("a connection");
        assert_eq!(stream.conn.alpn_protocol(), Some(&b"h2"[..]));
        stream.write_all(HTTP2_GET).expect("sent");
        assert_eq!(http2_data(&mut stream), b"ok\n");
    }
    server.stop();
}

/// The payload of the first DATA frame.
fn http2_data(stream: &mut impl std::io::Read) -> Vec<u8> {
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head).expect("a frame");
        let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
        stream.read_exact(&mut payload).expect("its payload");
        if head[3] == 0 {
            return payload;
        }
    }
}

#[test]
fn plain_bytes_end_the_connection_and_nobody_else_notices() {
    let site = TlsSite::new();
    let server = site.site.serve();
    for sent in [&b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n"[..], HTTP2_GET, &[0; 64]] {
        let mut plain = TcpStream::connect(server.address).expect("a connection");
        plain.set_read_timeout(Some(PATIENCE)).expect("a time-out");
        plain.write_all(sent).expect("sent");
        let mut answer = Vec::new();
        // A reset is as good an end as any.
        let _ = plain.read_to_end(&mut answer);
        assert!(!text(&answer).contains("HTTP/1.1 200"), "answered in the clear");
    }
    let mut stream = connect(server.address, site.roots(), &TLS13, &[]).expect("a connection");
    assert!(get_http1(&mut stream).starts_with("HTTP/1.1 200 "));
}

#[test]
fn a_stalled_handshake_ends() {
    let site = TlsSite::new();
    let server = site.site.serve();
    let begun = Instant::now();
    let mut stalled = TcpStream::connect(server.address).expect("a connection");
    stalled.set_read_timeout(Some(PATIENCE)).expect("a time-out");
    // The head of a ClientHello that never comes.
    stalled.write_all(&[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc]).expect("sent");
    let mut answer = Vec::new();
    let _ = stalled.read_to_end(&mut answer);
    assert!(begun.elapsed() < Duration::from_secs(15), "it took {:?}", begun.elapsed());
    drop(server);
}

#[test]
fn files_that_cannot_be_used_are_said_so_before_anything_is_served() {
    let site = TlsSite::new();
    let right = std::fs::read_to_string(site.site.path("key.pem")).expect("the key");
    let other = TlsSite::new();
    let other = std::fs::read_to_string(other.site.path("key.pem")).expect("a key");
    let chain = std::fs::read_to_string(site.site.path("chain.pem")).expect("the chain");
    for (name, content, said) in [
        ("key.pem", "nonsense", "holds no private key in PEM"),
        ("key.pem", other.as_str(), "cannot be used with the key in"),
        ("chain.pem", "nonsense", "holds no certificate chain in PEM"),
        ("chain.pem", right.as_str(), "holds no certificate chain in PEM"),
    ] {
        site.site.private_file("key.pem", &right);
        site.site.private_file("chain.pem", &chain);
        site.site.private_file(name, content);
        let output = site.site.run(&["serve"]);
        assert_eq!(output.status.code(), Some(1));
        let stderr = text(&output.stderr);
        assert!(stderr.contains(said) && stderr.contains(name), "{stderr}");
        assert!(!stderr.contains("PRIVATE KEY"), "{stderr}");
    }
}

#[test]
fn a_new_certificate_is_used_without_losing_a_connection() {
    let site = TlsSite::new();
    let mut server: Process = site.site.serve();
    let mut kept = connect(server.address, site.roots(), &TLS13, &[b"http/1.1"]).expect("a connection");
    site.site.private_file("chain.pem", "nonsense");
    server.signal("HUP");
    server.wait_for_line("the certificate stays as it was");
    assert!(connect(server.address, RootCertStore::empty(), &TLS13, &[]).is_err(), "a client that trusts nobody");
    site.new_certificate();
    server.signal("HUP");
    server.wait_for_line("the certificate was read again");
    let mut fresh = connect(server.address, site.roots(), &TLS13, &[b"http/1.1"]).expect("the new certificate");
    assert!(get_http1(&mut fresh).starts_with("HTTP/1.1 200 "));
    assert!(get_http1(&mut kept).starts_with("HTTP/1.1 200 "), "the connection of before");
    server.stop();
}
