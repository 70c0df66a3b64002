//! The wire vocabulary: one type per schema of the MoneyKit API, version 2023-02-18.
//!
//! Each file holds one resource, and every type keeps the name the contract (`openapi.yaml`) gives it. Conventions:
//!
//! - **Amounts** are [`rust_decimal::Decimal`] in major units and exact in both directions. Balances are JSON numbers,
//!   every other amount is a decimal string that keeps its trailing zeros. Read and write them as text
//!   ([`serde_json::from_slice`], [`serde_json::to_vec`]); a detour over [`serde_json::Value`] goes through floats.
//! - **Date-times** are [`jiff::Timestamp`], written in UTC with six fractional digits; one without an offset is read as
//!   UTC. **Dates** are [`jiff::civil::Date`].
//! - **Enums** are open: a word this release does not know is kept as `Unknown` and written back unchanged.
//! - **Optional fields** are written as explicit `null`; absent and null read the same. Products that were not granted
//!   are left out of [`LinkProducts`]. Unknown fields are ignored.
//! - **Field order** is the contract's order.
//! - **`Debug`** never shows account numbers, tokens, balances, or personal data; serialise a value to see them.
//!
//! - **Signs**: the contract writes amounts in three ways, which are three [types](TransactionAmount) here.

mod access_token;
mod account_numbers;
mod accounts;
mod amounts;
mod enrichment;
pub mod errors;
mod events;
mod identity;
mod ids;
mod imports;
mod institutions;
mod investments;
mod jwks;
mod link_session;
mod links;
mod products;
mod sync;
mod transactions;
mod users;
mod webhooks;

pub use access_token::{AppClientResponse, AppResponse, CreateAccessTokenResponse};
pub use account_numbers::{
    AccountNumbers, AccountWithAccountNumbers, AccountWithoutNumbers, AchNumber, BacsNumber, EftNumber,
    GetAccountNumbersResponse, InternationalNumber, MissingNumbersReason,
};
pub use accounts::{AccountBalances, AccountResponse, GetAccountResponse, GetAccountsResponse};
pub use amounts::{ImportAmount, InvestmentAmount, TransactionAmount};
pub use enrichment::{BudCategory, BudPrimaryCategory, BudSubcategory, CorrectEnrichmentResponse};
pub use events::{
    DeliveryState, EventCursors, EventDelivery, GetEventsResponse, LedgerEvent, ReplayEvents, ReplayEventsResponse,
    SignedWebhook,
};
pub use identity::{AccountIdentity, Address, Email, IdentityResponse, Owner, PhoneNumber, PhoneNumberType};
pub use ids::{AccountId, CustomerUserId, InstitutionId, InvestmentTransactionId, LinkId, SecurityId, TransactionId};
pub use imports::{AccountImportData, ImportLinkRequest, ImportTransactionsRequest, ModelDate, TransactionImportData};
pub use institutions::{Country, CursorPagination, GetInstitutionsResponse, Institution};
pub use investments::{
    GetHoldingsResponse, GetInvestmentTransactionsResponse, HoldingResponse, InvestmentTransactionKind,
    InvestmentTransactionResponse, SecurityResponse, SecurityType,
};
pub use jwks::{JWKSet, JsonWebKey};
pub use link_session::{
    CreateLinkSessionRequest, CreateLinkSessionResponse, CustomSandboxAccount, CustomSandboxData, CustomerUser,
    CustomerUserEmail, CustomerUserPhone, ExchangeTokenRequest, ExchangeTokenResponse, LinkSessionSettingOverrides,
    MoneyKitConnectFeatures,
};
pub use links::{
    GetLinksLink, GetLinksResponse, LinkCommon, MissingProduct, MissingProductReason, Provider, PublicLinkError,
    PublicLinkState, UpdateLinkRequest, WebhookChange,
};
pub use products::{
    LinkProductError, LinkProductResponse, LinkProducts, Product, ProductRefreshStatus, ProductSettings,
    ProductsSettings, RefreshProductsRequest, TransactionsLinkProduct, TransactionsProductSettings,
};
pub use sync::{TransactionSync, TransactionSyncResponse};
pub use transactions::{
    GetTransactionsResponse, TransactionCategoryResponse, TransactionEnrichmentResponse, TransactionMerchantResponse,
    TransactionProcessorResponse, TransactionRecurrenceResponse, TransactionResponse, TransactionSubcategoryResponse,
    TransactionType,
};
pub use users::{
    AccountGroup, BasicAccountDetails, GetUserAccountsResponse, GetUserLinksResponse, GetUserTransactionsResponse,
};
pub use webhooks::{
    AppLinkStateChangedWebhook, LinkProductState, ProductStateChangedWebhook, TransactionUpdatesAvailableWebhook,
    WebhookLinkTestEvent, WebhookTestLinkRequest, WebhookTestLinkResponse,
};
