//! Rust SDK for the MoneyKit account-linking API, version 2023-02-18, and for every server that speaks it.
//!
//! A *link* is one end user's lasting authorisation at one institution. The app's back end opens a link session, the
//! end user signs in through the Connect widget, and the back end exchanges the widget's token for the link. From then
//! on it reads the link's products: accounts, payment numbers, owners, transactions. A read never makes the server
//! fetch from the bank; a refresh does, in the background.
//!
//! ```no_run
//! # #[cfg(feature = "client")]
//! # async fn example() -> Result<(), moneykit::Error> {
//! use moneykit::{Client, api::AccountNumbersApi};
//!
//! let client = Client::builder()
//!     .base_url("http://localhost:8080")
//!     .client_credentials("sandbox_0123456789abcdef0123", "the client's secret")
//!     .build()?;
//!
//! let answer = AccountNumbersApi::new(&client).get_account_numbers("mk_eqkWN34UEoa2NxyALG8pcV").await?;
//! for account in &answer.accounts {
//!     for ach in &account.numbers.ach {
//!         println!("{} has the routing number {}", account.account_id, ach.routing_number);
//!     }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # What is where
//!
//! - [`models`]: the wire vocabulary, one type per schema of the contract. Always built; `default-features = false`
//!   builds nothing else.
//! - [`Client`] (feature `client`, on by default): connections, the access token, repetitions.
//! - [`api`]: the operations, grouped and named like the official SDKs. Every operation also exists as
//!   `…_with_http_info`, which gives status and headers too. Lists can be walked page by page or item by item, also as a
//!   `Stream`: [`api::Pages`].
//! - [`Client::request`]: calls that have no method here.
//! - [`blocking`] (feature `blocking`): the same without async.
//! - [`webhooks`] (feature `webhooks`): what the server sends to the app, verified.
//! - [`Error`]: one opaque error that answers questions: [`error_code`](Error::error_code),
//!   [`status`](Error::status), [`request_id`](Error::request_id), [`is_retryable`](Error::is_retryable).
//!
//! # Cargo features
//!
//! | Feature | Default | Gives |
//! | --- | --- | --- |
//! | `client` | yes | the async client; without it only [`models`] is built |
//! | `axum` | no | `webhooks::VerifiedWebhook`, a verified webhook as an argument of an axum handler |
//! | `blocking` | no | [`blocking::Client`], on a thread of its own |
//! | `tracing` | no | a span for each call (`moneykit.call`, level debug) with operation, method, status, request id and error code, and an event for each repetition; never an id, a secret or data |
//! | `webhooks` | no | [`webhooks::Verifier`] |
//!
//! # Amounts
//!
//! The contract writes amounts with three sign conventions. They are three types, which convert into each other only
//! where the direction is known: [`TransactionAmount`](models::TransactionAmount),
//! [`ImportAmount`](models::ImportAmount), [`InvestmentAmount`](models::InvestmentAmount). `Debug` of them hides the
//! amount, `Display` shows it.
//!
//! # Care with what is read
//!
//! `Debug` of no type in this crate shows account numbers, tokens, balances or personal data, and errors never quote an
//! answer. The fields themselves are plain text: what the caller prints is the caller's choice.
#![deny(missing_docs)]
// Without all features some links above lead nowhere, which is not worth two versions of this page.
#![cfg_attr(
    not(all(feature = "blocking", feature = "webhooks")),
    expect(rustdoc::broken_intra_doc_links, reason = "the page describes all features")
)]

#[cfg(feature = "client")]
pub mod api;
#[cfg(feature = "blocking")]
pub mod blocking;
#[cfg(feature = "client")]
mod client;
#[cfg(feature = "client")]
mod error;
pub mod models;
#[cfg(feature = "webhooks")]
pub mod webhooks;
mod wire;

#[cfg(feature = "client")]
pub use client::{ApiResponse, Client, ClientBuilder, EventStream, Request};
#[cfg(feature = "client")]
pub use error::Error;
/// The types of methods, statuses and headers that this crate's interface uses.
#[cfg(feature = "client")]
pub use http;
/// Dates and instants, as this crate's interface uses them.
pub use jiff;
/// Exact decimals, as this crate's interface uses them.
pub use rust_decimal;

/// Compiles the project's README as a test, so that its example cannot rot.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;
