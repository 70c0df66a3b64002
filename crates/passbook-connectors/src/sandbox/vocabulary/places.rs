//! Places where people live: real cities with a postal code of theirs, and street names that exist everywhere.

use passbook_core::institution::Country;

/// A city.
pub(in crate::sandbox) struct Place {
    pub(in crate::sandbox) city: &'static str,
    pub(in crate::sandbox) region: &'static str,
    pub(in crate::sandbox) postal_code: &'static str,
}

/// The cities of a country.
pub(in crate::sandbox) fn places(country: Country) -> &'static [Place; 10] {
    match country {
        Country::Us => &UNITED_STATES,
        Country::Ca => &CANADA,
        Country::Gb => &UNITED_KINGDOM,
    }
}

const fn place(city: &'static str, region: &'static str, postal_code: &'static str) -> Place {
    Place { city, region, postal_code }
}

const UNITED_STATES: [Place; 10] = [
    place("Albany", "NY", "12207"),
    place("Austin", "TX", "78701"),
    place("Boise", "ID", "83702"),
    place("Columbus", "OH", "43215"),
    place("Denver", "CO", "80202"),
    place("Madison", "WI", "53703"),
    place("Portland", "OR", "97204"),
    place("Providence", "RI", "02903"),
    place("Raleigh", "NC", "27601"),
    place("Tucson", "AZ", "85701"),
];

const CANADA: [Place; 10] = [
    place("Calgary", "AB", "T2P 1J9"),
    place("Edmonton", "AB", "T5J 2R7"),
    place("Halifax", "NS", "B3J 3A5"),
    place("Hamilton", "ON", "L8P 4S8"),
    place("Montréal", "QC", "H2Y 1C6"),
    place("Ottawa", "ON", "K1P 1J1"),
    place("Regina", "SK", "S4P 3C8"),
    place("Toronto", "ON", "M5H 2N2"),
    place("Victoria", "BC", "V8W 1P6"),
    place("Winnipeg", "MB", "R3C 1A5"),
];

const UNITED_KINGDOM: [Place; 10] = [
    place("Bath", "Somerset", "BA1 1LT"),
    place("Belfast", "County Antrim", "BT1 5GS"),
    place("Bristol", "Bristol", "BS1 5TR"),
    place("Cardiff", "South Glamorgan", "CF10 1EP"),
    place("Edinburgh", "Midlothian", "EH1 1YZ"),
    place("Leeds", "West Yorkshire", "LS1 1UR"),
    place("Liverpool", "Merseyside", "L2 2DP"),
    place("Manchester", "Greater Manchester", "M2 5DB"),
    place("Norwich", "Norfolk", "NR2 1RQ"),
    place("York", "North Yorkshire", "YO1 9QN"),
];

pub(in crate::sandbox) const STREETS: [&str; 16] = [
    "Birch Street",
    "Bridge Road",
    "Cedar Avenue",
    "Chapel Lane",
    "Church Street",
    "Elm Street",
    "Garden Road",
    "High Street",
    "Hill Road",
    "Lake Street",
    "Maple Avenue",
    "Mill Lane",
    "Park Avenue",
    "River Road",
    "Station Road",
    "Willow Lane",
];
