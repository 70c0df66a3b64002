//! What a proxy says about its client's address, and what a client says about itself.

use crate::process::{Process, Site, request};

/// More than an address may try in a minute.
const TRIES: usize = 400;

/// Statuses of wrong secrets under ever new client ids, with this header.
fn guess(server: &Process, header: impl Fn(usize) -> String) -> Vec<u16> {
    let one = |try_number| {
        let head = format!("x-client-id: id{try_number}\r\nx-client-secret: wrong\r\n{}", header(try_number));
        request(server.address, "GET", "/links", &head).expect("an answer").0
    };
    (0..TRIES).map(one).collect()
}

#[test]
fn a_forged_header_gains_nothing_without_a_named_proxy() {
    let server = Site::new("").serve_owned();
    let statuses = guess(&server.process, |n| format!("x-forwarded-for: 10.9.{}.{}\r\n", n / 250, n % 250));
    assert!(statuses.contains(&401) && statuses.contains(&429), "{statuses:?}");
}

#[test]
fn behind_a_named_proxy_clients_count_one_by_one() {
    let server = Site::new("[server]\ntrusted_proxies = [\"127.0.0.1\"]\n").serve_owned();
    let statuses = guess(&server.process, |n| format!("x-forwarded-for: 10.9.{}.{}\r\n", n / 250, n % 250));
    assert_eq!(statuses, [401; TRIES], "each client tried once");
    // What the client wrote itself stands before what the proxy wrote.
    let statuses =
        guess(&server.process, |n| format!("x-forwarded-for: 10.8.{}.{}, 203.0.113.7\r\n", n / 250, n % 250));
    assert!(statuses.contains(&401) && statuses.contains(&429), "{statuses:?}");
    // The header that this proxy does not write.
    let statuses = guess(&server.process, |n| format!("forwarded: for=10.7.{}.{}\r\n", n / 250, n % 250));
    assert!(statuses.contains(&429), "{statuses:?}");
}
