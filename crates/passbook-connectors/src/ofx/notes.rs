//! What was left out or repaired, counted, for the person who imported the file.
//!
//! A note says what happened and how often and quotes nothing from the file, so there are at most as many notes as
//! kinds of note and none of them can hold a number.

use std::collections::BTreeMap;

/// A kind of repair or omission. The order is the order in which notes are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Note {
    /// Says UTF-8, is not.
    EncodingMislabelled,
    /// Bytes that mean nothing in the declared encoding.
    CharactersUnreadable,
    /// `CURDEF` missing or not a currency code.
    CurrencyAssumed,
    /// `ACCTTYPE` is none of the known ones.
    AccountTypeUnknown,
    /// `ACCTID` is masked or not a number.
    AccountNumberIncomplete,
    /// `BANKID` is not an ABA routing number, or belongs to another country.
    RoutingNumberMissing,
    /// `DTASOF` cannot be read.
    BalanceDateUnreadable,
    /// `FITID` missing, empty, all zeros, or too long.
    TransactionIdMissing,
    /// One `FITID`, different transactions.
    TransactionIdReused,
    /// One `FITID`, the same transaction again.
    TransactionRepeated,
    /// `CORRECTFITID` or `CORRECTACTION` without the other, or an unknown action.
    CorrectionIgnored,
    /// Transactions in securities.
    InvestmentActivityLeftOut,
}

impl Note {
    fn text(self, count: usize) -> String {
        let transactions = if count == 1 { "1 transaction".to_owned() } else { format!("{count} transactions") };
        let accounts = if count == 1 { "1 account".to_owned() } else { format!("{count} accounts") };
        match self {
            Self::EncodingMislabelled => {
                "The file says it is UTF-8 but is not; it was read as Windows-1252.".to_owned()
            }
            Self::CharactersUnreadable => "Some characters could not be read in the file's own encoding.".to_owned(),
            Self::CurrencyAssumed => format!("{accounts} without a currency: the country's currency was assumed."),
            Self::AccountTypeUnknown => format!("{accounts} of an unknown type."),
            Self::AccountNumberIncomplete => {
                format!("{accounts} without payment numbers: the file does not hold the full account number.")
            }
            Self::RoutingNumberMissing => {
                format!("{accounts} without payment numbers: the file holds no valid routing number.")
            }
            Self::BalanceDateUnreadable => format!("{accounts} with a balance whose date cannot be read."),
            Self::TransactionIdMissing => format!("{transactions} without an id: told apart by content."),
            Self::TransactionIdReused => {
                format!("{transactions} with the id of another one: kept, told apart by content.")
            }
            Self::TransactionRepeated => format!("{transactions} repeated exactly: kept once."),
            Self::CorrectionIgnored => format!("{transactions} with an incomplete correction: kept as new."),
            Self::InvestmentActivityLeftOut => format!("{transactions} in securities left out."),
        }
    }
}

/// The notes of one file.
#[derive(Debug, Default)]
pub(super) struct Notes(BTreeMap<Note, usize>);

impl Notes {
    /// Counts one more.
    pub(super) fn add(&mut self, note: Note) {
        *self.0.entry(note).or_default() += 1;
    }

    /// The notes as sentences.
    pub(super) fn into_texts(self) -> Vec<String> {
        self.0.into_iter().map(|(note, count)| note.text(count)).collect()
    }
}
