//! `POST /sandbox/links/{id}/edits`: changing what a simulated bank holds.

use axum::{
    extract::{Request, State as Extract},
    response::Response,
};
use jiff::civil::Date;
use passbook_connectors::edits::{AddedTransaction, BankEdit};
use passbook_core::{identity::Owner, ids::LinkId, transaction::Direction};
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use super::{
    State,
    body::{Problems, objects},
    caller::Caller,
    errors::ApiError,
    idempotency::answer_once,
    links::read_change,
    path::LinkPath,
};
use crate::{
    services::{
        idempotency::Answer,
        sandbox_edits::{EditPlan, Named},
    },
    views,
};

/// Most edits of one call.
const EDITS_OF_CALL_MAX: usize = 100;
/// Longest name or description.
const TEXT_MAX: usize = 255;
/// Longest account number.
const NUMBER_MAX: usize = 34;
/// Most owners of one account.
const OWNERS_MAX: usize = 20;
/// Amounts have at most this many digits before the point.
const AMOUNT_MAX: i64 = 1_000_000_000_000;

#[derive(Deserialize)]
struct EditsBody {
    #[serde(deserialize_with = "objects")]
    edits: Vec<Edit>,
}

/// One edit as it is written. No `Debug`: it may hold an account number.
#[derive(Deserialize)]
#[serde(tag = "edit", rename_all = "snake_case")]
enum Edit {
    CloseAccount {
        account_id: String,
    },
    ReopenAccount {
        account_id: String,
    },
    RenameAccount {
        account_id: String,
        name: String,
    },
    ChangeNumbers {
        account_id: String,
        account_number: String,
        #[serde(default)]
        routing_number: Option<String>,
    },
    RemoveNumbers {
        account_id: String,
    },
    SetBalance {
        account_id: String,
        #[serde(default)]
        current: Option<Decimal>,
        #[serde(default)]
        available: Option<Decimal>,
    },
    AddTransaction {
        account_id: String,
        amount: Decimal,
        #[serde(rename = "type")]
        direction: Direction,
        #[serde(default)]
        date: Option<Date>,
        description: String,
        #[serde(default)]
        pending: bool,
    },
    ChangeTransaction {
        transaction_id: String,
        #[serde(default)]
        amount: Option<Decimal>,
        #[serde(default, rename = "type")]
        direction: Option<Direction>,
        #[serde(default)]
        date: Option<Date>,
        #[serde(default)]
        description: Option<String>,
    },
    RemoveTransaction {
        transaction_id: String,
    },
    PostPending {
        transaction_id: String,
    },
    SetOwners {
        #[serde(default)]
        account_id: Option<String>,
        owners: Vec<Owner>,
    },
    ExpireConsent,
}

#[derive(Serialize)]
struct EditsAnswer<'a> {
    link_id: &'a str,
    /// Edits that the bank keeps of this link, the new ones included.
    edits: usize,
}

/// Takes edits, all or none. They are seen after the next refresh.
pub async fn edit_sandbox_link(
    Extract(api): State,
    caller: Caller,
    LinkPath(id): LinkPath,
    request: Request,
) -> Result<Response, ApiError> {
    let (parts, bytes) = read_change(&api, &caller, &id, request).await?;
    let body: EditsBody = api.read_json(&caller, &parts, &bytes).await?;
    let mut problems = Problems::default();
    let count = body.edits.len();
    problems.require((1..=EDITS_OF_CALL_MAX).contains(&count), "edits", "must have 1 to 100 edits");
    let edits: Vec<EditPlan> =
        body.edits.into_iter().enumerate().map(|(number, edit)| plan(&mut problems, number, edit)).collect();
    problems.finish()?;
    answer_once(&api, &caller, &parts, &bytes, async |held| {
        let shown = id.clone();
        let keep = held.keep(move |kept: &usize| edits_answer(&shown, *kept));
        Ok(edits_answer(&id, api.services.edit_sandbox_link(&caller, &id, edits, &keep).await?))
    })
    .await
}

fn edits_answer(id: &LinkId, kept: usize) -> Answer {
    Answer { status: 200, body: views::json(&EditsAnswer { link_id: id.as_str(), edits: kept }) }
}

/// What one edit means, with what it names still to be found.
fn plan(problems: &mut Problems, number: usize, edit: Edit) -> EditPlan {
    let mut check = Check { problems, number };
    match edit {
        Edit::CloseAccount { account_id } => of_account(account_id, |account| BankEdit::CloseAccount { account }),
        Edit::ReopenAccount { account_id } => of_account(account_id, |account| BankEdit::ReopenAccount { account }),
        Edit::RenameAccount { account_id, name } => {
            check.text("name", &name);
            of_account(account_id, |account| BankEdit::RenameAccount { account, name })
        }
        Edit::ChangeNumbers { account_id, account_number, routing_number } => {
            check.number("account_number", &account_number, 1, NUMBER_MAX);
            if let Some(routing_number) = &routing_number {
                check.number("routing_number", routing_number, 9, 9);
            }
            of_account(account_id, |account| BankEdit::ChangeNumbers { account, account_number, routing_number })
        }
        Edit::RemoveNumbers { account_id } => of_account(account_id, |account| BankEdit::RemoveNumbers { account }),
        Edit::SetBalance { account_id, current, available } => {
            check.require(current.is_some() || available.is_some(), "current", "give current, available or both");
            for (field, amount) in [("current", current), ("available", available)] {
                check.require(amount.is_none_or(is_small), field, "must be below 10^12");
            }
            of_account(account_id, move |account| BankEdit::SetBalance { account, current, available })
        }
        Edit::AddTransaction { account_id, amount, direction, date, description, pending } => {
            check.amount(amount);
            check.text("description", &description);
            EditPlan {
                named: Named::Account(account_id),
                make: Box::new(move |place, today| BankEdit::AddTransaction {
                    account: place.account,
                    transaction: AddedTransaction {
                        amount,
                        direction,
                        date: date.unwrap_or(today),
                        description,
                        pending,
                    },
                }),
            }
        }
        Edit::ChangeTransaction { transaction_id, amount, direction, date, description } => {
            if let Some(amount) = amount {
                check.amount(amount);
            }
            if let Some(description) = &description {
                check.text("description", description);
            }
            of_transaction(transaction_id, move |account, transaction| BankEdit::ChangeTransaction {
                account,
                transaction,
                amount,
                direction,
                date,
                description,
            })
        }
        Edit::RemoveTransaction { transaction_id } => {
            of_transaction(transaction_id, |account, transaction| BankEdit::RemoveTransaction { account, transaction })
        }
        Edit::PostPending { transaction_id } => {
            of_transaction(transaction_id, |account, transaction| BankEdit::PostPending { account, transaction })
        }
        Edit::SetOwners { account_id, owners } => {
            check.require(owners.len() <= OWNERS_MAX, "owners", "must have at most 20 owners");
            match account_id {
                Some(id) => of_account(id, |account| BankEdit::SetOwners { account: Some(account), owners }),
                None => of_nothing(move || BankEdit::SetOwners { account: None, owners }),
            }
        }
        Edit::ExpireConsent => of_nothing(|| BankEdit::ExpireConsent),
    }
}

fn of_account(account_id: String, make: impl FnOnce(String) -> BankEdit + Send + 'static) -> EditPlan {
    EditPlan { named: Named::Account(account_id), make: Box::new(move |place, _| make(place.account)) }
}

fn of_transaction(id: String, make: impl FnOnce(String, String) -> BankEdit + Send + 'static) -> EditPlan {
    EditPlan { named: Named::Transaction(id), make: Box::new(move |place, _| make(place.account, place.transaction)) }
}

fn of_nothing(make: impl FnOnce() -> BankEdit + Send + 'static) -> EditPlan {
    EditPlan { named: Named::Nothing, make: Box::new(move |_, _| make()) }
}

/// Checks the fields of one edit.
struct Check<'a> {
    problems: &'a mut Problems,
    number: usize,
}

impl Check<'_> {
    fn require(&mut self, ok: bool, field: &str, message: &str) {
        self.problems.require(ok, &format!("edits.{}.{field}", self.number), message);
    }

    fn text(&mut self, field: &str, text: &str) {
        self.problems.length(text, &format!("edits.{}.{field}", self.number), 1, TEXT_MAX);
    }

    fn number(&mut self, field: &str, digits: &str, min: usize, max: usize) {
        let fits = (min..=max).contains(&digits.len()) && digits.bytes().all(|digit| digit.is_ascii_digit());
        self.require(fits, field, &format!("must be {min} to {max} digits"));
    }

    fn amount(&mut self, amount: Decimal) {
        self.require(!amount.is_sign_negative() && is_small(amount), "amount", "must be from 0 to below 10^12");
    }
}

fn is_small(amount: Decimal) -> bool {
    amount.abs() < Decimal::from(AMOUNT_MAX)
}
