//! `passbook serve` and `passbook config`, and operator commands with a configuration: the built binary, as an operator
//! runs it.

mod configuration;
mod dev_tls;
mod draining;
mod hosting;
mod operating;
mod process;
mod proxies;
mod tls;

#[cfg(unix)]
mod at_rest;
#[cfg(unix)]
mod bounds;
#[cfg(unix)]
#[path = "../support/canaries.rs"]
mod canaries;
#[cfg(unix)]
mod hosted;
#[cfg(unix)]
mod hosted_clients;
#[cfg(unix)]
mod hosted_doctor;
#[cfg(unix)]
mod hosted_keys;
#[cfg(unix)]
mod hosted_updates;
#[cfg(unix)]
mod migrating;
#[cfg(target_os = "linux")]
mod surroundings;
