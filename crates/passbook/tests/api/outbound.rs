//! What apps may not make the server call: each URL when it is set, when it is changed, and when it is called.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use http::HeaderMap;
use passbook::{
    outbound::{Answer, Looking, Names, Outbound, OutboundError, Policy},
    services::Webhooks,
};
use passbook_core::{
    ids::AppId,
    tenant::{Environment, Tenant},
};
use serde_json::json;
use tokio::net::TcpListener;

use crate::support::{REDIRECT, Receiver, TestServer, USER};

/// URLs that lead inside, each in one of the ways in which that can be written. `PORT` is a trap's.
const INWARD: [&str; 86] = [
    // This machine.
    "https://127.0.0.1:PORT/",
    "https://127.0.0.1/",
    "https://127.1:PORT/",
    "https://127.0.1/",
    "https://127.255.255.254/",
    "https://localhost:PORT/",
    "https://2130706433:PORT/",
    "https://017700000001:PORT/",
    "https://0x7f000001:PORT/",
    "https://0x7f.0.0.1/",
    "https://0177.0.0.1/",
    "https://0177.0.0x0.1/",
    "https://0x7f.1/",
    "https://127.0.0.1.:PORT/",
    "https://[::1]:PORT/",
    "https://[::1]/",
    "https://[0:0:0:0:0:0:0:1]/",
    "https://[::]:PORT/",
    "https://[::]/",
    "https://0.0.0.0:PORT/",
    "https://0.0.0.0/",
    "https://0/",
    "https://0.1.2.3/",
    "https://0.255.255.255/",
    // Written as IPv6.
    "https://[::ffff:127.0.0.1]:PORT/",
    "https://[::ffff:7f00:1]/",
    "https://[::127.0.0.1]/",
    "https://[::ffff:10.0.0.1]/",
    "https://[::ffff:169.254.169.254]/",
    "https://[64:ff9b::127.0.0.1]/",
    "https://[64:ff9b::7f00:1]/",
    "https://[64:ff9b::10.0.0.1]/",
    "https://[64:ff9b:1::1]/",
    "https://[2002:7f00:1::]/",
    "https://[2002:a00:1::]/",
    "https://[2001::1]/",
    "https://[2001:db8::1]/",
    "https://[100::1]/",
    "https://[5f00::1]/",
    // Private and special ranges.
    "https://10.0.0.1/",
    "https://10.255.255.255/",
    "https://172.16.0.1/",
    "https://172.31.255.255/",
    "https://192.168.0.1/",
    "https://192.168.255.255/",
    "https://100.64.0.1/",
    "https://100.127.255.255/",
    "https://169.254.1.1/",
    "https://169.254.169.254/latest/meta-data/",
    "https://169.254.170.2/",
    "https://169.254.170.23/v1/credentials",
    "https://168.63.129.16/",
    "https://100.100.100.200/",
    "https://192.0.0.192/",
    "https://192.0.2.1/",
    "https://198.18.0.1/",
    "https://198.51.100.1/",
    "https://203.0.113.1/",
    "https://224.0.0.1/",
    "https://240.0.0.1/",
    "https://255.255.255.255/",
    "https://192.88.99.1/",
    "https://[fc00::1]/",
    "https://[fd00:ec2::254]/",
    "https://[fd00:ec2::23]/v1/credentials",
    "https://[fd20:ce::254]/",
    "https://[fd00:c1::a9fe:a9fe]/",
    "https://[64:ff9b::169.254.169.254]/",
    "https://[fe80::1]/",
    "https://[fe80::1%25eth0]/",
    "https://[fec0::1]/",
    "https://[ff02::1]/",
    // Not what a webhook is.
    "http://127.0.0.1:PORT/",
    "http://app.example/",
    "ftp://app.example/",
    "file:///etc/passwd",
    "gopher://127.0.0.1:PORT/_",
    "https://user@127.0.0.1/",
    "https://user:password@app.example/",
    "https://app.example:22/",
    "https://app.example:8080/",
    "https://app.example\\@127.0.0.1/",
    "https://127.0.0.1\t/",
    "//127.0.0.1/",
    "https://",
    "javascript:alert(1)",
];

/// Counts who comes. Everything that connects is noted, whatever it says.
struct Trap {
    port: u16,
    connects: Arc<AtomicUsize>,
}

impl Trap {
    async fn set() -> Self {
        let listener = TcpListener::bind("0.0.0.0:0").await.unwrap();
        let (port, connects) = (listener.local_addr().unwrap().port(), Arc::new(AtomicUsize::new(0)));
        let counted = connects.clone();
        tokio::spawn(async move {
            while listener.accept().await.is_ok() {
                counted.fetch_add(1, Ordering::SeqCst);
            }
        });
        Self { port, connects }
    }

    fn connects(&self) -> usize {
        self.connects.load(Ordering::SeqCst)
    }
}

async fn call(outbound: &Outbound, url: &str) -> Result<Answer, OutboundError> {
    let tenant = Tenant { app_id: AppId::from_bits(1), environment: Environment::Sandbox };
    outbound.post(&tenant, url, HeaderMap::new(), "{}".into()).await
}

#[tokio::test]
async fn no_url_that_leads_inside_is_set_or_called() {
    let (server, trap) = (TestServer::start_with_webhooks(Webhooks::default()).await, Trap::set().await);
    let outbound = Outbound::new(Policy::default()).unwrap();
    let id = server.link(&server.a).await;
    let mut checks = 0;
    for url in INWARD {
        let url = url.replace("PORT", &trap.port.to_string());
        // `localhost` is a name like any other until somebody looks it up.
        let is_a_name = url.contains("localhost");
        let url_of_name = if is_a_name { url.replace(&format!(":{}", trap.port), "") } else { url.clone() };
        let created = json!({"customer_user": {"id": USER}, "redirect_uri": REDIRECT, "webhook": url});
        let created = server.post(&server.a, "/link-session", &created).await;
        assert_eq!((created.status, created.places()), (422, vec!["body.webhook".to_owned()]), "{url}");
        let updated = json!({"webhook": url});
        let updated = server.call(&server.a, "PATCH", &format!("/links/{id}")).json(&updated).send().await;
        assert_eq!((updated.status, updated.places()), (422, vec!["body.webhook".to_owned()]), "{url}");
        let called = call(&outbound, &url_of_name).await;
        let is_refused = matches!(called, Err(OutboundError::Url(_) | OutboundError::Address));
        assert!(is_refused, "{url}: {called:?}");
        checks += 3;
    }
    assert_eq!((checks, trap.connects()), (INWARD.len() * 3, 0));
    assert_eq!(server.get(&server.a, &format!("/links/{id}")).await.ok(200)["webhook"], json!(null));
}

/// Names that lead where the test says, another way at every look.
struct Scripted {
    looks: AtomicUsize,
    answers: Vec<Vec<IpAddr>>,
}

impl Names for Scripted {
    fn look_up(&self, _: String) -> Looking {
        let look = self.looks.fetch_add(1, Ordering::SeqCst);
        let addresses: Vec<_> = self.answers[look.min(self.answers.len() - 1)].clone();
        let found = addresses.into_iter().map(|address| SocketAddr::new(address, 0)).collect();
        Box::pin(async move { io::Result::Ok(found) })
    }
}

fn names(answers: &[&[&str]]) -> Arc<Scripted> {
    let answers = answers.iter().map(|one| one.iter().map(|address| address.parse().unwrap()).collect()).collect();
    Arc::new(Scripted { looks: AtomicUsize::new(0), answers })
}

/// Stands for the internet in a test that must not leave this machine.
fn with_outside(port: u16) -> Policy {
    Policy { plain_http: true, ports: vec![port], networks: vec!["127.0.0.2".parse().unwrap()], ..Policy::default() }
}

#[tokio::test]
async fn a_name_with_one_bad_address_is_not_called() {
    let trap = Trap::set().await;
    for addresses in [
        &["127.0.0.2", "127.0.0.1"][..],
        &["127.0.0.1", "127.0.0.2"],
        &["8.8.8.8", "::1"],
        &["8.8.8.8", "169.254.169.254"],
        &["::ffff:127.0.0.1"],
        &["10.0.0.1"],
    ] {
        let outbound = Outbound::with_names(with_outside(trap.port), names(&[addresses])).unwrap();
        let url = format!("http://hook.example:{}/", trap.port);
        let called = call(&outbound, &url).await;
        assert!(matches!(called, Err(OutboundError::Address)), "{addresses:?}: {called:?}");
    }
    assert_eq!(trap.connects(), 0);
}

#[tokio::test]
async fn a_name_that_changes_its_mind_is_looked_at_anew() {
    let trap = Trap::set().await;
    // The trap listens on both; only one of them is allowed.
    let answers = names(&[&["127.0.0.2"], &["127.0.0.1"]]);
    let outbound = Outbound::with_names(with_outside(trap.port), answers.clone()).unwrap();
    let url = format!("http://hook.example:{}/", trap.port);
    let first = call(&outbound, &url).await;
    // It connects where it looked; the trap hangs up.
    assert!(matches!(first, Err(OutboundError::Broken)), "{first:?}");
    assert_eq!((trap.connects(), answers.looks.load(Ordering::SeqCst)), (1, 1));
    let again = call(&outbound, &url).await;
    assert!(matches!(again, Err(OutboundError::Address)), "{again:?}");
    assert_eq!(trap.connects(), 1);
}

#[tokio::test]
async fn a_redirect_inside_is_an_answer_and_not_a_way() {
    let (receiver, trap) = (Receiver::start().await, Trap::set().await);
    let outbound = Outbound::new(Policy::of_this_machine()).unwrap();
    for status in [301, 302, 303, 307, 308] {
        receiver.reply_with(status, &format!("http://127.0.0.1:{}/", trap.port));
        let answer = call(&outbound, &receiver.url).await.unwrap();
        assert_eq!(answer.status.as_u16(), status);
    }
    assert_eq!(trap.connects(), 0);
}

#[tokio::test]
async fn an_endless_answer_costs_a_second_and_no_memory() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = [0; 4096];
        let _read = stream.read(&mut request).await;
        stream.write_all(b"HTTP/1.1 202 Accepted\r\ntransfer-encoding: chunked\r\n\r\n").await.unwrap();
        while stream.write_all(b"1\r\n.\r\n").await.is_ok() {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    });
    let began = std::time::Instant::now();
    let outbound = Outbound::new(Policy::of_this_machine()).unwrap();
    let answer = call(&outbound, &url).await.unwrap();
    assert_eq!(answer.status.as_u16(), 202);
    assert!(began.elapsed() < std::time::Duration::from_secs(5), "{:?}", began.elapsed());
}
