//! The client against a small HTTP server in the same process, on paused time: nothing here waits for real.

mod blocking;
mod calls;
mod errors;
mod events;
mod paging;
mod refresh_and_wait;
mod retries;
mod support;
mod token;
mod tracing;
mod webhooks;
