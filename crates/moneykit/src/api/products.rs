//! Refreshes: asking the server to fetch.

use super::{WaitOptions, api_group, refresh};
use crate::{
    ApiResponse, Error,
    client::Call,
    models::{LinkCommon, LinkId, Product, RefreshProductsRequest},
};

api_group! {
    /// `/links/{id}/products`.
    ProductsApi
}

impl ProductsApi {
    /// Asks the server to fetch products anew, in the background. The answer shows the link as it is now; a product is
    /// up to date when its `refreshed_at` has risen.
    ///
    /// # Errors
    /// 403: a product is not granted. 429: one of the products was refreshed too recently (accounts and transactions
    /// once an hour, the others once a day) or is being refreshed; then none is.
    pub async fn refresh_products(
        &self,
        id: impl Into<LinkId>,
        request: &RefreshProductsRequest,
    ) -> Result<LinkCommon, Error> {
        Ok(self.refresh_products_with_http_info(id, request).await?.data)
    }

    /// [`refresh_products`](Self::refresh_products) with status and headers.
    ///
    /// # Errors
    /// The same.
    pub async fn refresh_products_with_http_info(
        &self,
        id: impl Into<LinkId>,
        request: &RefreshProductsRequest,
    ) -> Result<ApiResponse<LinkCommon>, Error> {
        let id = id.into();
        self.client.call(Call::post("refresh_products", &["links", id.as_str(), "products"], request)?).await
    }

    /// Refreshes products and waits until each of them is up to date. Returns the link as it is then.
    ///
    /// Reads the link, asks for the refresh, and reads the link again every `poll_interval` (and no more often than a
    /// `Retry-After` of the server allows). It never reads account numbers. Giving up, or dropping the future, does not
    /// stop the refresh on the server.
    ///
    /// ```no_run
    /// # async fn example(client: moneykit::Client) -> Result<(), moneykit::Error> {
    /// use moneykit::{api::WaitOptions, models::Product};
    ///
    /// let products = [Product::AccountNumbers];
    /// match client.products().refresh_and_wait("mk_eqkWN34UEoa2NxyALG8pcV", products, WaitOptions::default()).await {
    ///     Ok(link) => println!("fresh as of {:?}", link.products.account_numbers),
    ///     Err(error) => match error.product_error() {
    ///         Some((product, why)) => println!("{product} could not be refreshed: {why}"),
    ///         None => return Err(error),
    ///     },
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// - Those of [`refresh_products`](Self::refresh_products) and [`get_link`](super::LinksApi::get_link). A read that
    ///   fails in a retryable way is tried again until time is up.
    /// - A product's attempt failed: [`Error::product_error`] names the product and why.
    /// - The link became unusable: [`Error::link_error_code`] says how.
    /// - Time is up: [`Error::is_timeout`].
    pub async fn refresh_and_wait(
        &self,
        id: impl Into<LinkId>,
        products: impl IntoIterator<Item = Product>,
        options: WaitOptions,
    ) -> Result<LinkCommon, Error> {
        refresh::refresh_and_wait(&self.client, id.into(), products.into_iter().collect(), options).await
    }
}
