//! A small deterministic stream of numbers, from which everything about a simulated person is drawn.
//!
//! Two layers. A [`PersonKey`] is 256 bits derived from the instance seed; each *named* thing of the person (an account
//! number, a household's spending) has its own stream seeded by HMAC over its name, so that adding a new thing never
//! changes an old one. Within a stream, splitmix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number
//! generators", OOPSLA 2014) is fast enough to write two years of transactions in well under a millisecond. Nothing
//! here protects anything: the data is invented.

use passbook_core::ids::Derivation;

/// What identifies a simulated person: the same key gives the same person, accounts and history.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct PersonKey([u8; 32]);

impl PersonKey {
    /// Takes derived bytes.
    pub(super) fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Lower-case hexadecimal, as the credential stores it.
    pub(super) fn to_hex(self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Reads [`PersonKey::to_hex`]; `None` for anything else.
    pub(super) fn from_hex(text: &str) -> Option<Self> {
        let digits = text.as_bytes();
        let mut bytes = [0; 32];
        if digits.len() != 2 * bytes.len() {
            return None;
        }
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            let high = char::from(pair[0]).to_digit(16)?;
            let low = char::from(pair[1]).to_digit(16)?;
            *byte = u8::try_from(high * 16 + low).ok()?;
        }
        Some(Self(bytes))
    }

    /// The stream of the person's thing called `kind`, `name`.
    pub(super) fn stream(&self, kind: &str, name: &str) -> Stream {
        Stream { state: leading_u64(Derivation::new(&self.0).bytes(kind, &[name], 0)) }
    }

    /// An opaque 128-bit name in hexadecimal for something that must not show itself, such as an account number.
    pub(super) fn fingerprint(&self, kind: &str, secret: &str) -> String {
        let bytes = Derivation::new(&self.0).bytes(kind, &[secret], 0);
        bytes[..16].iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

fn leading_u64(bytes: [u8; 32]) -> u64 {
    bytes[..8].iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// Splitmix64.
#[derive(Clone)]
pub(super) struct Stream {
    state: u64,
}

impl Stream {
    /// An independent stream for the `label`-th part, whatever was drawn from this one's copies.
    pub(super) fn fork(&self, label: u64) -> Self {
        Self { state: mix(self.state ^ mix(label.wrapping_add(GOLDEN_GAMMA))) }
    }

    /// The next 64 bits.
    pub(super) fn draw(&mut self) -> u64 {
        self.state = self.state.wrapping_add(GOLDEN_GAMMA);
        mix(self.state)
    }

    /// A number from 0 up to, not including, `bound` (0 for a bound of 0). The bias, below `bound` / 2^64, is harmless
    /// here.
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.draw()) * u128::from(bound)) >> 64) as u64
    }

    /// A number of a small inclusive range.
    pub(super) fn between(&mut self, low: i64, high: i64) -> i64 {
        low + i64::try_from(self.below(high.abs_diff(low) + 1)).unwrap_or(0)
    }

    /// True `percent` times out of a hundred.
    pub(super) fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    /// One of a table's entries; tables are constants and never empty.
    pub(super) fn pick<'t, T>(&mut self, table: &'t [T]) -> &'t T {
        &table[self.below(table.len() as u64) as usize]
    }

    /// This many decimal digits, leading zeros included.
    pub(super) fn digits(&mut self, count: usize) -> String {
        (0..count).map(|_| char::from(b'0' + self.below(10) as u8)).collect()
    }
}

const GOLDEN_GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;

fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_generator_is_splitmix64() {
        // The published reference sequence for seed 1234567.
        let mut stream = Stream { state: 1_234_567 };
        let drawn: Vec<u64> = (0..5).map(|_| stream.draw()).collect();
        assert_eq!(
            drawn,
            [
                6_457_827_717_110_365_317,
                3_203_168_211_198_807_973,
                9_817_491_932_198_370_423,
                4_593_380_528_125_082_431,
                16_408_922_859_458_223_821
            ]
        );
    }

    #[test]
    fn ranges_are_inclusive_and_reached() {
        let mut stream = PersonKey::new([7; 32]).stream("test", "ranges");
        let drawn: Vec<i64> = (0..500).map(|_| stream.between(-2, 2)).collect();
        for expected in -2..=2 {
            assert!(drawn.contains(&expected));
        }
        assert!(drawn.iter().all(|number| (-2..=2).contains(number)));
        assert_eq!(stream.below(0), 0);
        assert_eq!(stream.between(5, 5), 5);
    }

    #[test]
    fn names_and_forks_give_unrelated_streams() {
        let key = PersonKey::new([7; 32]);
        let base = key.stream("number", "checking");
        assert_eq!(base.clone().draw(), key.stream("number", "checking").draw());
        assert_ne!(base.clone().draw(), key.stream("number", "savings").draw());
        assert_ne!(base.clone().draw(), PersonKey::new([8; 32]).stream("number", "checking").draw());
        assert_ne!(base.fork(0).draw(), base.fork(1).draw());
    }

    #[test]
    fn a_person_key_survives_hexadecimal() {
        let key = PersonKey::new(std::array::from_fn(|index| index as u8 * 8));
        assert!(PersonKey::from_hex(&key.to_hex()) == Some(key));
        for bad in ["", "00", &"g".repeat(64), &"0".repeat(63), &"é".repeat(32)] {
            assert!(PersonKey::from_hex(bad).is_none(), "{bad}");
        }
    }
}
