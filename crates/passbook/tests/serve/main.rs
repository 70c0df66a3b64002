//! `passbook serve` and `passbook config`: the built binary, as an operator runs it.

mod configuration;
mod hosting;
mod process;
