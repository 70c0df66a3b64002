//! The contract's categories and which subcategories belong to each.

use std::{collections::HashMap, fmt, str::FromStr, sync::LazyLock};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

const TEXT: &str = include_str!("../../data/enrichment/taxonomy.txt");

/// Subcategories by category, each word once.
static TAXONOMY: LazyLock<HashMap<&'static str, Vec<&'static str>>> = LazyLock::new(|| {
    let lines = TEXT.lines().filter(|line| !line.starts_with('#'));
    lines
        .filter_map(|line| line.split_once(':'))
        .map(|(category, rest)| (category, rest.split_whitespace().collect()))
        .collect()
});

/// A category, and one of its subcategories or none. No other pair exists.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Kind {
    category: &'static str,
    subcategory: Option<&'static str>,
}

/// The words name no kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a category with one of its subcategories")]
pub struct UnknownKind;

impl Kind {
    /// The kind with these words; `None` for an unknown category, and for a subcategory of another one.
    #[must_use]
    pub fn find(category: &str, subcategory: Option<&str>) -> Option<Self> {
        let (category, known) = TAXONOMY.get_key_value(category)?;
        let subcategory = match subcategory {
            None => None,
            Some(wanted) => Some(*known.iter().find(|subcategory| **subcategory == wanted)?),
        };
        Some(Self { category, subcategory })
    }

    /// The contract's word for the category.
    #[must_use]
    pub fn category(self) -> &'static str {
        self.category
    }

    /// The contract's word for the subcategory.
    #[must_use]
    pub fn subcategory(self) -> Option<&'static str> {
        self.subcategory
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.category)?;
        self.subcategory.map_or(Ok(()), |subcategory| write!(formatter, ".{subcategory}"))
    }
}

impl fmt::Debug for Kind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

impl FromStr for Kind {
    type Err = UnknownKind;

    /// Reads what `Display` writes: `food_and_drink.coffee`.
    fn from_str(text: &str) -> Result<Self, UnknownKind> {
        let (category, subcategory) = match text.split_once('.') {
            Some((category, subcategory)) => (category, Some(subcategory)),
            None => (text, None),
        };
        Self::find(category, subcategory).ok_or(UnknownKind)
    }
}

impl Serialize for Kind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Kind {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_taxonomy_is_the_contracts() {
        assert_eq!(TAXONOMY.len(), 23);
        assert_eq!(TAXONOMY.values().map(Vec::len).sum::<usize>(), 127);
        for (category, subcategories) in TAXONOMY.iter() {
            for subcategory in subcategories {
                let kind = Kind::find(category, Some(subcategory)).unwrap();
                assert_eq!(kind.to_string().parse(), Ok(kind));
            }
        }
    }

    #[test]
    fn a_subcategory_belongs_to_its_category() {
        assert!(Kind::find("food_and_drink", Some("coffee")).is_some());
        assert!(Kind::find("food_and_drink", None).is_some());
        for (category, subcategory) in
            [("transport", Some("coffee")), ("coffee", None), ("", None), ("food_and_drink", Some(""))]
        {
            assert_eq!(Kind::find(category, subcategory), None, "{category} {subcategory:?}");
        }
    }
}
