//! Links that update on their own on PostgreSQL, whichever replica finds them.

use serde_json::{Value, json};

use crate::{
    hosted::{Client, Database, wait_until},
    process::Process,
};

/// Updates that are planned.
const OPEN: &str = "state = 'open' AND work LIKE '%follow_schedule%'";
/// Those that were made.
const DONE: &str = "state = 'done' AND work LIKE '%follow_schedule%'";
const SETTINGS: &str =
    "[server]\nreplicas = 2\n[limits]\nenabled = false\n[refresh]\ntimes_per_day = 24\nper_institution = 4";

fn count(jobs: &str) -> String {
    format!("SELECT COUNT(*) FROM jobs WHERE {jobs}")
}

fn refreshed_at(client: &Client, server: &Process, id: &str, product: &str) -> Value {
    let (status, link) = client.call(server, "GET", &format!("/links/{id}"), &Value::Null);
    assert_eq!(status, 200, "{link}");
    link["products"][product]["refreshed_at"].clone()
}

#[test]
fn links_update_on_their_own_once_for_all_replicas() {
    let Some(database) = Database::create() else { return };
    let sites = [(); 2].map(|()| database.site(SETTINGS));
    let first = sites[0].serve();
    let client = Client::add(&sites[0], "sandbox");
    let links: Vec<_> = (0..3).map(|_| client.link(&first, json!({}))).collect();
    wait_until("every link has its transactions", || {
        links.iter().all(|id| refreshed_at(&client, &first, id, "transactions").is_string())
    });
    // Whoever starts plans an update for every link that has none.
    let second = sites[1].serve();
    wait_until("an update of every link is planned", || database.number(&count(OPEN)) == 3);
    let products = |name| links.iter().map(|id| refreshed_at(&client, &first, id, name)).collect::<Vec<_>>();
    let (before, numbers) = (products("transactions"), products("account_numbers"));
    // The schedule goes by the store's time, which no test waits for.
    database.run(&format!("UPDATE jobs SET due_at = 0 WHERE job_id IN (SELECT job_id FROM jobs WHERE {OPEN})"));
    wait_until("every link was updated", || {
        products("transactions").iter().zip(&before).all(|(now, before)| now.as_str() > before.as_str())
    });
    assert_eq!(database.number(&count(DONE)), 3, "each link once, whoever did it");
    assert_eq!(products("account_numbers"), numbers, "only what moves");
    first.stop();
    second.stop();
}
