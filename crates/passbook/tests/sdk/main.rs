//! The Rust SDK and its example programs against `passbook dev`, as the built binary.

mod examples;
mod server;
mod walks;
