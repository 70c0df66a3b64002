//! Typed identifiers. Opaque text: the SDK never checks or changes it.

use serde::{Deserialize, Serialize};

macro_rules! id {
    ($(#[$meta:meta])* $name:ident) => {
        $(#[$meta])*
        ///
        /// Holds any text, because the server decides what an id looks like; a client call percent-encodes it, so it
        /// can never change the path of a request.
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// Takes the text as it is.
            #[must_use]
            pub fn new(id: impl Into<String>) -> Self {
                Self(id.into())
            }

            /// The text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// The text, without a copy.
            #[must_use]
            pub fn into_string(self) -> String {
                self.0
            }
        }

        impl From<&str> for $name {
            fn from(id: &str) -> Self {
                Self(id.to_owned())
            }
        }

        impl From<String> for $name {
            fn from(id: String) -> Self {
                Self(id)
            }
        }

        impl From<&String> for $name {
            fn from(id: &String) -> Self {
                Self(id.clone())
            }
        }

        impl From<&$name> for $name {
            fn from(id: &$name) -> Self {
                id.clone()
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.pad(&self.0)
            }
        }
    };
}

id! {
    /// A link: one end user's lasting authorisation at one institution (`mk_…`).
    LinkId
}
id! {
    /// An account under a link (`acc_…`), stable across renaming and number changes where possible.
    AccountId
}
id! {
    /// A transaction (`txn_…`). Pending transactions get a new id at each refresh.
    TransactionId
}
id! {
    /// An institution: a slug such as `chase`, or one of its aliases.
    InstitutionId
}
id! {
    /// A security (`sec_…`), the same for every holder.
    SecurityId
}
id! {
    /// An investment transaction (`it_…`).
    InvestmentTransactionId
}
id! {
    /// An end user, by the id the app gave in `customer_user.id` of a link session.
    CustomerUserId
}
