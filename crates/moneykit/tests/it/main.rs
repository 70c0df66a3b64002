//! The client against a small HTTP server in the same process, on paused time: nothing here waits for real.

mod calls;
mod errors;
mod refresh_and_wait;
mod retries;
mod support;
mod token;
