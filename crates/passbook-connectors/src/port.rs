//! The port every connector implements.
//!
//! Actors: the *server* calls; the *connector* answers. Sign-in is a conversation: [`Connector::begin_sign_in`] gives
//! the first [`Step`], each [`Connector::continue_sign_in`] takes the answer to the last one and gives the next, until
//! [`Step::Done`] hands over a [`Credential`]. Between steps the connector's own state travels in [`Progress`], which
//! the server seals, so connectors are stateless and any replica can take the next step. After that only background
//! workers call [`Connector::fetch`].
//!
//! A connector must never log or put into an error: credentials, answers, account numbers, upstream bodies.

use std::collections::BTreeMap;

use async_trait::async_trait;
use jiff::Timestamp;
use passbook_core::{
    failure::Failure,
    ids::Derivation,
    institution::Institution,
    product::Product,
    secret::SecretBytes,
    snapshot::{Snapshot, StatementFile},
};
use serde_json::Value;

use crate::edits::{BankEdit, EditRefusal};

/// An upstream, or a family of upstreams that speak the same language.
#[async_trait]
pub trait Connector: Send + Sync {
    /// The connector's name as stored with a link: `sandbox`, `ofx`.
    fn name(&self) -> &'static str;

    /// The institutions it serves, with what each can give. Called once at start.
    fn institutions(&self) -> Vec<Institution>;

    /// Whether its institutions exist in the sandbox only, because they are simulated.
    fn is_simulated(&self) -> bool {
        false
    }

    /// Begins a sign-in at `sign_in.institution`.
    ///
    /// # Errors
    /// A classified failure; the link shows its error code.
    async fn begin_sign_in(&self, sign_in: &SignIn<'_>) -> Result<(Step, Progress), Failure>;

    /// Takes the answer to the last step.
    ///
    /// # Errors
    /// A classified failure; the sign-in is over and must begin again.
    async fn continue_sign_in(
        &self,
        sign_in: &SignIn<'_>,
        progress: Progress,
        answer: Answer,
    ) -> Result<(Step, Progress), Failure>;

    /// Fetches one product.
    ///
    /// # Errors
    /// A classified failure; stored data stays as it is.
    async fn fetch(&self, fetch: &Fetch<'_>, product: Product) -> Result<Fetched, Failure>;

    /// Ends access upstream. Idempotent.
    ///
    /// # Errors
    /// A classified failure; the link is deleted all the same.
    async fn revoke(&self, fetch: &Fetch<'_>) -> Result<(), Failure>;

    /// Why products of its links cannot be refreshed on demand, shown as `unavailable`; `None` when they can.
    fn unavailable(&self) -> Option<&'static str> {
        None
    }

    /// What a person who signs in as `username` would answer to `step`; `answers` overrides by [`Step::kind`]. Only
    /// simulated banks know; every other connector leaves the step to the real person.
    fn headless_answer(&self, step: &Step, username: &str, answers: &BTreeMap<String, Value>) -> Option<Answer> {
        let _ = (step, username, answers);
        None
    }

    /// Takes edits of what a simulated bank holds for the customer behind `credential`: the credential that replaces it,
    /// and how many edits the bank keeps now. Every other connector refuses.
    ///
    /// # Errors
    /// [`EditRefusal`]; then nothing is edited.
    fn edit(&self, credential: &Credential, edits: &[BankEdit]) -> Result<(Credential, usize), EditRefusal> {
        let _ = (credential, edits);
        Err(EditRefusal::NotSimulated)
    }

    /// What a new sign-in keeps of the one before. Only simulated banks keep anything: their edits.
    fn carry_over(&self, before: &Credential, after: Credential) -> Credential {
        let _ = before;
        after
    }

    /// Reads a statement file that a person downloaded from their bank. Connectors without files refuse.
    ///
    /// # Errors
    /// [`FileRefusal`] says what is wrong with the file, never quoting an account number from it.
    fn read_statement(&self, file: &[u8], reading: &StatementReading<'_>) -> Result<StatementFile, FileRefusal> {
        let _ = (file, reading);
        Err(FileRefusal::new("this institution does not take statement files"))
    }
}

/// What a sign-in is about.
pub struct SignIn<'a> {
    /// The institution the user chose.
    pub institution: &'a Institution,
    /// The application's id for the end user.
    pub customer_user_id: &'a str,
    /// The application that asked.
    pub app_id: &'a str,
    /// The application's current instant.
    pub now: Timestamp,
    /// The instance seed, for simulated banks.
    pub derivation: &'a Derivation,
    /// `custom_sandbox_data` of the session, for simulated banks: the contract's `CustomSandboxData`, already valid.
    pub custom_sandbox_data: Option<&'a Value>,
    /// A seed chosen by the caller for the simulated person.
    pub person_seed: Option<u64>,
}

/// What a fetch is about.
pub struct Fetch<'a> {
    /// The institution.
    pub institution: &'a Institution,
    /// What sign-in handed over.
    pub credential: &'a Credential,
    /// The application's current instant: a simulated bank answers as of this moment.
    pub now: Timestamp,
    /// The instance seed, for simulated banks.
    pub derivation: &'a Derivation,
}

/// What a statement reader needs beside the bytes.
pub struct StatementReading<'a> {
    /// Turns an upstream id that holds an account number into an opaque stable key (keyed hash). Everything that ends
    /// up in `upstream_key` of an account goes through this.
    pub fingerprint: &'a (dyn Fn(&str) -> String + Sync),
    /// Where the institution is, which decides how a branch number is read. `None`: unknown, United States assumed.
    pub country: Option<passbook_core::institution::Country>,
}

/// A fetched product.
#[derive(Debug)]
pub struct Fetched {
    /// The bank's view.
    pub snapshot: Snapshot,
    /// A credential that replaces the old one (rotated tokens); stored with the data in one transaction.
    pub renewed_credential: Option<Credential>,
}

/// What sign-in produced and fetches need: tokens, keys, user names. Sealed at rest.
#[derive(Clone, Debug)]
pub struct Credential(pub SecretBytes);

/// A connector's own state between two steps. Sealed by the server while it waits.
#[derive(Clone, Debug)]
pub struct Progress(pub SecretBytes);

/// The next thing the end user has to do.
#[derive(Debug)]
pub enum Step {
    /// Fill in named fields.
    Form {
        /// The fields, in display order.
        fields: Vec<FormField>,
    },
    /// Choose one of several options (for instance where to send a code).
    Choice {
        /// Question shown.
        prompt: String,
        /// The options; the answer carries an option's id.
        options: Vec<ChoiceOption>,
    },
    /// Enter a one-time code.
    OneTimeCode {
        /// Text shown, for instance where the code went.
        prompt: String,
    },
    /// Answer a security question.
    Question {
        /// The question.
        prompt: String,
    },
    /// Go to the bank's own site and come back.
    Redirect {
        /// Where to go.
        url: String,
    },
    /// Signed in.
    Done(Credential),
}

impl Step {
    /// The name under which a headless caller answers this step: `credentials`, `choice`, `code`, `question`,
    /// `redirect`; empty for [`Step::Done`].
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Form { .. } => "credentials",
            Self::Choice { .. } => "choice",
            Self::OneTimeCode { .. } => "code",
            Self::Question { .. } => "question",
            Self::Redirect { .. } => "redirect",
            Self::Done(_) => "",
        }
    }
}

/// A field of a [`Step::Form`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FormField {
    /// Key of the answer: `username`, `password`.
    pub id: String,
    /// Label shown.
    pub label: String,
    /// Must not be echoed.
    pub secret: bool,
}

/// An option of a [`Step::Choice`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChoiceOption {
    /// Value of the answer.
    pub id: String,
    /// Text shown.
    pub label: String,
}

/// The end user's answer to a step.
#[derive(Clone)]
pub enum Answer {
    /// Values of the form's fields by id.
    Form(BTreeMap<String, SecretBytes>),
    /// The chosen option, the code, or the answer to the question.
    Text(SecretBytes),
    /// Back from the bank's site with these query parameters.
    Returned(BTreeMap<String, String>),
}

impl std::fmt::Debug for Answer {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::Form(_) => "Form[secret]",
            Self::Text(_) => "Text[secret]",
            Self::Returned(_) => "Returned[secret]",
        })
    }
}

/// Why a statement file was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct FileRefusal {
    /// Text for the person who sent the file.
    pub message: String,
}

impl FileRefusal {
    /// A refusal with this text.
    #[must_use]
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into() }
    }
}
