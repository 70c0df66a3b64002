//! The institution directory (`/institutions`).

use serde::{Deserialize, Serialize};

use super::InstitutionId;
use crate::wire::open_enum::open_enum;

open_enum! {
    /// A country the service covers, as a two-letter code (ISO 3166-1 alpha-2: `GB`, not `UK`).
    Country {
        /// United States.
        Us = "US",
        /// United Kingdom.
        Gb = "GB",
        /// Canada.
        Ca = "CA",
    }
}

/// One institution of the directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Institution {
    /// Id, a slug such as `chase`.
    pub institution_id: InstitutionId,
    /// Other ids accepted when looking it up.
    pub institution_id_aliases: Vec<InstitutionId>,
    /// Display name.
    pub name: String,
    /// Country.
    pub country: Country,
    /// Web site domain.
    #[serde(default)]
    pub domain: Option<String>,
    /// Hex colour.
    #[serde(default)]
    pub color: Option<String>,
    /// Hex colour for dark mode.
    #[serde(default)]
    pub color_dark: Option<String>,
    /// Whether pickers should promote it.
    pub is_featured: bool,
}

/// One page of institutions. The contract names the paging key `cursors`, in the plural.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GetInstitutionsResponse {
    /// The institutions of this page.
    pub institutions: Vec<Institution>,
    /// Where the next page begins.
    pub cursors: CursorPagination,
}

/// An opaque cursor.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CursorPagination {
    /// Pass it on to get the next page; `None` at the end.
    #[serde(default)]
    pub next: Option<String>,
}
