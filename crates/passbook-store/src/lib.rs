//! The store port, the sealing of secret fields, and the stores behind the port.
//!
//! Everything above this crate sees [`port::Store`] only; which database runs is decided in the server's composition
//! root. Secret fields cross the port in the clear and are sealed inside it ([`sealing`]), so no caller can forget to.
#![deny(missing_docs)]

pub mod compute;
mod fair;
pub mod files;
pub mod places;
pub mod port;
pub mod postgres;
pub mod retention;
pub mod sealing;
pub mod sqlite;
mod stored;
pub mod time;
mod vital;
