//! Receives webhooks: believes only what the server signed, stores each event once, and says what it would do.
//!
//! ```text
//! cargo run -p moneykit --features axum --example receive_webhooks -- <base URL> <client id> <client secret> <address>
//! ```
//!
//! With `127.0.0.1:4000` as the address, give links the webhook `http://127.0.0.1:4000/webhooks`.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::Context;
use axum::{
    Router,
    extract::{FromRef, State},
    http::StatusCode,
    routing::post,
};
use moneykit::{
    Client,
    models::{LinkProductState, PublicLinkState},
    webhooks::{Event, VerifiedWebhook, Verifier},
};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let mut argument = |name| arguments.next().with_context(|| format!("missing argument: {name}"));
    let (base_url, id, secret) = (argument("base URL")?, argument("client id")?, argument("client secret")?);
    let listener = tokio::net::TcpListener::bind(argument("address")?).await?;
    let client = Client::builder().base_url(base_url).client_credentials(id, secret).build()?;
    let verifier = Verifier::new(&client);
    // A wrong base URL should show now, not with the first webhook.
    verifier.fetch_keys().await?;
    println!("listening on {}", listener.local_addr()?);
    axum::serve(listener, app(verifier, Arc::new(|line| println!("{line}")))).await?;
    Ok(())
}

/// What to do with each line that would be work in a real app.
pub type Work = Arc<dyn Fn(String) + Send + Sync>;

#[derive(Clone)]
struct App {
    verifier: Verifier,
    /// Idempotency keys of the events that were dealt with. A real app keeps them in its database, in the transaction
    /// that stores the work.
    seen: Arc<Mutex<HashSet<String>>>,
    work: Work,
}

impl FromRef<App> for Verifier {
    fn from_ref(app: &App) -> Self {
        app.verifier.clone()
    }
}

/// A router with one route for webhooks.
pub fn app(verifier: Verifier, work: Work) -> Router {
    let app = App { verifier, seen: Arc::default(), work };
    Router::new().route("/webhooks", post(receive)).with_state(app)
}

/// Forged webhooks never get here.
async fn receive(State(app): State<App>, VerifiedWebhook(delivery): VerifiedWebhook) -> StatusCode {
    let event = delivery.event;
    let is_new = event
        .idempotency_key()
        .is_none_or(|key| app.seen.lock().unwrap_or_else(PoisonError::into_inner).insert(key.to_owned()));
    if is_new && let Some(task) = task(&event) {
        (app.work)(task);
    }
    // Also for a repetition and for events that nobody needs: they must not come again.
    StatusCode::NO_CONTENT
}

/// What an app has to do after an event. The event says that something changed; the API says what.
fn task(event: &Event) -> Option<String> {
    match event {
        Event::LinkStateChanged(event) if event.state == PublicLinkState::Error => {
            Some(format!("ask the user of {} to reconnect", event.link_id))
        }
        Event::LinkStateChanged(event) => Some(format!("{} is now {}", event.link_id, event.state)),
        Event::ProductRefresh(event) if event.state == LinkProductState::Completed => {
            Some(format!("read {} of {}", event.product, event.link_id))
        }
        Event::TransactionsUpdatesAvailable(event) => {
            Some(format!("follow the transactions of {} from the stored cursor", event.link_id))
        }
        _ => None,
    }
}
