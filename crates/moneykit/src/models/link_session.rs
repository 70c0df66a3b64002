//! Link sessions (`/link-session`): short-lived contexts in which the Connect widget creates or repairs a link.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Country, CustomerUserId, InstitutionId, LinkCommon, LinkId, Owner, ProductsSettings, Provider};
use crate::wire::{null_as_default, redact::debug_redacted, timestamp};

/// Parameters of a new link session.
///
/// ```
/// use moneykit::models::{CreateLinkSessionRequest, LinkSessionSettingOverrides, ProductSettings, ProductsSettings};
///
/// let numbers = ProductSettings { required: true, prefetch: true, ..Default::default() };
/// let products = ProductsSettings { account_numbers: Some(numbers), ..Default::default() };
/// let request = CreateLinkSessionRequest::new("user-17", "https://app.example/oauth")
///     .settings(LinkSessionSettingOverrides { products: Some(products), ..Default::default() })
///     .link_tags(["payroll"]);
/// assert_eq!(request.customer_user.id.as_str(), "user-17");
/// ```
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreateLinkSessionRequest {
    /// Overrides of the app's defaults.
    #[serde(default)]
    pub settings: Option<LinkSessionSettingOverrides>,
    /// The end user.
    pub customer_user: CustomerUser,
    /// The link to reconnect or extend; `None` creates a new one.
    #[serde(default)]
    pub existing_link_id: Option<LinkId>,
    /// Skips the choice of an institution; ignored with `existing_link_id`.
    #[serde(default)]
    pub institution_id: Option<InstitutionId>,
    /// Where OAuth returns to: 1 to 65536 characters, no query, its origin on the app's allow-list.
    pub redirect_uri: String,
    /// Webhook URL of the link, 1 to 65536 characters. On a reconnect, `None` removes the old one.
    #[serde(default)]
    pub webhook: Option<String>,
    /// Tags of the link, each under 100 characters and starting with a letter or digit. On a reconnect, `None` removes
    /// the old ones.
    #[serde(default)]
    pub link_tags: Option<Vec<String>>,
    /// How Connect behaves.
    #[serde(default)]
    pub connect_features: Option<MoneyKitConnectFeatures>,
    /// Static data for the sandbox.
    #[serde(default)]
    pub custom_sandbox_data: Option<CustomSandboxData>,
}

debug_redacted!(CreateLinkSessionRequest {
    show: [settings, customer_user, existing_link_id, institution_id, redirect_uri, link_tags, connect_features],
    hide: [webhook, custom_sandbox_data]
});

impl CreateLinkSessionRequest {
    /// A session for `customer_user` (or just the user's id) that returns to `redirect_uri`.
    pub fn new(customer_user: impl Into<CustomerUser>, redirect_uri: impl Into<String>) -> Self {
        Self {
            settings: None,
            customer_user: customer_user.into(),
            existing_link_id: None,
            institution_id: None,
            redirect_uri: redirect_uri.into(),
            webhook: None,
            link_tags: None,
            connect_features: None,
            custom_sandbox_data: None,
        }
    }

    /// Overrides the app's default settings.
    #[must_use]
    pub fn settings(mut self, settings: LinkSessionSettingOverrides) -> Self {
        self.settings = Some(settings);
        self
    }

    /// Reconnects or extends this link instead of creating one.
    #[must_use]
    pub fn existing_link_id(mut self, link_id: impl Into<LinkId>) -> Self {
        self.existing_link_id = Some(link_id.into());
        self
    }

    /// Skips the choice of an institution.
    #[must_use]
    pub fn institution_id(mut self, institution_id: impl Into<InstitutionId>) -> Self {
        self.institution_id = Some(institution_id.into());
        self
    }

    /// Sends the link's events to this URL.
    #[must_use]
    pub fn webhook(mut self, url: impl Into<String>) -> Self {
        self.webhook = Some(url.into());
        self
    }

    /// Tags the link.
    #[must_use]
    pub fn link_tags<T: Into<String>>(mut self, tags: impl IntoIterator<Item = T>) -> Self {
        self.link_tags = Some(tags.into_iter().map(Into::into).collect());
        self
    }

    /// Chooses how Connect behaves.
    #[must_use]
    pub fn connect_features(mut self, features: MoneyKitConnectFeatures) -> Self {
        self.connect_features = Some(features);
        self
    }

    /// Sets the data that the sandbox user `user_custom` returns.
    #[must_use]
    pub fn custom_sandbox_data(mut self, data: CustomSandboxData) -> Self {
        self.custom_sandbox_data = Some(data);
        self
    }
}

/// The end user, in the calling app's own terms. `Debug` hides the contact data.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CustomerUser {
    /// The app's own user id, 4 to 150 characters.
    pub id: CustomerUserId,
    /// Email.
    #[serde(default)]
    pub email: Option<CustomerUserEmail>,
    /// Mobile phone.
    #[serde(default)]
    pub phone: Option<CustomerUserPhone>,
}

impl CustomerUser {
    /// A user known by id only.
    pub fn new(id: impl Into<CustomerUserId>) -> Self {
        Self { id: id.into(), email: None, phone: None }
    }
}

impl From<&str> for CustomerUser {
    fn from(id: &str) -> Self {
        Self::new(id)
    }
}

impl From<String> for CustomerUser {
    fn from(id: String) -> Self {
        Self::new(id)
    }
}

impl From<CustomerUserId> for CustomerUser {
    fn from(id: CustomerUserId) -> Self {
        Self::new(id)
    }
}

/// The end user's email.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CustomerUserEmail {
    /// Address, 4 to 254 characters.
    pub address: String,
    /// When the app last verified it; leave `None` if it never did.
    #[serde(default, with = "timestamp::option")]
    pub customer_verified_at: Option<Timestamp>,
}

debug_redacted!(CustomerUserEmail { show: [customer_verified_at], hide: [address] });

/// The end user's mobile phone.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CustomerUserPhone {
    /// Number, 4 to 30 characters, preferably E.164.
    pub number: String,
    /// Helps to read a number that is not E.164.
    #[serde(default)]
    pub country: Option<Country>,
    /// When the app last verified it; leave `None` if it never did.
    #[serde(default, with = "timestamp::option")]
    pub customer_verified_at: Option<Timestamp>,
}

debug_redacted!(CustomerUserPhone { show: [country, customer_verified_at], hide: [number] });

/// Per-session overrides of the app's defaults.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkSessionSettingOverrides {
    /// Offer only institutions that any of these providers supports.
    #[serde(default)]
    pub providers: Option<Vec<Provider>>,
    /// The products to ask for.
    #[serde(default)]
    pub products: Option<ProductsSettings>,
    /// Offer only institutions of these countries, in this order.
    #[serde(default)]
    pub countries: Option<Vec<Country>>,
}

/// Optional behaviours of Connect, all off by default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MoneyKitConnectFeatures {
    /// Show a button that reports an issue.
    #[serde(default, deserialize_with = "null_as_default")]
    pub issue_reporter: bool,
    /// Offer to sign up or in with Money ID.
    #[serde(default, deserialize_with = "null_as_default")]
    pub enable_money_id: bool,
    /// Warn when the user links the same institution twice.
    #[serde(default, deserialize_with = "null_as_default")]
    pub duplicate_institution_warning: bool,
    /// Hide institutions the user already has a connected link to.
    #[serde(default, deserialize_with = "null_as_default")]
    pub duplicate_institution_rejected: bool,
    /// Offer to connect manually.
    #[serde(default, deserialize_with = "null_as_default")]
    pub connect_manually: bool,
    /// The user may grant exactly one account.
    #[serde(default, deserialize_with = "null_as_default")]
    pub permit_only_one_account: bool,
    /// The user may grant depository accounts only; linking fails if there are none.
    #[serde(default, deserialize_with = "null_as_default")]
    pub permit_only_depository_accounts: bool,
}

/// Static data that the sandbox's Credentials Bank returns to the user `user_custom`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CustomSandboxData {
    /// Accounts.
    pub accounts: Vec<CustomSandboxAccount>,
    /// Owners of every account; random when `None`.
    #[serde(default)]
    pub owners: Option<Vec<Owner>>,
}

/// One static sandbox account.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CustomSandboxAccount {
    /// Dotted type such as `depository.checking`.
    pub account_type: String,
    /// Display name.
    pub name: String,
    /// Account number.
    pub account_number: String,
    /// ABA routing number with a valid check digit; it need not belong to a bank.
    #[serde(default)]
    pub routing_number: Option<String>,
}

debug_redacted!(CustomSandboxAccount { show: [account_type], hide: [name, account_number, routing_number] });

/// What the front end hands to Connect. `Debug` hides the token.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreateLinkSessionResponse {
    /// Session token, good for several launches of Connect until one succeeds.
    pub link_session_token: String,
}

debug_redacted!(CreateLinkSessionResponse { show: [], hide: [link_session_token] });

/// Trades the token of Connect's success callback for a link. `Debug` hides the token.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExchangeTokenRequest {
    /// Token from Connect; usable once, for a short time.
    pub exchangeable_token: String,
}

debug_redacted!(ExchangeTokenRequest { show: [], hide: [exchangeable_token] });

impl ExchangeTokenRequest {
    /// Exchanges this token.
    pub fn new(exchangeable_token: impl Into<String>) -> Self {
        Self { exchangeable_token: exchangeable_token.into() }
    }
}

/// The link behind an exchanged token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExchangeTokenResponse {
    /// Deprecated duplicate of `link.link_id`.
    pub link_id: LinkId,
    /// The link, now `connected`.
    pub link: LinkCommon,
}
