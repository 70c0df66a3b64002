//! `passbook dev --tls`: https beside http, by a certificate authority of the data directory's own.

use std::{
    io::Read as _,
    net::TcpListener,
    process::{Child, Stdio},
    time::Instant,
};

use passbook::dev::DevFile;

use crate::process::{PATIENCE, Site, text};

/// `passbook dev` that ends with the value.
struct Dev {
    process: Child,
    file: DevFile,
}

impl Dev {
    fn start(site: &Site, arguments: &[&str]) -> Self {
        // A file of an earlier start would tell where that one listened.
        let _ = std::fs::remove_file(site.path("data/dev.json"));
        let process = site
            .command(&[&["dev", "--port", "0", "--data", "data"][..], arguments].concat())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the binary runs");
        let mut dev = Guard(Some(process));
        let deadline = Instant::now() + PATIENCE;
        let file = loop {
            if let Some(file) = DevFile::read(&site.path("data")) {
                break file;
            }
            assert!(dev.process().try_wait().expect("its state").is_none(), "dev ended");
            assert!(Instant::now() < deadline, "dev does not start");
            std::thread::sleep(std::time::Duration::from_millis(5));
        };
        Self { process: dev.0.take().expect("it runs"), file }
    }

    /// Ends it; gives what it printed.
    fn stop(mut self) -> String {
        self.process.kill().expect("it runs");
        self.process.wait().expect("its end");
        let mut banner = String::new();
        self.process.stdout.take().expect("piped").read_to_string(&mut banner).expect("text");
        banner
    }

    fn tls_url(&self) -> &str {
        self.file.tls_api_url.as_deref().expect("served by TLS")
    }

    fn ca(&self) -> Vec<u8> {
        std::fs::read(self.file.tls_ca_file.as_ref().expect("a certificate")).expect("it is there")
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Kills a process that never got ready.
struct Guard(Option<Child>);

impl Guard {
    fn process(&mut self) -> &mut Child {
        self.0.as_mut().expect("it runs")
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some(process) = &mut self.0 {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

/// A client that trusts these certificates and no others.
fn trusting(certificates: &[&[u8]]) -> reqwest::Client {
    let certificates = certificates.iter().map(|pem| reqwest::Certificate::from_pem(pem).expect("a certificate"));
    reqwest::Client::builder().no_proxy().tls_certs_only(certificates).build().expect("a client")
}

async fn numbers(client: &reqwest::Client, url: &str, file: &DevFile) -> Result<String, reqwest::Error> {
    let request = client
        .get(format!("{url}/links/{}/accounts/numbers", file.link_id))
        .header("X-Client-Id", &file.client_id)
        .header("X-Client-Secret", &file.client_secret);
    request.send().await?.error_for_status()?.text().await
}

#[tokio::test]
async fn the_api_is_served_by_tls_to_those_who_trust_the_authority() {
    let site = Site::new("");
    let dev = Dev::start(&site, &["--tls", "--tls-port", "0"]);
    let client = trusting(&[&dev.ca()]);
    let by_tls = numbers(&client, dev.tls_url(), &dev.file).await.expect("https");
    assert!(by_tls.contains("routing_number"));
    let plain = numbers(&client, &dev.file.api_url, &dev.file).await.expect("http");
    assert_eq!(by_tls, plain, "one API, two ways to it");
    let by_name = dev.tls_url().replace("127.0.0.1", "localhost");
    assert_eq!(numbers(&client, &by_name, &dev.file).await.expect("localhost"), plain);

    let elsewhere = Site::new("");
    let other = Dev::start(&elsewhere, &["--tls", "--tls-port", "0"]);
    assert_ne!(other.ca(), dev.ca(), "each data directory has its own authority");
    for stranger in [trusting(&[]), trusting(&[&other.ca()])] {
        let error = numbers(&stranger, dev.tls_url(), &dev.file).await.expect_err("not trusted");
        assert!(error.is_connect(), "{error:?}");
    }
    let banner = dev.stop();
    let ca_file = site.path("data").canonicalize().expect("a directory").join("dev-ca.pem");
    assert!(banner.contains(&format!("export SSL_CERT_FILE={}", ca_file.display())), "{banner}");
}

#[tokio::test]
async fn a_restart_keeps_the_authority_even_of_an_ephemeral_server() {
    let site = Site::new("");
    let first = Dev::start(&site, &["--tls", "--tls-port", "0"]);
    let ca = first.ca();
    first.stop();
    let second = Dev::start(&site, &["--tls", "--tls-port", "0", "--ephemeral"]);
    assert_eq!(second.ca(), ca);
    numbers(&trusting(&[&ca]), second.tls_url(), &second.file).await.expect("trusted since the first start");
}

#[test]
fn without_tls_nothing_is_made_or_announced() {
    let site = Site::new("");
    let dev = Dev::start(&site, &[]);
    assert_eq!((&dev.file.tls_api_url, &dev.file.tls_ca_file), (&None, &None));
    let announced = std::fs::read_to_string(site.path("data/dev.json")).expect("dev.json");
    assert!(!announced.contains("tls"), "{announced}");
    assert!(!dev.stop().contains("SSL_CERT_FILE"));
    assert!(!site.path("data/dev-ca.pem").exists() && !site.path("data/dev-authority.json").exists());
}

#[test]
fn a_busy_port_is_named_with_its_option() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("its address").port().to_string();
    let port = port.as_str();
    let site = Site::new("");
    for (arguments, option) in [
        (&["dev", "--data", "data", "--port", "0", "--tls", "--tls-port", port][..], "--tls-port"),
        (&["dev", "--data", "data", "--port", port, "--tls", "--tls-port", "0"][..], "--port"),
    ] {
        let output = site.run(arguments);
        assert_eq!(output.status.code(), Some(1));
        let message = text(&output.stderr);
        assert!(message.contains(&format!("127.0.0.1:{port}")), "{message}");
        assert!(message.contains(&format!("choose a different {option}, or 0")), "{message}");
        assert!(!site.path("data/dev.json").exists());
    }
    let output = site.run(&["dev", "--data", "data", "--tls-port", "0"]);
    assert_eq!(output.status.code(), Some(2), "a port for https alone says nothing");
}
