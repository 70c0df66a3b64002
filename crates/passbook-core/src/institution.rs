//! The institution directory's record.

use serde::{Deserialize, Serialize};

use crate::product::ProductSet;

/// Countries the contract knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Country {
    /// United States.
    Us,
    /// United Kingdom.
    Gb,
    /// Canada.
    Ca,
}

/// A bank or issuer the end user recognises.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Institution {
    /// Slug such as `credentials_bank`.
    pub id: String,
    /// Other ids accepted for lookup.
    pub aliases: Vec<String>,
    /// Display name.
    pub name: String,
    /// Country.
    pub country: Country,
    /// Web site domain.
    pub domain: Option<String>,
    /// Hex colour such as `#1d4ed8`.
    pub color: Option<String>,
    /// Hex colour for dark mode.
    pub color_dark: Option<String>,
    /// Promote in pickers.
    pub is_featured: bool,
    /// Which connector serves it.
    pub connector: String,
    /// What it can give.
    pub products: ProductSet,
}
