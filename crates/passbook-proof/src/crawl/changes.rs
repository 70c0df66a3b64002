//! Stories of one app: refreshes, tags, resets, deletions, idempotency keys, events.

use anyhow::Result;
use serde_json::json;

use super::call::Call;
use super::crawler::Crawler;
use super::place::ORIGIN;
use super::world::World;

const ALL_PRODUCTS: [&str; 5] = ["accounts", "account_numbers", "identity", "transactions", "investments"];
/// Brings links into their states.
pub async fn prepare(crawler: &mut Crawler, world: &mut World) -> Result<()> {
    end_consent(crawler, world).await?;
    refreshes(crawler, world).await?;
    tags(crawler, world).await?;
    corrections(crawler, world).await?;
    reset(crawler, world).await?;
    once(crawler, world).await?;
    delete(crawler, world).await
}

async fn end_consent(crawler: &mut Crawler, world: &World) -> Result<()> {
    let link = &world.link("consent ended")?.id;
    let end = json!({ "edits": [{ "edit": "expire_consent" }] });
    let call = Call::post(format!("/sandbox/links/{link}/edits"), &end).by(&world.main);
    crawler.change(&call, &world.main).await?;
    refresh(crawler, world, link, &["accounts"]).await
}

async fn refresh(crawler: &mut Crawler, world: &World, link: &str, products: &[&str]) -> Result<()> {
    let call = Call::post(format!("/links/{link}/products"), &json!({ "products": products })).by(&world.main);
    crawler.change(&call, &world.main).await.map(drop)
}

/// Every link is refreshed twice: the second comes too early for many.
async fn refreshes(crawler: &mut Crawler, world: &World) -> Result<()> {
    for link in &world.links {
        refresh(crawler, world, &link.id, &["accounts", "transactions"]).await?;
        refresh(crawler, world, &link.id, &ALL_PRODUCTS).await?;
    }
    Ok(())
}

async fn tags(crawler: &mut Crawler, world: &World) -> Result<()> {
    let path = format!("/links/{}", world.link("tagged")?.id);
    for body in [
        json!({ "link_tags": ["three", "one", "one"] }),
        json!({ "tags": ["old name"] }),
        json!({ "link_tags": [] }),
        json!({ "link_tags": null }),
        json!({ "webhook": world.webhook() }),
        json!({ "webhook": null }),
        json!({}),
    ] {
        let call = Call::new("PATCH", &path).json(&body).by(&world.main);
        crawler.change(&call, &world.main).await?;
        crawler.ask(&Call::get(&path).by(&world.main)).await?;
    }
    Ok(())
}

async fn corrections(crawler: &mut Crawler, world: &World) -> Result<()> {
    let link = world.link("history")?;
    let path = format!("/links/{}/transactions/{}/enrichment", link.id, link.transaction);
    for (category, subcategory) in [("charity", None), ("education", Some("tuition")), ("nothing", Some("known"))] {
        let body = json!({ "category": category, "subcategory": subcategory });
        crawler.change(&Call::post(&path, &body).by(&world.main), &world.main).await?;
    }
    Ok(())
}

/// One link stays reset; another is reset and connected again.
async fn reset(crawler: &mut Crawler, world: &World) -> Result<()> {
    for label in ["to reset", "reconnected"] {
        let path = format!("/links/{}/reset", world.link(label)?.id);
        crawler.change(&Call::new("POST", path).by(&world.main), &world.main).await?;
    }
    let link = world.link("reconnected")?;
    let body = json!({ "customer_user": { "id": link.user }, "redirect_uri": format!("{ORIGIN}/done"),
        "existing_link_id": link.id });
    let opened = crawler.ask_json(&Call::post("/link-session", &body).by(&world.main)).await?;
    let person = json!({ "link_session_token": opened["link_session_token"] });
    let call = Call::post("/sandbox/link-sessions/complete", &person).by(&world.main);
    crawler.change(&call, &world.main).await.map(drop)
}

/// Calls with an idempotency key: the same again, another body, another path.
async fn once(crawler: &mut Crawler, world: &World) -> Result<()> {
    let user = |id: &str| json!({ "customer_user": { "id": id } });
    for (key, body) in [
        ("key-1", user("crawl-once")),
        ("key-1", user("crawl-once")),
        ("key-1", user("crawl-twice")),
        ("", user("crawl-once")),
        (&"k".repeat(256), user("crawl-once")),
    ] {
        let call = Call::post("/sandbox/links", &body).header("idempotency-key", key).by(&world.main);
        crawler.change(&call, &world.main).await?;
    }
    for label in ["good", "history", "good"] {
        let path = format!("/links/{}/products", world.link(label)?.id);
        let call = Call::post(path, &json!({ "products": ["accounts"] })).header("idempotency-key", "key-1");
        crawler.change(&call.by(&world.main), &world.main).await?;
    }
    Ok(())
}

async fn delete(crawler: &mut Crawler, world: &World) -> Result<()> {
    let call = Call::new("DELETE", format!("/links/{}", world.link("deleted")?.id)).by(&world.main);
    crawler.change(&call, &world.main).await?;
    crawler.ask(&call).await.map(drop)
}

/// Events of every kind, streams, and deliveries that are sent again.
pub async fn events(crawler: &mut Crawler, world: &World) -> Result<()> {
    let link = &world.link("with a webhook")?.id;
    for event in ["link.state_changed", "transactions.updates_available", "link.product_refresh", "link.unknown"] {
        let body = json!({ "webhook_event": event });
        let call = Call::post(format!("/sandbox/links/{link}/events"), &body).by(&world.main);
        crawler.change(&call, &world.main).await?;
        let body = json!({ "webhook_event": event, "webhook_idempotency_key": format!("key of {event}") });
        let call = Call::post(format!("/webhooks/test/link/{link}"), &body).by(&world.main);
        crawler.change(&call, &world.main).await?;
    }
    let body = json!({ "webhook_event": "link.state_changed", "webhook_idempotency_key": "key" });
    let without_webhook = Call::post(format!("/webhooks/test/link/{}", world.link("good")?.id), &body);
    crawler.change(&without_webhook.by(&world.main), &world.main).await?;
    let first = crawler.ask_json(&Call::get("/passbook/events?limit=1").by(&world.main)).await?;
    for body in [
        json!({ "event_ids": [first["events"][0]["event_id"]] }),
        json!({ "link_id": link }),
        json!({ "link_id": link, "webhook_event": "link.state_changed", "delivery_state": "delivered" }),
        json!({ "from": "2026-01-15T00:00:00Z", "to": "2026-01-15T00:00:01Z" }),
    ] {
        crawler.forget_deliveries(&world.main);
        crawler.change(&Call::post("/passbook/events/replay", &body).by(&world.main), &world.main).await?;
        crawler.ask(&Call::get(format!("/passbook/events?link_id={link}")).by(&world.main)).await?;
    }
    streams(crawler, world, link).await
}

async fn streams(crawler: &mut Crawler, world: &World, link: &str) -> Result<()> {
    for (query, last, messages) in [
        ("cursor=0".to_owned(), None, 30),
        ("cursor=0&signed=true".to_owned(), None, 4),
        ("".to_owned(), Some("3"), 5),
        (format!("cursor=0&link_id={link}"), None, 5),
        ("cursor=0&webhook_event=link.state_changed".to_owned(), Some("5"), 5),
    ] {
        let mut call = Call::get(format!("/passbook/events/stream?{query}")).by(&world.main);
        call.headers.extend(last.map(|last: &str| ("last-event-id".to_owned(), last.to_owned())));
        call.messages = messages;
        crawler.ask(&call).await?;
    }
    Ok(())
}
