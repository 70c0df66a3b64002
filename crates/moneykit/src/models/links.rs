//! Links (`/links`): one end user's lasting authorisation at one institution.

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{InstitutionId, LinkId, LinkProducts, Product};
use crate::wire::{null_as_default, open_enum::open_enum, redact::debug_redacted, timestamp};

open_enum! {
    /// Where a link is in its life.
    PublicLinkState {
        /// The end user is in Connect, or a reconnect is running.
        Connecting = "connecting",
        /// The end user finished; the app has not exchanged the token yet.
        AwaitingTokenExchange = "awaiting_token_exchange",
        /// Usable.
        Connected = "connected",
        /// Removed; a stub stays readable for 90 days.
        Deleted = "deleted",
        /// Not usable; `error_code` says why.
        Error = "error",
    }
}

open_enum! {
    /// Why a link does not give a product. A word of Passbook; other servers do not tell.
    MissingProductReason {
        /// The end user was not asked for it, or opted out; a later session may add it.
        NotGranted = "not_granted",
        /// The institution cannot give it.
        NotOffered = "not_offered",
    }
}

open_enum! {
    /// Why a link is in state `error`.
    PublicLinkError {
        /// The service failed.
        SystemError = "system_error",
        /// The data provider failed.
        ProviderError = "provider_error",
        /// The institution has an outage or maintenance.
        InstitutionError = "institution_error",
        /// The user did not finish: no institution chosen, sign-in failed, or the flow was abandoned.
        UserError = "user_error",
        /// Access ended: credentials changed, consent expired or was revoked. The user must reconnect.
        AuthExpired = "auth_expired",
        /// No account carries the requested kind of data.
        NoAccounts = "no_accounts",
        /// The user must act on the institution's own site first.
        UserSetupRequired = "user_setup_required",
        /// Wrong credentials.
        InvalidCredentials = "invalid_credentials",
        /// The user refused at the institution's OAuth page.
        UserOauthDenied = "user_oauth_denied",
        /// Wrong security answer or code.
        UserInputIncorrect = "user_input_incorrect",
        /// Partly done; the user can finish in a later session.
        Incomplete = "incomplete",
    }
}

open_enum! {
    /// The upstream data provider.
    Provider {
        /// MoneyKit itself, or the server speaking its API.
        Moneykit = "moneykit",
        /// Finicity.
        Finicity = "finicity",
        /// Plaid.
        Plaid = "plaid",
        /// Yodlee.
        Yodlee = "yodlee",
        /// MX.
        Mx = "mx",
        /// Akoya.
        Akoya = "akoya",
    }
}

/// A link, embedded in most answers. `Debug` hides the webhook, whose URL may carry a secret of the app.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkCommon {
    /// Link id.
    pub link_id: LinkId,
    /// Institution id.
    pub institution_id: InstitutionId,
    /// Institution name.
    pub institution_name: String,
    /// URL of the institution's avatar image.
    pub institution_avatar: String,
    /// State; links deleted less than 90 days ago show `deleted`.
    pub state: PublicLinkState,
    /// Set only in state `error`.
    #[serde(default)]
    pub error_code: Option<PublicLinkError>,
    /// Deprecated: the newest `refreshed_at` of any product.
    #[serde(default, with = "timestamp::option")]
    pub last_synced_at: Option<Timestamp>,
    /// The provider that last made the connection; it may change.
    pub provider: Provider,
    /// Tags of the link.
    #[serde(default)]
    pub link_tags: Option<Vec<String>>,
    /// Deprecated alias of `link_tags`.
    #[serde(default)]
    pub tags: Option<Vec<String>>,
    /// Webhook URL.
    #[serde(default)]
    pub webhook: Option<String>,
    /// Granted products.
    pub products: LinkProducts,
    /// Products that a further link session could add.
    pub available_products: Vec<Product>,
    /// Products that stand neither in `products` nor will be there by themselves, and why. A field of Passbook; empty
    /// where another server answered.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missing_products: Vec<MissingProduct>,
}

/// A product that a link does not give.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MissingProduct {
    /// The product.
    pub product: Product,
    /// Why.
    pub reason: MissingProductReason,
}

debug_redacted!(LinkCommon {
    show: [
        link_id,
        institution_id,
        institution_name,
        institution_avatar,
        state,
        error_code,
        last_synced_at,
        provider,
        link_tags,
        tags,
        products,
        available_products,
        missing_products,
    ],
    hide: [webhook]
});

/// One page of active links: those that connected, have data, and are not deleted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GetLinksResponse {
    /// Links, oldest first; a null on the wire reads as an empty list.
    #[serde(default, deserialize_with = "null_as_default")]
    pub links: Vec<GetLinksLink>,
    /// Cursor of the next page; empty at the end.
    #[serde(default, deserialize_with = "null_as_default")]
    pub next_cursor: String,
}

/// Id and creation time of a link.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GetLinksLink {
    /// Link id.
    pub link_id: LinkId,
    /// Creation time.
    #[serde(with = "timestamp")]
    pub created_at: Timestamp,
}

/// What to change about a link. What is not named stays.
///
/// ```
/// use moneykit::models::UpdateLinkRequest;
///
/// let request = UpdateLinkRequest::new().without_webhook().link_tags(["payroll"]);
/// assert_eq!(serde_json::to_string(&request).unwrap(), r#"{"webhook":null,"link_tags":["payroll"]}"#);
/// ```
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpdateLinkRequest {
    /// What becomes of the webhook URL. On the wire, null removes it and an absent field keeps it.
    #[serde(default, skip_serializing_if = "WebhookChange::is_keep")]
    pub webhook: WebhookChange,
    /// The whole new list of tags, each under 100 characters and starting with a letter or digit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link_tags: Option<Vec<String>>,
    /// Deprecated alias of `link_tags`, which wins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tags: Option<Vec<String>>,
}

debug_redacted!(UpdateLinkRequest { show: [link_tags, tags], hide: [webhook] });

impl UpdateLinkRequest {
    /// Changes nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sends the link's events to this URL, of 1 to 65536 characters.
    #[must_use]
    pub fn webhook(mut self, url: impl Into<String>) -> Self {
        self.webhook = WebhookChange::Set(url.into());
        self
    }

    /// Sends the link's events nowhere.
    #[must_use]
    pub fn without_webhook(mut self) -> Self {
        self.webhook = WebhookChange::Remove;
        self
    }

    /// Replaces the tags.
    #[must_use]
    pub fn link_tags<T: Into<String>>(mut self, tags: impl IntoIterator<Item = T>) -> Self {
        self.link_tags = Some(tags.into_iter().map(Into::into).collect());
        self
    }
}

/// What becomes of a webhook URL. `Debug` hides the URL, which may carry a secret of the app.
#[derive(Clone, Default, PartialEq, Eq)]
pub enum WebhookChange {
    /// It stays.
    #[default]
    Keep,
    /// It goes.
    Remove,
    /// It becomes this one.
    Set(String),
}

impl WebhookChange {
    fn is_keep(&self) -> bool {
        *self == Self::Keep
    }
}

impl std::fmt::Debug for WebhookChange {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::Keep => "Keep",
            Self::Remove => "Remove",
            Self::Set(_) => "Set([redacted])",
        })
    }
}

impl Serialize for WebhookChange {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Keep | Self::Remove => serializer.serialize_none(),
            Self::Set(url) => serializer.serialize_str(url),
        }
    }
}

impl<'de> Deserialize<'de> for WebhookChange {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Option::deserialize(deserializer)?.map_or(Self::Remove, Self::Set))
    }
}
