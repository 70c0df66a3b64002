//! `passbook doctor`: the files, and the store through whoever has it.

use std::path::Path;

use super::{
    Stores,
    reach::{Reached, execute, reach},
};
use crate::operator::{Answer, Check, Request, Verdict, doctor::file_checks};

/// All checks. A store that cannot be reached is a finding, not an error.
pub(super) async fn examine(data: &Path, stores: &dyn Stores) -> Vec<Check> {
    let files = stores.files(data);
    let mut checks = file_checks(data, files.keys.as_deref(), &files.ledger);
    let answer = match reach(data, &Request::Examine, stores).await {
        Ok(Reached::Answered(answer)) => {
            checks.push(Check::ok("store", "a server has it and answers"));
            Ok(*answer)
        }
        Ok(Reached::Opened(opened)) => {
            checks.push(Check::ok("store", "no server has it; it opens"));
            let answer = execute(&opened, Request::Examine).await;
            opened.store.close().await;
            answer
        }
        Err(error) => Err(error),
    };
    match answer {
        Ok(Answer::Checks(of_store)) => checks.extend(of_store),
        Ok(_) => checks.push(unreachable_store("the server answered something else; use the same release")),
        Err(error) => checks.push(unreachable_store(&format!("{error:#}"))),
    }
    checks
}

fn unreachable_store(detail: &str) -> Check {
    Check::not_ok("store", Verdict::Fail, detail, "put right what it says, then run this again")
}
