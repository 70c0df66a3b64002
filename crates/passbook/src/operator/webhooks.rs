//! Webhooks that fail or were switched off, and the keys that sign.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use passbook_core::tenant::{Environment, Tenant};
use passbook_store::port::{AddressStatus, Changes};

use super::{Answer, Operator, Refusal, ShownSecret, SigningKeyShown, WebhookShown, instance_tenant};
use crate::{services::events::address, signing};

impl Operator {
    pub(super) async fn list_webhooks(&self) -> Result<Answer, Refusal> {
        Ok(Answer::Webhooks(self.store.list_failing_addresses().await?.into_iter().map(shown).collect()))
    }

    /// Switches one on. What it missed stays a dead letter, to be replayed by the app.
    pub(super) async fn enable_webhook(
        &self,
        app: &str,
        environment: Environment,
        url: &str,
    ) -> Result<Answer, Refusal> {
        let tenant = Tenant { app_id: self.find_app(app).await?.id, environment };
        let failing = self.store.list_failing_addresses().await?;
        if !failing.iter().any(|one| one.tenant == tenant && one.url == url) {
            return Err(Refusal::unfit(
                "no such webhook fails or is switched off; `passbook webhooks list` shows them",
            ));
        }
        let changes = Changes {
            switched_on: vec![address(&tenant, url).id],
            audit: vec![self.audit(&tenant, "enable_webhook")],
            ..Changes::default()
        };
        self.store.commit(changes).await?;
        self.list_webhooks().await
    }

    /// What an app verifies the headers of Standard Webhooks with, in that standard's form.
    pub(super) async fn show_webhook_secret(&self, app: &str, environment: Environment) -> Result<Answer, Refusal> {
        let tenant = Tenant { app_id: self.find_app(app).await?.id, environment };
        let audit = vec![self.audit(&tenant, "show_webhook_secret")];
        self.store.commit(Changes { audit, ..Changes::default() }).await?;
        let secret = STANDARD.encode(self.keys.webhook_secret(&tenant).expose());
        Ok(Answer::WebhookSecret(ShownSecret::new(format!("whsec_{secret}"))))
    }

    /// A fresh key that will sign the webhooks of an environment.
    pub(super) async fn rotate_signing_key(&self, environment: Environment) -> Result<Answer, Refusal> {
        let audit = self.audit(&Tenant { environment, ..instance_tenant() }, "rotate_signing_key");
        let rotated = signing::rotate(self.store.as_ref(), environment, audit).await;
        let signs_from = rotated.map_err(|error| Refusal::unfit(format!("no key was made: {error:#}")))?;
        Ok(Answer::SigningKey(SigningKeyShown { environment, signs_from }))
    }
}

fn shown(status: AddressStatus) -> WebhookShown {
    WebhookShown {
        app_id: status.tenant.app_id.into(),
        environment: status.tenant.environment,
        url: status.url,
        failing_since: status.failing_since,
        switched_off: status.switched_off,
    }
}
