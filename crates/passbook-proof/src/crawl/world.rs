//! What a crawl has made so far: clients, and links in every state, each with a label.

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::FROZEN_AT;
use super::call::{Call, Caller};
use super::crawler::Crawler;
use super::place::Place;
use crate::receivers::{Kind, Receivers};
use crate::server::Access;

/// An id of the right form that nothing has, for links without accounts or transactions.
const NO_ACCOUNT: &str = "acc_111111111111111111111n";
const NO_TRANSACTION: &str = "txn_111111111111111111111n";

/// A link with what paths need of it.
#[derive(Clone)]
pub struct Prepared {
    /// What it is there for.
    pub label: String,
    /// Its id.
    pub id: String,
    /// Its end user.
    pub user: String,
    /// Its first account and transaction, or ids that nothing has.
    pub account: String,
    /// See `account`.
    pub transaction: String,
}

/// See the module page.
pub struct World {
    /// Asks for nearly everything; its clock stands still.
    pub main: Caller,
    /// A client of another app.
    pub foreign: Caller,
    /// A live client of the main app.
    pub live: Caller,
    /// May read institutions alone.
    pub narrow: Caller,
    /// A client that was revoked; its token is made up.
    pub revoked: Caller,
    /// A client of an app whose clock is moved.
    pub clocked: Caller,
    /// All links of the main app, in the order in which they were made.
    pub links: Vec<Prepared>,
    /// A link of the other app.
    pub foreign_link: String,
    /// Where webhooks go.
    pub receivers: Receivers,
}

impl World {
    /// Makes apps and clients, stops their clocks, and gets their tokens.
    pub async fn new(place: &Place, crawler: &mut Crawler, seed: u64) -> Result<Self> {
        for app in ["crawl", "foreign", "clocked", "future"] {
            place.add_app(app)?;
        }
        let caller = |name, access: Access| Caller { name, access, token: String::new() };
        let receivers = Receivers::start(vec![Kind::Healthy], seed).await?;
        let mut world = Self {
            main: caller("main", place.add_client("crawl", "sandbox", None)?),
            foreign: caller("foreign", place.add_client("foreign", "sandbox", None)?),
            live: caller("live", place.add_client("crawl", "live", None)?),
            narrow: caller("narrow", place.add_client("crawl", "sandbox", Some("institutions"))?),
            revoked: caller("revoked", place.add_client("crawl", "sandbox", None)?),
            clocked: caller("clocked", place.add_client("clocked", "sandbox", None)?),
            links: Vec::new(),
            foreign_link: String::new(),
            receivers,
        };
        place.revoke_client(&world.revoked.access)?;
        world.revoked.token = "A".repeat(64);
        world.name_addresses(crawler)?;
        crawler.prepare_settling(caller("future", place.add_client("future", "sandbox", None)?)).await?;
        world.stop_clocks(crawler).await?;
        for caller in [&mut world.main, &mut world.foreign, &mut world.live, &mut world.narrow, &mut world.clocked] {
            caller.token = token_of(crawler, caller).await?;
        }
        Ok(world)
    }

    fn name_addresses(&self, crawler: &mut Crawler) -> Result<()> {
        let url = self.webhook();
        let address = url.strip_prefix("http://").and_then(|rest| rest.split('/').next()).context("no address")?;
        crawler.placeholders.address(address.to_owned(), "<receiver>");
        for caller in [&self.main, &self.foreign, &self.live, &self.narrow, &self.revoked, &self.clocked] {
            crawler.placeholders.value(&format!("secret of {}", caller.name), &caller.access.client_secret);
        }
        Ok(())
    }

    /// Before anything else is stored for an app, because no clock goes back behind that.
    async fn stop_clocks(&self, crawler: &mut Crawler) -> Result<()> {
        for caller in [&self.main, &self.foreign, &self.clocked] {
            let freeze = json!({ "freeze_at": FROZEN_AT });
            crawler.ask_json(&Call::post("/sandbox/clock", &freeze).by_secret(caller)).await?;
        }
        Ok(())
    }

    /// The URL at which webhooks are taken.
    pub fn webhook(&self) -> String {
        self.receivers.urls.first().cloned().unwrap_or_default()
    }

    /// The link with this label.
    pub fn link(&self, label: &str) -> Result<&Prepared> {
        self.links.iter().find(|link| link.label == label).with_context(|| format!("no link {label}"))
    }

    /// Notes a link of the main app, with its first account and transaction.
    pub async fn add(&mut self, crawler: &mut Crawler, label: &str, id: &str, user: &str) -> Result<()> {
        let first = async |crawler: &mut Crawler, list: &str, id_of: &str, otherwise: &str| {
            let call = Call::get(format!("/links/{id}/{list}")).by(&self.main);
            let answer = crawler.look(&call).await?;
            anyhow::Ok(answer[list][0][id_of].as_str().unwrap_or(otherwise).to_owned())
        };
        let account = first(crawler, "accounts", "account_id", NO_ACCOUNT).await?;
        let transaction = first(crawler, "transactions", "transaction_id", NO_TRANSACTION).await?;
        let (label, id, user) = (label.to_owned(), id.to_owned(), user.to_owned());
        self.links.push(Prepared { label, id, user, account, transaction });
        Ok(())
    }

    /// `text` with the names in braces replaced by what they stand for, for this link.
    pub fn fill(&self, text: &str, link: &Prepared) -> String {
        // Before those were made nothing asks for them.
        let id_of = |label| self.link(label).map_or("", |link| &link.id);
        let values = [
            ("{link}", link.id.as_str()),
            ("{imported link}", id_of("list")),
            ("{hooked link}", id_of("with a webhook")),
            ("{account}", &link.account),
            ("{transaction}", &link.transaction),
            ("{user}", &link.user),
            ("{institution}", "credentials_bank"),
            ("{webhook}", &self.webhook()),
        ];
        values.iter().fold(text.to_owned(), |text, (name, value)| text.replace(name, value))
    }
}

async fn token_of(crawler: &mut Crawler, caller: &Caller) -> Result<String> {
    let form = format!(
        "grant_type=client_credentials&client_id={}&client_secret={}",
        caller.access.client_id, caller.access.client_secret
    );
    let call = Call::new("POST", "/auth/token").content("application/x-www-form-urlencoded", form);
    let answer: Value = crawler.ask_json(&call).await?;
    answer["access_token"].as_str().map(ToOwned::to_owned).context("no token")
}
