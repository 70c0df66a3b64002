//! Clients that make the same call at the same moment.

use anyhow::{Context, Result};
use serde_json::Value;
use tokio::task::JoinSet;

use crate::api::{Api, Target};
use crate::http::Answer;

/// The clients, each with a connection and a token of its own.
pub struct Gang {
    apis: Vec<Api>,
    /// Calls made so far, and refusals (503) that were answered by calling again.
    pub calls: u64,
    pub refusals: u64,
}

impl Gang {
    /// So many clients, spread over the targets, connected and with tokens.
    ///
    /// # Errors
    /// When one gets no token.
    pub async fn new(size: usize, targets: &[Target]) -> Result<Self> {
        let mut apis: Vec<_> = targets.iter().cycle().take(size).map(Api::at).collect();
        for api in &mut apis {
            api.token().await.context("a token")?;
        }
        Ok(Self { apis, calls: 0, refusals: 0 })
    }

    /// Everybody makes this call at once; gives all answers.
    ///
    /// # Errors
    /// When a call is not answered.
    pub async fn call(&mut self, method: &'static str, path: &str, body: &Value) -> Result<Vec<Answer>> {
        let mut tasks = JoinSet::new();
        for mut api in self.apis.drain(..) {
            let (path, body) = (path.to_owned(), body.clone());
            tasks.spawn(async move {
                let answer = api.call_until_admitted(method, &path, &body).await;
                (api, answer)
            });
        }
        let mut answers = Vec::new();
        while let Some(joined) = tasks.join_next().await {
            let (api, answer) = joined.context("a client")?;
            let (answer, refusals) = answer.with_context(|| format!("{method} {path}"))?;
            self.apis.push(api);
            self.calls += 1;
            self.refusals += refusals;
            answers.push(answer);
        }
        Ok(answers)
    }

    /// One of the clients, for calls on their own.
    pub fn one(&mut self) -> &mut Api {
        &mut self.apis[0]
    }
}

/// The error code of an answer of the API.
pub fn error_code(answer: &Answer) -> String {
    answer.json()["error_code"].as_str().unwrap_or_default().to_owned()
}
