//! The institution directory: every institution of every connector, and which connector serves it.
//!
//! Simulated banks are in the sandbox's directory only: for a live tenant they do not exist.

use std::{collections::HashMap, sync::Arc};

use passbook_connectors::port::Connector;
use passbook_core::institution::{Country, Institution};
use passbook_core::link::Link;
use passbook_core::product::ProductSet;
use passbook_core::tenant::Environment;
use passbook_store::port::AppInstitution;

/// Institution of statement files that name none.
pub const STATEMENT_FILE: &str = "statement_file";

/// Read-only after start.
pub struct Directory {
    connectors: HashMap<&'static str, Arc<dyn Connector>>,
    institutions: Vec<Institution>,
    by_id: HashMap<String, usize>,
}

impl Directory {
    /// Collects the institutions of `connectors`, ordered by id.
    pub fn new(connectors: Vec<Arc<dyn Connector>>) -> Self {
        let mut institutions: Vec<Institution> =
            connectors.iter().flat_map(|connector| connector.institutions()).collect();
        institutions.sort_by(|a, b| a.id.cmp(&b.id));
        let by_id = institutions
            .iter()
            .enumerate()
            .flat_map(|(index, institution)| {
                institution.aliases.iter().chain([&institution.id]).map(move |id| (id.clone(), index))
            })
            .collect();
        Self {
            connectors: connectors.into_iter().map(|connector| (connector.name(), connector)).collect(),
            institutions,
            by_id,
        }
    }

    /// An institution that tenants of this environment can link, by its id or an alias.
    pub fn find(&self, environment: Environment, id: &str) -> Option<&Institution> {
        self.find_anywhere(id).filter(|institution| self.is_offered(environment, institution))
    }

    /// All that tenants of this environment can link, by id.
    pub fn list(&self, environment: Environment) -> impl Iterator<Item = &Institution> {
        self.institutions.iter().filter(move |institution| self.is_offered(environment, institution))
    }

    /// An institution by its id or an alias, whoever can link it.
    pub fn find_anywhere(&self, id: &str) -> Option<&Institution> {
        self.by_id.get(id).map(|index| &self.institutions[*index])
    }

    fn is_offered(&self, environment: Environment, institution: &Institution) -> bool {
        let is_simulated = || self.connector(&institution.connector).is_some_and(|connector| connector.is_simulated());
        environment == Environment::Sandbox || !is_simulated()
    }

    /// The connector of this name.
    pub fn connector(&self, name: &str) -> Option<&Arc<dyn Connector>> {
        self.connectors.get(name)
    }

    /// The institution of a link as connectors need it. One that only a statement file named is made up from the link.
    pub fn of_link(&self, link: &Link) -> Institution {
        self.find_anywhere(&link.institution.id).cloned().unwrap_or_else(|| {
            let named = AppInstitution {
                id: link.institution.id.clone(),
                name: link.institution.name.clone(),
                country: Country::Us,
            };
            file_institution(&named, link.offered)
        })
    }

    /// What statement files can give.
    pub fn file_products(&self) -> ProductSet {
        self.find_anywhere(STATEMENT_FILE).map(|institution| institution.products).unwrap_or_default()
    }
}

/// An institution that exists only because a statement file named it.
pub fn file_institution(named: &AppInstitution, products: ProductSet) -> Institution {
    Institution {
        id: named.id.clone(),
        aliases: Vec::new(),
        name: named.name.clone(),
        country: named.country,
        domain: None,
        color: None,
        color_dark: None,
        is_featured: false,
        connector: "ofx".to_owned(),
        products,
    }
}

/// Matches a directory search: the whole name or a prefix of any word, in any case.
pub fn name_matches(name: &str, wanted: &str) -> bool {
    let (name, wanted) = (name.to_lowercase(), wanted.trim().to_lowercase());
    name.match_indices(wanted.as_str())
        .any(|(at, _)| name[..at].chars().next_back().is_none_or(|before| !before.is_alphanumeric()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_search_matches_the_start_of_any_word() {
        for (wanted, matches) in
            [("cred", true), ("Credentials Bank", true), ("BANK", true), ("ank", false), ("", true), ("bank x", false)]
        {
            assert_eq!(name_matches("Credentials Bank", wanted), matches, "{wanted:?}");
        }
    }
}
