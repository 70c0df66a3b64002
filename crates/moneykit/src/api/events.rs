//! The event ledger of Passbook: what happened to the links of the app, and its deliveries.

use jiff::Timestamp;

use super::{api_group, query};
use crate::{
    ApiResponse, Error,
    client::{Call, EventStream},
    models::{DeliveryState, GetEventsResponse, LinkId, ReplayEvents, ReplayEventsResponse},
};

api_group! {
    /// `/passbook/events`: a call of Passbook's own, which other servers answer with 404.
    EventsApi
}

query! {
    /// Which events to read; the default reads all, oldest first, 50 a page.
    GetEventsQuery {
        /// Only those behind this position: `cursors.next` of a page, or the position of an event.
        cursor: String,
        /// Page size, 1 to 1000.
        limit: u32,
        /// Only those of this link.
        link_id: LinkId,
        /// Only those of this name, for example `link.state_changed`.
        webhook_event: String,
        /// Only those at or after this instant of the app's clock.
        from: Timestamp,
        /// Only those before this instant of the app's clock.
        to: Timestamp,
        /// Only those with a delivery in this state.
        delivery_state: DeliveryState,
    }
}

query! {
    /// Which events to stream; the default streams those of all links, from now on.
    StreamEventsQuery {
        /// Begin behind this position; `0` begins with the oldest event.
        cursor: String,
        /// Only those of this link.
        link_id: LinkId,
        /// Only those of this name.
        webhook_event: String,
        /// With the webhook as it would be sent now, signed.
        signed: bool,
    }
}

impl EventsApi {
    /// A page of the ledger.
    ///
    /// # Errors
    /// Only the general ones.
    pub async fn get_events(&self, query: &GetEventsQuery) -> Result<GetEventsResponse, Error> {
        Ok(self.get_events_with_http_info(query).await?.data)
    }

    /// [`get_events`](Self::get_events) with status and headers.
    ///
    /// # Errors
    /// The same.
    pub async fn get_events_with_http_info(
        &self,
        query: &GetEventsQuery,
    ) -> Result<ApiResponse<GetEventsResponse>, Error> {
        let call = Call::get("get_events", &["passbook", "events"])
            .query("cursor", query.cursor.as_ref())
            .query("limit", query.limit)
            .query("link_id", query.link_id.as_ref())
            .query("webhook_event", query.webhook_event.as_ref())
            .query("from", query.from)
            .query("to", query.to)
            .query("delivery_state", query.delivery_state.as_ref());
        self.client.call(call).await
    }

    /// Events as they happen. Goes on by itself where a connection broke; see [`EventStream::next`].
    #[must_use]
    pub fn stream_events(&self, query: &StreamEventsQuery) -> EventStream {
        EventStream::new(self.client.clone(), query.clone())
    }

    /// Has events sent to their webhooks again; those that were switched off are switched on.
    ///
    /// # Errors
    /// Only the general ones.
    pub async fn replay_events(&self, request: &ReplayEvents) -> Result<ReplayEventsResponse, Error> {
        Ok(self.replay_events_with_http_info(request).await?.data)
    }

    /// [`replay_events`](Self::replay_events) with status and headers.
    ///
    /// # Errors
    /// The same.
    pub async fn replay_events_with_http_info(
        &self,
        request: &ReplayEvents,
    ) -> Result<ApiResponse<ReplayEventsResponse>, Error> {
        self.client.call(Call::post("replay_events", &["passbook", "events", "replay"], request)?).await
    }
}
