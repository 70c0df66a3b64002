//! The institution directory.

use super::{Pages, api_group, paging::Position, query};
use crate::{
    ApiResponse, Error,
    client::Call,
    models::{GetInstitutionsResponse, Institution, InstitutionId},
};

api_group! {
    /// `/institutions`.
    InstitutionsApi
}

query! {
    /// Which institutions to list; the default lists all, 50 a page.
    GetInstitutionsQuery {
        /// Whole name or the beginning of it.
        name: String,
        /// Only featured institutions; `false` is no filter.
        featured: bool,
        /// `cursors.next` of the page before.
        cursor: String,
        /// Page size, 1 to 1000.
        limit: u32,
    }
}

impl InstitutionsApi {
    /// One page of the directory. `cursors.next` is `None` on the last one.
    ///
    /// # Errors
    /// 422 for a cursor or limit the server does not accept.
    pub async fn get_institutions(&self, query: &GetInstitutionsQuery) -> Result<GetInstitutionsResponse, Error> {
        Ok(self.get_institutions_with_http_info(query).await?.data)
    }

    /// [`get_institutions`](Self::get_institutions) with status and headers.
    ///
    /// # Errors
    /// The same.
    pub async fn get_institutions_with_http_info(
        &self,
        query: &GetInstitutionsQuery,
    ) -> Result<ApiResponse<GetInstitutionsResponse>, Error> {
        let call = Call::get("get_institutions", &["institutions"])
            .query("name", query.name.as_ref())
            .query("featured", query.featured)
            .query("cursor", query.cursor.as_ref())
            .query("limit", query.limit);
        self.client.call(call).await
    }

    /// All pages of [`get_institutions`](Self::get_institutions), from the one the query names.
    pub fn get_institutions_pages(&self, query: &GetInstitutionsQuery) -> Pages<GetInstitutionsResponse> {
        let (api, query) = (self.clone(), query.clone());
        Pages::new("get_institutions", Position::from_cursor(query.cursor.clone()), move |position| {
            let (api, query) = (api.clone(), GetInstitutionsQuery { cursor: position.into_cursor(), ..query.clone() });
            async move { api.get_institutions(&query).await }
        })
    }

    /// One institution, by its id or one of its aliases.
    ///
    /// # Errors
    /// 404 `institution_error.not_found`.
    pub async fn get_institution(&self, institution_id: impl Into<InstitutionId>) -> Result<Institution, Error> {
        Ok(self.get_institution_with_http_info(institution_id).await?.data)
    }

    /// [`get_institution`](Self::get_institution) with status and headers.
    ///
    /// # Errors
    /// The same.
    pub async fn get_institution_with_http_info(
        &self,
        institution_id: impl Into<InstitutionId>,
    ) -> Result<ApiResponse<Institution>, Error> {
        let institution_id = institution_id.into();
        self.client.call(Call::get("get_institution", &["institutions", institution_id.as_str()])).await
    }
}
