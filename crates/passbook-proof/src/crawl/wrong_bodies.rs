//! What can be right and wrong about a JSON body: every field of it absent, null, of another type, too long, twice.

use anyhow::Result;
use serde_json::{Value, json};

use super::crawler::Crawler;
use super::operations::{Operation, good};
use super::requests::send;
use super::world::World;

/// More than any JSON body may have.
const TOO_LARGE: usize = (1 << 20) + 1;

/// What is sent in place of a good body.
type Whole = fn(&str) -> Vec<u8>;
const WHOLE: &[Whole] = &[
    |_| Vec::new(),
    |_| b"{".into(),
    |_| b"not json".into(),
    |_| b"null".into(),
    |_| b"[]".into(),
    |_| b"{}".into(),
    |_| vec![b'{', 0xff, b'}'],
    |_| vec![b'['; 1_000],
    |_| vec![b' '; TOO_LARGE],
    |body| format!("[{body}]").into(),
    |body| format!("{body}x").into(),
    |body| format!("\u{feff}{body}").into(),
    |body| format!("{{\"unknown\":[{{}}],{}", body.get(1..).unwrap_or_default()).into(),
    doubled,
];
const CONTENT_TYPES: [&str; 4] = [
    "text/plain",
    "application/json; charset=utf-8",
    "application/x-www-form-urlencoded",
    "application/merge-patch+json",
];

/// Asks with every body.
pub async fn every_body(crawler: &mut Crawler, world: &World, operation: &Operation) -> Result<()> {
    if operation.body.is_empty() {
        return Ok(());
    }
    let template: Value = serde_json::from_str(operation.body)?;
    let mut pointers = Vec::new();
    collect_pointers(&template, String::new(), &mut pointers);
    for pointer in &pointers {
        for change in Change::ALL {
            ask_changed(crawler, world, operation, pointer, *change).await?;
        }
    }
    whole_bodies(crawler, world, operation).await?;
    content_types(crawler, world, operation).await
}

/// How a field is changed.
#[derive(Clone, Copy)]
enum Change {
    Remove,
    Null,
    Empty,
    Long,
    Number,
    Boolean,
    List,
    Object,
    Nul,
}

impl Change {
    const ALL: &[Self] = &[
        Self::Remove,
        Self::Null,
        Self::Empty,
        Self::Long,
        Self::Number,
        Self::Boolean,
        Self::List,
        Self::Object,
        Self::Nul,
    ];

    fn value(self) -> Value {
        match self {
            Self::Remove | Self::Null => Value::Null,
            Self::Empty => json!(""),
            Self::Long => json!("x".repeat(300)),
            Self::Number => json!(-1.5),
            Self::Boolean => json!(true),
            Self::List => json!(["x", "x"]),
            Self::Object => json!({ "unknown": 1 }),
            Self::Nul => json!("a\u{0}\u{1f370}"),
        }
    }
}

/// JSON pointers to every field and list item.
fn collect_pointers(value: &Value, at: String, pointers: &mut Vec<String>) {
    let children: Vec<(String, &Value)> = match value {
        Value::Object(fields) => fields.iter().map(|(name, value)| (name.clone(), value)).collect(),
        Value::Array(items) => items.iter().enumerate().map(|(index, value)| (index.to_string(), value)).collect(),
        _ => Vec::new(),
    };
    for (name, child) in children {
        let at = format!("{at}/{name}");
        pointers.push(at.clone());
        collect_pointers(child, at, pointers);
    }
}

async fn ask_changed(
    crawler: &mut Crawler,
    world: &World,
    operation: &Operation,
    pointer: &str,
    change: Change,
) -> Result<()> {
    let call = good(crawler, world, operation, world.link("investor")?).await?.by(&world.main);
    let mut body: Value = serde_json::from_slice(&call.body)?;
    apply(&mut body, pointer, change);
    send(crawler, world, &call.json(&body)).await
}

fn apply(body: &mut Value, pointer: &str, change: Change) {
    let (parent, name) = pointer.rsplit_once('/').unwrap_or_default();
    let Some(parent) = body.pointer_mut(parent) else { return };
    match (change, parent) {
        (Change::Remove, Value::Object(fields)) => drop(fields.remove(name)),
        (Change::Remove, Value::Array(items)) => items.clear(),
        (_, Value::Object(fields)) => drop(fields.insert(name.to_owned(), change.value())),
        (_, Value::Array(items)) => items.iter_mut().for_each(|item| *item = change.value()),
        _ => {}
    }
}

/// Bodies that are wrong as a whole.
async fn whole_bodies(crawler: &mut Crawler, world: &World, operation: &Operation) -> Result<()> {
    for whole in WHOLE {
        let call = good(crawler, world, operation, world.link("investor")?).await?.by(&world.main);
        let body = whole(&String::from_utf8_lossy(&call.body));
        send(crawler, world, &call.content("application/json", body)).await?;
    }
    Ok(())
}

/// Good bodies that are called something else.
async fn content_types(crawler: &mut Crawler, world: &World, operation: &Operation) -> Result<()> {
    for content_type in CONTENT_TYPES {
        let call = good(crawler, world, operation, world.link("investor")?).await?.by(&world.main);
        let body = call.body.clone();
        send(crawler, world, &call.content(content_type, body)).await?;
    }
    for (name, value) in [("idempotency-key", "key of bodies"), ("content-encoding", "gzip")] {
        let call = good(crawler, world, operation, world.link("investor")?).await?.by(&world.main);
        send(crawler, world, &call.header(name, value)).await?;
    }
    Ok(())
}

/// The body with its first field twice.
fn doubled(body: &str) -> Vec<u8> {
    let fields: Value = serde_json::from_str(body).unwrap_or_default();
    let first = fields.as_object().and_then(|fields| fields.iter().next());
    let first = first.map(|(name, value)| format!("{}:{value}", json!(name))).unwrap_or_default();
    format!("{{{first},{}", body.get(1..).unwrap_or_default()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_and_item_has_a_pointer() {
        let mut pointers = Vec::new();
        collect_pointers(&json!({ "a": [{ "b": 1 }], "c": null }), String::new(), &mut pointers);
        assert_eq!(pointers, ["/a", "/a/0", "/a/0/b", "/c"]);
    }

    #[test]
    fn the_first_field_comes_twice() {
        assert_eq!(doubled(r#"{"a":[1],"b":2}"#), br#"{"a":[1],"a":[1],"b":2}"#);
    }

    #[test]
    fn a_change_meets_its_field_alone() {
        let changed = |pointer: &str, change| {
            let mut body = json!({ "a": [{ "b": 1 }], "c": 2 });
            apply(&mut body, pointer, change);
            body
        };
        assert_eq!(changed("/a/0/b", Change::Boolean), json!({ "a": [{ "b": true }], "c": 2 }));
        assert_eq!(changed("/c", Change::Remove), json!({ "a": [{ "b": 1 }] }));
        assert_eq!(changed("/a/0", Change::Remove), json!({ "a": [], "c": 2 }));
    }
}
