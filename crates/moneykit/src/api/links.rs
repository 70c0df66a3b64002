//! Links.

use http::Method;

use super::api_group;
use crate::{
    ApiResponse, Error,
    client::Call,
    models::{GetLinksResponse, LinkCommon, LinkId},
};

api_group! {
    /// `/links`.
    LinksApi
}

/// Which page of links to list; the default is the first one, 1000 links long.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GetLinksQuery {
    /// `next_cursor` of the page before.
    pub cursor: Option<String>,
    /// Page size, 500 to 5000.
    pub limit: Option<u32>,
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
}
