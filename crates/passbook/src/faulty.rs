//! The server with fault hooks, for experiments: `GET` and `POST /fault-hooks` list vital parts and end them.
//!
//! A binary of its own, so that it can never be taken for the released one.

#[path = "main.rs"]
mod server;

fn main() -> std::process::ExitCode {
    server::main()
}
