//! The securities of a country and their prices on any day.

use jiff::{Timestamp, ToSpan as _, civil::Date, tz::TimeZone};
use passbook_core::{
    institution::Country,
    investment::{SecurityDetails, SecurityKind},
};
use rust_decimal::{Decimal, RoundingStrategy};

/// The key of the security that stands for money.
pub(super) const CASH: &str = "cash";

/// From when prices are counted.
const FIRST_DAY: Date = jiff::civil::date(2015, 1, 1);

/// A security as the tables have it.
pub(super) struct Listed {
    pub(super) key: &'static str,
    name: &'static str,
    kind: SecurityKind,
    ticker: Option<&'static str>,
    course: Course,
}

/// How a price moves, and what it pays.
struct Course {
    /// Price on the first day, in cents.
    base: i64,
    /// Growth per year, in thousandths.
    growth: i64,
    /// How far prices swing around their growth, in thousandths, and over how many days.
    swing: (i64, i64),
    /// Yearly payout, in thousandths of the price.
    payout: i64,
}

/// The securities of one country.
pub(super) struct Market {
    country: Country,
    securities: &'static [Listed],
}

const fn listed(
    key: &'static str,
    name: &'static str,
    kind: SecurityKind,
    ticker: Option<&'static str>,
    course: Course,
) -> Listed {
    Listed { key, name, kind, ticker, course }
}

const fn course(base: i64, growth: i64, swing: (i64, i64), payout: i64) -> Course {
    Course { base, growth, swing, payout }
}

const UNITED_STATES: [Listed; 8] = [
    listed("us_total", "Meridian Total Market ETF", SecurityKind::Etf, Some("MDTM"), course(9840, 92, (60, 310), 15)),
    listed("us_world", "Meridian World ex-US ETF", SecurityKind::Etf, Some("MDWX"), course(4715, 48, (80, 270), 28)),
    listed(
        "us_target",
        "Harborview Target Date 2050 Fund",
        SecurityKind::Fund,
        Some("HVTDX"),
        course(2130, 70, (45, 400), 19),
    ),
    listed("us_bond", "US Treasury Note 2.875% 2032", SecurityKind::Bond, None, course(9875, 3, (25, 520), 29)),
    listed(
        "us_robotics",
        "Larkspur Robotics Inc.",
        SecurityKind::Equity,
        Some("LRKR"),
        course(6120, 140, (180, 190), 0),
    ),
    listed(
        "us_foods",
        "Copper Kettle Foods Corp.",
        SecurityKind::Equity,
        Some("CKFC"),
        course(3985, 55, (90, 230), 31),
    ),
    listed(
        "us_rail",
        "Prairie & Pacific Railway Co.",
        SecurityKind::Equity,
        Some("PPRW"),
        course(11_260, 80, (70, 350), 22),
    ),
    listed("us_coin", "Bitcoin", SecurityKind::Crypto, Some("BTC"), course(920_000, 310, (330, 260), 0)),
];
const CANADA: [Listed; 6] = [
    listed(
        "ca_composite",
        "Northern Composite Index ETF",
        SecurityKind::Etf,
        Some("NCIX"),
        course(2470, 63, (65, 300), 29),
    ),
    listed("ca_world", "Northern All-World ETF", SecurityKind::Etf, Some("NAWX"), course(3145, 85, (70, 280), 17)),
    listed("ca_balanced", "Laurentide Balanced Fund", SecurityKind::Fund, None, course(1420, 47, (35, 420), 23)),
    listed("ca_bond", "Government of Canada 2.25% 2031", SecurityKind::Bond, None, course(9710, 2, (22, 540), 23)),
    listed("ca_timber", "Fraser Timber Ltd.", SecurityKind::Equity, Some("FRTB"), course(5230, 40, (150, 200), 26)),
    listed(
        "ca_software",
        "Gatineau Software Inc.",
        SecurityKind::Equity,
        Some("GATS"),
        course(8395, 150, (170, 170), 0),
    ),
];
const UNITED_KINGDOM: [Listed; 6] = [
    listed("gb_index", "Albion 100 UCITS ETF", SecurityKind::Etf, Some("ALBN"), course(685, 41, (70, 290), 37)),
    listed(
        "gb_world",
        "Albion Global Equity UCITS ETF",
        SecurityKind::Etf,
        Some("ALBG"),
        course(4860, 88, (65, 310), 16),
    ),
    listed("gb_pension", "Thistle Lifestyle Pension Fund", SecurityKind::Fund, None, course(245, 58, (40, 400), 0)),
    listed("gb_gilt", "UK Gilt 1.25% 2041", SecurityKind::Bond, None, course(8830, 1, (45, 500), 13)),
    listed("gb_tea", "Wharf Street Tea plc", SecurityKind::Equity, Some("WSTP"), course(392, 35, (110, 220), 42)),
    listed("gb_wind", "Dogger Wind plc", SecurityKind::Equity, Some("DGWD"), course(574, 75, (160, 240), 18)),
];

impl Market {
    /// The market that a country's banks offer.
    pub(super) fn of(country: Country) -> Self {
        let securities: &'static [Listed] = match country {
            Country::Us => &UNITED_STATES,
            Country::Ca => &CANADA,
            Country::Gb => &UNITED_KINGDOM,
        };
        Self { country, securities }
    }

    /// Its securities in the tables' order: two funds of the whole market, a fund, a bond, then single ones.
    pub(super) fn len(&self) -> usize {
        self.securities.len()
    }

    pub(super) fn security(&self, index: usize) -> &'static Listed {
        &self.securities[index]
    }

    /// What a unit pays in a year, in thousandths of its price.
    pub(super) fn payout(&self, index: usize) -> i64 {
        self.securities[index].course.payout
    }

    /// The price of a unit at the close of a day, to the cent: growth, and a wave around it.
    pub(super) fn price(&self, index: usize, day: Date) -> Decimal {
        let Course { base, growth, swing: (swing, period), .. } = self.securities[index].course;
        let days = i64::from(FIRST_DAY.until(day).map_or(0, |span| span.get_days())).max(0);
        let grown = base + base * growth * days / (1000 * 365);
        let cents = grown + grown * swing * wave(days, period) / 1_000_000 + grown * swing * wave(days, 17) / 8_000_000;
        Decimal::new(cents.max(1), 2)
    }

    /// Every security and money, as a bank reports them.
    pub(super) fn details(&self, day: Date) -> impl Iterator<Item = SecurityDetails> + '_ {
        let listed = self.securities.iter().enumerate().map(move |(index, security)| SecurityDetails {
            upstream_key: security.key.to_owned(),
            name: security.name.to_owned(),
            kind: security.kind,
            currency: self.currency().to_owned(),
            ticker: security.ticker.map(str::to_owned),
            isin: (security.kind != SecurityKind::Crypto).then(|| self.isin(index)),
            sedol: (self.country == Country::Gb).then(|| sedol(index)),
            close_price: Some(self.price(index, day)),
            close_date: Some(day),
        });
        listed.chain(std::iter::once(SecurityDetails {
            upstream_key: CASH.to_owned(),
            name: format!("{} cash", self.currency()),
            kind: SecurityKind::Cash,
            currency: self.currency().to_owned(),
            ticker: None,
            isin: None,
            sedol: None,
            close_price: Some(Decimal::ONE),
            close_date: Some(day),
        }))
    }

    fn currency(&self) -> &'static str {
        match self.country {
            Country::Us => "USD",
            Country::Ca => "CAD",
            Country::Gb => "GBP",
        }
    }

    /// An ISIN (ISO 6166) of the right form with its check digit.
    fn isin(&self, index: usize) -> String {
        let country = match self.country {
            Country::Us => "US",
            Country::Ca => "CA",
            Country::Gb => "GB",
        };
        let body = format!("{country}00PASS{index:03}");
        let check = luhn(&body);
        format!("{body}{check}")
    }
}

/// Money to the cent.
pub(super) fn money(amount: Decimal) -> Decimal {
    let mut amount = amount.round_dp_with_strategy(2, RoundingStrategy::MidpointAwayFromZero);
    amount.rescale(2);
    amount
}

/// When the markets of a day closed.
pub(super) fn close_of(day: Date) -> Timestamp {
    let close = day.to_zoned(TimeZone::UTC).and_then(|midnight| midnight.checked_add(21.hours()));
    close.map_or(Timestamp::MIN, |close| close.timestamp())
}

/// A triangle from -1000 to 1000 and back within `period` days.
fn wave(days: i64, period: i64) -> i64 {
    let place = days % period * 4000 / period;
    match place {
        0..=1000 => place,
        1001..=3000 => 2000 - place,
        _ => place - 4000,
    }
}

/// The check digit of an ISIN: letters become two digits, then Luhn from the right.
fn luhn(body: &str) -> u32 {
    let digits: Vec<u32> = body
        .chars()
        .filter_map(|letter| letter.to_digit(36))
        .flat_map(|value| if value >= 10 { vec![value / 10, value % 10] } else { vec![value] })
        .collect();
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(place, digit)| match place % 2 {
            0 => digit * 2 / 10 + digit * 2 % 10,
            _ => *digit,
        })
        .sum();
    (10 - sum % 10) % 10
}

/// A SEDOL with its check digit.
fn sedol(index: usize) -> String {
    const WEIGHTS: [u32; 6] = [1, 3, 1, 7, 3, 9];
    let body = format!("BPSB{index:02}");
    let sum: u32 = body.chars().filter_map(|letter| letter.to_digit(36)).zip(WEIGHTS).map(|(d, w)| d * w).sum();
    format!("{body}{}", (10 - sum % 10) % 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn check_digits_are_those_of_known_identifiers() {
        for (body, digit) in [("US037833100", 5), ("GB000263494", 6), ("CA00206RGB2", 0)] {
            assert_eq!(luhn(body), digit, "{body}");
        }
        assert_eq!(sedol(0).len(), 7);
    }

    #[test]
    fn prices_move_and_never_vanish() {
        let day = |offset: i64| FIRST_DAY.saturating_add(offset.days());
        for country in [Country::Us, Country::Ca, Country::Gb] {
            let market = Market::of(country);
            for index in 0..market.len() {
                let prices: Vec<_> = (0..8_000).map(|offset| market.price(index, day(offset))).collect();
                assert!(prices.iter().all(|price| *price > Decimal::ZERO && price.scale() == 2));
                let moved = prices.windows(2).filter(|pair| pair[0] != pair[1]).count();
                assert!(moved > 2_000, "{} moved on {moved} days", market.security(index).key);
            }
        }
    }
}
