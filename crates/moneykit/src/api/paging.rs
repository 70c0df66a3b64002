//! Lists that come in pages, read to their end.
//!
//! The contract pages in three ways: an opaque cursor that ends (links, institutions), a page number until as many items
//! came as there are (transactions), and a cursor that never ends but says whether more waits (sync). [`Pages`] walks
//! all of them. It asks for a page only when somebody wants it, and never for two at once.
//!
//! A server that leads a walk in circles would keep an app busy for ever. So a walk ends with an error when the next page
//! would be the same one again, and without one when a numbered list is empty before its total was reached.

use std::{
    collections::VecDeque,
    fmt,
    future::{Future, poll_fn},
    pin::Pin,
    task::{Context, Poll, ready},
};

use futures_util::Stream;

use crate::{
    Error,
    error::Kind,
    models::{
        GetInstitutionsResponse, GetInvestmentTransactionsResponse, GetLinksLink, GetLinksResponse,
        GetTransactionsResponse, GetUserTransactionsResponse, Institution, InvestmentTransactionResponse,
        TransactionResponse, TransactionSyncResponse,
    },
};

/// Where a page begins.
#[derive(Clone, PartialEq, Eq)]
pub enum Position {
    First,
    Cursor(String),
    Number(u64),
}

impl Position {
    pub(crate) fn from_cursor(cursor: Option<String>) -> Self {
        cursor.map_or(Self::First, Self::Cursor)
    }

    pub(crate) fn from_number(number: Option<u64>) -> Self {
        number.map_or(Self::First, Self::Number)
    }

    pub(crate) fn into_cursor(self) -> Option<String> {
        match self {
            Self::Cursor(cursor) => Some(cursor),
            Self::First | Self::Number(_) => None,
        }
    }

    pub(crate) fn into_number(self) -> Option<u64> {
        match self {
            Self::Number(number) => Some(number),
            Self::First | Self::Cursor(_) => None,
        }
    }
}

mod sealed {
    use super::Position;

    /// What a walk needs to know about a page.
    pub trait Link {
        /// Where the next page begins, if there is one. `seen` counts the items of the walk, this page's included.
        fn next(&self, seen: u64) -> Option<Position>;

        /// The number of items in this page.
        fn count(&self) -> u64;
    }
}

/// An answer that is one page of many.
pub trait Page: sealed::Link + Send + 'static {}

/// A page of a plain list, whose items mean something without their page.
pub trait List: Page {
    /// One item.
    type Item;

    /// The items, in order.
    fn into_items(self) -> Vec<Self::Item>;
}

type Fetching<P> = Pin<Box<dyn Future<Output = Result<P, Error>> + Send>>;

enum State<P> {
    Next(Position),
    Fetching(Position, Fetching<P>),
    Ended,
}

/// The pages of a list, one after the other: a [`Stream`] of `Result<P, Error>`, also by [`next_page`](Self::next_page).
///
/// After an error it has ended. What came before the error is good; start another walk to go on.
#[must_use = "pages are fetched only when asked for"]
pub struct Pages<P> {
    operation: &'static str,
    fetch: Box<dyn Fn(Position) -> Fetching<P> + Send + Sync>,
    state: State<P>,
    seen: u64,
}

impl<P: Page> Pages<P> {
    pub(crate) fn new<F>(
        operation: &'static str,
        first: Position,
        fetch: impl Fn(Position) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Result<P, Error>> + Send + 'static,
    {
        let fetch = Box::new(move |position| Box::pin(fetch(position)) as Fetching<P>);
        Self { operation, fetch, state: State::Next(first), seen: 0 }
    }

    /// Fetches the next page; `None` after the last one.
    ///
    /// Dropping the future loses nothing: the next call goes on with the same page.
    pub async fn next_page(&mut self) -> Option<Result<P, Error>> {
        poll_fn(|context| Pin::new(&mut *self).poll_next(context)).await
    }

    /// Takes a page in and decides where to go from there.
    fn accept(&mut self, at: &Position, page: P) -> Result<P, Error> {
        self.seen = self.seen.saturating_add(page.count());
        match page.next(self.seen) {
            Some(next) if next == *at => {
                Err(Error::new(self.operation, Kind::Protocol("the next page would be the same one again")))
            }
            Some(next) => {
                self.state = State::Next(next);
                Ok(page)
            }
            None => Ok(page),
        }
    }
}

impl<P: List> Pages<P> {
    /// The items of all pages.
    pub fn items(self) -> Items<P> {
        Items { pages: self, waiting: VecDeque::new() }
    }
}

impl<P: Page> Stream for Pages<P> {
    type Item = Result<P, Error>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        loop {
            match std::mem::replace(&mut this.state, State::Ended) {
                State::Ended => return Poll::Ready(None),
                State::Next(position) => {
                    let fetching = (this.fetch)(position.clone());
                    this.state = State::Fetching(position, fetching);
                }
                State::Fetching(position, mut fetching) => match fetching.as_mut().poll(context) {
                    Poll::Pending => {
                        this.state = State::Fetching(position, fetching);
                        return Poll::Pending;
                    }
                    // The state stays `Ended` unless the page leads on.
                    Poll::Ready(result) => {
                        return Poll::Ready(Some(result.and_then(|page| this.accept(&position, page))));
                    }
                },
            }
        }
    }
}

/// The items of a list, one after the other: a [`Stream`] of `Result<P::Item, Error>`, also by
/// [`next_item`](Self::next_item). After an error it has ended.
#[must_use = "items are fetched only when asked for"]
pub struct Items<P: List> {
    pages: Pages<P>,
    waiting: VecDeque<P::Item>,
}

impl<P: List> Items<P>
where
    P::Item: Unpin,
{
    /// The next item, which may take fetching a page; `None` after the last one.
    pub async fn next_item(&mut self) -> Option<Result<P::Item, Error>> {
        poll_fn(|context| Pin::new(&mut *self).poll_next(context)).await
    }
}

impl<P: List> Stream for Items<P>
where
    P::Item: Unpin,
{
    type Item = Result<P::Item, Error>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        loop {
            if let Some(item) = this.waiting.pop_front() {
                return Poll::Ready(Some(Ok(item)));
            }
            match ready!(Pin::new(&mut this.pages).poll_next(context)) {
                Some(Ok(page)) => this.waiting.extend(page.into_items()),
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => return Poll::Ready(None),
            }
        }
    }
}

impl<P> fmt::Debug for Pages<P> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the position: a cursor is opaque, so nobody knows what it holds.
        formatter
            .debug_struct("Pages")
            .field("operation", &self.operation)
            .field("seen", &self.seen)
            .finish_non_exhaustive()
    }
}

impl<P: List> fmt::Debug for Items<P> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Items").field("pages", &self.pages).field("waiting", &self.waiting.len()).finish()
    }
}

/// A list whose cursor ends.
macro_rules! by_cursor {
    ($page:ty, $items:ident: $item:ty, |$this:ident| $next:expr) => {
        impl sealed::Link for $page {
            fn next(&self, _: u64) -> Option<Position> {
                let $this = self;
                $next.filter(|cursor| !cursor.is_empty()).map(Position::Cursor)
            }

            fn count(&self) -> u64 {
                self.$items.len() as u64
            }
        }
        impl Page for $page {}
        impl List for $page {
            type Item = $item;

            fn into_items(self) -> Vec<$item> {
                self.$items
            }
        }
    };
}

by_cursor!(GetLinksResponse, links: GetLinksLink, |page| Some(page.next_cursor.clone()));
by_cursor!(GetInstitutionsResponse, institutions: Institution, |page| page.cursors.next.clone());

/// A list whose pages are numbered.
macro_rules! by_number {
    ($page:ty, $items:ident: $item:ty) => {
        impl sealed::Link for $page {
            fn next(&self, seen: u64) -> Option<Position> {
                (seen < self.total && !self.$items.is_empty()).then(|| Position::Number(self.page.saturating_add(1)))
            }

            fn count(&self) -> u64 {
                self.$items.len() as u64
            }
        }
        impl Page for $page {}
        impl List for $page {
            type Item = $item;

            fn into_items(self) -> Vec<$item> {
                self.$items
            }
        }
    };
}

by_number!(GetTransactionsResponse, transactions: TransactionResponse);
by_number!(GetUserTransactionsResponse, transactions: TransactionResponse);
by_number!(GetInvestmentTransactionsResponse, investment_transactions: InvestmentTransactionResponse);

/// A feed of changes. Not a list: a change is worth nothing without the cursor of its page.
impl sealed::Link for TransactionSyncResponse {
    fn next(&self, _: u64) -> Option<Position> {
        // More to come and no cursor would mean the first page again, which is the same position.
        self.has_more.then(|| Position::from_cursor(self.cursor.next.clone()))
    }

    fn count(&self) -> u64 {
        let changes = &self.transactions;
        (changes.created.len() + changes.updated.len() + changes.removed.len()) as u64
    }
}

impl Page for TransactionSyncResponse {}
