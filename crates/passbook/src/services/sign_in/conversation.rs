//! The conversation: which bank, its steps, and which accounts the person permits. Nothing is stored here.

use std::{collections::BTreeSet, time::Duration};

use passbook_connectors::port::{Connector, Credential, Fetch, SignIn, Step};
use passbook_core::{
    failure::{Failure, FailureClass},
    institution::Institution,
    product::Product,
    session::SessionRequest,
    snapshot::{BankAccount, Snapshot},
};

use super::{Attempt, Person, SignInRefusal, SignedIn, UNKNOWN_INSTITUTION, not_offered};
use crate::services::{Actor, Fault, Services};

/// Most answers of one sign-in.
const ANSWERS_MAX: usize = 10;
/// How long a whole sign-in may take.
const SIGN_IN_DEADLINE: Duration = Duration::from_secs(60);
/// Where a person goes who chooses nothing.
const DEFAULT_INSTITUTION: &str = "credentials_bank";

impl Services {
    pub(super) async fn choose_institution(
        &self,
        actor: &Actor,
        request: &SessionRequest,
        chosen: Option<&str>,
    ) -> Result<Institution, SignInRefusal> {
        let id = request.institution_id.as_deref().or(chosen).unwrap_or(DEFAULT_INSTITUTION);
        let institution =
            self.directory.find(actor.tenant.environment, id).ok_or_else(|| not_offered(UNKNOWN_INSTITUTION))?;
        let lacks = |(product, settings): &&(Product, passbook_core::product::ProductSettings)| {
            settings.required && !institution.products.contains(*product)
        };
        if let Some((product, _)) = request.products.iter().flatten().find(lacks) {
            return Err(not_offered(format!("{id} does not offer {}, which the session requires", product.as_str())));
        }
        if !request.countries.is_empty() && !request.countries.contains(&institution.country) {
            return Err(not_offered(format!("{id} is not in a country of the session")));
        }
        if request.duplicate_institution_rejected {
            let user = &request.customer_user_id;
            let twin =
                self.store.find_connected_link(&actor.tenant, user, &institution.id).await.map_err(Fault::from)?;
            if twin.is_some() {
                return Err(not_offered(format!("the user already has a connected link to {id}")));
            }
        }
        Ok(institution.clone())
    }

    /// Signs in and reads the accounts. The outer error is the caller's fault, the inner one the bank's answer.
    pub(super) async fn sign_in(
        &self,
        attempt: &Attempt<'_>,
        person: &Person,
    ) -> Result<Result<SignedIn, Failure>, SignInRefusal> {
        let Attempt { request, institution, now, .. } = attempt;
        let connector = self.directory.connector(&institution.connector);
        let connector = connector.ok_or_else(|| not_offered(UNKNOWN_INSTITUTION))?;
        let sign_in = SignIn {
            institution,
            customer_user_id: &request.customer_user_id,
            app_id: attempt.actor.tenant.app_id.as_str(),
            now: *now,
            derivation: &self.derivation,
            custom_sandbox_data: request.custom_sandbox_data.as_ref(),
            person_seed: request.person_seed,
        };
        let before = match &request.existing_link_id {
            Some(id) => self.store.lookup_secrets(&attempt.actor.tenant, id).await.map_err(Fault::from)?,
            None => None,
        };
        let before = before.and_then(|secrets| secrets.credential).map(Credential);
        let conversation = async {
            let mut credential = converse(connector.as_ref(), &sign_in, person).await?;
            if let Some(before) = &before {
                credential = connector.carry_over(before, credential);
            }
            let fetch = Fetch { institution, credential: &credential, now: *now, derivation: &self.derivation };
            let fetched = connector.fetch(&fetch, Product::Accounts).await?;
            let Snapshot::Accounts(accounts) = fetched.snapshot else {
                return Err(Failure::new(FailureClass::Unexpected, "The bank answered with something else"));
            };
            Ok((fetched.renewed_credential.unwrap_or(credential), accounts))
        };
        let (credential, accounts) = match tokio::time::timeout(SIGN_IN_DEADLINE, conversation).await {
            Ok(Ok(signed_in)) => signed_in,
            Ok(Err(failure)) => return Ok(Err(failure)),
            Err(_) => return Ok(Err(Failure::new(FailureClass::Timeout, "The bank did not answer in time"))),
        };
        // Accounts that may not be permitted are recorded all the same: the bank has them, and an earlier session may
        // have permitted them.
        let eligible: Vec<&BankAccount> = accounts
            .iter()
            .filter(|account| !request.permit_only_depository_accounts || account.account_type.is_depository())
            .collect();
        if eligible.is_empty() {
            return Ok(Err(Failure::new(FailureClass::NoAccounts, "The bank shares no account of the requested kind")));
        }
        let permitted = choose_accounts(&eligible, request, person.accounts.as_deref())?;
        Ok(Ok(SignedIn { credential, accounts, permitted }))
    }
}

async fn converse(connector: &dyn Connector, sign_in: &SignIn<'_>, person: &Person) -> Result<Credential, Failure> {
    let (mut step, mut progress) = connector.begin_sign_in(sign_in).await?;
    for _ in 0..ANSWERS_MAX {
        if let Step::Done(credential) = step {
            return Ok(credential);
        }
        let answer = connector
            .headless_answer(&step, &person.username, &person.answers)
            .ok_or_else(|| Failure::new(FailureClass::NotSupported, "This institution needs a person to sign in"))?;
        (step, progress) = connector.continue_sign_in(sign_in, progress, answer).await?;
    }
    match step {
        Step::Done(credential) => Ok(credential),
        _ => Err(Failure::new(FailureClass::Unexpected, "The sign-in did not end")),
    }
}

/// Upstream keys of the accounts the person permits.
fn choose_accounts(
    accounts: &[&BankAccount],
    request: &SessionRequest,
    wanted: Option<&[String]>,
) -> Result<BTreeSet<String>, SignInRefusal> {
    let refused = |message: String| SignInRefusal::NotOffered { field: "accounts", message };
    let is = |account: &BankAccount, text: &String| {
        account.name.eq_ignore_ascii_case(text) || account.mask.as_ref() == Some(text)
    };
    let chosen: Vec<&BankAccount> = match wanted {
        // A person who may permit one account only takes the first.
        None => accounts.iter().copied().take(if request.permit_only_one_account { 1 } else { usize::MAX }).collect(),
        Some(wanted) => {
            if let Some(unknown) = wanted.iter().position(|text| !accounts.iter().any(|account| is(account, text))) {
                return Err(refused(format!("accounts[{unknown}] names no account of this user")));
            }
            accounts.iter().copied().filter(|account| wanted.iter().any(|text| is(account, text))).collect()
        }
    };
    if chosen.is_empty() {
        return Err(refused("permit at least one account".to_owned()));
    }
    if request.permit_only_one_account && chosen.len() > 1 {
        return Err(refused("permit exactly one account".to_owned()));
    }
    Ok(chosen.into_iter().map(|account| account.upstream_key.clone()).collect())
}
