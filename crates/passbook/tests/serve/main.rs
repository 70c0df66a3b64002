//! `passbook serve` and `passbook config`: the built binary, as an operator runs it.

mod configuration;
mod draining;
mod hosting;
mod operating;
mod process;
mod proxies;
mod tls;
