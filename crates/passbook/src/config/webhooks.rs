//! `[webhooks]`: where events are sent.

use url::Url;

use super::{Settings, settings::Kind};
use crate::{outbound::Policy, services};

pub(super) const KEYS: &[(&str, Kind)] = &[
    ("allow_http", Kind::Flag),
    ("ports", Kind::List),
    ("networks", Kind::List),
    ("issuer", Kind::Text),
    ("refresh_events", Kind::Text),
    ("only_this_machine", Kind::Flag),
    ("standard_headers", Kind::Flag),
];

/// See the module page.
#[derive(Debug)]
pub struct Webhooks {
    /// Where they may go.
    pub policy: Policy,
    /// What signatures name as issuer, if not the server's own URL.
    pub issuer: Option<String>,
    /// Of a refresh, only its end is sent.
    pub final_states_only: bool,
    /// The headers of Standard Webhooks are sent, too.
    pub standard_headers: bool,
}

impl Webhooks {
    pub(super) fn read(settings: &mut Settings) -> Self {
        let only_this_machine = settings.flag("webhooks.only_this_machine");
        let policy = Policy {
            plain_http: settings.flag("webhooks.allow_http"),
            ports: read_ports(settings),
            networks: settings.networks(
                "webhooks.networks",
                "allows every address",
                "name the receivers' own networks; apps could call everything inside otherwise",
            ),
            loopback: only_this_machine,
            only_this_machine,
        };
        let name = "webhooks.refresh_events";
        let final_states_only = match settings.text(name).as_deref() {
            Some("final") => true,
            Some("all") | None => false,
            Some(_) => {
                settings.problems.add(name, "is not one of its words", "give all or final");
                false
            }
        };
        let standard_headers = settings.flag("webhooks.standard_headers");
        Self { policy, issuer: settings.text("webhooks.issuer"), final_states_only, standard_headers }
    }

    /// For the services; `public_url` is the server's own.
    #[must_use]
    pub fn webhooks(&self, public_url: Option<&Url>) -> services::Webhooks {
        let own = || public_url.map(|url| url.as_str().trim_end_matches('/').to_owned());
        services::Webhooks {
            policy: self.policy.clone(),
            issuer: self.issuer.clone().or_else(own).unwrap_or_default(),
            final_states_only: self.final_states_only,
            standard_headers: self.standard_headers,
        }
    }
}

fn read_ports(settings: &mut Settings) -> Vec<u16> {
    let name = "webhooks.ports";
    let mut ports = Vec::new();
    for text in settings.list(name) {
        match text.parse() {
            Ok(port) if port > 0 => ports.push(port),
            _ => settings.problems.add(name, format!("{text:?} is not a port"), "give numbers from 1 to 65535"),
        }
    }
    ports
}
