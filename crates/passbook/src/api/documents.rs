//! The documents that describe this API: the contract's own operations, and those under `/sandbox` and `/passbook`.
//!
//! Each is a file of the repository, served with this server's address in place of its `servers`.

use bytes::Bytes;

/// The contract.
const CONTRACT: &str = include_str!("../../../../contract/openapi.yaml");
/// What is ours beside it.
const PASSBOOK: &str = include_str!("../../../../contract/passbook.yaml");
/// In the files: the server that serves the document.
const SERVER: &str = "\n- url: /\n";

/// The documents as they are served.
#[derive(Debug, Clone)]
pub struct Documents {
    /// `/openapi.yaml`.
    pub contract: Bytes,
    /// `/passbook/openapi.yaml`.
    pub passbook: Bytes,
}

impl Documents {
    /// The documents of the server at `url`, for example `https://passbook.example`. Without one they name the server
    /// that they were fetched from.
    #[must_use]
    pub fn of(url: Option<&str>) -> Self {
        let served = |file: &str| match url {
            None => file.to_owned(),
            // A JSON string is a YAML one, whatever stands in the URL.
            Some(url) => {
                let url = serde_json::Value::from(url.trim_end_matches('/'));
                file.replacen(SERVER, &format!("\n- url: {url}\n"), 1)
            }
        };
        Self { contract: served(CONTRACT).into(), passbook: served(PASSBOOK).into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_servers_own_address_takes_the_place_of_the_files() {
        let documents = Documents::of(Some("https://passbook.example/"));
        for (served, file) in [(&documents.contract, CONTRACT), (&documents.passbook, PASSBOOK)] {
            let served = std::str::from_utf8(served).unwrap();
            assert!(served.contains("\nservers:\n- url: \"https://passbook.example\"\n"));
            assert_eq!(served.replacen("\n- url: \"https://passbook.example\"\n", SERVER, 1), file);
        }
        assert_eq!(Documents::of(None).contract, CONTRACT);
    }

    #[test]
    fn an_address_cannot_write_into_the_document() {
        let served = Documents::of(Some("http://x\"\npaths: {}")).contract;
        assert!(std::str::from_utf8(&served).unwrap().contains("- url: \"http://x\\\"\\npaths: {}\"\n"));
    }
}
