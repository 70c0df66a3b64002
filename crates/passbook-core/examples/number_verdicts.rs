//! Judges numbers from standard input, for comparison with other validators.
//!
//! Each line is `kind<TAB>number` with kind `aba`, `iban` or `bic`; each answer line is `valid`, or `invalid` and the
//! reason's code separated by a tab, in the same order.

use std::io::{self, BufRead, BufWriter, Write};

use passbook_core::numbers::{Verdict, aba, bic, iban};

fn main() -> io::Result<()> {
    let mut output = BufWriter::new(io::stdout().lock());
    for line in io::stdin().lock().lines() {
        let line = line?;
        let verdict = line.split_once('\t').and_then(|(kind, number)| judge(kind, number));
        match verdict.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "expected kind<TAB>number"))? {
            Verdict::Valid => writeln!(output, "valid")?,
            Verdict::Invalid(reason) => writeln!(output, "invalid\t{}", reason.code())?,
            Verdict::Unchecked(reason) => writeln!(output, "unchecked\t{}", reason.code())?,
        }
    }
    output.flush()
}

fn judge(kind: &str, number: &str) -> Option<Verdict> {
    match kind {
        "aba" => Some(aba::check(number)),
        "iban" => Some(iban::check(number)),
        "bic" => Some(bic::check(number)),
        _ => None,
    }
}
