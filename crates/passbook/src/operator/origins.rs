//! The origins of an app that may receive redirects.
//!
//! An origin is kept exactly as the redirect check computes one, so that comparing texts is comparing origins.

use passbook_store::port::App;
use url::{Host, Url};

use super::{Answer, Operator, Refusal};

/// Origins that an app may have.
const ORIGINS_MAX: usize = 100;

impl Operator {
    pub(super) async fn list_origins(&self, app: &str) -> Result<Answer, Refusal> {
        Ok(Answer::Origins(self.find_app(app).await?.allowed_origins))
    }

    pub(super) async fn add_origin(&self, app: &str, origin: &str) -> Result<Answer, Refusal> {
        let origin = canonical(origin)?;
        let was = self.find_app(app).await?;
        let mut app = was.clone();
        if app.allowed_origins.len() >= ORIGINS_MAX {
            return Err(Refusal::unfit(format!("an app has at most {ORIGINS_MAX} origins")));
        }
        if !app.allowed_origins.contains(&origin) {
            app.allowed_origins.push(origin);
        }
        self.write_origins(was, app, "add_origin").await
    }

    pub(super) async fn remove_origin(&self, app: &str, origin: &str) -> Result<Answer, Refusal> {
        let was = self.find_app(app).await?;
        let mut app = was.clone();
        // What is stored may be older than today's rules, so it is also found as it is.
        let wanted = canonical(origin).unwrap_or_else(|_| origin.to_owned());
        let before = app.allowed_origins.len();
        app.allowed_origins.retain(|known| *known != wanted);
        if app.allowed_origins.len() == before {
            return Err(Refusal::unfit(format!("{origin} is not an origin of {:?}", app.name)));
        }
        self.write_origins(was, app, "remove_origin").await
    }

    async fn write_origins(&self, was: App, app: App, action: &'static str) -> Result<Answer, Refusal> {
        let origins = app.allowed_origins.clone();
        self.write_app(Some(was), app, action).await?;
        Ok(Answer::Origins(origins))
    }
}

/// The origin in the form in which redirects are compared with it: `https://host[:port]`, or for this machine only
/// also `http`, and the port `*` for any.
pub(super) fn canonical(text: &str) -> Result<String, Refusal> {
    let refuse = |why: &str| Err(Refusal::unfit(format!("{text:?} cannot be an origin: {why}")));
    let (bare, any_port) = match text.strip_suffix(":*") {
        Some(bare) => (bare, true),
        None => (text, false),
    };
    let Ok(url) = Url::parse(bare) else { return refuse("it is not of the form https://host[:port]") };
    let Some(host) = url.host().filter(|_| matches!(url.scheme(), "https" | "http")) else {
        return refuse("only https, and http for this machine, have origins");
    };
    if !url.username().is_empty() || url.password().is_some() || bare.contains('@') {
        return refuse("it names a user");
    }
    let authority = bare.split_once("://").map_or("", |(_, rest)| rest);
    if authority.contains(['/', '?', '#', '\\']) {
        return refuse("it goes on after the host and port");
    }
    if authority.contains(['*', '%']) || bare.trim() != bare {
        return refuse("its host is not one host");
    }
    let is_this_machine = match &host {
        Host::Domain(name) => *name == "localhost",
        Host::Ipv4(address) => address.is_loopback(),
        Host::Ipv6(address) => address.is_loopback(),
    };
    if url.scheme() == "http" && !is_this_machine {
        return refuse("http is for this machine only; use https");
    }
    if any_port && !is_this_machine {
        return refuse("any port is for this machine only; name the port");
    }
    if any_port && url.port().is_some() {
        return refuse("it names two ports");
    }
    match any_port {
        true => Ok(format!("{}://{}:*", url.scheme(), url.host_str().unwrap_or_default())),
        false => Ok(url.origin().ascii_serialization()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_kept_as_redirects_are_compared() {
        for (given, kept) in [
            ("https://app.example", "https://app.example"),
            ("https://APP.example:443", "https://app.example"),
            ("https://app.example:8443", "https://app.example:8443"),
            ("http://localhost:3000", "http://localhost:3000"),
            ("http://localhost:*", "http://localhost:*"),
            ("http://127.0.0.1:*", "http://127.0.0.1:*"),
            ("http://[::1]:*", "http://[::1]:*"),
            ("https://b\u{fc}cher.example", "https://xn--bcher-kva.example"),
        ] {
            assert_eq!(canonical(given).unwrap(), kept, "{given}");
        }
    }

    #[test]
    fn what_is_not_one_origin_is_refused() {
        for bad in [
            "",
            "app.example",
            "http://app.example",
            "https://*.example",
            "https://*",
            "https://app.example:*",
            "https://app.example/",
            "https://app.example/path",
            "https://app.example?x",
            "https://app.example#x",
            "https://user@app.example",
            "https://user:pass@app.example",
            "https://@app.example",
            "http://localhost.evil",
            "http://localhost:1:*",
            "javascript:alert(1)",
            "ftp://localhost",
            "file:///etc",
            " https://app.example",
            "https://app.example\\evil",
            "https://app%2eexample",
        ] {
            assert!(canonical(bad).is_err(), "{bad}");
        }
    }
}
