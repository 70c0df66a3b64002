//! The client for programs without an async runtime (feature `blocking`).
//!
//! ```no_run
//! # fn example() -> Result<(), moneykit::Error> {
//! use moneykit::api::GetLinksQuery;
//!
//! let client = moneykit::Client::builder()
//!     .base_url("http://localhost:8080")
//!     .client_credentials("sandbox_0123456789abcdef0123", "the client's secret")
//!     .build_blocking()?;
//!
//! for link in client.links().get_links_pages(&GetLinksQuery::new()).items() {
//!     println!("{}", link?.link_id);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! A [`Client`] owns one thread with an async runtime, on which connections and timers live. A call runs on the thread
//! that makes it and blocks that thread only; any number of threads may call at the same time. The runtime ends with
//! the last clone of the client.
//!
//! # Panics
//! A call panics on a thread that drives async tasks, because it would block all of them. Use the async
//! [`Client`](crate::Client) there.

mod groups;

use std::{fmt, future::Future, sync::Arc, thread::JoinHandle};

use tokio::{runtime::Handle, sync::oneshot};

pub use self::groups::{
    AccessTokenApi, AccountNumbersApi, AccountsApi, EventsApi, IdentityApi, InstitutionsApi, InvestmentsApi,
    LinkSessionApi, LinksApi, ProductsApi, TransactionsApi, UsersApi, WebhooksApi,
};
use crate::{
    ClientBuilder, Error,
    api::{self, List, Page},
    error::Kind,
};

/// A handle to one MoneyKit-compatible server, like [`moneykit::Client`](crate::Client), that blocks. Cheap to clone.
#[derive(Clone)]
pub struct Client {
    client: crate::Client,
    runtime: Arc<Runtime>,
}

/// The runtime and the thread that drives it.
struct Runtime {
    handle: Handle,
    /// Dropped to end the thread.
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl ClientBuilder {
    /// Builds a client that blocks, and starts its thread. Nothing is sent yet.
    ///
    /// # Errors
    /// Those of [`build`](Self::build), and when the thread cannot be started.
    pub fn build_blocking(self) -> Result<Client, Error> {
        Ok(Client { client: self.build()?, runtime: Arc::new(Runtime::start()?) })
    }
}

impl Client {
    /// The client behind it. Use it on this client's runtime only, that is: inside of [`wait`](Self::wait).
    #[must_use]
    pub fn inner(&self) -> &crate::Client {
        &self.client
    }

    /// Waits for anything that the async client does and this one has no method for.
    ///
    /// ```no_run
    /// # fn example(client: moneykit::blocking::Client) -> Result<(), moneykit::Error> {
    /// let answer = client.wait(client.inner().links().get_link_with_http_info("mk_eqkWN34UEoa2NxyALG8pcV"))?;
    /// println!("{}", answer.status);
    /// # Ok(())
    /// # }
    /// ```
    pub fn wait<F: Future>(&self, future: F) -> F::Output {
        self.runtime.handle.block_on(future)
    }

    /// This client with an idempotency key; see [the async one](crate::Client::with_idempotency_key).
    ///
    /// # Errors
    /// The key does not have 1 to 255 printable ASCII characters. Nothing is sent.
    pub fn with_idempotency_key(&self, key: &str) -> Result<Self, Error> {
        Ok(Self { client: self.client.with_idempotency_key(key)?, runtime: Arc::clone(&self.runtime) })
    }
}

impl Runtime {
    fn start() -> Result<Self, Error> {
        let failed = |_| Error::new("client", Kind::Config("the thread of the blocking client cannot be started"));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel::<()>();
        let drive = move || {
            // Nobody sends anything; the sender goes away. Until then connections and timers are driven here.
            let _ = runtime.block_on(stopped);
        };
        let thread = std::thread::Builder::new().name("moneykit".to_owned()).spawn(drive).map_err(failed)?;
        Ok(Self { handle, stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // The thread does nothing that could fail; were it to panic, a second panic here would help nobody.
            let _ = thread.join();
        }
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Client").field(&self.client).finish()
    }
}

/// The pages of a list, one after the other. After an error it has ended.
#[derive(Debug)]
#[must_use = "pages are fetched only when asked for"]
pub struct Pages<P> {
    client: Client,
    pages: api::Pages<P>,
}

impl<P: Page> Pages<P> {
    fn new(client: &Client, pages: api::Pages<P>) -> Self {
        Self { client: client.clone(), pages }
    }
}

impl<P: List> Pages<P> {
    /// The items of all pages.
    pub fn items(self) -> Items<P> {
        Items { client: self.client, items: self.pages.items() }
    }
}

impl<P: Page> Iterator for Pages<P> {
    type Item = Result<P, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        self.client.wait(self.pages.next_page())
    }
}

/// The items of a list, one after the other. After an error it has ended.
#[derive(Debug)]
#[must_use = "items are fetched only when asked for"]
pub struct Items<P: List> {
    client: Client,
    items: api::Items<P>,
}

impl<P: List> Iterator for Items<P>
where
    P::Item: Unpin,
{
    type Item = Result<P::Item, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        self.client.wait(self.items.next_item())
    }
}
