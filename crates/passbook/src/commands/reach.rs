//! Reaching a store: over the control socket of the server that has it, or by opening it.

use std::{path::Path, sync::Arc, time::Duration};

use anyhow::{Context as _, anyhow, bail};

use super::{OpenFailure, Opened, Stores};
use crate::{
    operator::{Answer, Operator, Request},
    system::SystemClock,
};

/// How long a store may be in use without anybody listening: a server that starts or stops, or another command.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often it is tried meanwhile.
const TRY_EVERY: Duration = Duration::from_millis(100);

/// Fulfils `request` on the store in `data`, whoever has it.
///
/// # Errors
/// When it was refused or failed.
pub(super) async fn fulfil(data: &Path, request: Request, stores: &dyn Stores) -> anyhow::Result<Answer> {
    match reach(data, &request, stores).await? {
        Reached::Answered(answer) => Ok(*answer),
        Reached::Opened(opened) => {
            let answer = execute(&opened, request).await;
            opened.store.close().await;
            answer
        }
    }
}

/// Who fulfils a request.
pub(super) enum Reached {
    /// The server did.
    Answered(Box<Answer>),
    /// This process can.
    Opened(Opened),
}

/// Sends the request to the server if there is one, else opens the store.
pub(super) async fn reach(data: &Path, request: &Request, stores: &dyn Stores) -> anyhow::Result<Reached> {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = call(data, request).await? {
            return Ok(Reached::Answered(Box::new(answer)));
        }
        match stores.open(data).await {
            Ok(opened) => return Ok(Reached::Opened(opened)),
            Err(OpenFailure::Other(error)) => return Err(error),
            Err(OpenFailure::InUse) if tokio::time::Instant::now() < deadline => {
                tokio::time::sleep(TRY_EVERY).await;
            }
            Err(OpenFailure::InUse) => bail!(
                "the store in {} is in use, and its server listens on no control socket; try again, or stop the server",
                data.display()
            ),
        }
    }
}

/// The server's answer; `None` when there is no server.
#[cfg(unix)]
async fn call(data: &Path, request: &Request) -> anyhow::Result<Option<Answer>> {
    use crate::operator::control::{CallError, call};
    match call(data, request.clone()).await {
        Ok(answer) => Ok(Some(answer)),
        Err(CallError::Nobody) => Ok(None),
        Err(CallError::Refused(why)) => Err(anyhow!(why)),
        Err(error @ CallError::NoAnswer(_)) => Err(error.into()),
    }
}

#[cfg(not(unix))]
async fn call(_data: &Path, _request: &Request) -> anyhow::Result<Option<Answer>> {
    Ok(None)
}

/// Executes the request on a store that this process opened.
pub(super) async fn execute(opened: &Opened, request: Request) -> anyhow::Result<Answer> {
    let changes_keys = matches!(request, Request::RotateKeys | Request::ActivateKey { .. });
    let operator = Operator::new(Arc::clone(&opened.store), Arc::clone(&opened.keys), Arc::new(SystemClock));
    let answer = operator.execute(request).await?;
    if !changes_keys {
        return Ok(answer);
    }
    // Nobody else is there to do it.
    operator.finish_rotation().await.context("the new key is in use; the next start goes on wrapping keys anew")?;
    Ok(operator.execute(Request::ListKeys).await?)
}
