//! The blocking client, on threads without a runtime, against the scripted server on a thread with one.

use std::{sync::mpsc, thread};

use moneykit::{
    Error,
    api::{GetLinksQuery, WaitOptions},
    blocking::Client,
    models::Product,
};

use crate::support::{Reply, Server, connected_link, link};

/// Runs the script on a thread of its own until the end of the test process, and returns a client for it.
fn client(script: impl Fn(&crate::support::Seen) -> Reply + Send + Sync + 'static) -> Client {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async move {
            let server = Server::start_with_tokens(script).await;
            sender.send(server.url.clone()).unwrap();
            std::future::pending::<()>().await;
        });
    });
    let url = receiver.recv().unwrap();
    moneykit::Client::builder()
        .base_url(url)
        .client_credentials(crate::support::CLIENT_ID, crate::support::SECRET)
        .build_blocking()
        .unwrap()
}

#[test]
fn operations_block_and_share_one_client_over_threads() {
    let client = client(|_| Reply::json(200, connected_link()));
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| assert_eq!(client.links().get_link("mk_1").unwrap().institution_name, "Credentials Bank"));
        }
    });
    let with_head = client.wait(client.inner().links().get_link_with_http_info("mk_1")).unwrap();
    assert_eq!(with_head.status.as_u16(), 200);
}

#[test]
fn errors_are_the_same_as_without_blocking() {
    let client = client(|_| Reply::error(404, "link_error.not_found", "Link not found."));
    let error: Error = client.account_numbers().get_account_numbers("mk_1").unwrap_err();
    assert_eq!(error.error_code(), Some("link_error.not_found"));
}

#[test]
fn pages_and_items_are_iterators() {
    let client = client(|request| {
        let (id, next) = if request.target.contains("cursor") { ("mk_2", "") } else { ("mk_1", "c2") };
        Reply::json(
            200,
            format!(r#"{{"links":[{{"link_id":"{id}","created_at":"2024-01-09T10:32:38Z"}}],"next_cursor":"{next}"}}"#),
        )
    });
    let pages: Result<Vec<_>, _> = client.links().get_links_pages(&GetLinksQuery::new()).collect();
    assert_eq!(pages.unwrap().len(), 2);
    let items = client.links().get_links_pages(&GetLinksQuery::new()).items();
    let ids: Result<Vec<_>, _> = items.map(|item| item.map(|link| link.link_id.into_string())).collect();
    assert_eq!(ids.unwrap(), ["mk_1", "mk_2"]);
}

#[test]
fn waiting_for_a_refresh_uses_the_clients_own_timers() {
    let client = client(|request| match request.method.as_str() {
        "POST" => Reply::json(202, connected_link()),
        _ => Reply::json(200, link("connected", Some("2024-01-09T10:00:00.500000Z"), None, None)),
    });
    let options = WaitOptions { timeout: std::time::Duration::from_millis(300), ..WaitOptions::default() };
    let error = client.products().refresh_and_wait("mk_1", [Product::AccountNumbers], options).unwrap_err();
    assert!(error.is_timeout());
}

#[test]
fn the_thread_ends_with_the_last_clone() {
    let client = client(|_| Reply::json(200, connected_link()));
    let links = client.links();
    drop(client);
    assert!(links.get_link("mk_1").is_ok(), "a group is a clone");
    // `drop` joins the thread, so the test would hang here if the thread did not end.
    drop(links);
}
