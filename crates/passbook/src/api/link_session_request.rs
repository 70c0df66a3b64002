//! The body of `POST /link-session`, strictly typed and checked.

use passbook_core::{
    identity::Owner,
    ids::LinkId,
    institution::Country,
    link::OWNERS_MAX,
    numbers,
    product::{Product, ProductSettings},
    session::SessionRequest,
    tenant::Environment,
};
use serde::Deserialize;
use url::Url;

use super::{
    Api,
    body::{Problems, null_is_default, object, objects, optional_object, optional_objects},
    caller::Caller,
    errors::ApiError,
};
use crate::outbound::Policy;

/// Most bytes of the owners in static sandbox data. They are kept with every account.
const OWNERS_BYTES_MAX: usize = 8_192;
/// Most tags of a link.
const TAGS_MAX: usize = 50;
/// Longest URL.
const URL_MAX: usize = 65_536;

/// The body as it is sent.
#[derive(Deserialize)]
pub struct SessionBody {
    #[serde(deserialize_with = "object")]
    customer_user: CustomerUser,
    redirect_uri: String,
    #[serde(default, deserialize_with = "optional_object")]
    settings: Option<Settings>,
    #[serde(default)]
    existing_link_id: Option<String>,
    #[serde(default)]
    institution_id: Option<String>,
    #[serde(default)]
    webhook: Option<String>,
    #[serde(default)]
    link_tags: Option<Vec<String>>,
    #[serde(default, deserialize_with = "optional_object")]
    connect_features: Option<ConnectFeatures>,
    #[serde(default, deserialize_with = "optional_object")]
    custom_sandbox_data: Option<CustomSandboxData>,
}

/// The end user as the app names it.
#[derive(Deserialize)]
pub struct CustomerUser {
    /// The app's own id.
    pub id: String,
    #[serde(default, deserialize_with = "optional_object")]
    email: Option<CustomerUserEmail>,
    #[serde(default, deserialize_with = "optional_object")]
    phone: Option<CustomerUserPhone>,
}

#[derive(Deserialize)]
struct CustomerUserEmail {
    address: String,
    #[serde(default)]
    customer_verified_at: Option<String>,
}

#[derive(Deserialize)]
struct CustomerUserPhone {
    number: String,
    #[expect(dead_code, reason = "checked by its type; Connect will use it to prefill the form")]
    #[serde(default)]
    country: Option<Country>,
    #[serde(default)]
    customer_verified_at: Option<String>,
}

/// Per-session overrides.
#[derive(Deserialize)]
pub struct Settings {
    #[serde(default)]
    providers: Option<Vec<Provider>>,
    #[serde(default, deserialize_with = "optional_object")]
    products: Option<ProductsSettings>,
    #[serde(default)]
    countries: Option<Vec<Country>>,
}

/// The contract's providers.
#[derive(Deserialize, PartialEq)]
#[serde(rename_all = "snake_case")]
pub enum Provider {
    Moneykit,
    Finicity,
    Plaid,
    Yodlee,
    Mx,
    Akoya,
}

#[derive(Deserialize)]
struct ProductsSettings {
    #[serde(default, deserialize_with = "optional_object")]
    account_numbers: Option<SettingsOfProduct>,
    #[serde(default, deserialize_with = "optional_object")]
    identity: Option<SettingsOfProduct>,
    #[serde(default, deserialize_with = "optional_object")]
    transactions: Option<SettingsOfProduct>,
    #[serde(default, deserialize_with = "optional_object")]
    investments: Option<SettingsOfProduct>,
}

#[derive(Deserialize)]
struct SettingsOfProduct {
    #[serde(default, deserialize_with = "null_is_default")]
    required: bool,
    #[serde(default, deserialize_with = "null_is_default")]
    require_permission: bool,
    #[serde(default, deserialize_with = "null_is_default")]
    prefetch: bool,
    #[serde(default)]
    reason: Option<String>,
}

/// Features are all allowed; those that change what a session may do are kept, the rest concern the widget alone.
#[derive(Default, Deserialize)]
struct ConnectFeatures {
    #[serde(default, deserialize_with = "null_is_default")]
    duplicate_institution_rejected: bool,
    #[serde(default, deserialize_with = "null_is_default")]
    permit_only_one_account: bool,
    #[serde(default, deserialize_with = "null_is_default")]
    permit_only_depository_accounts: bool,
}

/// Static data of the sandbox user `user_custom`.
#[derive(Deserialize)]
pub struct CustomSandboxData {
    #[serde(deserialize_with = "objects")]
    accounts: Vec<CustomSandboxAccount>,
    #[serde(default, deserialize_with = "optional_objects")]
    owners: Option<Vec<Owner>>,
}

#[derive(Deserialize)]
struct CustomSandboxAccount {
    account_type: String,
    name: String,
    account_number: String,
    #[serde(default)]
    routing_number: Option<String>,
}

/// What the body asks for, checked.
///
/// # Errors
/// 422 with every problem found.
pub fn read(api: &Api, caller: &Caller, body: SessionBody) -> Result<SessionRequest, ApiError> {
    let mut problems = Problems::default();
    check_user(&mut problems, &body.customer_user);
    check_redirect(&mut problems, &body.redirect_uri);
    if let Some(webhook) = &body.webhook {
        check_webhook(&mut problems, webhook, &api.services.webhooks.policy);
    }
    check_tags(&mut problems, body.link_tags.as_deref().unwrap_or_default());
    if let Some(id) = body.institution_id.as_deref().filter(|_| body.existing_link_id.is_none()) {
        let found = api.services.directory.find(caller.tenant.environment, id);
        problems.require(found.is_some(), "institution_id", "no institution has this id");
    }
    let settings = SettingsRead::of(&mut problems, body.settings);
    let custom = body.custom_sandbox_data;
    if let Some(data) = &custom {
        let sandbox = caller.tenant.environment == Environment::Sandbox;
        problems.require(sandbox, "custom_sandbox_data", "is for the sandbox only");
        check_custom_data(&mut problems, data);
    }
    problems.finish()?;
    let features = body.connect_features.unwrap_or_default();
    Ok(SessionRequest {
        customer_user_id: body.customer_user.id,
        // An id that cannot be one is as unknown as any other; the service answers for both alike.
        existing_link_id: body.existing_link_id.map(|id| LinkId::parse(&id).unwrap_or_else(|| LinkId::from_bits(0))),
        institution_id: body.institution_id,
        redirect_uri: body.redirect_uri,
        webhook: body.webhook,
        tags: body.link_tags.unwrap_or_default(),
        products: settings.products,
        countries: settings.countries,
        permit_only_depository_accounts: features.permit_only_depository_accounts,
        permit_only_one_account: features.permit_only_one_account,
        duplicate_institution_rejected: features.duplicate_institution_rejected,
        custom_sandbox_data: custom.as_ref().map(custom_data_json),
        person_seed: None,
    })
}

/// Settings as the domain takes them.
#[derive(Default)]
pub struct SettingsRead {
    /// Requested products; `None` for the app's defaults.
    pub products: Option<Vec<(Product, ProductSettings)>>,
    /// Countries; empty for any.
    pub countries: Vec<Country>,
}

impl SettingsRead {
    /// Reads optional settings.
    pub fn of(problems: &mut Problems, settings: Option<Settings>) -> Self {
        let Some(settings) = settings else { return Self::default() };
        if let Some(providers) = &settings.providers {
            let ours = providers.is_empty() || providers.contains(&Provider::Moneykit);
            problems.require(ours, "settings.providers", "this server's only provider is moneykit");
        }
        let products = settings.products.map(|products| {
            [
                (Product::AccountNumbers, products.account_numbers),
                (Product::Identity, products.identity),
                (Product::Transactions, products.transactions),
                (Product::Investments, products.investments),
            ]
            .into_iter()
            .filter_map(|(product, settings)| Some((product, domain_settings(settings?))))
            .collect()
        });
        Self { products, countries: settings.countries.unwrap_or_default() }
    }
}

fn domain_settings(settings: SettingsOfProduct) -> ProductSettings {
    ProductSettings {
        required: settings.required,
        require_permission: settings.require_permission,
        prefetch: settings.prefetch,
        reason: settings.reason,
    }
}

/// Checks the end user.
pub fn check_user(problems: &mut Problems, user: &CustomerUser) {
    problems.length(&user.id, "customer_user.id", 4, 150);
    let mut verified_at = |text: Option<&String>, field: &str| {
        if let Some(text) = text {
            let known = text.parse::<jiff::Timestamp>().is_ok() || text.parse::<jiff::civil::DateTime>().is_ok();
            problems.require(known, field, "must be a date-time");
        }
    };
    verified_at(
        user.email.as_ref().and_then(|email| email.customer_verified_at.as_ref()),
        "customer_user.email.customer_verified_at",
    );
    verified_at(
        user.phone.as_ref().and_then(|phone| phone.customer_verified_at.as_ref()),
        "customer_user.phone.customer_verified_at",
    );
    if let Some(email) = &user.email {
        problems.length(&email.address, "customer_user.email.address", 4, 254);
    }
    if let Some(phone) = &user.phone {
        problems.length(&phone.number, "customer_user.phone.number", 4, 30);
    }
}

/// Checks tags: under 100 characters, first one a letter or digit. Every event carries them, so their number is bounded.
pub fn check_tags(problems: &mut Problems, tags: &[String]) {
    problems.require(tags.len() <= TAGS_MAX, "link_tags", &format!("must have at most {TAGS_MAX} tags"));
    for (index, tag) in tags.iter().enumerate() {
        let ok = tag.chars().count() < 100 && tag.starts_with(|first: char| first.is_ascii_alphanumeric());
        problems.require(
            ok,
            &format!("link_tags.{index}"),
            "must have 1 to 99 characters and start with a letter or digit",
        );
    }
}

/// Checks a webhook URL: absolute http or https, nobody's password in it, and one that the server may call.
pub fn check_webhook(problems: &mut Problems, webhook: &str, policy: &Policy) {
    problems.length(webhook, "webhook", 1, URL_MAX);
    match policy.check(webhook) {
        Ok(_) => problems.require(clean_url(webhook).is_some(), "webhook", "must be an absolute http or https URL"),
        Err(refusal) => problems.require(false, "webhook", &refusal.to_string()),
    }
}

fn check_redirect(problems: &mut Problems, redirect_uri: &str) {
    problems.length(redirect_uri, "redirect_uri", 1, URL_MAX);
    let plain = clean_url(redirect_uri).is_some_and(|url| url.query().is_none() && url.fragment().is_none());
    problems.require(
        plain,
        "redirect_uri",
        "must be an absolute http or https URL without query, fragment and user info",
    );
}

/// A URL that two parsers cannot read differently: no backslash, no control characters or white space, an explicit
/// `scheme://`, no user info, and the host spelled as it is meant: not escaped, not in full-width letters, not an address
/// in octal. An internationalised name is written in its ASCII form.
fn clean_url(text: &str) -> Option<Url> {
    let suspicious = |letter: char| letter == '\\' || letter.is_control() || letter.is_whitespace();
    let (scheme, rest) = text.split_once("://")?;
    let web = scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https");
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    // An empty user info (`https://@host`) leaves no trace in the parsed URL.
    if !web || authority.contains('@') || text.chars().any(suspicious) {
        return None;
    }
    let host = match authority.find(']') {
        Some(end) => &authority[..=end],
        None => authority.split(':').next().unwrap_or_default(),
    };
    Url::parse(text).ok().filter(|url| url.host_str().is_some_and(|read| read.eq_ignore_ascii_case(host)))
}

/// Checks the static sandbox data.
pub fn check_custom_data(problems: &mut Problems, data: &CustomSandboxData) {
    problems.require(data.accounts.len() <= 100, "custom_sandbox_data.accounts", "must have at most 100 accounts");
    let owners = data.owners.as_deref().unwrap_or_default();
    let small =
        owners.len() <= OWNERS_MAX && serde_json::to_vec(owners).is_ok_and(|json| json.len() <= OWNERS_BYTES_MAX);
    let message = format!("must have at most {OWNERS_MAX} owners, together at most {OWNERS_BYTES_MAX} bytes");
    problems.require(small, "custom_sandbox_data.owners", &message);
    for (index, account) in data.accounts.iter().enumerate() {
        let field = |name: &str| format!("custom_sandbox_data.accounts.{index}.{name}");
        problems.length(&account.account_type, &field("account_type"), 1, 100);
        problems.length(&account.name, &field("name"), 1, 200);
        problems.length(&account.account_number, &field("account_number"), 1, 34);
        if let Some(routing_number) = &account.routing_number {
            let valid = numbers::aba::check(routing_number) == numbers::Verdict::Valid;
            problems.require(valid, &field("routing_number"), "must be nine digits with a valid ABA check digit");
        }
    }
}

/// The data as connectors take it: the contract's own shape.
pub fn custom_data_json(data: &CustomSandboxData) -> serde_json::Value {
    let accounts: Vec<_> = data
        .accounts
        .iter()
        .map(|account| {
            serde_json::json!({
                "account_type": account.account_type,
                "name": account.name,
                "account_number": account.account_number,
                "routing_number": account.routing_number,
            })
        })
        .collect();
    serde_json::json!({ "accounts": accounts, "owners": data.owners })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_that_parsers_disagree_about_are_refused() {
        for good in [
            "https://app.example/oauth",
            "http://localhost:3000",
            "HTTPS://APP.example/@",
            "http://[::1]:3000",
            "http://127.0.0.1:9",
            "https://xn--bcher-kva.example",
        ] {
            assert!(clean_url(good).is_some(), "{good}");
        }
        for bad in [
            "",
            "//evil",
            "/\\evil",
            "https:evil",
            "https:\\\\evil",
            "https://good@evil",
            "https://good:x@evil",
            "https://@good",
            "https://:@good",
            "https:///evil",
            "https://good.example\\@evil",
            "ht\ttps://good",
            "https://good\n.example",
            " https://good",
            "javascript:alert(1)",
            "data:text/html,x",
            "ftp://good",
            "https://",
            "http://[::1",
            "https://%00",
            "https://app%2eexample",
            "https://ａpp.example",
            "https://app。example",
            "https://bücher.example",
            "http://127.1",
            "http://0x7f.0.0.1",
            "http://2130706433",
            "http://0177.0.0.1",
        ] {
            assert!(clean_url(bad).is_none(), "{bad:?}");
        }
    }
}
