//! The UK modulus check against the vectors published with it, and against laws of the arithmetic.
//!
//! The rows below are those of the published weight table for the vectors' own sort codes, one sort code per range;
//! the table itself is not part of this project. Vectors: Vocalink, "Validating account numbers: UK modulus checking",
//! section of test data. The tests further down use rows made up for them and say so.

use passbook_core::numbers::{
    ModulusTables, Reason, UkAccount, Verdict,
    uk_modulus::{self, Table, TableError, TableProblem},
};
use proptest::{prelude::*, test_runner::RngSeed};

const WEIGHTS: &str = "\
070116 070116 MOD11 0 0 7 6 5 8 9 4 5 6 7 8 9 -1 12
070116 070116 MOD10 0 3 2 4 5 8 9 4 5 6 7 8 9 -1 13
074456 074456 MOD11 0 0 7 6 5 8 9 4 5 6 7 8 9 -1 12
074456 074456 MOD10 0 3 2 4 5 8 9 4 5 6 7 8 9 -1 13
086090 086090 MOD10 0 0 3 7 1 3 7 1 3 7 1 3 7 1 8
089999 089999 MOD10 0 0 0 0 0 0 7 1 3 7 1 3 7 1
107999 107999 MOD11 0 0 0 0 0 0 8 7 6 5 4 3 2 1
118765 118765 DBLAL 0 0 2 1 2 1 2 1 2 1 2 1 2 1 1
134020 134020 MOD11 0 0 0 7 5 9 8 4 6 3 5 2 0 0 4
180002 180002 MOD11 0 0 0 0 0 0 8 7 6 5 4 3 2 1 14
200915 200915 MOD11 0 0 0 0 0 0 0 7 6 5 4 3 2 1 6
200915 200915 DBLAL 2 1 2 1 2 1 2 1 2 1 2 1 2 1 6
202959 202959 MOD11 0 0 0 0 0 0 0 7 6 5 4 3 2 1 6
202959 202959 DBLAL 2 1 2 1 2 1 2 1 2 1 2 1 2 1 6
203099 203099 MOD11 0 0 0 0 0 0 0 7 6 5 4 3 2 1 6
203099 203099 DBLAL 2 1 2 1 2 1 2 1 2 1 2 1 2 1 6
309070 309070 MOD11 0 0 3 2 9 8 5 7 6 5 4 3 2 1 2
309070 309070 MOD11 0 0 3 2 9 8 1 7 6 5 4 3 2 1 9
772798 772798 MOD11 0 0 1 2 5 3 6 4 8 7 10 9 3 1 7
820000 820000 MOD11 0 0 0 0 0 0 0 0 7 3 4 9 2 1
820000 820000 DBLAL 2 1 2 1 2 1 2 1 2 1 2 1 2 1 3
827101 827101 MOD11 0 0 0 0 0 0 0 0 7 3 4 9 2 1
827101 827101 DBLAL 2 1 2 1 2 1 2 1 2 1 2 1 2 1 3
827999 827999 MOD11 0 0 0 0 0 0 0 0 7 3 4 9 2 1
827999 827999 DBLAL 2 1 2 1 2 1 2 1 2 1 2 1 2 1 3
871427 871427 MOD11 0 0 1 2 5 3 6 4 8 7 10 9 3 1 10
871427 871427 MOD11 0 0 5 10 9 8 0 7 6 5 4 3 2 1 11
872427 872427 MOD11 0 0 1 2 5 3 6 4 8 7 10 9 3 1 10
872427 872427 MOD11 0 0 5 10 9 8 0 7 6 5 4 3 2 1 11
938000 938696 MOD11 7 6 5 4 3 2 7 6 5 4 3 2 0 0 5
938000 938696 DBLAL 2 1 2 1 2 1 2 1 2 1 2 1 2 0 5
";

const SUBSTITUTIONS: &str = "938600 938611\n";

fn tables(weights: &str) -> ModulusTables {
    ModulusTables::parse("rows for tests", weights, SUBSTITUTIONS).expect("the rows are well formed")
}

fn judge(tables: &ModulusTables, sort_code: &str, account: &str) -> Verdict {
    let account = UkAccount::from_parts(sort_code, account).expect("the pair is well formed");
    uk_modulus::check(&account, Some(tables))
}

#[test]
fn published_accounts_pass() {
    let cases = [
        ("089999", "66374958", "modulus 10"),
        ("107999", "88837491", "modulus 11"),
        ("202959", "63748472", "modulus 11 and double alternate"),
        ("871427", "46238510", "10 and 11: first passes, second fails"),
        ("872427", "46238510", "10 and 11: first fails, second passes"),
        ("871427", "09123496", "10: ab is 09 and g is 9"),
        ("871427", "99123496", "10: ab is 99 and g is 9"),
        ("820000", "73688637", "3: c is 6, second check left out"),
        ("827999", "73988638", "3: c is 9, second check left out"),
        ("827101", "28748352", "3: c is neither, both checks pass"),
        ("134020", "63849203", "4: remainder equals gh"),
        ("118765", "64371389", "1: 27 is added"),
        ("200915", "41011166", "6: foreign-currency account"),
        ("938611", "07806039", "5: both check digits fit"),
        ("938600", "42368003", "5: under a substituted sort code"),
        ("938063", "55065200", "5: both remainders and both check digits are 0"),
        ("772798", "99345694", "7: g is 9"),
        ("086090", "06774744", "8: under a fixed sort code"),
        ("309070", "02355688", "2 and 9: first passes, a is 0"),
        ("309070", "12345668", "2 and 9: second passes under the euro sort code"),
        ("309070", "12345677", "2: a is not 0, g is not 9"),
        ("309070", "99345694", "2: a is not 0, g is 9"),
        ("070116", "34012583", "12 and 13: modulus 11 passes"),
        ("074456", "11104102", "12 and 13: modulus 10 passes"),
        ("180002", "00000190", "14: passes without the last digit"),
    ];
    let tables = tables(WEIGHTS);
    for (sort_code, account, story) in cases {
        assert_eq!(judge(&tables, sort_code, account), Verdict::Valid, "{story}");
    }
}

#[test]
fn published_bad_accounts_fail() {
    let cases = [
        ("938063", "15764273", "5: first check digit fits, second does not"),
        ("938063", "15764264", "5: second check digit fits, first does not"),
        ("938063", "15763217", "5: remainder of 1 in the first check"),
        ("118765", "64371388", "1"),
        ("203099", "66831036", "modulus 11 passes, double alternate fails"),
        ("203099", "58716970", "modulus 11 fails, double alternate passes"),
        ("089999", "66374959", "modulus 10"),
        ("107999", "88837493", "modulus 11"),
    ];
    let tables = tables(WEIGHTS);
    for (sort_code, account, story) in cases {
        assert_eq!(judge(&tables, sort_code, account), Verdict::Invalid(Reason::ModulusMismatch), "{story}");
    }
}

#[test]
fn accounts_nobody_can_check_are_unchecked() {
    let account = UkAccount::from_parts("089999", "66374959").unwrap();
    assert_eq!(uk_modulus::check(&account, None), Verdict::Unchecked(Reason::NoModulusTables));
    assert_eq!(judge(&tables(WEIGHTS), "000000", "12345678"), Verdict::Unchecked(Reason::SortCodeNotInTables));
    assert_eq!(judge(&tables(""), "089999", "66374959"), Verdict::Unchecked(Reason::SortCodeNotInTables));
}

/// Made-up row: only `h` has a weight, so the sum is `h` and exactly the accounts ending in 0 pass.
#[test]
fn ranges_include_both_ends_and_nothing_more() {
    let tables = tables("100100 100200 MOD10 0 0 0 0 0 0 0 0 0 0 0 0 0 1\n");
    for inside in ["100100", "100150", "100200"] {
        assert_eq!(judge(&tables, inside, "12345670"), Verdict::Valid);
        assert_eq!(judge(&tables, inside, "12345671"), Verdict::Invalid(Reason::ModulusMismatch));
    }
    for outside in ["100099", "100201"] {
        assert_eq!(judge(&tables, outside, "12345670"), Verdict::Unchecked(Reason::SortCodeNotInTables));
    }
}

/// Made-up rows. The sum is `2h` by products and the digit sum of `2h` by double alternate: 5 gives 10 and 1.
#[test]
fn double_alternate_sums_the_digits_of_products() {
    let row = |method| format!("100100 100100 {method} 0 0 0 0 0 0 0 0 0 0 0 0 0 2\n");
    assert_eq!(judge(&tables(&row("MOD10")), "100100", "00000005"), Verdict::Valid);
    assert_eq!(judge(&tables(&row("DBLAL")), "100100", "00000005"), Verdict::Invalid(Reason::ModulusMismatch));
}

/// Made-up row that no account under 100101 passes, since the sum is always 1, so a pass is the exemption.
#[test]
fn foreign_currency_exemption_needs_both_conditions() {
    let tables = tables("100101 100101 MOD10 0 0 0 0 0 1 0 0 0 0 0 0 0 0 6\n");
    for (account, verdict) in [
        ("40000011", Verdict::Valid),
        ("80000099", Verdict::Valid),
        ("30000011", Verdict::Invalid(Reason::ModulusMismatch)),
        ("90000011", Verdict::Invalid(Reason::ModulusMismatch)),
        ("40000012", Verdict::Invalid(Reason::ModulusMismatch)),
    ] {
        assert_eq!(judge(&tables, "100101", account), verdict, "{account}");
    }
}

/// Made-up row whose sum is `2a`: an `a` of 5 leaves the remainder 10, which must stand in both digits of `gh`.
#[test]
fn remainder_of_ten_fills_both_check_digits() {
    let tables = tables("100100 100100 MOD11 0 0 0 0 0 0 2 0 0 0 0 0 0 0 4\n");
    assert_eq!(judge(&tables, "100100", "50000010"), Verdict::Valid);
    for wrong in ["50000001", "50000000", "50000011", "50000021"] {
        assert_eq!(judge(&tables, "100100", wrong), Verdict::Invalid(Reason::ModulusMismatch), "{wrong}");
    }
}

/// The published account of exception 3 with its last digit changed, which shifts the first sum by one.
#[test]
fn leaving_out_the_second_check_keeps_the_first() {
    assert_eq!(judge(&tables(WEIGHTS), "820000", "73688638"), Verdict::Invalid(Reason::ModulusMismatch));
}

/// Without its last digit the account is 19, whose sum is 1 x 2 + 9 x 1 = 11 and passes. The plain sum is 21 plus the
/// last digit, which only 1 completes to 22; so every other digit that passes does so by the second try.
#[test]
fn last_digit_is_dropped_only_when_it_is_0_1_or_9() {
    let tables = tables(WEIGHTS);
    for last in 0..=9 {
        let verdict = judge(&tables, "180002", &format!("0000019{last}"));
        let expected =
            if matches!(last, 0 | 1 | 9) { Verdict::Valid } else { Verdict::Invalid(Reason::ModulusMismatch) };
        assert_eq!(verdict, expected, "last digit {last}");
    }
}

#[test]
fn tables_say_what_they_are() {
    let tables =
        ModulusTables::parse("release 1, 2026-01-01", WEIGHTS, "938600 938611\r\n\r\n938602 938343\r\n").unwrap();
    assert_eq!(tables.version(), "release 1, 2026-01-01");
    assert_eq!(tables.range_count(), 19);
    assert!(format!("{tables:?}").contains("release 1"));
}

#[test]
fn unusable_tables_name_the_line() {
    let good = "100100 100200 MOD10 0 0 0 0 0 0 0 0 0 0 0 0 0 1";
    let cases = [
        ("100100 100200 MOD10 0 0 0 0 0 0 0 0 0 0 0 0 1", TableProblem::ColumnCount),
        ("100100 100200 MOD10 0 0 0 0 0 0 0 0 0 0 0 0 0 1 2 3", TableProblem::ColumnCount),
        ("10010x 100200 MOD10 0 0 0 0 0 0 0 0 0 0 0 0 0 1", TableProblem::SortCode),
        ("100301 100300 MOD10 0 0 0 0 0 0 0 0 0 0 0 0 0 1", TableProblem::Range),
        ("100200 100300 MOD10 0 0 0 0 0 0 0 0 0 0 0 0 0 1", TableProblem::Range),
        ("100000 100300 MOD10 0 0 0 0 0 0 0 0 0 0 0 0 0 1", TableProblem::Range),
        ("100100 100150 MOD10 0 0 0 0 0 0 0 0 0 0 0 0 0 1", TableProblem::Range),
        ("100300 100300 MOD12 0 0 0 0 0 0 0 0 0 0 0 0 0 1", TableProblem::Method),
        ("100300 100300 MOD10 0 0 0 0 0 0 0 0 0 0 0 0 0 1.5", TableProblem::Weight),
        ("100300 100300 DBLAL 0 0 0 0 0 0 0 0 0 0 0 0 0 -1", TableProblem::Weight),
        ("100300 100300 MOD10 0 0 0 0 0 0 0 0 0 0 0 0 0 1 15", TableProblem::Exception),
    ];
    for (bad, problem) in cases {
        let outcome = ModulusTables::parse("", &format!("{good}\n\n{bad}\n"), "");
        assert_eq!(outcome.unwrap_err(), TableError { table: Table::Weights, line: 3, problem }, "{bad}");
    }
    let third = ModulusTables::parse("", &format!("{good}\n{good}\n{good}\n"), "").unwrap_err();
    assert_eq!(third, TableError { table: Table::Weights, line: 3, problem: TableProblem::Repeated });
}

#[test]
fn unusable_substitutions_name_the_line() {
    let cases = [
        ("938600", TableProblem::ColumnCount),
        ("938600 93861", TableProblem::SortCode),
        ("938173 938611", TableProblem::Repeated),
    ];
    for (bad, problem) in cases {
        let outcome = ModulusTables::parse("", "", &format!("938173 938017\n{bad}\n"));
        assert_eq!(outcome.unwrap_err(), TableError { table: Table::Substitutions, line: 2, problem }, "{bad}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 2_000, rng_seed: RngSeed::Fixed(0x5047_0001), failure_persistence: None, ..ProptestConfig::default()
    })]

    /// Laws of the arithmetic over made-up rows: with weight 1 on `h`, changing `h` walks through the remainders, so
    /// exactly one last digit of ten passes modulo 10, and at most one modulo 11.
    #[test]
    fn one_last_digit_completes_an_account(
        weights in prop::array::uniform13(0_i16..=128), sort_code in 0_u32..=999_999, stem in 0_u32..=9_999_999,
    ) {
        let columns: Vec<String> = weights.iter().map(i16::to_string).collect();
        let passing = |method: &str| {
            let tables = tables(&format!("000000 999999 {method} {} 1\n", columns.join(" ")));
            let judge = |last: &u32| judge(&tables, &format!("{sort_code:06}"), &format!("{stem:07}{last}"));
            (0..10).filter(|last| judge(last) == Verdict::Valid).count()
        };
        prop_assert_eq!(passing("MOD10"), 1);
        prop_assert_eq!(passing("DBLAL"), 1);
        prop_assert!(passing("MOD11") <= 1);
    }
}
