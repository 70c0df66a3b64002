//! Links.

use http::Method;

use super::{Pages, UsersApi, api_group, paging::Position, query};
use crate::{
    ApiResponse, Error,
    client::Call,
    models::{
        CustomerUserId, GetLinksResponse, GetUserLinksResponse, ImportLinkRequest, ImportTransactionsRequest,
        LinkCommon, LinkId, UpdateLinkRequest,
    },
};

api_group! {
    /// `/links`.
    LinksApi
}

query! {
    /// Which page of links to list; the default is the first one, 1000 links long.
    GetLinksQuery {
        /// `next_cursor` of the page before.
        cursor: String,
        /// Page size, 500 to 5000.
        limit: u32,
    }
}

impl LinksApi {
    /// One page of the links that connected, have data, and are not deleted, oldest first. `next_cursor` is empty on
    /// the last one.
    ///
    /// # Errors
    /// 422 for a cursor or limit the server does not accept.
    pub async fn get_links(&self, query: &GetLinksQuery) -> Result<GetLinksResponse, Error> {
        Ok(self.get_links_with_http_info(query).await?.data)
    }

    /// [`get_links`](Self::get_links) with status and headers.
    ///
    /// # Errors
    /// The same.
    pub async fn get_links_with_http_info(
        &self,
        query: &GetLinksQuery,
    ) -> Result<ApiResponse<GetLinksResponse>, Error> {
        let call =
            Call::get("get_links", &["links"]).query("cursor", query.cursor.as_ref()).query("limit", query.limit);
        self.client.call(call).await
    }

    /// All pages of [`get_links`](Self::get_links), from the one the query names.
    ///
    /// ```no_run
    /// # async fn example(client: moneykit::Client) -> Result<(), moneykit::Error> {
    /// use moneykit::api::GetLinksQuery;
    ///
    /// let mut links = client.links().get_links_pages(&GetLinksQuery::new().limit(5000_u32)).items();
    /// while let Some(link) = links.next_item().await.transpose()? {
    ///     println!("{} since {}", link.link_id, link.created_at);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn get_links_pages(&self, query: &GetLinksQuery) -> Pages<GetLinksResponse> {
        let (api, query) = (self.clone(), query.clone());
        Pages::new("get_links", Position::from_cursor(query.cursor.clone()), move |position| {
            let (api, query) = (api.clone(), GetLinksQuery { cursor: position.into_cursor(), ..query.clone() });
            async move { api.get_links(&query).await }
        })
    }

    /// One link in any state; a link deleted less than 90 days ago answers with state `deleted`.
    ///
    /// # Errors
    /// 404 `link_error.not_found`.
    pub async fn get_link(&self, id: impl Into<LinkId>) -> Result<LinkCommon, Error> {
        Ok(self.get_link_with_http_info(id).await?.data)
    }

    /// [`get_link`](Self::get_link) with status and headers.
    ///
    /// # Errors
    /// The same.
    pub async fn get_link_with_http_info(&self, id: impl Into<LinkId>) -> Result<ApiResponse<LinkCommon>, Error> {
        let id = id.into();
        self.client.call(Call::get("get_link", &["links", id.as_str()])).await
    }

    /// Deletes a link: its data is gone at once and access at the institution is revoked. A stub stays readable for 90
    /// days. Cannot be undone.
    ///
    /// # Errors
    /// 410 `link_error.deleted` if it was deleted before, which also answers a repeated call whose first answer got
    /// lost.
    pub async fn delete_link(&self, id: impl Into<LinkId>) -> Result<(), Error> {
        self.delete_link_with_http_info(id).await.map(drop)
    }

    /// [`delete_link`](Self::delete_link) with status and headers.
    ///
    /// # Errors
    /// The same.
    pub async fn delete_link_with_http_info(&self, id: impl Into<LinkId>) -> Result<ApiResponse<()>, Error> {
        let id = id.into();
        let segments = vec!["links".into(), id.as_str().into()];
        self.client.call_empty(Call::new("delete_link", Method::DELETE, segments)).await
    }

    /// Changes the webhook and the tags of a link. What the request does not name stays.
    ///
    /// # Errors
    /// 422 for a webhook or tag that is not valid; see [`api`](crate::api) for the others.
    pub async fn update_link(&self, id: impl Into<LinkId>, request: &UpdateLinkRequest) -> Result<LinkCommon, Error> {
        Ok(self.update_link_with_http_info(id, request).await?.data)
    }

    /// [`update_link`](Self::update_link) with status and headers.
    ///
    /// # Errors
    /// The same.
    pub async fn update_link_with_http_info(
        &self,
        id: impl Into<LinkId>,
        request: &UpdateLinkRequest,
    ) -> Result<ApiResponse<LinkCommon>, Error> {
        let id = id.into();
        self.client.call(Call::json(Method::PATCH, "update_link", &["links", id.as_str()], request)?).await
    }

    /// Makes a sandbox link ask for a reconnect, as if access at the institution had ended: state `error`, error code
    /// `auth_expired`.
    ///
    /// # Errors
    /// 403 `link_error.forbidden_action` for a live link; see [`api`](crate::api) for the others.
    pub async fn reset_link(&self, id: impl Into<LinkId>) -> Result<LinkCommon, Error> {
        Ok(self.reset_link_with_http_info(id).await?.data)
    }

    /// [`reset_link`](Self::reset_link) with status and headers.
    ///
    /// # Errors
    /// The same.
    pub async fn reset_link_with_http_info(&self, id: impl Into<LinkId>) -> Result<ApiResponse<LinkCommon>, Error> {
        let id = id.into();
        let segments = vec!["links".into(), id.as_str().into(), "reset".into()];
        self.client.call(Call::new("reset_link", Method::POST, segments)).await
    }

    /// Makes a link of data the app already has. Its state is `error`, code `auth_expired`, and yet all of it can be
    /// read; the user can reconnect it later. Takes up to 10 seconds.
    ///
    /// # Errors
    /// 413 above a megabyte, 422 for an unknown institution or data that does not fit together.
    pub async fn import_link(&self, request: &ImportLinkRequest) -> Result<LinkCommon, Error> {
        Ok(self.import_link_with_http_info(request).await?.data)
    }

    /// [`import_link`](Self::import_link) with status and headers.
    ///
    /// # Errors
    /// The same.
    pub async fn import_link_with_http_info(
        &self,
        request: &ImportLinkRequest,
    ) -> Result<ApiResponse<LinkCommon>, Error> {
        self.client.call(Call::post("import_link", &["links", "import"], request)?).await
    }

    /// Adds transactions to an imported link. One whose id was sent before is updated. Takes up to 10 seconds.
    ///
    /// # Errors
    /// 403 `link_error.forbidden_action` for a link that was not imported, 413 above a megabyte, 422 for an account that
    /// was not imported.
    pub async fn import_transactions(
        &self,
        id: impl Into<LinkId>,
        request: &ImportTransactionsRequest,
    ) -> Result<LinkCommon, Error> {
        Ok(self.import_transactions_with_http_info(id, request).await?.data)
    }

    /// [`import_transactions`](Self::import_transactions) with status and headers.
    ///
    /// # Errors
    /// The same.
    pub async fn import_transactions_with_http_info(
        &self,
        id: impl Into<LinkId>,
        request: &ImportTransactionsRequest,
    ) -> Result<ApiResponse<LinkCommon>, Error> {
        let id = id.into();
        let segments = ["links", id.as_str(), "import", "transactions"];
        self.client.call(Call::post("import_transactions", &segments, request)?).await
    }

    /// [`UsersApi::get_user_links`], which the official SDKs have in this group as well.
    ///
    /// # Errors
    /// The same.
    pub async fn get_user_links(&self, id: impl Into<CustomerUserId>) -> Result<GetUserLinksResponse, Error> {
        UsersApi::new(&self.client).get_user_links(id).await
    }
}
