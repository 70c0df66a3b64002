//! Trying out webhooks.

use super::api_group;
use crate::{
    ApiResponse, Error,
    client::Call,
    models::{LinkId, WebhookTestLinkRequest, WebhookTestLinkResponse},
};

api_group! {
    /// `/webhooks/test/link/{id}`.
    WebhooksApi
}

impl WebhooksApi {
    /// Has an event sent to the webhook of a sandbox link. The link does not change.
    ///
    /// # Errors
    /// 400 `link_error.bad_config` if the link has no webhook, 403 `link_error.forbidden_action` for a live link; see
    /// [`api`](crate::api) for the others.
    pub async fn trigger_test_link_webhook_event(
        &self,
        id: impl Into<LinkId>,
        request: &WebhookTestLinkRequest,
    ) -> Result<WebhookTestLinkResponse, Error> {
        Ok(self.trigger_test_link_webhook_event_with_http_info(id, request).await?.data)
    }

    /// [`trigger_test_link_webhook_event`](Self::trigger_test_link_webhook_event) with status and headers.
    ///
    /// # Errors
    /// The same.
    pub async fn trigger_test_link_webhook_event_with_http_info(
        &self,
        id: impl Into<LinkId>,
        request: &WebhookTestLinkRequest,
    ) -> Result<ApiResponse<WebhookTestLinkResponse>, Error> {
        let id = id.into();
        let segments = ["webhooks", "test", "link", id.as_str()];
        self.client.call(Call::post("trigger_test_link_webhook_event", &segments, request)?).await
    }
}
