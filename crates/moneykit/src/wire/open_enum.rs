//! Enums that survive values this release does not know.
//!
//! The contract's enums are closed today, but a client that fails to read a whole link because of one new word is
//! worse than one that shows the word. Unknown words are kept and written back unchanged.

/// Defines a string enum with one variant per contract value and `Unknown(String)` for every other.
macro_rules! open_enum {
    (
        $(#[$meta:meta])*
        $name:ident {
            $( $(#[$variant_meta:meta])* $variant:ident = $text:literal, )+
        }
    ) => {
        $(#[$meta])*
        ///
        /// Values this release does not know are kept in `Unknown` and written back unchanged.
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $name {
            $( $(#[$variant_meta])* $variant, )+
            /// A value this release does not know, as received. Build it with `From<&str>` only, so that a known
            /// word never ends up here.
            Unknown(String),
        }

        impl $name {
            /// Every value of the contract, in the contract's order.
            pub const KNOWN: &'static [Self] = &[ $( Self::$variant, )+ ];

            /// The word on the wire.
            #[must_use]
            pub fn as_str(&self) -> &str {
                match self {
                    $( Self::$variant => $text, )+
                    Self::Unknown(text) => text,
                }
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                match text {
                    $( $text => Self::$variant, )+
                    other => Self::Unknown(other.to_owned()),
                }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.pad(self.as_str())
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <std::borrow::Cow<'de, str> as serde::Deserialize>::deserialize(deserializer)?;
                Ok(Self::from(text.as_ref()))
            }
        }
    };
}
pub(crate) use open_enum;

#[cfg(test)]
mod tests {
    open_enum! {
        /// A sample.
        Colour {
            /// Red.
            Red = "red",
            /// Green.
            Green = "dark_green",
        }
    }

    #[test]
    fn unknown_words_survive_a_round_trip() {
        let json = r#"["red","dark_green","ultra violet",""]"#;
        let colours: Vec<Colour> = serde_json::from_str(json).unwrap();
        assert_eq!(colours[1], Colour::Green);
        assert_eq!(colours[2], Colour::Unknown("ultra violet".to_owned()));
        assert_eq!(serde_json::to_string(&colours).unwrap(), json);
    }

    #[test]
    fn known_words_are_listed_in_order() {
        assert_eq!(Colour::KNOWN.iter().map(Colour::as_str).collect::<Vec<_>>(), ["red", "dark_green"]);
        assert_eq!(format!("{:>5}", Colour::Red), "  red");
    }
}
