//! The simulated banks, seen through the connector port alone.

mod golden;
mod history;
mod investments;
mod numbers;
mod products;
mod reconciled;
mod sign_in;
mod world;
