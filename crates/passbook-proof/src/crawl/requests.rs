//! What can be right and wrong about a request beside its body: who asks, for which id, with which query and method.

use anyhow::Result;

use super::call::Call;
use super::crawler::Crawler;
use super::operations::{Needs, Operation, Values, good};
use super::world::{Prepared, World};

/// Ids that no link, account, transaction, institution or user has, some of them malformed.
const WRONG_IDS: &[&str] = &[
    "mk_1111111111111111111111",
    "mk_",
    "MK_LzyKQgxzUiDAE2iDe7nJ9W",
    "x",
    "%00",
    "%FF%FE",
    "%2e%2e",
    "a%2Fb",
    "%zz",
    "null",
    "import",
    "numbers",
    "sync",
    "d%C3%A9j%C3%A0",
];
/// Puts credentials into a request.
type Credentials = fn(Call, &World) -> Call;
/// Good ones first.
const CREDENTIALS: &[Credentials] = &[
    |call, world| call.by(&world.main),
    |call, world| call.by_secret(&world.main),
    |call, world| call.by(&world.main).by_secret(&world.main),
    |call, _| call,
    |call, _| call.header("authorization", "Bearer garbage"),
    |call, _| call.header("authorization", "Bearer"),
    |call, world| call.header("authorization", format!("Basic {}", world.main.token)),
    |call, world| call.by(&world.main).by(&world.main),
    |call, world| call.query(&format!("access_token={}", world.main.token)),
    |call, world| call.by(&world.main).query(&format!("access_token={}", world.main.token)),
    |call, world| call.by(&world.main).by_secret(&world.foreign),
    |call, world| call.header("x-client-id", &world.main.access.client_id).header("x-client-secret", "wrong"),
    |call, world| call.header("x-client-id", &world.main.access.client_id),
    |call, world| call.by(&world.narrow),
    |call, world| call.by(&world.revoked),
    |call, world| call.by_secret(&world.revoked),
];
/// Headers that change an answer, or must not.
const HEADERS: [(&str, &str); 10] = [
    ("moneykit-version", "2023-02-18"),
    ("moneykit-version", "2020-01-01"),
    ("moneykit-version", ""),
    ("host", "somewhere.example.com"),
    ("host", "127.0.0.1"),
    ("host", "local/host"),
    ("host", ""),
    ("accept", "text/html"),
    ("origin", "https://example.com"),
    ("idempotency-key", "a\tb"),
];
const METHODS: [&str; 7] = ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "HEAD"];
const WRONG_NUMBERS: &[&str] = &["", "-1", "x", "1.5", "1e3", "%2B1", "0x10", "99999999999999999999"];
const WRONG_DATES: &[&str] = &["", "2026-02-30", "31.01.2026", "2026-1-5", "2026-01-15T00:00:00Z", "%222025-12-01%22"];
const WRONG_INSTANTS: &[&str] = &["", "2026-01-15", "yesterday", "2026-01-15T09:00:00", "2026-13-01T00:00:00Z"];
const WRONG_TEXTS: &[&str] = &["", "%00", "%FF", "%F0%9F%8D%B0", "null", "a%26b%3Dc"];

/// Asks for everything beside the body.
pub async fn every_request(crawler: &mut Crawler, world: &mut World, operation: &Operation) -> Result<()> {
    let link = world.link("investor")?.clone();
    callers(crawler, world, operation, &link).await?;
    headers(crawler, world, operation, &link).await?;
    ids(crawler, world, operation, &link).await?;
    queries(crawler, world, operation, &link).await?;
    methods(crawler, world, operation, &link).await
}

/// Asks, and waits when something may have changed.
pub async fn send(crawler: &mut Crawler, world: &World, call: &Call) -> Result<()> {
    match call.method.as_str() {
        "GET" | "HEAD" | "OPTIONS" => crawler.ask(call).await.map(drop),
        _ => {
            if call.path.starts_with("/passbook/events/replay") {
                crawler.forget_deliveries(&world.main);
            }
            crawler.change(call, &world.main).await.map(drop)
        }
    }
}

async fn callers(crawler: &mut Crawler, world: &World, operation: &Operation, link: &Prepared) -> Result<()> {
    for credentials in CREDENTIALS {
        let call = good(crawler, world, operation, link).await?;
        send(crawler, world, &credentials(call, world)).await?;
    }
    // What other apps make would have times of a running clock, so they only ask for what is not theirs.
    if operation.method == "GET" || operation.path.contains("{link}") {
        for caller in [&world.foreign, &world.live] {
            let call = good(crawler, world, operation, link).await?.by(caller);
            send(crawler, world, &call).await?;
        }
    }
    Ok(())
}

async fn headers(crawler: &mut Crawler, world: &World, operation: &Operation, link: &Prepared) -> Result<()> {
    for (name, value) in HEADERS {
        let call = good(crawler, world, operation, link).await?.by(&world.main).header(name, value);
        send(crawler, world, &call).await?;
    }
    Ok(())
}

/// Each id of the path is replaced by wrong ones, by that of a deleted link, and by that of another app's.
async fn ids(crawler: &mut Crawler, world: &World, operation: &Operation, link: &Prepared) -> Result<()> {
    let long = "x".repeat(2_000);
    let others = [world.link("deleted")?.id.as_str(), &world.foreign_link, &long];
    let segments: Vec<_> = operation.path.split('/').collect();
    for position in (0..segments.len()).filter(|position| segments[*position].starts_with('{')) {
        for id in WRONG_IDS.iter().copied().chain(others) {
            let mut wrong = segments.clone();
            wrong[position] = id;
            let path = wrong.join("/");
            ask_at(crawler, world, operation, link, &path).await?;
        }
    }
    for path in [format!("{}/", operation.path), format!("/{}", operation.path), format!("{}/more", operation.path)] {
        ask_at(crawler, world, operation, link, &path).await?;
    }
    Ok(())
}

async fn ask_at(
    crawler: &mut Crawler,
    world: &World,
    operation: &Operation,
    link: &Prepared,
    path: &str,
) -> Result<()> {
    let without_path = Operation { needs: Needs::Nothing, path: "", ..*operation };
    let mut call = good(crawler, world, &without_path, link).await?.by(&world.main);
    call.path = world.fill(path, link);
    send(crawler, world, &call).await
}

async fn queries(crawler: &mut Crawler, world: &World, operation: &Operation, link: &Prepared) -> Result<()> {
    for query in ["unknown=1", "Unknown[]=1&x.y=2&unknown", "s3cret", "&&", "=", "unknown=1&unknown=2"] {
        ask_with(crawler, world, operation, link, query).await?;
    }
    for (name, values) in operation.parameters {
        for value in values_of(*values) {
            ask_with(crawler, world, operation, link, &format!("{name}={value}")).await?;
        }
        for query in forms_of(name, *values) {
            ask_with(crawler, world, operation, link, &query).await?;
        }
    }
    if operation.parameters.iter().any(|(name, _)| *name == "end_date") {
        ask_with(crawler, world, operation, link, "start_date=2025-12-01&end_date=2025-11-01").await?;
        ask_with(crawler, world, operation, link, "start_date=2025-11-01&end_date=2025-12-01&page=2&size=3").await?;
    }
    Ok(())
}

/// Values inside of bounds, at them, and wrong ones.
fn values_of(values: Values) -> Vec<String> {
    let texts = |known: &[&str], wrong: &[&str]| known.iter().chain(wrong).map(ToString::to_string).collect();
    match values {
        Values::Number(min, max) => {
            let near = [min, min + 1, max, max.saturating_add(1), min.saturating_sub(1)];
            let wrong = WRONG_NUMBERS.iter().map(ToString::to_string);
            near.iter().map(ToString::to_string).chain(wrong).collect()
        }
        Values::Date => texts(&["2025-12-24", "1900-01-01", "9999-12-31"], WRONG_DATES),
        Values::Instant => texts(&["2026-01-15T09:00:00Z", "2026-01-15T10:00:00.5%2B02:00"], WRONG_INSTANTS),
        Values::Boolean => texts(&["true", "false"], &["", "True", "1"]),
        Values::Text(known) => texts(known, WRONG_TEXTS),
    }
}

/// The forms in which clients write lists, for every parameter: those that are no lists must not be read as such.
fn forms_of(name: &str, values: Values) -> Vec<String> {
    let known = values_of(values);
    let (one, other) = (&known[0], known.get(1).unwrap_or(&known[0]));
    vec![
        name.to_owned(),
        format!("{name}={one}&{name}={other}"),
        format!("{name}={other}&{name}={one}"),
        format!("{name}[]={one}"),
        format!("{name}%5B%5D={one}&{name}%5B%5D={other}"),
        format!("{name}[0]={one}&{name}[1]={other}"),
        format!("{name}[x]={one}"),
        format!("{name}={one},{other}"),
        format!("{}={one}", name.to_uppercase()),
    ]
}

async fn ask_with(
    crawler: &mut Crawler,
    world: &World,
    operation: &Operation,
    link: &Prepared,
    query: &str,
) -> Result<()> {
    let call = good(crawler, world, operation, link).await?.by(&world.main);
    send(crawler, world, &call.query(&world.fill(query, link))).await
}

/// Methods that the path of an operation does not know, or that are another operation without what it needs.
async fn methods(crawler: &mut Crawler, world: &World, operation: &Operation, link: &Prepared) -> Result<()> {
    for method in METHODS.iter().filter(|method| **method != operation.method) {
        // The path of a link also takes a DELETE that would work.
        let is_other = *method == "DELETE" && operation.path == "/links/{link}";
        if !is_other {
            let without_body = Operation { method, body: "", needs: Needs::Nothing, ..*operation };
            let call = good(crawler, world, &without_body, link).await?.by(&world.main);
            send(crawler, world, &call).await?;
        }
    }
    Ok(())
}
