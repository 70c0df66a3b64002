//! OFX statement files as a bank would write them, of any length, with transactions that can be told apart.

use std::fmt::Write as _;
use std::ops::Range;

use jiff::civil::{Date, date};

/// Transactions on one day. A file may only begin at a day's first transaction, because it claims whole days.
pub const PER_DAY: u32 = 4;

/// A routing number whose check digit holds (ABA).
const ROUTING_NUMBER: &str = "011000015";

/// One account at a bank whose statements an experiment writes.
#[derive(Debug, Clone)]
pub struct Account {
    /// 12 digits.
    pub number: String,
    /// Starts every payee name of the account, followed by the position in 6 digits.
    pub tag: String,
}

impl Account {
    /// An account of this worker and position; both below 1,000,000.
    pub fn new(worker: u32, position: u32) -> Self {
        Self { number: format!("{worker:06}{position:06}"), tag: format!("PAY W{worker}A{position} ") }
    }

    /// A statement file with these transactions of the account.
    pub fn statement(&self, range: Range<u32>) -> String {
        let mut text = String::with_capacity(1024 + range.len() * 200);
        let (first, last) = (posted_on(range.start), posted_on(range.end.max(1) - 1));
        write!(
            text,
            "<?xml version=\"1.0\" encoding=\"UTF-8\" standalone=\"no\"?>\n\
             <?OFX OFXHEADER=\"200\" VERSION=\"211\" SECURITY=\"NONE\" OLDFILEUID=\"NONE\" NEWFILEUID=\"NONE\"?>\n\
             <OFX><SIGNONMSGSRSV1><SONRS><STATUS><CODE>0</CODE><SEVERITY>INFO</SEVERITY></STATUS>\
             <DTSERVER>{last}120000</DTSERVER><LANGUAGE>ENG</LANGUAGE></SONRS></SIGNONMSGSRSV1>\n\
             <BANKMSGSRSV1><STMTTRNRS><TRNUID>1</TRNUID><STATUS><CODE>0</CODE><SEVERITY>INFO</SEVERITY></STATUS>\
             <STMTRS><CURDEF>USD</CURDEF><BANKACCTFROM><BANKID>{ROUTING_NUMBER}</BANKID>\
             <ACCTID>{number}</ACCTID><ACCTTYPE>CHECKING</ACCTTYPE></BANKACCTFROM>\n\
             <BANKTRANLIST><DTSTART>{first}</DTSTART><DTEND>{last}</DTEND>\n",
            number = self.number,
        )
        .expect("writing to a string");
        for position in range {
            self.write_transaction(&mut text, position);
        }
        writeln!(
            text,
            "</BANKTRANLIST><LEDGERBAL><BALAMT>1000.00</BALAMT><DTASOF>{last}120000</DTASOF></LEDGERBAL>\
             </STMTRS></STMTTRNRS></BANKMSGSRSV1></OFX>"
        )
        .expect("writing to a string");
        text
    }

    /// The position of the transaction that this text of the server's answer is about, if it is one of this account's.
    pub fn position_in(&self, transaction: &str) -> Option<u32> {
        let behind = &transaction[transaction.find(&self.tag)? + self.tag.len()..];
        behind.get(..6)?.parse().ok()
    }

    fn write_transaction(&self, text: &mut String, position: u32) {
        let cents = u64::from(position) * 37 % 100_000 + 1;
        writeln!(
            text,
            "<STMTTRN><TRNTYPE>DEBIT</TRNTYPE><DTPOSTED>{day}120000</DTPOSTED>\
             <TRNAMT>-{units}.{fraction:02}</TRNAMT><FITID>{number}{position:06}</FITID>\
             <NAME>{tag}{position:06}</NAME></STMTTRN>",
            day = posted_on(position),
            units = cents / 100,
            fraction = cents % 100,
            number = self.number,
            tag = self.tag,
        )
        .expect("writing to a string");
    }
}

/// `YYYYMMDD`, from the first of 1990 on: a long statement still ends in the past.
fn posted_on(position: u32) -> String {
    const FIRST: Date = date(1990, 1, 1);
    let day = FIRST.saturating_add(jiff::Span::new().days(position / PER_DAY));
    format!("{:04}{:02}{:02}", day.year(), day.month(), day.day())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_holds_its_range_and_nothing_else() {
        let account = Account::new(3, 5);
        let text = account.statement(4..9);
        let found: Vec<_> = text.lines().filter_map(|line| account.position_in(line)).collect();
        assert_eq!(found, [4, 5, 6, 7, 8]);
        assert!(text.contains("<DTSTART>19900102</DTSTART><DTEND>19900103</DTEND>"));
        assert!(text.contains("<ACCTID>000003000005</ACCTID>"));
    }

    #[test]
    fn tags_of_different_accounts_are_never_taken_for_each_other() {
        let text = Account::new(1, 11).statement(0..1);
        assert!(text.lines().all(|line| Account::new(1, 1).position_in(line).is_none()));
    }
}
