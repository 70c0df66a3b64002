//! The master key and its file format: a line for each version, `passbook-master-key-v<version>:<64 hex digits>`.

use std::fmt::Write as _;

use zeroize::Zeroizing;

use super::{KEY_LENGTH, random_bytes};

const PREFIX: &str = "passbook-master-key-v";

/// The key from which every other key is derived. Kept outside the store; wiped on drop.
///
/// The version tells keys apart when one replaces another: rows name the version that wrapped their data key.
#[derive(Clone)]
pub struct MasterKey {
    version: u32,
    bytes: Zeroizing<[u8; KEY_LENGTH]>,
}

/// The text is not a master key. Deliberately says nothing about the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a master key is one line of the form {PREFIX}1: followed by 64 hexadecimal digits")]
pub struct MalformedMasterKey;

impl MasterKey {
    /// A fresh key of version 1.
    #[must_use]
    pub fn generate() -> Self {
        Self { version: 1, bytes: Zeroizing::new(random_bytes()) }
    }

    /// Reads the file format; white space around the line is accepted.
    ///
    /// # Errors
    /// [`MalformedMasterKey`] for any other text.
    pub fn parse(text: &str) -> Result<Self, MalformedMasterKey> {
        let (version, digits) =
            text.trim().strip_prefix(PREFIX).and_then(|rest| rest.split_once(':')).ok_or(MalformedMasterKey)?;
        let version = version.parse().ok().filter(|version| *version > 0).ok_or(MalformedMasterKey)?;
        if digits.len() != 2 * KEY_LENGTH || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return Err(MalformedMasterKey);
        }
        let mut bytes = Zeroizing::new([0; KEY_LENGTH]);
        for (byte, at) in bytes.iter_mut().zip((0..).step_by(2)) {
            *byte = u8::from_str_radix(&digits[at..at + 2], 16).map_err(|_| MalformedMasterKey)?;
        }
        Ok(Self { version, bytes })
    }

    /// Reads a file of one or more keys, a line each, in any order. Empty lines and lines that begin with `#` are left
    /// out.
    ///
    /// # Errors
    /// [`MalformedMasterKey`] when a line is not a key, a version is there twice, or there is none at all.
    pub fn parse_all(text: &str) -> Result<Vec<Self>, MalformedMasterKey> {
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        let mut keys = lines.map(Self::parse).collect::<Result<Vec<_>, _>>()?;
        keys.sort_by_key(|key| key.version);
        let is_ambiguous = keys.windows(2).any(|pair| pair[0].version == pair[1].version);
        if keys.is_empty() || is_ambiguous { Err(MalformedMasterKey) } else { Ok(keys) }
    }

    /// A fresh key of the next version.
    #[must_use]
    pub fn successor(&self) -> Self {
        Self { version: self.version + 1, ..Self::generate() }
    }

    /// The file format, with its line end.
    #[must_use]
    pub fn to_file_text(&self) -> Zeroizing<String> {
        // Room for everything at once: a string that grows leaves unwiped copies behind.
        let mut text = Zeroizing::new(String::with_capacity(PREFIX.len() + 12 + 2 * KEY_LENGTH));
        let _infallible = write!(text, "{PREFIX}{}:", self.version);
        for byte in self.bytes.iter() {
            let _infallible = write!(text, "{byte:02x}");
        }
        text.push('\n');
        text
    }

    /// Which key this is.
    #[must_use]
    pub fn version(&self) -> u32 {
        self.version
    }

    pub(super) fn expose(&self) -> &[u8; KEY_LENGTH] {
        &self.bytes
    }
}

impl std::fmt::Debug for MasterKey {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "MasterKey(version {})", self.version)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_format_round_trips() {
        let key = MasterKey::generate();
        let text = key.to_file_text();
        assert_eq!(text.lines().count(), 1);
        let again = MasterKey::parse(&text).unwrap();
        assert_eq!((again.version(), again.expose()), (key.version(), key.expose()));
        assert_ne!(MasterKey::generate().expose(), key.expose());
    }

    #[test]
    fn other_text_is_not_a_key() {
        let digits = "0f".repeat(32);
        assert_eq!(MasterKey::parse(&format!("passbook-master-key-v7:{digits}")).unwrap().version(), 7);
        for bad in [
            String::new(),
            digits.clone(),
            format!("passbook-master-key-v1:{digits}0f"),
            format!("passbook-master-key-v0:{digits}"),
            format!("passbook-master-key-v1:{}zz", &digits[2..]),
            format!("passbook-master-key-v1:{}\u{e9}", &digits[2..]),
            format!("passbook-master-key-v1:{digits}\nmore"),
        ] {
            assert_eq!(MasterKey::parse(&bad).err(), Some(MalformedMasterKey));
        }
    }

    #[test]
    fn a_file_may_hold_several_versions() {
        let first = MasterKey::generate();
        let second = first.successor();
        let text = format!("# newest first\n{}\n{}", *second.to_file_text(), *first.to_file_text());
        let versions: Vec<_> = MasterKey::parse_all(&text).unwrap().iter().map(MasterKey::version).collect();
        assert_eq!(versions, [1, 2]);
        for bad in ["", "# nothing\n", &format!("{text}{}", *first.to_file_text()), &format!("{text}x")] {
            assert_eq!(MasterKey::parse_all(bad).err(), Some(MalformedMasterKey));
        }
    }

    #[test]
    fn debug_shows_no_key() {
        assert_eq!(format!("{:?}", MasterKey::generate()), "MasterKey(version 1)");
    }
}
