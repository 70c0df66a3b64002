//! Whether a caller is still who it was: asked by everything that works for it for longer than a moment.
//!
//! A recognition holds for a second. An answer that took longer, and a stream that goes on, must not give data to a
//! caller whose access was withdrawn in between. [`Standing`] is the one way to ask.

use std::sync::{Arc, OnceLock};

use super::{caller::check_scope, errors::ApiError, operation::Operation};
use crate::services::{
    Actor, Services,
    access::{AccessRefusal, Recognised},
};

/// Who called, and what.
#[derive(Debug, Clone)]
pub struct Standing {
    recognised: Arc<Recognised>,
    operation: Operation,
}

impl Standing {
    /// Of a caller that may call this operation now.
    pub fn new(recognised: Arc<Recognised>, operation: Operation) -> Self {
        Self { recognised, operation }
    }

    /// Who.
    pub fn actor(&self) -> &Actor {
        &self.recognised.actor
    }

    /// What it called.
    pub fn operation(&self) -> Operation {
        self.operation
    }

    /// Asks again, as a new call would.
    ///
    /// # Errors
    /// What a new call would be answered: 401 when the client, its secret, token or scope was withdrawn or the token has
    /// expired, 503 when the store cannot tell.
    pub async fn check(&self, services: &Services) -> Result<(), ApiError> {
        let now = services.recognise(&self.recognised.proof).await?;
        check_scope(self.operation, &now.actor)
    }

    /// Asks again, unless that was done less than a second ago, for a call that was let in: a token that expired since
    /// was good when the call came, and the call may be what moved the clock.
    ///
    /// # Errors
    /// As [`check`](Self::check), but never for an expired token.
    pub async fn check_withdrawal(&self, services: &Services) -> Result<(), ApiError> {
        if self.recognised.is_fresh() {
            return Ok(());
        }
        match Box::pin(services.recognise(&self.recognised.proof)).await {
            Ok(now) => check_scope(self.operation, &now.actor),
            Err(AccessRefusal::Expired) => Ok(()),
            Err(refusal) => Err(refusal.into()),
        }
    }
}

/// Where a request notes its caller, so that its answer can be held back. Goes with the request.
#[derive(Clone, Default)]
pub struct AskedBy(Arc<OnceLock<Standing>>);

impl AskedBy {
    /// Notes the caller.
    pub fn note(&self, standing: &Standing) {
        // A request has one caller.
        let _ = self.0.set(standing.clone());
    }

    /// The caller, once it is known.
    pub fn standing(&self) -> Option<&Standing> {
        self.0.get()
    }
}
