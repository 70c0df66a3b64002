//! The same reads over each link, and lists in pages of every size.

use anyhow::{Result, bail};
use serde_json::Value;

use super::call::{Call, encoded};
use super::crawler::Crawler;
use super::world::World;

/// What is asked about each link.
const OF_LINK: &[&str] = &[
    "/links/{link}",
    "/links/{link}/accounts",
    "/links/{link}/accounts/{account}",
    "/links/{link}/accounts/numbers",
    "/links/{link}/identity",
    "/links/{link}/identity?account_ids={account}",
    "/links/{link}/transactions?size=100",
    "/links/{link}/transactions?account_ids={account}&start_date=2025-11-01&end_date=2025-12-31",
    "/links/{link}/transactions/sync?size=500",
    "/links/{link}/investments/holdings",
    "/links/{link}/investments/transactions",
    "/users/{user}/links",
    "/users/{user}/accounts",
    "/users/{user}/transactions?size=10",
    "/passbook/events?link_id={link}",
];
/// End users that the requests of the table name.
const USERS_OF_REQUESTS: [&str; 6] =
    ["crawl-body", "crawl-import", "crawl-file", "abcd", "crawl-once", "crawl-once-only"];
/// Links whose lists are read in pages, and the lists.
const PAGED: &[(&str, &str)] = &[
    ("good", "/links/{link}/transactions?"),
    ("good", "/users/{user}/transactions?"),
    ("investor", "/links/{link}/investments/transactions?"),
    ("list", "/links/{link}/transactions?start_date=2025-12-05&end_date=2025-12-20&"),
];
/// Pages of one list; behind the last there is an empty one.
const PAGES_MAX: usize = 4;
const SIZES: std::ops::RangeInclusive<usize> = 1..=10;
/// Steps of one cursor.
const STEPS_MAX: usize = 1_000;
/// Lists with a cursor, and where an answer holds the next.
const WALKED: &[(&str, &str, &str)] = &[
    ("good", "/links/{link}/transactions/sync?size=7", "/cursor/next"),
    ("file statement", "/links/{link}/transactions/sync?size=9", "/cursor/next"),
    ("history", "/links/{link}/transactions/sync?size=100", "/cursor/next"),
    ("good", "/institutions?limit=1", "/cursors/next"),
    ("good", "/institutions?limit=4", "/cursors/next"),
    ("good", "/links?limit=500", "/next_cursor"),
    ("good", "/passbook/events?limit=40", "/cursors/next"),
    ("with a webhook", "/passbook/events?limit=3&link_id={link}", "/cursors/next"),
    ("good", "/passbook/events?limit=20&webhook_event=link.state_changed", "/cursors/next"),
];

/// Asks the same of every link.
pub async fn every_link(crawler: &mut Crawler, world: &World) -> Result<()> {
    for link in &world.links {
        for path in OF_LINK {
            crawler.ask(&Call::get(world.fill(path, link)).by(&world.main)).await?;
        }
    }
    Ok(())
}

/// Reads what the good ones among the requests about bodies and queries made.
pub async fn made_by_requests(crawler: &mut Crawler, world: &World) -> Result<()> {
    for user in USERS_OF_REQUESTS {
        for rest in ["links", "accounts", "transactions?size=200"] {
            crawler.ask(&Call::get(format!("/users/{user}/{rest}")).by(&world.main)).await?;
        }
    }
    for link in &world.links {
        crawler.ask(&Call::get(format!("/links/{}", link.id)).by(&world.main)).await?;
    }
    crawler.ask(&Call::get("/links?limit=5000").by(&world.main)).await.map(drop)
}

/// Reads lists in pages, and follows cursors to their ends.
pub async fn pages(crawler: &mut Crawler, world: &World) -> Result<()> {
    for (label, path) in PAGED {
        let path = world.fill(path, world.link(label)?);
        for size in SIZES {
            for page in 1..=PAGES_MAX {
                crawler.ask(&Call::get(format!("{path}page={page}&size={size}")).by(&world.main)).await?;
            }
        }
        crawler.ask(&Call::get(format!("{path}page=1000000&size=1000")).by(&world.main)).await?;
    }
    for (label, path, next) in WALKED {
        let path = world.fill(path, world.link(label)?);
        walk(crawler, world, &path, next).await?;
    }
    Ok(())
}

async fn walk(crawler: &mut Crawler, world: &World, path: &str, next: &str) -> Result<()> {
    let mut cursor: Option<String> = None;
    for _step in 0..STEPS_MAX {
        let mut call = Call::get(path).by(&world.main);
        if let Some(cursor) = &cursor {
            call = call.query(&format!("cursor={}", encoded(cursor)));
        }
        let answer = crawler.ask_json(&call).await?;
        let following = answer.pointer(next).and_then(Value::as_str).map(ToOwned::to_owned);
        if following.is_none() || following == cursor || answer["has_more"] == false {
            return Ok(());
        }
        cursor = following;
    }
    bail!("{path} has no end")
}
