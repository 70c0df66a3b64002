//! Invented shops, subscriptions, employers and landlords.

/// A kind of shop: its merchants, what a purchase costs, in minor units, and how often goods are taken back.
pub(in crate::sandbox) struct Trade {
    pub(in crate::sandbox) merchants: &'static [&'static str],
    pub(in crate::sandbox) cost: (i64, i64),
    pub(in crate::sandbox) returned_percent: u64,
}

pub(in crate::sandbox) const GROCERIES: Trade = Trade {
    merchants: &["Green Basket Market", "Corner Pantry", "Harvest Hall Foods", "Daily Fare", "Northgate Grocers"],
    cost: (1_840, 13_650),
    returned_percent: 0,
};

pub(in crate::sandbox) const DINING: Trade = Trade {
    merchants: &[
        "Blue Kettle Coffee",
        "Noodle Parade",
        "Taquería Mirasol",
        "The Copper Spoon",
        "Old Mill Bakery",
        "Saffron Table",
    ],
    cost: (385, 7_420),
    returned_percent: 0,
};

pub(in crate::sandbox) const FUEL: Trade = Trade {
    merchants: &["Ridgeway Fuel", "Crossroads Petroleum", "Lantern Energy Stop"],
    cost: (2_450, 7_180),
    returned_percent: 0,
};

pub(in crate::sandbox) const SHOPPING: Trade = Trade {
    merchants: &["Juniper & Thread", "Pixel Depot", "Fernwood Home", "Papertrail Books", "Summit Outfitters"],
    cost: (1_299, 24_900),
    returned_percent: 40,
};

/// Subscriptions and their monthly price in minor units.
pub(in crate::sandbox) const SUBSCRIPTIONS: [(&str, i64); 8] = [
    ("Streamwell", 1_549),
    ("Cadence Music", 1_099),
    ("Cloudlocker Storage", 299),
    ("The Morning Ledger", 1_200),
    ("Ironwood Gym", 3_950),
    ("Pocket Chef", 799),
    ("Lingua Daily", 699),
    ("Stellar Games Pass", 1_499),
];

pub(in crate::sandbox) const EMPLOYERS: [&str; 10] = [
    "Alder Manufacturing",
    "Brightwater Health",
    "Cobalt Logistics",
    "Fairview Schools",
    "Granite Software",
    "Harbour Design Group",
    "Keystone Consulting",
    "Meridian Labs",
    "Orchard Publishing",
    "Westfield Engineering",
];

pub(in crate::sandbox) const LANDLORDS: [&str; 5] = [
    "Oakline Property Management",
    "Riverside Lettings",
    "Cornerstone Homes",
    "Maple Court Rentals",
    "Hillcrest Estates",
];

pub(in crate::sandbox) const UTILITIES: [&str; 4] =
    ["Lumen Power & Gas", "Valley Electric", "Clearstream Water & Power", "Northern Grid Energy"];

pub(in crate::sandbox) const PHONE_COMPANIES: [&str; 4] =
    ["Beacon Mobile", "Relay Wireless", "Skylark Telecom", "Tandem Broadband"];
